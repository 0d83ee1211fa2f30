//! Fetching images from their registries.

use super::{Engine, credentials};
use crate::{
    failure::{BuildFailure, Kind},
    registry::{Registry, host_of},
};
use bollard::{errors::Error, query_parameters::CreateImageOptionsBuilder};
use futures_util::StreamExt as _;

// === impl Engine ===

impl Engine {
    /// Sees to it that an image is there, as its registry has it now; without a registry, without logins.
    pub(crate) async fn pull(&self, reference: &str, registry: Option<&Registry>) -> Result<(), BuildFailure> {
        if reference.contains('@') && self.docker.inspect_image(reference).await.is_ok() {
            return Ok(()); // A digest never means anything else.
        }
        // Without a tag the engine would fetch every tag there is.
        let tag = if repository_of(reference) == reference {
            "latest"
        } else {
            ""
        };
        let options = CreateImageOptionsBuilder::default()
            .from_image(reference)
            .tag(tag)
            .build();
        let host = host_of(reference);
        let login = match registry {
            Some(registry) => registry.login(host).await?,
            None => None,
        };
        let login = login.map(|login| credentials(host, login));
        let mut messages = Box::pin(self.docker.create_image(Some(options), None, login));
        let mut failed = None;
        while let Some(message) = messages.next().await {
            failed = message.err().or(failed);
        }
        match failed {
            Some(error) if self.docker.inspect_image(reference).await.is_err() => Err(pull_failure(reference, &error)),
            // An image that was only built here is in no registry.
            _ => Ok(()),
        }
    }
}

fn pull_failure(reference: &str, error: &Error) -> BuildFailure {
    let text = error.to_string();
    let lower = text.to_lowercase();
    let kind = if ["unauthorized", "denied", "no basic auth", "forbidden"]
        .iter()
        .any(|word| lower.contains(word))
    {
        Kind::PullDenied
    } else if ["not found", "manifest unknown", "no such image"]
        .iter()
        .any(|word| lower.contains(word))
    {
        Kind::ImageNotFound
    } else {
        Kind::PullFailed
    };
    BuildFailure::new(kind, format!("cannot pull {reference}: {text}"))
}

/// A reference without tag and digest.
pub(crate) fn repository_of(reference: &str) -> &str {
    let name = reference.split('@').next().unwrap_or(reference);
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => name,
    }
}
