//! A Redis of its own.

use crate::{eventually::until, port::free_port, process::Process};
use std::{path::PathBuf, process::Command};
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
        until("redis answers", || self.cli(&["PING"]).contains("PONG"));
    }

    /// Runs a command by `redis-cli`; what it printed.
    pub fn cli(&self, args: &[&str]) -> String {
        cli(self.port, args)
    }

    /// Removes what it has written down; only while it does not run.
    pub fn wipe(&self) {
        assert!(self.process.is_none(), "it would write on");
        std::fs::remove_dir_all(self.folder.path().join("appendonlydir")).unwrap();
    }

    /// Its port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// How much it has written down so far: the file, and its length.
    pub fn written(&self) -> Option<(PathBuf, u64)> {
        let files = std::fs::read_dir(self.folder.path().join("appendonlydir")).ok()?;
        let newest = files
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.to_string_lossy().ends_with(".incr.aof"))
            .max_by_key(|path| path.metadata().and_then(|data| data.modified()).ok())?;
        let length = newest.metadata().ok()?.len();
        Some((newest, length))
    }

    /// Ends it as a loss of power would: what it wrote after `kept` is gone from the disk.
    pub fn lose_power(&mut self, kept: Option<(PathBuf, u64)>) {
        self.kill();
        if let Some((path, length)) = kept
            && let Ok(file) = std::fs::OpenOptions::new().write(true).open(path)
        {
            file.set_len(length).unwrap();
        }
    }
}

/// Runs a command by `redis-cli` on a port of this machine; what it printed.
pub(crate) fn cli(port: u16, args: &[&str]) -> String {
    let output = Command::new("redis-cli")
        .args(["-p", &port.to_string()])
        .args(args)
        .output();
    let output = output.expect("redis-cli; run scripts/setup.sh first");
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}
