//! Certificates, by openssl.

use std::{
    path::{Path, PathBuf},
    process::Command,
};
use tempfile::TempDir;

/// A certificate of localhost that whoever trusts it takes for genuine, and its key.
#[derive(Debug)]
pub struct Certificate {
    folder: TempDir,
}

impl Certificate {
    /// Makes one, good for two days.
    pub fn of_localhost() -> Self {
        let certificate = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        let config = certificate.folder.path().join("openssl.cnf");
        let text = "[req]\ndistinguished_name=d\nx509_extensions=x\nprompt=no\n[d]\nCN=localhost\n\
                    [x]\nsubjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=critical,CA:FALSE\n";
        std::fs::write(&config, text).unwrap();
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"])
            .args([Path::new("-config"), &config])
            .args([Path::new("-keyout"), &certificate.key()])
            .args([Path::new("-out"), &certificate.path()])
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        certificate
    }

    /// The certificate, in PEM.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
    }

    /// Its key, in PEM.
    pub fn key(&self) -> PathBuf {
        self.folder.path().join("key.pem")
    }
}
