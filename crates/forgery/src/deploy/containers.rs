//! What a deployment asks of the engine.

use crate::{
    engine::{DEPLOYMENT, Engine, INSTALLATION, SERVICE, repository_of, unavailable},
    failure::{BuildFailure, Kind},
};
use bollard::{
    errors::Error,
    models::{
        ContainerCreateBody, EndpointSettings, HealthConfig, HealthStatusEnum, HostConfig, NetworkConnectRequest,
        NetworkCreateRequest, NetworkDisconnectRequest, NetworkingConfig, PortBinding, PortMap, RestartPolicy,
        RestartPolicyNameEnum,
    },
    query_parameters::{
        CreateContainerOptionsBuilder, ListContainersOptionsBuilder, LogsOptionsBuilder, StopContainerOptionsBuilder,
    },
};
use contract::{
    DeployConfig, DeploymentQueueMessage, HealthCheck, ImageReference,
    deployment::{named_volume, port_mapping},
};
use futures_util::StreamExt as _;
use std::collections::HashMap;

/// A container of a service.
#[derive(Clone, Debug)]
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) deployment: String,
    /// Project and name of the service.
    pub(crate) service: String,
    pub(crate) runs: bool,
    /// It has taken over.
    pub(crate) is_named: bool,
}

/// How a container is.
#[derive(Clone, Debug)]
pub(crate) struct State {
    /// What it exited with, if it has.
    pub(crate) ended: Option<i64>,
    /// By which it can be reached from this machine.
    pub(crate) address: Option<String>,
    /// What its health check says, if it has one.
    pub(crate) health: Option<Result<(), String>>,
}

/// What the engine calls a second.
const SECOND: i64 = 1_000_000_000;
const MIB: i64 = 1_024 * 1_024;
/// So many lines of a container's output are shown when it failed.
const LAST_LINES: &str = "5";
/// So many characters of a digest tell projects apart.
const NETWORK_ID: usize = 8;
/// So many characters of an id are for people.
const SHORT: usize = 12;

// === impl Engine ===

impl Engine {
    /// The name by which an image never means anything else.
    pub(super) async fn pinned(&self, reference: &str) -> Result<Option<ImageReference>, BuildFailure> {
        let image = self.docker.inspect_image(reference).await;
        let image = image.map_err(|error| unavailable(&error))?;
        let repository = short(repository_of(reference));
        let mut digests = image.repo_digests.unwrap_or_default().into_iter();
        let own = digests.find(|digest| short(repository_of(digest)) == repository);
        // One that is in no registry is known by what it is.
        Ok(own.or(image.id).and_then(|digest| digest.parse().ok()))
    }

    /// Every container of a service, newest first; of every service without one.
    pub(crate) async fn of_service(
        &self,
        installation: &str,
        service: Option<&str>,
    ) -> Result<Vec<Container>, BuildFailure> {
        let mut labels = vec![format!("{INSTALLATION}={installation}"), DEPLOYMENT.to_owned()];
        labels.extend(service.map(|service| format!("{SERVICE}={service}")));
        let filters = HashMap::from([("label", labels)]);
        let options = ListContainersOptionsBuilder::default()
            .all(true)
            .filters(&filters)
            .build();
        let found = self.docker.list_containers(Some(options)).await;
        let mut found = found.map_err(|error| unavailable(&error))?;
        found.sort_by_key(|container| std::cmp::Reverse(container.created));
        let mut containers = Vec::with_capacity(found.len());
        for found in found {
            let (Some(id), Some(mut labels)) = (found.id, found.labels) else {
                continue;
            };
            let (Some(deployment), Some(service)) = (labels.remove(DEPLOYMENT), labels.remove(SERVICE)) else {
                continue;
            };
            if deployment.is_empty() {
                continue; // A build's; its labels say so against those of its image.
            }
            containers.push(Container {
                is_named: self.has_name(&id, &service).await?,
                name: found
                    .names
                    .unwrap_or_default()
                    .concat()
                    .trim_start_matches('/')
                    .to_owned(),
                runs: found.state.is_some_and(|state| state.to_string() == "running"),
                id,
                deployment,
                service,
            });
        }
        Ok(containers)
    }

