//! A store that speaks S3: moto's.

use crate::{port::free_port, process::Process};
use std::{path::PathBuf, process::Command};
use tempfile::TempDir;

/// A store with one empty bucket.
#[derive(Debug)]
pub struct S3 {
    port: u16,
    _process: Process,
    _folder: TempDir,
}

impl S3 {
    /// Its bucket.
    pub const BUCKET: &'static str = "logs";

    /// Starts a store and makes its bucket.
    pub async fn start() -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let program = PathBuf::from(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../.forge/python/bin/moto_server"
        ));
        assert!(program.is_file(), "moto_server; run scripts/setup.sh --tests first");
        let mut command = Command::new(program);
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        let process = Process::start(&mut command, &folder.path().join("log"));
        let store = Self {
            port,
            _process: process,
            _folder: folder,
        };
        crate::crypto();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        crate::eventually("the store makes a bucket", async || {
            let made = client
                .put(format!("{}/{}", store.url(), Self::BUCKET))
                .send()
                .await
                .ok()?;
            made.status().is_success().then_some(())
        })
        .await;
        store
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What a program needs to know to use it.
    pub fn variables(&self) -> [(&'static str, String); 4] {
        [
            ("AWS_ENDPOINT_URL", self.url()),
            ("AWS_ACCESS_KEY_ID", "test".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
        ]
    }
}
