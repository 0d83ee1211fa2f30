//! What prow asks of forgery: run this image; and what forgery tells of it.

use crate::{DeploymentId, Failure, ImageReference, Metadata, ProjectName, Rest, ServiceName, Terminal, Timestamp};
use std::collections::BTreeMap;

/// A deployment to be carried out; one JSON object on the list `forge:deployments`.
///
/// # Examples
/// ```
/// use contract::DeploymentQueueMessage;
/// let message = DeploymentQueueMessage::new(
///     "deployment-1".parse()?, "org/repo".parse()?, "api".parse()?, "registry.example/org/repo:main".parse()?,
/// );
/// assert_eq!(message.config, contract::DeployConfig::default());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct DeploymentQueueMessage {
    /// Names the deployment for ever.
    pub id: DeploymentId,
    /// The repository, `org/repo`.
    pub project_name: ProjectName,
    /// Which of its services. Of each service one deployment runs.
    pub service: ServiceName,
    /// What to run, by digest where it is known: `registry.example/org/repo@sha256:…`.
    pub image: ImageReference,
    /// How to run it.
    #[serde(default)]
    pub config: DeployConfig,
    /// The longest it may take, in seconds, 1 to 86,400; default 600.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 86_400)))]
    pub timeout_seconds: Option<u32>,
    /// When the message was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
    /// Correlation and tracing.
    #[serde(default)]
    pub metadata: Metadata,
    /// Everything else, kept.
    #[serde(flatten)]
    pub rest: Rest,
}

/// How a container is run. Everything has a default; an unknown field is a mistake.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct DeployConfig {
    /// Variables of its environment; never a place for secrets.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Ports of the host: `8080:80`, `127.0.0.1:8080:80`, `53:53/udp`. A service that has some cannot run twice, so
    /// the old container is stopped before the new one starts, and started again if that fails.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<String>,
    /// Named volumes: `data:/var/lib/app`, `data:/var/lib/app:ro`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<String>,
    /// Networks to be on, besides that of the project. Only there the service has its own name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<String>,
    /// What to run instead of what the image says.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Labels for others, such as a reverse proxy.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// How to tell that it works. Without it the image's own health check decides; without that, that it keeps running
    /// for 5 seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthCheck>,
    /// The longest until it must be healthy, in seconds, 1 to 3,600; default 60.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 3_600)))]
    pub healthy_within_seconds: Option<u32>,
    /// How long the old container may take to stop, in seconds, 0 to 600; default 10.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 0, max = 600)))]
    pub stop_grace_seconds: Option<u32>,
    /// How long the old container goes on beside the new one that has taken over, for those who still know its address,
    /// in seconds, 0 to 600; default 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 0, max = 600)))]
    pub handover_seconds: Option<u32>,
    /// Most memory, in MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 6)))]
    pub memory_mib: Option<u32>,
}

/// How to tell that a container works.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum HealthCheck {
    /// It answers a GET with a status of 200 to 399.
    Http {
        /// Port in the container.
        port: u16,
        /// What is asked for; `/` without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<String>,
    },
    /// It accepts a connection.
    Tcp {
        /// Port in the container.
        port: u16,
    },
    /// A command of its shell exits with 0.
    Command {
        /// Run in the container by `/bin/sh -c`.
        command: String,
    },
}

/// Something happened to a deployment; one JSON object on `{forge:deployments}:events`.
///
/// Ordered as a [`crate::BuildEvent`] is.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct DeploymentEvent {
    /// The deployment.
    pub deployment_id: DeploymentId,
    /// Which attempt at it, from 1; 0 when it ended without any.
    pub attempt: u32,
    /// Position among the events of this attempt, from 1.
    pub sequence: u32,
    /// When, by the clock of the sender.
    pub at: Timestamp,
    /// The worker that sent it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// What happened.
    pub event: Deploying,
    /// Correlation and tracing.
    #[serde(default)]
    pub metadata: Metadata,
    /// Everything else, kept.
    #[serde(flatten)]
    pub rest: Rest,
}

