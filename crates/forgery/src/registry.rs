//! Registries of images: who we are there, and what we ask of them ourselves.

mod check;
mod client;
mod ecr;
mod logins;

use crate::{config::Registries, failure::BuildFailure};
use std::{sync::Arc, time::Duration};

pub(crate) use check::examine;
pub(crate) use client::{Client, Manifest};
pub(crate) use ecr::{Amazon, Ecr};
pub(crate) use logins::{Login, Logins};

/// Everything that is known of registries; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Registry {
    pub(crate) prefix: Option<String>,
    /// For what we ask ourselves; made once, for the certificates that it reads.
    http: reqwest::Client,
    logins: Logins,
    amazon: Arc<Amazon>,
}

const PATIENCE: Duration = Duration::from_secs(30);

// === impl Registry ===

impl Registry {
    pub(crate) fn new(config: &Registries) -> Result<Self, reqwest::Error> {
        Ok(Self {
            http: reqwest::Client::builder().timeout(PATIENCE).build()?,
            prefix: config.prefix.clone(),
            logins: config.logins.clone(),
            amazon: Arc::new(Amazon::new(config.ecr.clone())),
        })
    }

    /// Whether a tag there may come to mean another image.
    pub(crate) fn moves_tags(&self, repository: &str) -> bool {
        !(self.amazon.is_its(host(repository)) && self.amazon.is_immutable())
    }

    /// Who we are at a host.
    pub(crate) async fn login(&self, host: &str) -> Result<Option<Login>, BuildFailure> {
        if self.amazon.is_its(host) {
            return self.amazon.login(host).await.map(Some);
        }
        Ok(self.logins.of(host).await)
    }

    /// Sees to it that a repository takes images.
    pub(crate) async fn prepare(&self, repository: &str) -> Result<(), BuildFailure> {
        let host = host(repository);
        if self.amazon.is_its(host) {
            let name = repository
                .strip_prefix(host)
                .unwrap_or_default()
                .trim_start_matches('/');
            self.amazon.prepare(host, name).await?;
        }
        Ok(())
    }

    /// A host has refused a login that it gave: the next one is a new one. Whether there can be one.
    pub(crate) async fn renew(&self, host: &str) -> bool {
        let is_its = self.amazon.is_its(host);
        if is_its {
            self.amazon.forget(host).await;
        }
        is_its
    }
}

/// The host, with its port, of a prefix or a reference.
pub(crate) fn host(name: &str) -> &str {
    name.split('/').next().unwrap_or(name)
}

/// Where the engine takes an image from: its first part is a host if it looks like one.
pub(crate) fn host_of(reference: &str) -> &str {
    match reference.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
        _ => "docker.io",
    }
}

/// Whether the engine, and so we, take a host without TLS.
pub(crate) fn is_local(host: &str) -> bool {
    let name = host.split(':').next().unwrap_or_default();
    name == "localhost" || name.starts_with("127.")
}
