//! Programs in Node: signers that nobody of ours wrote.

use std::{
    io::Write as _,
    path::PathBuf,
    process::{Command, Stdio},
};

/// Runs a program of `node/` with this input; what it printed.
pub fn node(program: &str, args: &[&str], input: &str) -> String {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../.forge/node"));
    let mut child = Command::new("node")
        .arg(folder.join(program))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node; run scripts/setup.sh --tests first");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{program} failed; run scripts/setup.sh --tests first"
    );
    String::from_utf8(output.stdout).unwrap()
}
