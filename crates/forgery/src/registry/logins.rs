//! Who we are at which registry.

use chassis::Secret;
use serde::Deserialize;
use std::{collections::HashMap, path::PathBuf, process::Stdio, time::Duration};
use tokio::{io::AsyncWriteExt as _, process::Command};

/// A user and what proves it.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    pub(crate) user: String,
    pub(crate) password: Secret,
}

/// Logins by host.
#[derive(Clone, Debug, Default)]
pub(crate) struct Logins {
    known: Vec<(String, Login)>,
    docker_config: Option<PathBuf>,
}

/// Docker's `config.json` (docker-login(1)), as far as it is about logins.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct DockerConfig {
    auths: HashMap<String, Entry>,
    creds_store: Option<String>,
    cred_helpers: HashMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: String,
}

/// What a credential helper prints.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Helped {
    username: String,
    secret: String,
}

/// What Docker calls its hub.
const HUB: [&str; 3] = ["docker.io", "registry-1.docker.io", "index.docker.io"];
const HUB_KEY: &str = "https://index.docker.io/v1/";
const PATIENCE: Duration = Duration::from_secs(10);

// === impl Logins ===

impl Logins {
    /// Parses lines of `https://user:password@host`.
    pub(crate) fn parse(lines: &str, docker_config: Option<PathBuf>) -> Result<Self, &'static str> {
        let mut logins = Self {
            known: Vec::new(),
            docker_config,
        };
        let lines = lines.lines().map(str::trim);
        for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let rest = line.split_once("://").map_or(line, |(_, rest)| rest);
            let parts = rest.trim_end_matches('/').rsplit_once('@');
            let login = parts.and_then(|(login, host)| Some((login.split_once(':')?, host)));
            let ((user, password), host) = login.ok_or("expected lines of https://user:password@host")?;
            let Ok(password) = password.parse();
            logins.add(host, user.to_owned(), password);
        }
        Ok(logins)
    }

    pub(crate) fn add(&mut self, host: &str, user: String, password: Secret) {
        self.known.push((host.to_owned(), Login { user, password }));
    }

    /// The login for a host, if there is one.
    pub(crate) async fn of(&self, host: &str) -> Option<Login> {
        if let Some((_, login)) = self.known.iter().find(|(known, _)| known == host) {
            return Some(login.clone());
        }
        self.of_docker(host).await
    }

    /// Read anew each time: `docker login` changes it.
    async fn of_docker(&self, host: &str) -> Option<Login> {
        let path = self.docker_config.as_ref()?;
        let text = match tokio::fs::read(path).await {
            Ok(text) => text,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "registry.docker_config cannot be read");
                return None;
            }
        };
        let config: DockerConfig = match serde_json::from_slice(&text) {
            Ok(config) => config,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "registry.docker_config cannot be understood");
                return None;
            }
        };
        let names = if HUB.contains(&host) { HUB_KEY } else { host };
        if let Some(helper) = config.cred_helpers.get(host).or(config.creds_store.as_ref()) {
            return ask(helper, names).await;
        }
        let entry = config
            .auths
            .get(names)
            .or_else(|| config.auths.get(&format!("https://{host}")))?;
        let plain = String::from_utf8(seal::base64_to_bytes(&entry.auth)?).ok()?;
        let (user, password) = plain.split_once(':')?;
        Some(Login {
            user: user.to_owned(),
            password: password.parse().ok()?,
        })
    }
}

/// Asks a credential helper, as Docker does: the host on its input, JSON on its output.
async fn ask(helper: &str, host: &str) -> Option<Login> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if !helper.chars().all(plain) {
        tracing::warn!(helper, "this is no name of a credential helper");
        return None;
    }
    run(&format!("docker-credential-{helper}"), host).await
}

async fn run(helper: &str, host: &str) -> Option<Login> {
    let asked = async {
        let mut child = Command::new(helper)
            .arg("get")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(mut input) = child.stdin.take() {
            input.write_all(host.as_bytes()).await?;
        }
        child.wait_with_output().await
    };
    let output = match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(output)) if output.status.success() => output,
        Ok(Ok(_)) => return None, // It has none for this host.
        Ok(Err(error)) => {
            tracing::warn!(helper, %error, "a credential helper cannot be run");
            return None;
        }
        Err(_elapsed) => {
            tracing::warn!(helper, "a credential helper does not answer");
            return None;
        }
    };
    let helped: Helped = serde_json::from_slice(&output.stdout).ok()?;
    Some(Login {
        user: helped.username,
        password: helped.secret.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[tokio::test]
    async fn logins_come_from_lines_and_from_dockers_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        let auth = "dTpw"; // u:p
        std::fs::write(
            &path,
            format!(r#"{{"auths": {{"r.example:5000": {{"auth": "{auth}"}}, "https://index.docker.io/v1/": {{"auth": "{auth}"}}}}}}"#),
        )
        .unwrap();
        let logins = Logins::parse("# c\nhttps://me:pass:word@own.example/\n", Some(path)).unwrap();
        let of = async |host: &str| {
            let login = logins.of(host).await;
            login.map(|login| format!("{}/{}", login.user, login.password.expose()))
        };
        assert_eq!(of("own.example").await.as_deref(), Some("me/pass:word"));
        assert_eq!(of("r.example:5000").await.as_deref(), Some("u/p"));
        assert_eq!(of("docker.io").await.as_deref(), Some("u/p"));
        assert_eq!(of("r.example").await, None);
        assert!(Logins::parse("user@host", None).is_err());
    }

    #[tokio::test]
    async fn a_credential_helper_is_asked_as_docker_asks_it() {
        let folder = tempfile::tempdir().unwrap();
        let helper = folder.path().join("docker-credential-forge-test");
        std::fs::write(&helper, "#!/bin/sh\nread host || true\n[ \"$host\" = r.example ] && echo '{\"Username\": \"u\", \"Secret\": \"s\"}'\n").unwrap();
        std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
        let program = helper.to_str().unwrap();
        let login = run(program, "r.example").await.unwrap();
        assert_eq!((login.user.as_str(), login.password.expose()), ("u", "s"));
        assert!(run(program, "other.example").await.is_none());
        assert!(ask("../evil", "r.example").await.is_none());
        assert!(ask("forge-is-not-there", "r.example").await.is_none());
    }
}