    /// Whether a container has, or had before it was stopped, the name of its service.
    async fn has_name(&self, container: &str, service: &str) -> Result<bool, BuildFailure> {
        let found = match self.docker.inspect_container(container, None).await {
            Err(Error::DockerResponseServerError { status_code: 404, .. }) => return Ok(false), // It is gone by now.
            found => found.map_err(|error| unavailable(&error))?,
        };
        let (project, name) = service.rsplit_once('/').unwrap_or(("", service));
        let networks = found.network_settings.and_then(|settings| settings.networks);
        let own = networks.and_then(|mut networks| networks.remove(&network_of(project)));
        let names = own.and_then(|own| own.aliases).unwrap_or_default();
        Ok(names.iter().any(|known| known == name))
    }

    /// Removes a container that never took over, and starts what ran before it. It goes last: as long as it is there,
    /// whoever looks knows that there is something to bring back.
    pub(crate) async fn undo(&self, left: &Container, others: &[Container]) -> Result<(), BuildFailure> {
        self.stop(&left.id, 0).await?;
        let of_service = || others.iter().filter(|other| other.service == left.service);
        if !of_service().any(|other| other.is_named && other.runs)
            && let Some(newest) = of_service().find(|other| other.is_named)
        {
            self.start(&newest.id).await?;
        }
        self.remove(&left.id).await
    }

    /// Makes the network of a project, if there is none.
    pub(super) async fn make_network(
        &self,
        installation: &str,
        message: &DeploymentQueueMessage,
    ) -> Result<(), BuildFailure> {
        let name = network(message);
        if self.docker.inspect_network(&name, None).await.is_ok() {
            return Ok(());
        }
        let wanted = NetworkCreateRequest {
            name,
            labels: Some(HashMap::from([(INSTALLATION.to_owned(), installation.to_owned())])),
            ..NetworkCreateRequest::default()
        };
        match self.docker.create_network(wanted).await {
            // 409: somebody else was faster.
            Ok(_) | Err(Error::DockerResponseServerError { status_code: 409, .. }) => Ok(()),
            Err(error) => Err(unavailable(&error)),
        }
    }

    /// Makes the container of a deployment; its name.
    pub(super) async fn create(
        &self,
        installation: &str,
        message: &DeploymentQueueMessage,
    ) -> Result<String, BuildFailure> {
        let name = name(message);
        let options = CreateContainerOptionsBuilder::default().name(&name).build();
        let body = body(installation, message);
        match self.docker.create_container(Some(options), body).await {
            Ok(_) => Ok(name),
            Err(error) => Err(refused("it cannot be created", &error)),
        }
    }

    pub(crate) async fn start(&self, container: &str) -> Result<(), BuildFailure> {
        match self.docker.start_container(container, None).await {
            Ok(()) => Ok(()),
            Err(error) => Err(refused("it cannot be started", &error)),
        }
    }

    /// Asks a container to stop; after so many seconds it is killed.
    pub(crate) async fn stop(&self, container: &str, grace: u32) -> Result<(), BuildFailure> {
        let grace = i32::try_from(grace).unwrap_or(i32::MAX);
        let options = StopContainerOptionsBuilder::default().t(grace).build();
        match self.docker.stop_container(container, Some(options)).await {
            // 304: it has ended already; 404: it is gone.
            Ok(())
            | Err(Error::DockerResponseServerError {
                status_code: 304 | 404, ..
            }) => Ok(()),
            Err(error) => Err(unavailable(&error)),
        }
    }

    /// Gives a container the name of its service on the network of its project: by that it is known that it has taken over.
    pub(super) async fn give_name(
        &self,
        container: &str,
        message: &DeploymentQueueMessage,
    ) -> Result<(), BuildFailure> {
        // A name is given when a container joins a network. Nobody uses this one yet, so it may leave for a moment.
        let own = network(message);
        let leave = NetworkDisconnectRequest {
            container: container.to_owned(),
            force: Some(true),
        };
        self.docker.disconnect_network(&own, leave).await.ok(); // It may not be on it.
        self.join(container, &own, Some(vec![message.service.to_string()]))
            .await
    }

    /// Puts a container on the networks besides the project's, before it starts.
    pub(super) async fn join_networks(
        &self,
        container: &str,
        message: &DeploymentQueueMessage,
    ) -> Result<(), BuildFailure> {
        for network in &message.config.networks {
            self.join(container, network, None).await?;
        }
        Ok(())
    }

    async fn join(&self, container: &str, network: &str, names: Option<Vec<String>>) -> Result<(), BuildFailure> {
        let join = NetworkConnectRequest {
            container: container.to_owned(),
            endpoint_config: Some(EndpointSettings {
                aliases: names,
                ..EndpointSettings::default()
            }),
        };
        let joined = self.docker.connect_network(network, join).await;
        joined.map_err(|error| refused(&format!("it cannot join the network {network}"), &error))
    }

