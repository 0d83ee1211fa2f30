//! Containers that run a part of a build, with the volumes and networks that they share.

use super::{ATTEMPT, BUILD, CACHE, DEPLOYMENT, Engine, INSTALLATION, unavailable};
use crate::{
    failure::{BuildFailure, Kind},
    logs::Log,
};
use bollard::{
    container::LogOutput,
    errors::Error,
    models::{ContainerCreateBody, NetworkCreateRequest, VolumeCreateRequest},
    query_parameters::{
        AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, DownloadFromContainerOptionsBuilder,
        ListContainersOptionsBuilder, ListNetworksOptionsBuilder, ListVolumesOptionsBuilder, RemoveVolumeOptions,
        UploadToContainerOptionsBuilder, WaitContainerOptions,
    },
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, future::join_all, stream};
use std::{collections::HashMap, io};
use tokio::sync::mpsc;

/// Something on the engine that belongs to a build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Thing {
    Container(String),
    Volume(String),
    Network(String),
}

/// Something, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owned {
    pub(crate) thing: Thing,
    pub(crate) build: String,
    /// Unknown, if it was not made by this version.
    pub(crate) attempt: Option<u32>,
}

/// What a container that has ended says of its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exit {
    pub(crate) code: i64,
    /// The kernel killed something in it for want of memory.
    pub(crate) out_of_memory: bool,
}

/// Between asking a container to end and killing it, in seconds.
pub(crate) const GRACE_SECONDS: u32 = 10;

// === impl Owned ===

impl Owned {
    fn read(thing: Thing, mut labels: HashMap<String, String>) -> Option<Self> {
        Some(Self {
            thing,
            build: labels.remove(BUILD)?,
            attempt: labels.remove(ATTEMPT).and_then(|attempt| attempt.parse().ok()),
        })
    }
}

// === impl Engine ===

impl Engine {
    /// Makes a volume, unless it is there.
    pub(crate) async fn make_volume(&self, name: &str, labels: &HashMap<String, String>) -> Result<(), BuildFailure> {
        let wanted = VolumeCreateRequest {
            name: Some(name.to_owned()),
            labels: Some(labels.clone()),
            ..VolumeCreateRequest::default()
        };
        let made = self.docker.create_volume(wanted).await;
        made.map(drop).map_err(|error| unavailable(&error))
    }

    /// Makes a bridge. An isolated one leads nowhere: not to the internet, and not to the engine's host, which has no
    /// address on it.
    pub(crate) async fn make_bridge(
        &self,
        name: &str,
        labels: &HashMap<String, String>,
        isolated: bool,
    ) -> Result<(), BuildFailure> {
        let without_host = ("com.docker.network.bridge.inhibit_ipv4".to_owned(), "true".to_owned());
        let wanted = NetworkCreateRequest {
            name: name.to_owned(),
            internal: Some(isolated),
            options: isolated.then(|| HashMap::from([without_host])),
            labels: Some(labels.clone()),
            ..NetworkCreateRequest::default()
        };
        let made = self.docker.create_network(wanted).await;
        made.map(drop).map_err(|error| unavailable(&error))
    }

    /// Makes a container; its id.
    pub(crate) async fn make_container(
        &self,
        name: Option<&str>,
        body: ContainerCreateBody,
    ) -> Result<String, BuildFailure> {
        let options = name.map(|name| CreateContainerOptionsBuilder::default().name(name).build());
        let made = self.docker.create_container(options, body).await;
        made.map(|made| made.id).map_err(|error| refused(&error))
    }

    /// Unpacks a tar stream in a container that need not run.
    pub(crate) async fn upload(
        &self,
        container: &str,
        path: &str,
        parts: mpsc::Receiver<io::Result<Bytes>>,
    ) -> Result<(), BuildFailure> {
        let options = UploadToContainerOptionsBuilder::default().path(path).build();
        let parts = stream::unfold(parts, async |mut parts| Some((parts.recv().await?, parts)));
        let sent = self
            .docker
            .upload_to_container(container, Some(options), bollard::body_try_stream(parts));
        sent.await.map_err(|error| full_or(&error))
    }

    /// A path in a container, as a tar stream.
    pub(crate) fn download(&self, container: &str, path: &str) -> impl Stream<Item = Result<Bytes, Error>> + use<> {
        let options = DownloadFromContainerOptionsBuilder::default().path(path).build();
        self.docker.download_from_container(container, Some(options))
    }

