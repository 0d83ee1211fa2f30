//! A mail server: aiosmtpd's.

use crate::{port::free_port, process::Process};
use serde_json::Value;
use std::{path::PathBuf, process::Command};
use tempfile::TempDir;

/// A server that knows one user.
#[derive(Debug)]
pub struct Mail {
    port: u16,
    folder: TempDir,
    _process: Process,
}

impl Mail {
    /// Who may send, and by which password.
    pub const USER: (&'static str, &'static str) = ("forge", "sesame");

    /// Starts a server; with a certificate and its key it wants STARTTLS.
    pub async fn start(tls: Option<(PathBuf, PathBuf)>) -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let python = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../.forge/python/bin/python"));
        assert!(python.is_file(), "aiosmtpd; run scripts/setup.sh --tests first");
        let mut command = Command::new(python);
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/python/smtp.py"));
        command
            .arg(port.to_string())
            .arg(folder.path().join("mails"))
            .args([Self::USER.0, Self::USER.1]);
        if let Some((certificate, key)) = tls {
            command.args([certificate, key]);
        }
        let process = Process::start(&mut command, &folder.path().join("log"));
        crate::eventually("the mail server listens", async || {
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok().map(drop)
        })
        .await;
        Self {
            port,
            folder,
            _process: process,
        }
    }

    /// Where it listens, by name.
    pub fn host(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// The mails it took: `from`, `to`, `text`, `tls`, `authenticated`.
    pub fn taken(&self) -> Vec<Value> {
        let mails = std::fs::read_to_string(self.folder.path().join("mails")).unwrap_or_default();
        mails.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}