    pub(crate) async fn state(&self, container: &str) -> Result<State, BuildFailure> {
        let found = self.docker.inspect_container(container, None).await;
        let found = found.map_err(|error| unavailable(&error))?;
        let state = found.state.unwrap_or_default();
        let runs = state.running == Some(true) && state.restarting != Some(true);
        let networks = found.network_settings.and_then(|settings| settings.networks);
        let addresses = networks
            .into_iter()
            .flatten()
            .filter_map(|(_, network)| network.ip_address);
        Ok(State {
            ended: (!runs).then(|| state.exit_code.unwrap_or(-1)),
            address: addresses.into_iter().find(|address| !address.is_empty()),
            health: state.health.and_then(|health| {
                let answer = health.log.unwrap_or_default().pop().and_then(|last| last.output);
                match health.status? {
                    HealthStatusEnum::HEALTHY => Some(Ok(())),
                    HealthStatusEnum::STARTING | HealthStatusEnum::UNHEALTHY => {
                        let answer = answer
                            .map(|answer| answer.trim().to_owned())
                            .filter(|answer| !answer.is_empty());
                        Some(Err(
                            answer.unwrap_or_else(|| "its health check has not passed yet".to_owned())
                        ))
                    }
                    HealthStatusEnum::EMPTY | HealthStatusEnum::NONE => None,
                }
            }),
        })
    }

    /// The last a container has said, for a sentence that explains why it failed.
    pub(crate) async fn last_words(&self, container: &str) -> String {
        let options = LogsOptionsBuilder::default()
            .stdout(true)
            .stderr(true)
            .tail(LAST_LINES)
            .build();
        let mut output = Box::pin(self.docker.logs(container, Some(options)));
        let mut lines = Vec::new();
        while let Some(line) = output.next().await {
            lines.extend(line.map(|line| line.to_string().trim_end().to_owned()));
        }
        if lines.is_empty() {
            String::new()
        } else {
            format!("; it said: {}", lines.join(" / "))
        }
    }
}

fn body(installation: &str, message: &DeploymentQueueMessage) -> ContainerCreateBody {
    let config = &message.config;
    let own = [
        (INSTALLATION, installation.to_owned()),
        (DEPLOYMENT, message.id.to_string()),
        (SERVICE, service(message)),
    ];
    let own = own.into_iter().map(|(name, value)| (name.to_owned(), value));
    let labels = config.labels.clone().into_iter().chain(own); // The last of a name wins.
    let variables = config.env.iter().map(|(name, value)| format!("{name}={value}"));
    let endpoint = HashMap::from([(network(message), EndpointSettings::default())]);
    ContainerCreateBody {
        image: Some(message.image.to_string()),
        env: Some(variables.collect()),
        cmd: (!config.command.is_empty()).then(|| config.command.clone()),
        labels: Some(labels.collect()),
        exposed_ports: Some(mapped(config).map(|(_, _, inside)| inside).collect()),
        healthcheck: health_config(config),
        host_config: Some(host_config(message)),
        networking_config: Some(NetworkingConfig {
            endpoints_config: Some(endpoint),
        }),
        ..ContainerCreateBody::default()
    }
}

fn host_config(message: &DeploymentQueueMessage) -> HostConfig {
    let config = &message.config;
    let mut bindings = PortMap::new();
    for (address, outside, inside) in mapped(config) {
        let binding = PortBinding {
            host_ip: Some(address.to_owned()),
            host_port: Some(outside.to_string()),
        };
        bindings
            .entry(inside)
            .or_default()
            .get_or_insert_default()
            .push(binding);
    }
    // Volumes of one project are not those of another.
    let volumes = config.volumes.iter().filter_map(|volume| named_volume(volume));
    let volumes = volumes.map(|(name, place)| format!("{}-{name}:{place}", network(message)));
    HostConfig {
        port_bindings: Some(bindings),
        binds: Some(volumes.collect()),
        network_mode: Some(network(message)),
        memory: config.memory_mib.map(|mib| i64::from(mib) * MIB),
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::UNLESS_STOPPED),
            maximum_retry_count: None,
        }),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        ..HostConfig::default()
    }
}

fn mapped(config: &DeployConfig) -> impl Iterator<Item = (&str, u16, String)> {
    config.ports.iter().filter_map(|port| port_mapping(port))
}

