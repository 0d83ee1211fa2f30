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
        let certificate = Self::unmade();
        certificate.openssl(
            &["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"],
            "-keyout",
        );
        certificate
    }

    /// Makes one that ended years ago.
    pub fn expired() -> Self {
        let certificate = Self::unmade();
        certificate.openssl(&["req", "-new", "-newkey", "rsa:2048", "-nodes"], "-keyout");
        let request = certificate.folder.path().join("request.pem");
        std::fs::rename(certificate.path(), &request).unwrap();
        let request = request.to_string_lossy().into_owned();
        let mut signing = vec!["ca", "-batch", "-selfsign", "-notext", "-in", &request];
        signing.extend(["-startdate", "20200101000000Z", "-enddate", "20200102000000Z"]);
        certificate.openssl(&signing, "-keyfile");
        certificate
    }

    fn unmade() -> Self {
        let certificate = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        let folder = certificate.folder.path().display();
        let text = format!(
            "[req]\ndistinguished_name=d\nx509_extensions=x\nprompt=no\n[d]\nCN=localhost\n\
             [x]\nsubjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=critical,CA:FALSE\n\
             [ca]\ndefault_ca=c\n[c]\nnew_certs_dir={folder}\ndatabase={folder}/index\nrand_serial=yes\n\
             default_md=sha256\npolicy=p\nx509_extensions=x\n[p]\ncommonName=supplied\n"
        );
        std::fs::write(certificate.config(), text).unwrap();
        std::fs::write(certificate.folder.path().join("index"), "").unwrap();
        certificate
    }

    fn openssl(&self, args: &[&str], key: &str) {
        let made = Command::new("openssl")
            .args(args)
            .args([Path::new("-config"), &self.config()])
            .args([Path::new(key), &self.key()])
            .args([Path::new("-out"), &self.path()])
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("openssl.cnf")
    }

    /// The certificate, in PEM.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
    }

    /// The certificate's text.
    pub fn pem(&self) -> String {
        std::fs::read_to_string(self.path()).unwrap()
    }

    /// Its key's text.
    pub fn key_pem(&self) -> String {
        std::fs::read_to_string(self.key()).unwrap()
    }

    /// Its key, in PEM.
    pub fn key(&self) -> PathBuf {
        self.folder.path().join("key.pem")
    }
}
