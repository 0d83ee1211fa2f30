//! The Docker Engine: its images and containers.

mod boot;
mod build;
mod pull;
mod push;
mod session;
mod steps;

use crate::{
    failure::{BuildFailure, Kind},
    image,
    registry::Login,
};
use bollard::{
    Docker,
    auth::DockerCredentials,
    errors::Error,
    models::SystemInfo,
    query_parameters::{
        ListImagesOptionsBuilder, PruneBuildOptions, PruneImagesOptionsBuilder, RemoveContainerOptionsBuilder,
        RemoveImageOptionsBuilder, TagImageOptionsBuilder,
    },
};
use chassis::Findings;
use contract::BuildId;
use std::{collections::HashMap, path::PathBuf, time::Duration};

pub(crate) use boot::Boot;
pub(crate) use build::Build;
pub(crate) use pull::repository_of;
pub(crate) use session::Answers;
pub(crate) use steps::{Exit, GRACE_SECONDS, Thing};

/// The longest until the engine begins to answer; a build's upload counts towards it.
const PATIENCE: Duration = Duration::from_hours(1);

/// The longest the engine may take when it is only looked at.
const CHECK_PATIENCE: Duration = Duration::from_secs(10);
/// Labels of an image: containers inherit them, so they are not those of a build's own containers, which are removed.
pub(crate) const IMAGE_BUILD: &str = "forge.image.build";
pub(crate) const IMAGE_INSTALLATION: &str = "forge.image.installation";
/// Label that says which build a container belongs to.
pub(crate) const BUILD: &str = "forge.build";
/// Label that says which attempt at a build something belongs to.
pub(crate) const ATTEMPT: &str = "forge.attempt";
/// Label that says which service a container belongs to.
pub(crate) const SERVICE: &str = "forge.service";
/// Label that says which deployment a container belongs to.
pub(crate) const DEPLOYMENT: &str = "forge.deployment";
/// Label that says which installation of Forge a container belongs to.
pub(crate) const INSTALLATION: &str = "forge.installation";

/// Label of volumes that are kept for later builds; its value is what steps call it.
pub(crate) const CACHE: &str = "forge.cache";

/// A connection to the engine; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Engine {
    pub(crate) docker: Docker,
}

/// What becomes of the volumes of a container that is removed, if they have no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Volumes {
    Removed,
    Kept,
}

// === impl Engine ===

impl Engine {
    /// Connects as `DOCKER_HOST` says, else to the local socket, and agrees on a version.
    pub(crate) async fn connect() -> Result<Self, Error> {
        let docker = Docker::connect_with_defaults()?.with_timeout(PATIENCE);
        let docker = docker.negotiate_version().await?;
        docker.ping().await?;
        Ok(Self { docker })
    }

    /// Gives an image another tag.
    pub(crate) async fn tag(&self, reference: &str, repository: &str, tag: &str) -> Result<(), BuildFailure> {
        let options = TagImageOptionsBuilder::default().repo(repository).tag(tag).build();
        self.docker
            .tag_image(reference, Some(options))
            .await
            .map_err(|error| unavailable(&error))
    }

    /// Removes a name of an image; what is not there needs no removing.
    pub(crate) async fn untag(&self, name: &str) {
        let options = RemoveImageOptionsBuilder::default().build();
        if let Err(error) = self.docker.remove_image(name, Some(options), None).await {
            tracing::debug!(%error, image = name, "cannot remove a tag");
        }
    }

    /// Removes every name that an attempt gave to images.
    pub(crate) async fn untag_all(&self, installation: &str, build: &BuildId, attempt: u32) {
        let repository = image::local_repository(installation);
        let first = image::local(installation, build, attempt);
        let first = first.rsplit(':').next().unwrap_or_default();
        for (tag, of) in self.local_tags(&repository).await.unwrap_or_default() {
            if of == build.as_str() && tag.starts_with(first) {
                self.untag(&format!("{repository}:{tag}")).await;
            }
        }
    }

    /// Ends a container and removes it with its volumes.
    pub(crate) async fn remove(&self, container: &str) -> Result<(), BuildFailure> {
        self.remove_but(container, Volumes::Removed).await
    }

    /// The same, and what becomes of volumes that have no name.
    pub(crate) async fn remove_but(&self, container: &str, volumes: Volumes) -> Result<(), BuildFailure> {
        let options = RemoveContainerOptionsBuilder::default()
            .force(true)
            .v(volumes == Volumes::Removed)
            .build();
        match self.docker.remove_container(container, Some(options)).await {
            // 404: gone already; 409: somebody else is removing it.
            Ok(())
            | Err(Error::DockerResponseServerError {
                status_code: 404 | 409, ..
            }) => Ok(()),
            Err(error) => Err(unavailable(&error)),
        }
    }