    /// Starts a container and hears what it prints until it ends, as fast as the log takes it; how it ended.
    pub(crate) async fn run_to_end(
        &self,
        container: &str,
        log: &Log,
        mut hear: impl FnMut(LogOutput),
    ) -> Result<Exit, BuildFailure> {
        let options = AttachContainerOptionsBuilder::default()
            .stream(true)
            .stdout(true)
            .stderr(true)
            .build();
        let attached = self.docker.attach_container(container, Some(options)).await;
        let mut output = attached.map_err(|error| unavailable(&error))?.output;
        let started = self.docker.start_container(container, None).await;
        started.map_err(|error| refused(&error))?;
        while let Some(part) = output.next().await {
            log.room().await;
            hear(part.map_err(|error| unavailable(&error))?);
        }
        let mut waiting = Box::pin(self.docker.wait_container(container, None::<WaitContainerOptions>));
        while let Some(answer) = waiting.next().await {
            match answer {
                Ok(_) | Err(Error::DockerContainerWaitError { .. }) => {}
                Err(error) => return Err(unavailable(&error)),
            }
        }
        let found = self.docker.inspect_container(container, None).await;
        let state = found.map_err(|error| unavailable(&error))?.state.unwrap_or_default();
        let unknown = || {
            BuildFailure::new(
                Kind::EngineUnavailable,
                "the engine does not know how a container ended",
            )
        };
        Ok(Exit {
            code: state.exit_code.ok_or_else(unknown)?,
            out_of_memory: state.oom_killed == Some(true),
        })
    }

    /// Whether there is a container of this name.
    pub(crate) async fn has_container(&self, name: &str) -> Result<bool, BuildFailure> {
        match self.docker.inspect_container(name, None).await {
            Ok(_) => Ok(true),
            Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(false),
            Err(error) => Err(unavailable(&error)),
        }
    }

    /// Starts a container that goes on beside others.
    pub(crate) async fn begin(&self, container: &str) -> Result<(), BuildFailure> {
        let started = self.docker.start_container(container, None).await;
        started.map_err(|error| refused(&error))
    }

    /// Everything of the builds of an installation; containers first, then what they use.
    pub(crate) async fn things(&self, installation: &str) -> Result<Vec<Owned>, BuildFailure> {
        let labels = vec![format!("{INSTALLATION}={installation}"), BUILD.to_owned()];
        let filters = HashMap::from([("label", labels)]);
        let containers = ListContainersOptionsBuilder::default()
            .all(true)
            .filters(&filters)
            .build();
        let volumes = ListVolumesOptionsBuilder::default().filters(&filters).build();
        let networks = ListNetworksOptionsBuilder::default().filters(&filters).build();
        let (containers, volumes, networks) = tokio::try_join!(
            self.docker.list_containers(Some(containers)),
            self.docker.list_volumes(Some(volumes)),
            self.docker.list_networks(Some(networks)),
        )
        .map_err(|error| unavailable(&error))?;
        let mut things = Vec::new();
        for container in containers {
            let labels = container.labels.unwrap_or_default();
            if labels.get(DEPLOYMENT).is_some_and(|deployment| !deployment.is_empty()) {
                continue; // Its image says that it is a build's.
            }
            things.extend(container.id.and_then(|id| Owned::read(Thing::Container(id), labels)));
        }
        for volume in volumes.volumes.unwrap_or_default() {
            things.extend(Owned::read(Thing::Volume(volume.name), volume.labels));
        }
        for network in networks {
            let labels = network.labels.unwrap_or_default();
            things.extend(network.id.and_then(|id| Owned::read(Thing::Network(id), labels)));
        }
        Ok(things)
    }

    /// Removes the volumes that pipelines keep for later builds, but those in use.
    pub(super) async fn remove_caches(&self, installation: &str) -> Result<(), Error> {
        let labels = vec![format!("{INSTALLATION}={installation}"), CACHE.to_owned()];
        let options = ListVolumesOptionsBuilder::default()
            .filters(&HashMap::from([("label", labels)]))
            .build();
        let found = self.docker.list_volumes(Some(options)).await?;
        for volume in found.volumes.unwrap_or_default() {
            match self
                .docker
                .remove_volume(&volume.name, None::<RemoveVolumeOptions>)
                .await
            {
                Ok(()) => tracing::info!(volume = volume.name, "removed a cache of pipelines"),
                Err(error) => tracing::debug!(%error, volume = volume.name, "a cache stays"),
            }
        }
        Ok(())
    }

