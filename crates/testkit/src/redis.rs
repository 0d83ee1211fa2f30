//! A Redis of its own.

use crate::process::{Process, free_port};
use std::{process::Command, time::Duration};
use tempfile::TempDir;

/// A Redis server with append-only file, on a free port.
#[derive(Debug)]
pub struct Redis {
    folder: TempDir,
    port: u16,
    more: Vec<String>,
    process: Option<Process>,
}

impl Redis {
    /// Starts a server and waits until it answers.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a server with more settings on its command line.
    pub fn start_with(more: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let more = more.iter().map(|text| (*text).to_owned()).collect();
        let mut redis = Self {
            folder,
            port: free_port(),
            more,
            process: None,
        };
        redis.restart();
        redis
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The URL of its unix socket.
    pub fn unix_url(&self) -> String {
        format!("unix://{}", self.folder.path().join("redis.sock").display())
    }

    /// Ends it at once, as a crash would.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it again, on the same port, with the data it had.
    pub fn restart(&mut self) {
        self.process = None;
        let folder = self.folder.path();
        let mut command = Command::new("redis-server");
        command
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--dir"])
            .arg(folder);
        command.arg("--unixsocket").arg(folder.join("redis.sock"));
        command
            .args(["--appendonly", "yes", "--save", "", "--enable-debug-command", "local"])
            .args(&self.more);
        self.process = Some(Process::start(&mut command, &folder.join("redis.log")));
        for _ in 0..200 {
            if self.cli(&["PING"]).contains("PONG") {
                return;
            }
            std::thread::sleep(Duration::from_millis(25));
        }
        panic!("redis does not answer");
    }

    /// Runs a command by `redis-cli`; what it printed.
    pub fn cli(&self, args: &[&str]) -> String {
        let output = Command::new("redis-cli")
            .args(["-p", &self.port.to_string()])
            .args(args)
            .output();
        let output = output.expect("redis-cli; run scripts/setup.sh first");
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }
}
