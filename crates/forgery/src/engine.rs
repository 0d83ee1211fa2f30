//! The Docker Engine: building with BuildKit, tagging, pushing.

use crate::{
    config::Registry,
    context::Context,
    failure::{BuildFailure, Kind},
    progress::{self, Progress},
};
use bollard::{
    Docker,
    auth::DockerCredentials,
    body_try_stream,
    errors::Error,
    models::BuildInfoAux,
    query_parameters::{
        BuildImageOptionsBuilder, BuilderVersion, ListContainersOptionsBuilder, ListImagesOptionsBuilder,
        PushImageOptionsBuilder, RemoveContainerOptionsBuilder, RemoveImageOptionsBuilder, TagImageOptionsBuilder,
    },
};
use chassis::Findings;
use contract::LogLine;
use futures_util::{StreamExt as _, stream};
use std::{collections::HashMap, time::Duration};

/// The longest until the engine begins to answer; a build's upload counts towards it.
const PATIENCE: Duration = Duration::from_hours(1);

/// The longest the engine may take when it is only looked at.
const CHECK_PATIENCE: Duration = Duration::from_secs(10);
/// Labels of an image: containers inherit them, so they are not those of a build's own containers, which are removed.
pub(crate) const IMAGE_BUILD: &str = "forge.image.build";
pub(crate) const IMAGE_INSTALLATION: &str = "forge.image.installation";
/// Label that says which build a container belongs to.
pub(crate) const BUILD: &str = "forge.build";
/// Label that says which deployment a container belongs to.
pub(crate) const DEPLOYMENT: &str = "forge.deployment";
/// Label that says which installation of Forge a container belongs to.
pub(crate) const INSTALLATION: &str = "forge.installation";

/// A connection to the engine; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Engine {
    pub(crate) docker: Docker,
}

/// What is to be built.
#[derive(Debug)]
pub(crate) struct Build {
    pub(crate) reference: String,
    pub(crate) context: Context,
    pub(crate) target: Option<String>,
    pub(crate) args: HashMap<String, String>,
    pub(crate) labels: HashMap<String, String>,
    /// Credentials of the registry, for base images.
    pub(crate) registry: Option<Registry>,
}

/// What becomes of the volumes of a container that is removed, if they have no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Volumes {
    Removed,
    Kept,
}

/// What came out.
#[derive(Clone, Debug)]
pub(crate) struct Built {
    pub(crate) id: String,
    pub(crate) size: Option<u64>,
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

    /// Builds an image; dropping the future stops the build. `tell` gets the lines of its log.
    pub(crate) async fn build(&self, build: Build, mut tell: impl FnMut(LogLine)) -> Result<Built, BuildFailure> {
        let session = uuid::Uuid::new_v4().to_string();
        let mut options = BuildImageOptionsBuilder::default()
            .t(&build.reference)
            .dockerfile(build.context.dockerfile())
            .buildargs(&build.args)
            .labels(&build.labels)
            .rm(true)
            .forcerm(true)
            .version(BuilderVersion::BuilderBuildKit)
            .session(&session);
        if let Some(target) = &build.target {
            options = options.target(target);
        }
        let credentials = build.registry.as_ref().and_then(|registry| {
            let host = registry.prefix.split('/').next()?.to_owned();
            Some(HashMap::from([(host, credentials(registry)?)]))
        });
        let parts = stream::unfold(build.context.stream(), async |mut parts| {
            Some((parts.recv().await?, parts))
        });
        let mut messages = Box::pin(self.docker.build_image(
            options.build(),
            credentials,
            Some(body_try_stream(parts)),
        ));
        let mut progress = Progress::default();
        let mut ended = Ok(());
        while let Some(message) = messages.next().await {
            match message {
                Ok(info) => {
                    if let Some(BuildInfoAux::BuildKit(status)) = info.aux {
                        progress
                            .lines(&status, bus::clock::now_ms())
                            .into_iter()
                            .for_each(&mut tell);
                    }
                }
                Err(error) => {
                    ended = Err(error);
                    break;
                }
            }
        }
        progress.rest(bus::clock::now_ms()).into_iter().for_each(&mut tell);
        ended.map_err(|error| build_failure(&error, &progress))?;
        self.inspect(&build.reference).await
    }

    /// Gives an image another tag.
    pub(crate) async fn tag(&self, reference: &str, repository: &str, tag: &str) -> Result<(), BuildFailure> {
        let options = TagImageOptionsBuilder::default().repo(repository).tag(tag).build();
        self.docker
            .tag_image(reference, Some(options))
            .await
            .map_err(|error| unavailable(&error))
    }

    /// Pushes one tag; the digest of its manifest.
    pub(crate) async fn push(
        &self,
        repository: &str,
        tag: &str,
        registry: Option<&Registry>,
    ) -> Result<String, BuildFailure> {
        let options = PushImageOptionsBuilder::default().tag(tag).build();
        // The engine asks for a header even where no login is needed.
        let login = registry.and_then(credentials).unwrap_or_default();
        let mut messages = Box::pin(self.docker.push_image(repository, Some(options), Some(login)));
        let mut digest = None;
        while let Some(message) = messages.next().await {
            let info = message.map_err(|error| push_failure(repository, &error))?;
            digest = info.status.as_deref().and_then(digest_of).or(digest);
        }
        digest.ok_or_else(|| BuildFailure::new(Kind::PushFailed, format!("pushing {repository}:{tag} gave no digest")))
    }