    /// Ends everything of an attempt at a build, and of those before it, gently at first; how much is left. What a later
    /// attempt has is never touched: whoever made this one may have been taken for dead, and not know it yet.
    pub(crate) async fn sweep(&self, installation: &str, build: &str, attempt: u32) -> Result<usize, BuildFailure> {
        let ours = |owned: &Owned| owned.build == build && owned.attempt.is_some_and(|its| its <= attempt);
        let mut found = self.things(installation).await?;
        found.retain(ours);
        if found.is_empty() {
            return Ok(0);
        }
        join_all(found.iter().map(async |owned| {
            if let Thing::Container(id) = &owned.thing {
                self.stop(id, GRACE_SECONDS).await.ok(); // Whatever it answers: it is removed next.
            }
        }))
        .await;
        for owned in &found {
            self.try_to_remove(&owned.thing).await;
        }
        Ok(self
            .things(installation)
            .await?
            .iter()
            .filter(|owned| ours(owned))
            .count())
    }

    /// Removes something if that can be done; whoever looks next tries again.
    pub(crate) async fn try_to_remove(&self, thing: &Thing) {
        if let Err(error) = self.remove_thing(thing).await {
            tracing::warn!(%error, ?thing, "cannot remove what a build has left");
        }
    }

    /// Removes something; what is gone already needs no removing.
    pub(crate) async fn remove_thing(&self, thing: &Thing) -> Result<(), BuildFailure> {
        let removed = match thing {
            Thing::Container(id) => return self.remove(id).await,
            Thing::Volume(name) => self.docker.remove_volume(name, None::<RemoveVolumeOptions>).await,
            Thing::Network(id) => self.docker.remove_network(id).await,
        };
        match removed {
            Ok(()) | Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(()),
            Err(error) => Err(unavailable(&error)),
        }
    }
}

/// The engine will not: it is not its fault, unless it cannot be reached.
fn refused(error: &Error) -> BuildFailure {
    if let Error::DockerResponseServerError { status_code, message } = error {
        // What a runtime says of what it was asked for is a 500, too.
        if (400..=499).contains(status_code) || message.contains("OCI runtime") || message.contains("not a directory") {
            return BuildFailure::new(Kind::BuildFailed, message.clone());
        }
    }
    full_or(error)
}

fn full_or(error: &Error) -> BuildFailure {
    if chassis::chain(error).contains("no space left on device") {
        return BuildFailure::new(Kind::DiskFull, "the disk of the engine is full");
    }
    unavailable(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::INSTALLATION;

    /// A worker that slept past its lease finds its containers gone, and does not know yet that the build is another's.
    #[tokio::test]
    async fn what_a_later_attempt_has_is_not_swept_with_an_earlier_one() {
        let engine = Engine::connect().await.unwrap();
        let installation = format!("sweeping-{}", std::process::id());
        let make = async |build: &str, attempt: u32| {
            let labels = [
                (INSTALLATION, installation.clone()),
                (BUILD, build.to_owned()),
                (ATTEMPT, attempt.to_string()),
            ];
            let body = ContainerCreateBody {
                image: Some("busybox".to_owned()),
                labels: Some(labels.map(|(name, value)| (name.to_owned(), value)).into()),
                ..ContainerCreateBody::default()
            };
            engine.make_container(None, body).await.unwrap()
        };
        for attempt in 1..=3 {
            make("b", attempt).await;
        }
        make("other", 1).await;
        assert_eq!(engine.sweep(&installation, "b", 2).await.unwrap(), 0);
        let left = engine.things(&installation).await.unwrap();
        let mut left: Vec<_> = left.iter().map(|owned| (owned.build.as_str(), owned.attempt)).collect();
        left.sort_unstable();
        assert_eq!(left, [("b", Some(3)), ("other", Some(1))]);
        for (build, attempt) in [("b", 3), ("other", 1)] {
            assert_eq!(engine.sweep(&installation, build, attempt).await.unwrap(), 0);
        }
        assert!(engine.things(&installation).await.unwrap().is_empty());
    }
}
