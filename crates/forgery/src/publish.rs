//! Pushing what was built to every registry that is to have it.
//!
//! ```text
//! engine ─push─▶ repository:commit ─manifest─▶ repository:branch, …      several platforms: an index of them
//! ```

use crate::{
    engine::Engine,
    failure::{BuildFailure, Kind},
    logs::Log,
    registry::{Client, Manifest, Registry, host},
};
use contract::Platform;
use serde_json::{Value, json};
use std::time::Duration;

/// Pushes for one build.
pub(crate) struct Publisher<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) registry: &'a Registry,
    pub(crate) log: &'a Log,
    /// Whether the names in registries stay on the engine.
    pub(crate) keep: bool,
}

/// An image on the engine.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    /// What it is called there.
    pub(crate) local: String,
    /// What it was built for, if that was asked for.
    pub(crate) platform: Option<Platform>,
}

/// So often is pushed again what failed on its way; layers that arrived are not sent twice.
const AGAIN: u32 = 3;
/// Pause before the first time; twice as long before each other.
const PAUSE: Duration = Duration::from_secs(1);
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

// === impl Publisher ===

impl Publisher<'_> {
    /// Pushes images, one or one per platform, to a repository under all these tags; the digest that all of them mean.
    pub(crate) async fn publish(
        &self,
        images: &[Made],
        repository: &str,
        tags: &[String],
    ) -> Result<String, BuildFailure> {
        self.registry.prepare(repository).await?;
        let tags = if self.registry.moves_tags(repository) {
            tags
        } else {
            tags.get(..1).unwrap_or(tags)
        };
        let first = tags.first().map_or("latest", String::as_str);
        let digest = match images {
            [image] => {
                let digest = self.push(image, repository, first).await?;
                self.name(image, repository, &digest, tags).await?;
                digest
            }
            several => self.publish_index(several, repository, first, tags).await?,
        };
        self.log
            .say(format!("pushed {repository} [{}] as {digest}", tags.join(" ")));
        Ok(digest)
    }

    /// Pushes one image under one tag; the digest of its manifest.
    async fn push(&self, image: &Made, repository: &str, tag: &str) -> Result<String, BuildFailure> {
        self.engine.tag(&image.local, repository, tag).await?;
        let host = host(repository);
        let (mut failures, mut renewed) = (0, false);
        let pushed = loop {
            let login = self.registry.login(host).await?;
            match self.engine.push(repository, tag, login).await {
                Err(failure) if failure.kind == Kind::PushDenied && !renewed && self.registry.renew(host).await => {
                    renewed = true;
                    self.log.say(format!("{failure}; trying with a new token"));
                }
                Err(failure) if failure.kind == Kind::PushFailed && failures < AGAIN => {
                    let pause = PAUSE * 2_u32.pow(failures);
                    failures += 1;
                    self.log
                        .say(format!("{failure}; trying again in {} s", pause.as_secs()));
                    tokio::time::sleep(pause).await;
                }
                done => break done,
            }
        };
        if !self.keep {
            self.engine.untag(&format!("{repository}:{tag}")).await;
        }
        chassis::crash_point("forgery.pushed");
        pushed
    }

    /// Gives the other tags to a manifest that the registry has, and sees that it has the one that was pushed.
    async fn name(&self, image: &Made, repository: &str, digest: &str, tags: &[String]) -> Result<(), BuildFailure> {
        let Some((first, others)) = tags.split_first() else {
            return Ok(());
        };
        let mut client = Client::new(self.registry, repository);
        let manifest = match client.get(first).await {
            Ok(manifest) => manifest,
            Err(failure) => {
                // The engine may reach a registry that we do not.
                tracing::debug!(%failure, "cannot ask the registry; the engine pushes each tag");
                for tag in others {
                    let other = self.push(image, repository, tag).await?;
                    same(repository, tag, digest, &other)?;
                }
                return Ok(());
            }
        };
        same(repository, first, digest, &manifest.digest())?;
        for tag in others {
            client.put(tag, &manifest).await?;
        }
        Ok(())
    }

    /// Pushes an image per platform, and an index of them (OCI image specification, "Image Index").
    async fn publish_index(
        &self,
        images: &[Made],
        repository: &str,
        first: &str,
        tags: &[String],
    ) -> Result<String, BuildFailure> {
        let mut client = Client::new(self.registry, repository);
        let (mut entries, mut is_docker) = (Vec::new(), true);
        for image in images {
            let platform = image.platform.as_ref().map_or("", Platform::as_str);
            let tag: String = format!("{first}-{}", platform.replace('/', "-"));
            let digest = self.push(image, repository, &tag).await?;
            let manifest = client.get(&tag).await?;
            same(repository, &tag, &digest, &manifest.digest())?;
            is_docker &= manifest.kind.contains("docker");
            entries.push(json!({
                "mediaType": manifest.kind, "digest": digest, "size": manifest.bytes.len(),
                "platform": described(platform),
            }));
        }
        let kind = if is_docker { DOCKER_LIST } else { OCI_INDEX };
        let index = json!({"schemaVersion": 2, "mediaType": kind, "manifests": entries});
        let index = Manifest {
            kind: kind.to_owned(),
            bytes: index.to_string().into(),
        };
        for tag in tags {
            client.put(tag, &index).await?;
        }
        Ok(index.digest())
    }
}

/// A platform as an index describes it.
fn described(platform: &str) -> Value {
    let mut parts = platform.split('/');
    let (os, architecture, variant) = (parts.next(), parts.next(), parts.next());
    let mut described = json!({"os": os, "architecture": architecture});
    if let (Some(variant), Some(object)) = (variant, described.as_object_mut()) {
        object.insert("variant".to_owned(), json!(variant));
    }
    described
}

fn same(repository: &str, tag: &str, pushed: &str, found: &str) -> Result<(), BuildFailure> {
    if pushed == found {
        return Ok(());
    }
    let text = format!("{repository}:{tag} is {found} in the registry, but {pushed} was pushed");
    Err(BuildFailure::new(Kind::PushFailed, text))
}
