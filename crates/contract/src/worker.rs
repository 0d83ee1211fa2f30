//! What a worker says of itself, now and then.

use crate::{BuildId, DeploymentId, Metadata, Rest, Timestamp, vocabulary::words};

words! {
    /// Whether a worker takes more.
    WorkerState, "ready, draining, gone", {
        /// It takes builds.
        Ready = "ready",
        /// It ends what it has, and takes no more.
        Draining = "draining",
        /// It has stopped. One that was killed says nothing any more.
        Gone = "gone",
    }
}

/// A forgery and what it does; one JSON object on the list `forge:workers`. Of each worker the newest counts; one that
/// was not heard of for three times [`WorkerReport::EVERY_SECONDS`] is not there.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct WorkerReport {
    /// Its name, as in the events of its builds; another each time that it starts.
    pub name: String,
    /// The machine's name.
    pub host: String,
    /// The program's version.
    pub version: String,
    /// When this was so.
    pub at: Timestamp,
    /// Whether it takes more.
    pub state: WorkerState,
    /// How many builds it runs at once.
    pub slots: u32,
    /// What it builds.
    #[serde(default)]
    pub builds: Vec<BuildId>,
    /// What it deploys.
    #[serde(default)]
    pub deployments: Vec<DeploymentId>,
    /// The disk of its work folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<Disk>,
    /// Tracing.
    #[serde(default)]
    pub metadata: Metadata,
    /// Everything else, kept.
    #[serde(flatten)]
    pub rest: Rest,
}

/// How full a disk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Disk {
    /// Its size, in bytes.
    pub total_bytes: u64,
    /// What may still be written to it, in bytes.
    pub free_bytes: u64,
}

// === impl WorkerReport ===

impl WorkerReport {
    /// A worker says something at least this often, in seconds.
    pub const EVERY_SECONDS: u32 = 15;

    /// A worker that does nothing.
    pub fn new(name: &str, host: &str, version: &str, at: Timestamp, state: WorkerState, slots: u32) -> Self {
        Self {
            at,
            state,
            slots,
            name: name.to_owned(),
            host: host.to_owned(),
            version: version.to_owned(),
            builds: Vec::new(),
            deployments: Vec::new(),
            disk: None,
            metadata: Metadata::default(),
            rest: Rest::new(),
        }
    }

    pub(crate) fn key(&self) -> String {
        format!("{}:{}", self.name, self.at.as_millis())
    }
}
