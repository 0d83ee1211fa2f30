//! A registry with a login: Debian's docker-registry.

use crate::{
    port::free_port,
    process::{Process, write},
};
use std::{process::Command, time::Duration};
use tempfile::TempDir;

/// A registry on a free port.
#[derive(Debug)]
pub struct Registry {
    port: u16,
    _process: Process,
    _folder: TempDir,
}

impl Registry {
    /// Who may log in.
    pub const USER: &'static str = "ci";
    /// The password.
    pub const PASSWORD: &'static str = "s3cret-registry";

    /// Starts a registry and waits until it answers.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (port, path) = (free_port(), folder.path());
        let login = Command::new("htpasswd")
            .args(["-Bbn", Self::USER, Self::PASSWORD])
            .output();
        let login = login.expect("htpasswd; run scripts/setup.sh first");
        write(&path.join("htpasswd"), &String::from_utf8_lossy(&login.stdout));
        let config = format!(
            "version: 0.1\nlog: {{level: warn, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: {0}/data}}, delete: {{enabled: true}}}}\n\
             http: {{addr: 127.0.0.1:{port}}}\nauth: {{htpasswd: {{realm: r, path: {0}/htpasswd}}}}\n",
            path.display()
        );
        write(&path.join("config.yml"), &config);
        let mut command = Command::new("docker-registry");
        let process = Process::start(command.arg("serve").arg(path.join("config.yml")), &path.join("log"));
        let registry = Self {
            port,
            _process: process,
            _folder: folder,
        };
        crate::eventually("the registry answers", async || registry.get("/v2/").await).await;
        registry
    }

    /// Host and port.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The digest of a manifest, if there is one by that tag.
    pub async fn digest(&self, name: &str, tag: &str) -> Option<String> {
        let response = self.get(&format!("/v2/{name}/manifests/{tag}")).await?;
        Some(
            response
                .headers()
                .get("docker-content-digest")?
                .to_str()
                .ok()?
                .to_owned(),
        )
    }

    /// A manifest as JSON, of an image or of several.
    pub async fn manifest(&self, name: &str, tag: &str) -> Option<serde_json::Value> {
        let response = self.get(&format!("/v2/{name}/manifests/{tag}")).await?;
        serde_json::from_slice(&response.bytes().await.ok()?).ok()
    }

    async fn get(&self, path: &str) -> Option<reqwest::Response> {
        crate::crypto();
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(5))
            .build()
            .unwrap();
        let accept = "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json, \
            application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.oci.image.index.v1+json";
        let request = client
            .get(format!("http://{}{path}", self.host()))
            .header("accept", accept);
        let response = request.basic_auth(Self::USER, Some(Self::PASSWORD)).send().await.ok()?;
        response.status().is_success().then_some(response)
    }
}
