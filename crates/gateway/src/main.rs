//! The gateway service.

fn main() -> std::process::ExitCode {
    chassis::launch(&gateway::SERVICE, gateway::configure, gateway::check, gateway::run)
}
