//! The notifier service.

fn main() -> std::process::ExitCode {
    chassis::launch(&notifier::SERVICE, notifier::configure, notifier::check, notifier::run)
}
