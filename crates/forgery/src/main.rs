//! The forgery service.

fn main() -> std::process::ExitCode {
    chassis::launch(
        std::env::args_os(),
        &forgery::SERVICE,
        forgery::configure,
        forgery::check,
        forgery::run,
    )
}
