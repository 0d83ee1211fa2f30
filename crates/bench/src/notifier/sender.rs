//! What delivers, each as a process on a core of its own; and what it is given to deliver.

use crate::{AT_ONCE, DELIVERIES, SECRET};
use serde_json::json;
use std::{
    fmt::Write as _,
    io::Write as _,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};
use tempfile::TempDir;
use testkit::{Process, Redis, binary, free_port};

/// What delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Ours.
    Notifier,
    /// A seal and a request in a loop; nothing that waits or is kept.
    Baseline,
    /// Node: a worker of `BullMQ`, and undici.
    Node,
}

/// One of them, running.
pub(crate) struct Sender {
    process: Process,
    _folder: TempDir,
}

/// The core that they run on.
const CORE: &str = "0";

// === impl Kind ===

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Notifier, Self::Baseline, Self::Node];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Notifier => "notifier",
            Self::Baseline => "baseline",
            Self::Node => "node",
        }
    }
}

// === impl Sender ===

impl Sender {
    /// Starts one.
    pub(crate) fn start(kind: Kind, redis: &Redis, port: u16, endpoints: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", CORE]).current_dir(folder.path());
        match kind {
            Kind::Notifier => {
                let at_once = ["WEBHOOK_MAX_IN_FLIGHT", "WEBHOOK_ENDPOINT_IN_FLIGHT"];
                let at_once = at_once.map(|name| (name, AT_ONCE.to_string()));
                let urls = (0..endpoints).map(|n| format!("http://127.0.0.1:{port}/{n}"));
                return Self::notifier(redis, urls, &at_once);
            }
            Kind::Baseline => {
                let own = std::env::current_exe().unwrap();
                command
                    .arg(own)
                    .args(["baseline", &port.to_string(), &DELIVERIES.to_string()]);
            }
            Kind::Node => {
                command.arg("node").arg(program());
                command.args([
                    "work",
                    &redis.port().to_string(),
                    SECRET,
                    &AT_ONCE.to_string(),
                    &port.to_string(),
                ]);
                command.env("NODE_ENV", "production");
            }
        }
        Self {
            process: Process::start(&mut command, &folder.path().join("log")),
            _folder: folder,
        }
    }

    /// Starts ours, for these endpoints, with more settings.
    pub(crate) fn notifier(redis: &Redis, urls: impl Iterator<Item = String>, more: &[(&str, String)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("urls"); // An environment has no room for ten thousand.
        std::fs::write(&file, urls.collect::<Vec<_>>().join(",")).unwrap();
        let mut command = Command::new("taskset");
        command
            .args(["--cpu-list", CORE])
            .arg(binary("notifier"))
            .current_dir(folder.path())
            .env("WEBHOOK_URL_FILE", &file)
            .envs([
                ("REDIS_URL", redis.url()),
                ("ADMIN_LISTEN", format!("127.0.0.1:{}", free_port())),
                ("WEBHOOK_HMAC_SECRET", SECRET.to_owned()),
                ("LOG_LEVEL", "error".to_owned()),
            ])
            .envs(more.iter().cloned());
        Self {
            process: Process::start(&mut command, &folder.path().join("log")),
            _folder: folder,
        }
    }

    pub(crate) fn core(&self) -> Duration {
        bench::core(self.process.id())
    }

    pub(crate) fn peak_mib(&self) -> f64 {
        bench::peak_mib(self.process.id())
    }

    pub(crate) fn stop(&mut self) {
        self.process.kill();
    }
}

fn program() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../.forge/bench/deliver.mjs"))
}

/// A notification as prow sends it, about 1 kB; its id and its text.
pub(crate) fn notification(n: usize) -> (String, String) {
    let id = uuid::Uuid::from_u128(n as u128).to_string();
    let body = json!({
        "eventId": id, "eventType": "build.succeeded", "timestamp": "2026-11-22T10:00:00Z", "schemaVersion": "1",
        "version": 3, "sequenceHint": 3,
        "resource": {"kind": "Build", "apiVersion": "forge/v1", "name": "acme/app 3f2a9c1", "namespace": "acme/app",
            "uid": format!("build-{n}")},
        "correlation": {"correlation_id": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
            "commit": "3f2a9c1d5e6b7a8c9d0e1f2a3b4c5d6e7f8a9b0c"},
        "data": {"status": "success", "previous_status": "building", "project": "acme/app", "branch": "main",
            "image": "registry.example/acme/app:3f2a9c1d5e6b7a8c9d0e1f2a3b4c5d6e7f8a9b0c",
            "digest": "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "links": {"build": "https://forge.example/builds/1", "log": "https://forge.example/builds/1/log"},
            "note": "x".repeat(200)},
    });
    (id, body.to_string())
}

/// Puts so many where a sender finds them.
pub(crate) fn fill(kind: Kind, redis: &Redis, number: usize) {
    match kind {
        Kind::Notifier => {
            let commands: String = (0..number)
                .map(|n| command(&["LPUSH", "forge:notifications", &notification(n).1]))
                .collect();
            let mut cli = Command::new("redis-cli")
                .args(["-p", &redis.port().to_string(), "--pipe"])
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            cli.stdin.take().unwrap().write_all(commands.as_bytes()).unwrap();
            assert!(cli.wait().unwrap().success());
        }
        Kind::Baseline => {}
        Kind::Node => queue(redis, number),
    }
}

/// Sends one more.
pub(crate) fn send(kind: Kind, redis: &Redis, n: usize) {
    let queue = match kind {
        Kind::Notifier => "forge:notifications",
        Kind::Baseline | Kind::Node => "bench:one-by-one",
    };
    // By a connection of its own: what is measured begins when Redis has it.
    redis.cli(&["LPUSH", queue, &notification(n).1]);
}

/// Queues jobs for the worker in Node, by its own library.
fn queue(redis: &Redis, number: usize) {
    let mut child = Command::new("node")
        .arg(program())
        .args(["queue", &redis.port().to_string()])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let lines: String = (0..number).map(|n| notification(n).1 + "\n").collect();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

/// A command as Redis reads it (RESP, an array of bulk strings).
pub(crate) fn command(words: &[&str]) -> String {
    let mut text = format!("*{}\r\n", words.len());
    for word in words {
        write!(text, "${}\r\n{word}\r\n", word.len()).unwrap();
    }
    text
}
