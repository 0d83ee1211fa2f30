//! The parts of the demo that are not ours to ship:
//! `forge-parts git ROOT ADDRESS TOKEN` and `forge-parts sink ADDRESS SECRET`.
#![expect(clippy::print_stdout, reason = "a program for the shell")]

use std::process::ExitCode;
use testkit::{Git, Received, Sink};

#[tokio::main]
async fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["git", root, address, token] => Git::serve(root.as_ref(), address, token).await.forever().await,
        ["sink", address, secret] => Sink::serve(address, secret, Some(show)).await.forever().await,
        _ => return ExitCode::from(64),
    }
    ExitCode::SUCCESS
}

/// One line of JSON for each webhook.
fn show(received: &Received) {
    let id = received.header("webhook-id");
    let signature = received.header("webhook-signature");
    println!(
        "{}",
        serde_json::json!({"verified": received.verified, "id": id, "signature": signature, "body": received.body})
    );
}
