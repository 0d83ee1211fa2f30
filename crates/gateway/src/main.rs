//! The gateway service.

fn main() -> std::process::ExitCode {
    chassis::launch(
        std::env::args_os(),
        &gateway::SERVICE,
        gateway::configure,
        gateway::check,
        gateway::run,
    )
}