    /// Removes a name of an image; what is not there needs no removing.
    pub(crate) async fn untag(&self, name: &str) {
        let options = RemoveImageOptionsBuilder::default().build();
        if let Err(error) = self.docker.remove_image(name, Some(options), None).await {
            tracing::debug!(%error, image = name, "cannot remove a tag");
        }
    }

    /// Ends every container that is labelled with a build of an installation; how many are left.
    pub(crate) async fn sweep(&self, installation: &str, build: &str) -> Result<usize, BuildFailure> {
        for (container, of) in self.containers(installation).await? {
            if of == build {
                self.remove(&container).await?;
            }
        }
        let left = self.containers(installation).await?;
        Ok(left.iter().filter(|(_, of)| of == build).count())
    }

    /// Every container of an installation's builds, with the build it belongs to.
    pub(crate) async fn containers(&self, installation: &str) -> Result<Vec<(String, String)>, BuildFailure> {
        let filters = HashMap::from([(
            "label",
            vec![format!("{INSTALLATION}={installation}"), BUILD.to_owned()],
        )]);
        let list = ListContainersOptionsBuilder::default()
            .all(true)
            .filters(&filters)
            .build();
        let found = self.docker.list_containers(Some(list)).await;
        let found = found.map_err(|error| unavailable(&error))?;
        let owned = |container: bollard::models::ContainerSummary| {
            let mut labels = container.labels.unwrap_or_default();
            if labels.contains_key(DEPLOYMENT) {
                return None; // Whatever its image says.
            }
            let build = labels.remove(BUILD)?;
            Some((container.id?, build))
        };
        Ok(found.into_iter().filter_map(owned).collect())
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

    async fn inspect(&self, reference: &str) -> Result<Built, BuildFailure> {
        let image = self
            .docker
            .inspect_image(reference)
            .await
            .map_err(|error| unavailable(&error))?;
        let size = image.size.and_then(|size| u64::try_from(size).ok());
        Ok(Built {
            id: image.id.unwrap_or_default(),
            size,
        })
    }
}

/// Looks at the engine.
pub(crate) async fn examine(findings: &mut Findings) {
    let cure = "start it, let this user use its socket, or set DOCKER_HOST";
    let version = async {
        let engine = Engine::connect().await?;
        engine.docker.version().await
    };
    let Ok(version) = tokio::time::timeout(CHECK_PATIENCE, version).await else {
        return findings.wrong("engine", "it does not answer", cure);
    };
    match version {
        Err(error) => findings.wrong("engine", chassis::chain(&error), cure),
        Ok(version) => {
            let text = |value: Option<String>| value.unwrap_or_else(|| "?".to_owned());
            findings.fine(
                "engine",
                format!("{}, API {}", text(version.version), text(version.api_version)),
            );
        }
    }
}

/// Credentials for an image, if it is of this registry.
pub(crate) fn credentials_for(registry: &Registry, reference: &str) -> Option<DockerCredentials> {
    let host = registry.prefix.split('/').next()?;
    let is_its = reference.strip_prefix(host).is_some_and(|rest| rest.starts_with('/'));
    is_its.then(|| credentials(registry)).flatten()
}

fn credentials(registry: &Registry) -> Option<DockerCredentials> {
    Some(DockerCredentials {
        username: Some(registry.user.clone()?),
        password: Some(registry.password.as_ref()?.expose().to_owned()),
        serveraddress: registry.prefix.split('/').next().map(ToOwned::to_owned),
        ..DockerCredentials::default()
    })
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

fn build_failure(error: &Error, progress: &Progress) -> BuildFailure {
    let text = if let Error::DockerStreamError { error } = error {
        error.clone()
    } else if let Error::DockerResponseServerError {
        status_code: 400..=499,
        message,
    } = error
    {
        message.clone()
    } else {
        return unavailable(error);
    };
    if text.contains("no space left on device") {
        return BuildFailure::new(Kind::DiskFull, "the disk of the engine is full");
    }
    let Some((step, reason)) = progress.failed() else {
        return BuildFailure::new(Kind::BuildFailed, text);
    };
    let exit_code = progress::exit_code(reason);
    let message = match exit_code {
        Some(code) => format!("{step} failed with exit code {code}"),
        None => format!("{step} failed: {reason}"),
    };
    BuildFailure {
        step: Some(step.to_owned()),
        exit_code,
        ..BuildFailure::new(Kind::BuildFailed, message)
    }
}

fn push_failure(repository: &str, error: &Error) -> BuildFailure {
    let text = error.to_string();
    let lower = text.to_lowercase();
    let denied = [
        "unauthorized",
        "denied",
        "no basic auth",
        "forbidden",
        "authentication required",
    ];
    let kind = if denied.iter().any(|word| lower.contains(word)) {
        Kind::PushDenied
    } else {
        Kind::PushFailed
    };
    BuildFailure::new(kind, format!("cannot push {repository}: {text}"))
}

pub(crate) fn unavailable(error: &Error) -> BuildFailure {
    BuildFailure::new(
        Kind::EngineUnavailable,
        format!("the engine failed: {}", chassis::chain(error)),
    )
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
