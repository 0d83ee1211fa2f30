//! The prow service.

fn main() -> std::process::ExitCode {
    chassis::launch(&prow::SERVICE, prow::configure, prow::check, prow::run)
}
