//! The notifier service.

fn main() -> std::process::ExitCode {
    chassis::launch(
        std::env::args_os(),
        &notifier::SERVICE,
        notifier::configure,
        notifier::check,
        notifier::run,
    )
}
