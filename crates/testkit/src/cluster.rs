//! A Redis Cluster of three primaries, each with a replica.

use crate::{eventually::until, port::free_port, process::Process, redis::cli};
use std::process::Command;
use tempfile::TempDir;

/// Six nodes.
#[derive(Debug)]
pub struct Cluster {
    folder: TempDir,
    nodes: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    port: u16,
    bus_port: u16,
    process: Option<Process>,
}

impl Cluster {
    /// Starts all six and waits until every slot is served, and every primary has its replica.
    pub fn start() -> Self {
        let node = |_| Node {
            port: free_port(),
            bus_port: free_port(),
            process: None,
        };
        let mut cluster = Self {
            folder: tempfile::tempdir().unwrap(),
            nodes: (0..6).map(node).collect(),
        };
        for n in 0..cluster.nodes.len() {
            cluster.start_node(n);
        }
        let all = cluster.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port));
        let created = Command::new("redis-cli")
            .args(["--cluster", "create"])
            .args(all)
            .args(["--cluster-replicas", "1", "--cluster-yes"])
            .output()
            .unwrap();
        assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stdout));
        until("every node says ok", || {
            let links = cluster
                .nodes
                .iter()
                .filter(|node| cli(node.port, &["INFO"]).contains("master_link_status:up"));
            let good = |node: &Node| cli(node.port, &["CLUSTER", "INFO"]).contains("cluster_state:ok");
            links.count() == 3 && cluster.nodes.iter().all(good)
        });
        cluster
    }

    /// Its URL, naming every node.
    pub fn url(&self) -> String {
        let (first, others) = self.nodes.split_first().unwrap();
        let others: Vec<_> = others
            .iter()
            .map(|node| format!("node=127.0.0.1:{}", node.port))
            .collect();
        format!("redis-cluster://127.0.0.1:{}?{}", first.port, others.join("&"))
    }

    /// Runs a command where its key lives; `KEYS` on every primary.
    pub fn cli(&self, args: &[&str]) -> String {
        let alive = self.nodes.iter().filter(|node| node.process.is_some());
        if args.contains(&"KEYS") {
            let primaries = alive.filter(|node| cli(node.port, &["ROLE"]).starts_with("master"));
            let keys = primaries
                .map(|node| cli(node.port, args))
                .filter(|text| !text.is_empty());
            return keys.collect::<Vec<_>>().join("\n");
        }
        let any = alive.map(|node| node.port).next().unwrap();
        let follow = [&["-c"][..], args].concat();
        cli(any, &follow)
    }

    /// Kills the primary that has a key, and waits until its replica has taken over.
    pub fn kill_primary_of(&mut self, key: &str) {
        let Some(old) = self.primary_of(key) else { return };
        self.nodes[old].process = None;
        until("another primary", || self.primary_of(key).is_some_and(|new| new != old));
    }

    /// Starts whatever was killed.
    pub fn restart(&mut self) {
        for n in 0..self.nodes.len() {
            if self.nodes[n].process.is_none() {
                self.start_node(n);
            }
        }
    }

    fn primary_of(&self, key: &str) -> Option<usize> {
        let is_it = |node: &Node| {
            let here = node.process.is_some() && cli(node.port, &["ROLE"]).starts_with("master");
            let answer = cli(node.port, &["EXISTS", key]);
            here && !answer.contains("MOVED") && !answer.contains("CLUSTERDOWN")
        };
        self.nodes.iter().position(is_it)
    }

    fn start_node(&mut self, n: usize) {
        let (port, bus_port) = (self.nodes[n].port, self.nodes[n].bus_port);
        let own = self.folder.path().join(port.to_string());
        std::fs::create_dir_all(&own).unwrap();
        let mut command = Command::new("redis-server");
        command
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--dir"])
            .arg(&own);
        command.args(["--port", &port.to_string(), "--cluster-port", &bus_port.to_string()]);
        command.args([
            "--cluster-enabled",
            "yes",
            "--cluster-node-timeout",
            "2000",
            "--repl-diskless-sync-delay",
            "0",
        ]);
        self.nodes[n].process = Some(Process::start(&mut command, &own.join("log")));
        until("the node answers", || cli(port, &["PING"]).contains("PONG"));
    }
}