    /// The tags in a repository of this engine, each with the build its image is labelled with.
    pub(crate) async fn local_tags(&self, repository: &str) -> Result<Vec<(String, String)>, BuildFailure> {
        let filters = HashMap::from([("reference", vec![repository.to_owned()])]);
        let list = ListImagesOptionsBuilder::default().filters(&filters).build();
        let found = self.docker.list_images(Some(list)).await;
        let found = found.map_err(|error| unavailable(&error))?;
        let mut tags = Vec::new();
        for image in found {
            let build = image.labels.get(IMAGE_BUILD).cloned().unwrap_or_default();
            let local = image
                .repo_tags
                .iter()
                .filter_map(|name| name.strip_prefix(repository)?.strip_prefix(':'));
            tags.extend(local.map(|tag| (tag.to_owned(), build.clone())));
        }
        Ok(tags)
    }

    /// Where the engine keeps what it has, on its own machine.
    pub(crate) async fn folder(&self) -> Option<PathBuf> {
        self.docker.info().await.ok()?.docker_root_dir.map(PathBuf::from)
    }

    /// Removes what builds left and can be made again: images of ours without a name, and the caches that nobody uses.
    pub(crate) async fn prune(&self, installation: &str) {
        if let Err(error) = self.remove_caches(installation).await {
            tracing::warn!(%error, "cannot remove the caches of pipelines");
        }
        let filters = HashMap::from([
            ("dangling", vec!["true".to_owned()]),
            ("label", vec![format!("{IMAGE_INSTALLATION}={installation}")]),
        ]);
        let images = PruneImagesOptionsBuilder::default().filters(&filters).build();
        if let Err(error) = self.docker.prune_images(Some(images)).await {
            tracing::warn!(%error, "cannot remove images");
        }
        match self.docker.prune_build(None::<PruneBuildOptions>).await {
            Ok(pruned) => tracing::info!(
                bytes = pruned.space_reclaimed,
                "emptied the cache of the engine's builds"
            ),
            Err(error) => tracing::warn!(%error, "cannot empty the cache of the engine's builds"),
        }
    }

    /// What an image is, and how large.
    pub(crate) async fn inspect(&self, reference: &str) -> Result<(String, Option<u64>), BuildFailure> {
        let image = self
            .docker
            .inspect_image(reference)
            .await
            .map_err(|error| unavailable(&error))?;
        let size = image.size.and_then(|size| u64::try_from(size).ok());
        Ok((image.id.unwrap_or_default(), size))
    }
}

/// Looks at the engine.
pub(crate) async fn examine(findings: &mut Findings) {
    let cure = "start it, let this user use its socket, or set DOCKER_HOST";
    let about = async {
        let engine = Engine::connect().await?;
        Ok::<_, Error>((engine.docker.version().await?, engine.docker.info().await?))
    };
    let Ok(about) = tokio::time::timeout(CHECK_PATIENCE, about).await else {
        return findings.wrong("engine", "it does not answer", cure);
    };
    match about {
        Err(error) => findings.wrong("engine", chassis::chain(&error), cure),
        Ok((version, info)) => {
            let text = |value: Option<String>| value.unwrap_or_else(|| "?".to_owned());
            findings.fine(
                "engine",
                format!("{}, API {}", text(version.version), text(version.api_version)),
            );
            examine_limits(&info, findings);
        }
    }
}

/// Says which bounds the engine can keep, and which it cannot.
fn examine_limits(info: &SystemInfo, findings: &mut Findings) {
    let limits = [
        ("memory", info.memory_limit),
        ("processes", info.pids_limit),
        ("processors", info.cpu_cfs_quota),
    ];
    let (can, cannot): (Vec<_>, Vec<_>) = limits.into_iter().partition(|(_, able)| *able == Some(true));
    let names = |of: &[(&str, Option<bool>)]| of.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    if cannot.is_empty() {
        findings.fine("bounds of pipeline steps", names(&can));
    } else {
        findings.doubtful(
            "bounds of pipeline steps",
            format!("the engine cannot bound {}", names(&cannot)),
            "see the warnings of docker info",
        );
    }
    findings.fine(
        "bounds of Dockerfile builds",
        "network and time; BuildKit bounds neither memory nor processes of a RUN",
    );
}

/// A login as the engine takes it.
pub(crate) fn credentials(host: &str, login: Login) -> DockerCredentials {
    DockerCredentials {
        username: Some(login.user),
        password: Some(login.password.expose().to_owned()),
        serveraddress: Some(host.to_owned()),
        ..DockerCredentials::default()
    }
}

pub(crate) fn unavailable(error: &Error) -> BuildFailure {
    BuildFailure::new(
        Kind::EngineUnavailable,
        format!("the engine failed: {}", chassis::chain(error)),
    )
}
