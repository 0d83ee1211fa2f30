//! A PostgreSQL of its own.

use crate::{eventually::until, port::free_port, process::Process};
use std::{
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};
use tempfile::TempDir;

/// A PostgreSQL server on a free port, with one empty database.
#[derive(Debug)]
pub struct Postgres {
    folder: TempDir,
    port: u16,
    process: Option<Process>,
}

/// It refuses to run as root; Debian's package makes this user.
const USER: &str = "postgres";

impl Postgres {
    /// Makes a database and starts its server.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut postgres = Self {
            folder,
            port: free_port(),
            process: None,
        };
        if let Some((uid, gid)) = owner() {
            std::os::unix::fs::chown(postgres.folder.path(), Some(uid), Some(gid)).unwrap();
        }
        let data = postgres.data();
        let made = program("initdb")
            .args([
                "--auth=trust",
                "--no-sync",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                "--username=forge",
                "-D",
            ])
            .arg(&data)
            .output()
            .expect("initdb; run scripts/setup.sh --tests first");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        postgres.restart();
        postgres
    }

    /// The URL of its database.
    pub fn url(&self) -> String {
        format!("postgres://forge@127.0.0.1:{}/postgres", self.port)
    }

    /// Ends it at once, as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.signal("QUIT"); // It has children; this ends all of them without a checkpoint.
            process.wait(Duration::from_secs(10));
        }
    }

    /// Starts it again, on the same port, with the data it had.
    pub fn restart(&mut self) {
        self.kill();
        let mut command = program("postgres");
        command
            .arg("-D")
            .arg(self.data())
            .args(["-p", &self.port.to_string(), "-h", "127.0.0.1", "-k"])
            .arg(self.folder.path());
        self.process = Some(Process::start(&mut command, &self.folder.path().join("postgres.log")));
        until("postgres answers", || {
            let port = self.port.to_string();
            let answer = program("pg_isready")
                .args(["-q", "-h", "127.0.0.1", "-p", &port])
                .status();
            answer.unwrap().success()
        });
    }

    /// Stops all of its processes as they are (`STOP`), or lets them go on (`CONT`).
    pub fn signal(&self, name: &str) {
        let Some(process) = &self.process else { return };
        let children = Command::new("ps")
            .args(["-o", "pid=", "--ppid", &process.id().to_string()])
            .output();
        let children = String::from_utf8(children.unwrap().stdout).unwrap();
        process.signal(name);
        for child in children.split_whitespace() {
            Command::new("kill")
                .args([&format!("-{name}"), child])
                .status()
                .unwrap();
        }
    }

    /// Runs SQL; what it gave, without decoration.
    pub fn query(&self, sql: &str) -> String {
        let output = program("psql").args(["-qAt", "-c", sql, &self.url()]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.kill();
    }
}

/// One of its programs, which Debian keeps in a folder for each version, as a user it agrees to run as.
fn program(name: &str) -> Command {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let path = versions
        .filter_map(|version| Some(version.ok()?.path().join("bin").join(name)))
        .find(|path| path.is_file());
    let mut command = Command::new(path.unwrap_or_else(|| Path::new(name).to_owned()));
    command.current_dir("/");
    if let Some((uid, gid)) = owner() {
        command.uid(uid).gid(gid);
    }
    command
}

/// The numbers of the user, where this is root.
fn owner() -> Option<(u32, u32)> {
    let id = |args: &[&str]| {
        let output = Command::new("id").args(args).output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim().parse::<u32>()
    };
    (id(&["-u"]) == Ok(0)).then(|| {
        let of = |what| id(&[what, USER]).expect("the user postgres; run scripts/setup.sh --tests first");
        (of("-u"), of("-g"))
    })
}
