//! Git over SSH: OpenSSH's own server, for one key of whoever runs the test.

use crate::{Process, Repo, free_port, until};
use std::{fs, net::TcpStream, path::PathBuf, process::Command};
use tempfile::TempDir;

/// A server that lets this user in by one key.
#[derive(Debug)]
pub struct Ssh {
    folder: TempDir,
    port: u16,
    _process: Process,
}

// === impl Ssh ===

impl Ssh {
    /// Starts it on a free port.
    pub fn start() -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let path = |name: &str| folder.path().join(name);
        for name in ["host", "user"] {
            let mut making = Command::new("ssh-keygen");
            making.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path(name));
            assert!(
                making.status().unwrap().success(),
                "ssh-keygen; run scripts/setup.sh --tests"
            );
        }
        let (host, keys) = (path("host"), path("user.pub"));
        let config = format!(
            "ListenAddress 127.0.0.1\nPort {port}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\n\
             UsePAM no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n",
            host.display(),
            keys.display()
        );
        fs::write(path("config"), config).unwrap();
        fs::create_dir_all("/run/sshd").ok(); // It wants this folder, and starts without it if it is nobody's.
        let mut command = Command::new("/usr/sbin/sshd");
        command.args(["-D", "-e", "-f"]).arg(path("config"));
        let server = Self {
            port,
            _process: Process::start(&mut command, &path("log")),
            folder,
        };
        until("sshd answers", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        server
    }

    /// Where a repository is by this way.
    pub fn url(&self, repo: &Repo) -> String {
        let user = Command::new("id").arg("-un").output().unwrap();
        let user = String::from_utf8_lossy(&user.stdout).trim().to_owned();
        format!("ssh://{user}@127.0.0.1:{}{}", self.port, repo.bare())
    }

    /// The key that it lets in.
    pub fn key(&self) -> String {
        fs::read_to_string(self.path("user")).unwrap()
    }

    /// How it is known, as a line of `known_hosts`.
    pub fn known(&self) -> String {
        let key = fs::read_to_string(self.path("host.pub")).unwrap();
        format!("[127.0.0.1]:{} {key}", self.port)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}
