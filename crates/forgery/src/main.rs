//! The forgery service.

fn main() -> std::process::ExitCode {
    chassis::launch_with(
        std::env::args_os(),
        &forgery::SERVICE,
        forgery::configure,
        forgery::check,
        forgery::run,
        forgery::errand,
    )
}
