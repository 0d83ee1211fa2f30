//! The forgery service.

fn main() -> std::process::ExitCode {
    chassis::launch(&forgery::SERVICE, forgery::configure, forgery::check, forgery::run)
}