/// What can happen to a deployment.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Deploying {
    /// A worker began.
    Started,
    /// How far it is: 20 when the image is there, 30 when the container is, 60 when it is healthy, 90 when it has taken
    /// the place of the old one.
    Progress {
        /// 0 to 100.
        percent: u8,
    },
    /// An infrastructure failure; it will be tried again.
    Retrying {
        /// Why.
        failure: Failure,
        /// Pause before the next attempt, in milliseconds.
        after_ms: u64,
    },
    /// The worker gave it back unfinished (it was stopped).
    Released,
    /// It ended.
    Ended {
        /// How. Unless it succeeded, what ran before still runs.
        status: Terminal,
        /// Why, unless it succeeded.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<Failure>,
        /// What runs now, if it succeeded.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        running: Option<Running>,
    },
    /// A kind of event that this version does not know.
    #[serde(other)]
    Unknown,
}

/// What a deployment led to.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Running {
    /// Name of the container.
    pub container: String,
    /// The image by its digest, where a registry has given it one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageReference>,
}

/// The longest command, path or variable that a deployment may have, in bytes.
const LONGEST: usize = 4_096;
/// The largest of all, in bytes of JSON: it must fit its message.
const LARGEST: usize = 32 * 1_024;

// === impl DeploymentQueueMessage ===

impl DeploymentQueueMessage {
    /// A message with the required fields.
    pub fn new(id: DeploymentId, project_name: ProjectName, service: ServiceName, image: ImageReference) -> Self {
        Self {
            id,
            project_name,
            service,
            image,
            config: DeployConfig::default(),
            timeout_seconds: None,
            created_at: None,
            metadata: Metadata::default(),
            rest: Rest::new(),
        }
    }
}

// === impl DeployConfig ===

impl DeployConfig {
    /// What is wrong with it, beyond its form: the field and the reason.
    pub fn mistake(&self) -> Option<String> {
        let ports = self.ports.iter().find(|port| port_mapping(port).is_none());
        let volumes = self.volumes.iter().find(|volume| named_volume(volume).is_none());
        let networks = self.networks.iter().find(|network| !is_name(network));
        let env = self
            .env
            .keys()
            .find(|name| name.is_empty() || name.contains(['=', '\0']));
        let long = self.env.values().chain(&self.command).find(|text| text.len() > LONGEST);
        let within = |n: Option<u32>, most| n.is_some_and(|n| n > most);
        let label = self
            .labels
            .keys()
            .find(|name| name.is_empty() || name.starts_with("forge."));
        if let Some(name) = label {
            return Some(format!("labels: {name:?}: what begins with forge. is Forge's own"));
        }
        let size = serde_json::to_vec(self).map_or(usize::MAX, |json| json.len());
        if size > LARGEST {
            return Some(format!("it has {size} bytes, expected at most {LARGEST}"));
        }
        if let Some(port) = ports {
            return Some(format!("ports: {port:?}: expected [address:]port:port[/udp]"));
        }
        if let Some(volume) = volumes {
            return Some(format!("volumes: {volume:?}: expected name:/absolute/path[:ro]"));
        }
        if let Some(network) = networks {
            return Some(format!("networks: {network:?}: expected A-Z a-z 0-9 . _ -"));
        }
        if let Some(name) = env {
            return Some(format!("env: {name:?} is no name of a variable"));
        }
        if long.is_some() {
            return Some(format!("env, command: expected at most {LONGEST} bytes each"));
        }
        if let Some(HealthCheck::Http { path: Some(path), .. }) = &self.health
            && (!path.starts_with('/') || path.len() > LONGEST || !path.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            return Some("health.path: expected a path that begins with /".to_owned());
        }
        if within(self.healthy_within_seconds, 3_600) || self.healthy_within_seconds == Some(0) {
            return Some("healthy_within_seconds: expected 1 to 3600".to_owned());
        }
        if self.memory_mib.is_some_and(|mib| mib < 6) {
            return Some("memory_mib: expected 6 or more".to_owned()); // As the engine has it.
        }
        if within(self.handover_seconds, 600) {
            return Some("handover_seconds: expected 0 to 600".to_owned());
        }
        within(self.stop_grace_seconds, 600).then(|| "stop_grace_seconds: expected 0 to 600".to_owned())
    }
}

/// Address, port of the host, port of the container with its protocol.
pub fn port_mapping(text: &str) -> Option<(&str, u16, String)> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (outside, inside) = ports.rsplit_once(':')?;
    let (address, outside) = outside.rsplit_once(':').unwrap_or(("", outside));
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
    let is_address = address.is_empty() || address.parse::<std::net::Ipv4Addr>().is_ok();
    (is_address && matches!(protocol, "tcp" | "udp")).then_some(())?;
    Some((address, port(outside)?, format!("{}/{protocol}", port(inside)?)))
}

