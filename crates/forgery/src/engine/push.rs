//! Pushing an image.

use super::{Engine, credentials};
use crate::{
    failure::{BuildFailure, Kind},
    registry::{Login, host},
};
use bollard::{errors::Error, query_parameters::PushImageOptionsBuilder};
use futures_util::StreamExt as _;

// === impl Engine ===

impl Engine {
    /// Pushes one tag; the digest of its manifest.
    pub(crate) async fn push(&self, repository: &str, tag: &str, login: Option<Login>) -> Result<String, BuildFailure> {
        let options = PushImageOptionsBuilder::default().tag(tag).build();
        // The engine asks for a header even where no login is needed.
        let login = login
            .map(|login| credentials(host(repository), login))
            .unwrap_or_default();
        let mut messages = Box::pin(self.docker.push_image(repository, Some(options), Some(login)));
        let mut digest = None;
        while let Some(message) = messages.next().await {
            let info = message.map_err(|error| explain(repository, &error))?;
            digest = info.status.as_deref().and_then(digest_of).or(digest);
        }
        digest.ok_or_else(|| BuildFailure::new(Kind::PushFailed, format!("pushing {repository}:{tag} gave no digest")))
    }
}

/// `v1: digest: sha256:… size: …`; the field for it is gone from newer engines' models.
fn digest_of(status: &str) -> Option<String> {
    let (_, after) = status.split_once("digest: ")?;
    after
        .split_whitespace()
        .next()
        .filter(|digest| digest.starts_with("sha256:"))
        .map(ToOwned::to_owned)
}

fn explain(repository: &str, error: &Error) -> BuildFailure {
    let text = error.to_string();
    let lower = text.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let denied = [
        "unauthorized",
        "denied",
        "no basic auth",
        "forbidden",
        "authentication required",
        "token has expired",
    ];
    let kind = if says(&denied) {
        Kind::PushDenied
    } else if says(&[
        "immutable",
        "name unknown",
        "repository name not known",
        "does not exist",
    ]) {
        Kind::PushRefused
    } else {
        Kind::PushFailed
    };
    BuildFailure::new(kind, format!("cannot push {repository}: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_read_from_the_last_status() {
        assert_eq!(
            digest_of("main: digest: sha256:ab12 size: 528").as_deref(),
            Some("sha256:ab12")
        );
        assert_eq!(digest_of("Pushed"), None);
    }
}
