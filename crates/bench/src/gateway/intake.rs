//! The intakes that are compared, each as a process on a core of its own.

use crate::SECRET;
use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};
use tempfile::TempDir;
use testkit::{Process, Redis, binary, free_port};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
};

/// What takes webhooks in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Ours.
    Gateway,
    /// hyper, ring and LPUSH, and nothing else.
    Baseline,
    /// Node: Express, @octokit/webhooks, `BullMQ`.
    Node,
    /// Debian's `webhook`, which starts a program for each delivery.
    Webhook,
}

/// One of them, running.
#[derive(Debug)]
pub(crate) struct Intake {
    process: Process,
    port: u16,
    _folder: TempDir,
}

/// The core that they run on.
const CORE: &str = "0";
/// How often what was queued is thrown away, so that no list grows full.
const DRAIN: Duration = Duration::from_millis(20);
const LISTS: &str = "forge:webhooks {forge:webhooks}:deployment {forge:webhooks}:validation \
                     {forge:webhooks}:workflow {forge:webhooks}:recovery bull:webhooks:wait";

// === impl Kind ===

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Gateway, Self::Baseline, Self::Node, Self::Webhook];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Baseline => "baseline",
            Self::Node => "node",
            Self::Webhook => "webhook",
        }
    }

    fn command(self, port: u16, redis: &Redis, folder: &Path) -> Command {
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", CORE]).current_dir(folder);
        let port = port.to_string();
        match self {
            Self::Gateway => {
                command.arg(binary("gateway")).envs([
                    ("REDIS_URL", redis.url()),
                    ("WEBHOOK_LISTEN", format!("127.0.0.1:{port}")),
                    ("ADMIN_LISTEN", format!("127.0.0.1:{}", free_port())),
                    ("WEBHOOK_SECRET", SECRET.to_owned()),
                    ("WEBHOOK_ENABLE_RATE_LIMITING", "false".to_owned()),
                    ("LOG_LEVEL", "warn".to_owned()),
                ]);
            }
            Self::Baseline => {
                let own = std::env::current_exe().unwrap();
                command.arg(own).args(["baseline", &port, &redis.port().to_string()]);
            }
            Self::Node => {
                let server = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../.forge/bench/server.mjs"));
                command.arg("node").arg(server);
                command
                    .args([&port, &redis.port().to_string(), SECRET])
                    .env("NODE_ENV", "production");
            }
            Self::Webhook => {
                let rule = serde_json::json!([{
                    "id": "github", "execute-command": "/bin/true", "success-http-response-code": 202,
                    "trigger-rule": {"match": {"type": "payload-hmac-sha256", "secret": SECRET,
                        "parameter": {"source": "header", "name": "X-Hub-Signature-256"}}},
                }]);
                std::fs::write(folder.join("hooks.json"), rule.to_string()).unwrap();
                let flags = [
                    "-hooks",
                    "hooks.json",
                    "-ip",
                    "127.0.0.1",
                    "-urlprefix",
                    "webhook",
                    "-port",
                ];
                command.arg("webhook").args(flags).arg(&port);
            }
        }
        command
    }
}

// === impl Intake ===

impl Intake {
    /// Starts one and waits until it listens.
    pub(crate) async fn start(kind: Kind, redis: &Redis) -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let mut command = kind.command(port, redis, folder.path());
        let process = Process::start(&mut command, &folder.path().join("log"));
        testkit::eventually(kind.name(), async || TcpStream::connect(("127.0.0.1", port)).await.ok()).await;
        Self {
            process,
            port,
            _folder: folder,
        }
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// How long it has been on a processor so far, its children not counted. `taskset` has become the program by now: it
    /// is the same process.
    pub(crate) fn core(&self) -> Duration {
        bench::core(self.process.id())
    }

    /// The most memory it ever had.
    pub(crate) fn peak_mib(&self) -> f64 {
        bench::peak_mib(self.process.id())
    }
}

/// Throws away what was queued, again and again.
pub(crate) async fn drain(redis: u16) {
    let redis = TcpStream::connect(("127.0.0.1", redis)).await.unwrap();
    let (answers, mut commands) = redis.into_split();
    let mut answers = BufReader::new(answers).lines();
    let command = format!("UNLINK {LISTS}\r\n");
    while commands.write_all(command.as_bytes()).await.is_ok() {
        answers.next_line().await.unwrap();
        tokio::time::sleep(DRAIN).await;
    }
}
