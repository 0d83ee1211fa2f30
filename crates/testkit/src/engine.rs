//! A Docker Engine of its own, so that nobody else's containers die with it. Needs root.

use crate::{Process, until};
use std::{fs, path::PathBuf, process::Command, time::Duration};
use tempfile::TempDir;

/// A second engine on this machine, with a bridge of its own.
#[derive(Debug)]
pub struct Engine {
    folder: TempDir,
    bridge: String,
    process: Option<Process>,
}

impl Engine {
    /// Starts it and gives it the base image.
    pub fn start() -> Self {
        // Several at a time: each test is a process.
        let id = std::process::id();
        let (bridge, network) = (format!("engine{}", id % 100_000), format!("172.29.{}.1/24", id % 256));
        ip(&["link", "add", &bridge, "type", "bridge"]);
        ip(&["addr", "add", &network, "dev", &bridge]);
        ip(&["link", "set", &bridge, "up"]);
        let mut engine = Self {
            folder: tempfile::tempdir().unwrap(),
            bridge,
            process: None,
        };
        engine.restart();
        engine.until_it_answers();
        let load = format!("docker save busybox:latest | docker --host {} load", engine.host());
        let loaded = Command::new("sh").args(["-c", &load]).output().unwrap();
        assert!(
            loaded.status.success(),
            "{}; run scripts/setup.sh first",
            String::from_utf8_lossy(&loaded.stderr)
        );
        engine
    }

    /// Where it listens.
    pub fn host(&self) -> String {
        format!("unix://{}", self.path("engine.sock").display())
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Asks it to end, as an update of it does; it ends its containers first.
    pub fn ask_to_stop(&self) {
        if let Some(process) = &self.process {
            process.signal("TERM");
        }
    }

    /// Ends it as an update of it does, and starts it again.
    pub fn update(&mut self) {
        if let Some(process) = &mut self.process {
            let ended = process.terminate(Duration::from_secs(30));
            assert!(ended.is_some(), "the engine does not end: {}", process.log());
        }
        self.restart();
        self.until_it_answers();
    }

    /// Starts it (again).
    pub fn restart(&mut self) {
        self.kill();
        // A pid file that it left may name somebody else by now, and then it does not start.
        fs::remove_file(self.path("engine.pid")).ok();
        let mut command = Command::new("dockerd");
        command.args(["--host", &self.host(), "--bridge", &self.bridge, "--iptables=false"]);
        for (flag, name) in [
            ("--data-root", "data"),
            ("--exec-root", "exec"),
            ("--pidfile", "engine.pid"),
        ] {
            command.arg(flag).arg(self.path(name));
        }
        command.env("BUILDKIT_STEP_LOG_MAX_SIZE", "1073741824");
        self.process = Some(Process::start(&mut command, &self.path("log")));
    }

    /// Waits until it answers.
    pub fn until_it_answers(&self) {
        until("the engine answers", || {
            let mut version = Command::new("docker");
            version.args(["--host", &self.host(), "version"]);
            version.output().is_ok_and(|output| output.status.success())
        });
    }

    /// Lines of what `docker` prints.
    pub fn lines(&self, args: &[&str]) -> Vec<String> {
        let output = Command::new("docker")
            .args(["--host", &self.host()])
            .args(args)
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(ToOwned::to_owned)
            .collect()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let containerd = fs::read_to_string(self.path("exec/containerd/containerd.pid"));
        let bridges = self.lines(&["network", "ls", "--quiet", "--filter", "driver=bridge"]);
        if let Some(mut process) = self.process.take() {
            process.terminate(Duration::from_secs(15));
        }
        // Those of its networks outlive it: each takes one of the thirty ranges of addresses that the machine's own engine
        // has for networks. The default one has another name, and is not found.
        for bridge in bridges {
            Command::new("ip")
                .args(["link", "del", &format!("br-{bridge}")])
                .output()
                .ok();
        }
        // It outlives an engine that was killed.
        if let Ok(pid) = containerd {
            Command::new("kill").arg(pid.trim()).output().ok();
        }
        for mount in fs::read_to_string("/proc/mounts").unwrap_or_default().lines() {
            let at = mount.split(' ').nth(1).unwrap_or_default();
            if at.starts_with(&*self.folder.path().to_string_lossy()) {
                Command::new("umount").args(["--lazy", at]).output().ok();
            }
        }
        ip(&["link", "del", &self.bridge]);
    }
}

fn ip(args: &[&str]) {
    let output = Command::new("ip")
        .args(args)
        .output()
        .expect("ip; run scripts/setup.sh first");
    assert!(
        output.status.success(),
        "ip {args:?}: {}; an engine of its own needs root",
        String::from_utf8_lossy(&output.stderr)
    );
}