/// Name of a volume, and where it is in the container with its mode. A path of the host is none.
pub fn named_volume(text: &str) -> Option<(&str, &str)> {
    let (name, place) = text.split_once(':')?;
    let path = place.strip_suffix(":ro").unwrap_or(place);
    let is_path = path.starts_with('/') && !path.contains([':', '\0']) && path.len() > 1;
    (is_name(name) && is_path).then_some((name, place))
}

fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric();
    (1..=128).contains(&text.len())
        && text.starts_with(plain)
        && text.chars().all(|c| plain(c) || matches!(c, '.' | '_' | '-'))
}

// === impl DeploymentEvent ===

impl DeploymentEvent {
    /// An event without worker and metadata.
    pub fn new(deployment_id: DeploymentId, attempt: u32, sequence: u32, at: Timestamp, event: Deploying) -> Self {
        Self {
            deployment_id,
            attempt,
            sequence,
            at,
            worker: None,
            event,
            metadata: Metadata::default(),
            rest: Rest::new(),
        }
    }

    /// Names the event for ever.
    pub fn key(&self) -> String {
        format!("{}:{}:{}", self.deployment_id, self.attempt, self.sequence)
    }
}

// === impl Deploying ===

impl Deploying {
    /// It ended, and not well.
    pub fn ended(status: Terminal, failure: Failure) -> Self {
        Self::Ended {
            status,
            failure: Some(failure),
            running: None,
        }
    }
}

// === impl Running ===

impl Running {
    /// A container and, where it has one, the digest of its image.
    pub fn new(container: impl Into<String>, image: Option<ImageReference>) -> Self {
        Self {
            container: container.into(),
            image,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_volumes_are_read_and_paths_of_the_host_are_refused() {
        assert_eq!(port_mapping("8080:80"), Some(("", 8080, "80/tcp".to_owned())));
        assert_eq!(
            port_mapping("127.0.0.1:53:53/udp"),
            Some(("127.0.0.1", 53, "53/udp".to_owned()))
        );
        for wrong in ["80", "0:80", "80:0", "x:80:80", "80:80/sctp", "80:99999", ""] {
            assert_eq!(port_mapping(wrong), None, "{wrong}");
        }
        assert_eq!(named_volume("data:/var/lib/x:ro"), Some(("data", "/var/lib/x:ro")));
        for wrong in [
            "/etc:/etc",
            "data",
            "data:relative",
            "../x:/y",
            "data:/",
            "data:/x:rw:z",
            ".x:/y",
            "",
        ] {
            assert_eq!(named_volume(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_config_says_what_is_wrong_with_it() {
        for (json, expected) in [
            (r#"{"ports": ["80"]}"#, "ports: "),
            (r#"{"volumes": ["/etc:/etc"]}"#, "volumes: "),
            (r#"{"networks": ["a b"]}"#, "networks: "),
            (r#"{"env": {"A=B": ""}}"#, "env: "),
            (
                r#"{"health": {"type": "http", "port": 80, "path": "x"}}"#,
                "health.path: ",
            ),
            (r#"{"healthy_within_seconds": 0}"#, "healthy_within_seconds: "),
            (
                &format!(
                    r#"{{"env": {{"A": "{0}", "B": "{0}", "C": "{0}", "D": "{0}", "E": "{0}", "F": "{0}", "G": "{0}", "H": "{0}", "I": "{0}"}}}}"#,
                    "x".repeat(4_000)
                ),
                "it has ",
            ),
            (r#"{"labels": {"forge.build": "x"}}"#, "labels: "),
            (r#"{"memory_mib": 5}"#, "memory_mib: "),
            (r#"{"handover_seconds": 601}"#, "handover_seconds: "),
            (r#"{"stop_grace_seconds": 601}"#, "stop_grace_seconds: "),
        ] {
            let config: DeployConfig = serde_json::from_str(json).unwrap();
            let mistake = config.mistake().unwrap();
            assert!(mistake.starts_with(expected), "{json}: {mistake}");
        }
        assert_eq!(DeployConfig::default().mistake(), None);
        assert!(serde_json::from_str::<DeployConfig>(r#"{"privileged": true}"#).is_err());
    }
}
