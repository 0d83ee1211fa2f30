//! The prow service.

fn main() -> std::process::ExitCode {
    chassis::launch_with(
        std::env::args_os(),
        &prow::SERVICE,
        prow::configure,
        prow::check,
        prow::run,
        prow::errand,
    )
}
