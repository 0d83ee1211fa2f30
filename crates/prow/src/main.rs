//! The prow service.

fn main() -> std::process::ExitCode {
    chassis::launch(
        std::env::args_os(),
        &prow::SERVICE,
        prow::configure,
        prow::check,
        prow::run,
    )
}
