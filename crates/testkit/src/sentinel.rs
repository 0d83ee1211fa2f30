//! A primary, two replicas and three sentinels.

use crate::{
    eventually::until,
    port::free_port,
    process::{Process, write},
    redis::cli,
};
use std::process::Command;
use tempfile::TempDir;

/// A Redis that survives the death of its primary.
#[derive(Debug)]
pub struct Sentinel {
    folder: TempDir,
    nodes: Vec<(u16, Option<Process>)>,
    sentinels: Vec<(u16, Process)>,
}

/// What the sentinels call it.
const NAME: &str = "forge";

impl Sentinel {
    /// Starts all six and waits until the sentinels know the replicas.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ports = [free_port(), free_port(), free_port()];
        let mut set = Self {
            folder,
            nodes: ports.iter().map(|port| (*port, None)).collect(),
            sentinels: Vec::new(),
        };
        for n in 0..ports.len() {
            set.start_node(n, (n > 0).then(|| ports[0]));
        }
        for _ in 0..3 {
            let port = free_port();
            let config = set.folder.path().join(format!("sentinel-{port}.conf"));
            let text = format!(
                "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor {NAME} 127.0.0.1 {} 2\n\
                 sentinel down-after-milliseconds {NAME} 2000\nsentinel failover-timeout {NAME} 10000\n",
                set.folder.path().display(),
                ports[0],
            );
            write(&config, &text);
            let log = set.folder.path().join(format!("sentinel-{port}.log"));
            let process = Process::start(Command::new("redis-server").arg(&config).arg("--sentinel"), &log);
            set.sentinels.push((port, process));
        }
        until("the sentinels know everything", || {
            set.sentinels.iter().all(|(port, _)| {
                let text = cli(*port, &["SENTINEL", "MASTER", NAME]);
                let after = |name: &str| {
                    text.lines()
                        .skip_while(|line| *line != name)
                        .nth(1)
                        .map(ToOwned::to_owned)
                };
                after("num-slaves").as_deref() == Some("2") && after("num-other-sentinels").as_deref() == Some("2")
            })
        });
        set
    }

    /// Its URL.
    pub fn url(&self) -> String {
        let (first, others) = self.sentinels.split_first().unwrap();
        let others: Vec<_> = others
            .iter()
            .map(|(port, _)| format!("&node=127.0.0.1:{port}"))
            .collect();
        format!(
            "redis-sentinel://127.0.0.1:{}?sentinelServiceName={NAME}{}",
            first.0,
            others.concat()
        )
    }

    /// Port of one of the sentinels.
    pub fn sentinel_port(&self) -> u16 {
        self.sentinels[0].0
    }

    /// Runs a command on the primary.
    pub fn cli(&self, args: &[&str]) -> String {
        self.primary().map(|port| cli(port, args)).unwrap_or_default()
    }

    /// Kills the primary and waits until there is another; the dead one comes back as its replica.
    pub fn kill_primary(&mut self) {
        let Some(old) = self.primary() else { return };
        let n = self.nodes.iter().position(|(port, _)| *port == old).unwrap();
        self.nodes[n].1 = None;
        until("another primary", || self.primary().is_some_and(|port| port != old));
        let new = self.primary();
        self.start_node(n, new);
    }

    /// Port of the node that takes writes, as the sentinels say.
    pub fn primary(&self) -> Option<u16> {
        self.sentinels.iter().find_map(|(port, _)| {
            let text = cli(*port, &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME]);
            let port = text.lines().nth(1)?.parse().ok()?;
            cli(port, &["ROLE"]).starts_with("master").then_some(port)
        })
    }

    fn start_node(&mut self, n: usize, replica_of: Option<u16>) {
        let port = self.nodes[n].0;
        let own = self.folder.path().join(port.to_string());
        std::fs::create_dir_all(&own).unwrap();
        let mut command = Command::new("redis-server");
        command
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--dir"])
            .arg(&own);
        command.args(["--appendonly", "yes", "--save", "", "--repl-diskless-sync-delay", "0"]);
        command.args(["--min-replicas-to-write", "1", "--min-replicas-max-lag", "2"]);
        if let Some(primary) = replica_of {
            command.args(["--replicaof", "127.0.0.1", &primary.to_string()]);
        }
        self.nodes[n].1 = Some(Process::start(&mut command, &own.join("log")));
        until("the node answers", || cli(port, &["PING"]).contains("PONG"));
    }
}