fn health_config(config: &DeployConfig) -> Option<HealthConfig> {
    let Some(HealthCheck::Command { command }) = &config.health else {
        return None;
    };
    Some(HealthConfig {
        test: Some(vec!["CMD-SHELL".to_owned(), command.clone()]),
        interval: Some(SECOND),
        timeout: Some(5 * SECOND),
        retries: Some(3),
        ..HealthConfig::default()
    })
}

/// What the containers of a service have in common.
pub(super) fn service(message: &DeploymentQueueMessage) -> String {
    format!("{}/{}", message.project_name, message.service)
}

/// The network of a project, and how its volumes begin.
fn network(message: &DeploymentQueueMessage) -> String {
    network_of(message.project_name.as_str())
}

/// Names of different projects may be spelt alike there, so there is a digest with it.
fn network_of(project: &str) -> String {
    let own = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, project.as_bytes());
    let own: String = own.simple().to_string().chars().take(NETWORK_ID).collect();
    format!("forge-{}-{own}", plain(project))
}

fn name(message: &DeploymentQueueMessage) -> String {
    let id = message.id.as_str();
    let mut short: String = plain(id).chars().take(SHORT).collect();
    if short != id {
        // Ids that begin alike are not the same.
        let own = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, id.as_bytes());
        short.push('-');
        short.extend(own.simple().to_string().chars().take(NETWORK_ID));
    }
    format!("{}.{}.{short}", network(message), plain(message.service.as_str()))
}

/// As the engine takes it in names.
fn plain(text: &str) -> String {
    let keep = |c: char| {
        if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') {
            c
        } else {
            '-'
        }
    };
    text.chars().map(keep).collect()
}

/// As the engine lists the repositories of the hub.
fn short(repository: &str) -> &str {
    let name = repository.strip_prefix("docker.io/").unwrap_or(repository);
    name.strip_prefix("library/").unwrap_or(name)
}

/// 4xx is about what was asked for; anything else is the engine's own trouble.
fn refused(what: &str, error: &Error) -> BuildFailure {
    if let Error::DockerResponseServerError {
        status_code: 400..=499,
        message,
    } = error
    {
        return BuildFailure::new(Kind::StartFailed, format!("{what}: {message}"));
    }
    // Docker says 500 of ports that are taken, and of programs that are not in the image.
    let text = error.to_string();
    let is_asked_for = [
        "port is already allocated",
        "address already in use",
        "executable file not found",
    ];
    if is_asked_for.iter().any(|part| text.contains(part)) {
        return BuildFailure::new(Kind::StartFailed, format!("{what}: {text}"));
    }
    unavailable(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_its_repository_with_a_tag_or_a_digest() {
        for (reference, repository) in [
            ("busybox", "busybox"),
            ("busybox:1", "busybox"),
            ("h:5000/a/b", "h:5000/a/b"),
            ("h:5000/a/b:main", "h:5000/a/b"),
            ("h:5000/a/b@sha256:ab", "h:5000/a/b"),
            ("h:5000/a/b:main@sha256:ab", "h:5000/a/b"),
        ] {
            assert_eq!(repository_of(reference), repository, "{reference}");
        }
        assert_eq!(short("docker.io/library/busybox"), "busybox");
        assert_eq!(short("docker.io/acme/app"), "acme/app");
    }

    #[test]
    fn names_are_such_as_the_engine_takes() {
        let (id, project, service, image) = ("1234567890abcdef", "acme/sh@op", "api", "x");
        let message = DeploymentQueueMessage::new(
            id.parse().unwrap(),
            "acme/shop".parse().unwrap(),
            service.parse().unwrap(),
            image.parse().unwrap(),
        );
        let network = network_of("acme/shop");
        let of_long = name(&message);
        assert!(
            of_long.starts_with(&format!("{network}.api.1234567890ab-")),
            "{of_long}"
        );
        let mut other = message.clone();
        other.id = format!("{}x", message.id).parse().unwrap();
        assert_ne!(name(&other), of_long, "ids that begin alike");
        other.id = "short".parse().unwrap();
        assert_eq!(name(&other), format!("{network}.api.short"));
        assert!(
            network.starts_with("forge-acme-shop-") && network.len() == 24,
            "{network}"
        );
        assert_ne!(network_of("a/b-c"), network_of("a-b/c"));
        assert_eq!(plain(project), "acme-sh-op");
    }
}
