//! What forgery tells prow while it builds.

use crate::{BuildId, BuildQueueMessage, Metadata, Rest, Terminal, Timestamp, vocabulary::words};

words! {
    /// A part of a build that takes time by itself.
    Stage, "cloning, preparing, building, pushing", {
        /// Fetching the commit.
        Cloning = "cloning",
        /// Choosing the recipe, packing the context.
        Preparing = "preparing",
        /// Running the recipe.
        Building = "building",
        /// Sending the image to the registry.
        Pushing = "pushing",
    }
}

/// Something happened to a build; one JSON object on `{forge:builds}:events`.
///
/// Events of one build are ordered by (`attempt`, `sequence`); they may arrive late, twice and out
/// of order, and a reader folds them by that order.
///
/// # Examples
/// ```
/// use contract::{BuildEvent, Happening, Stage, Timestamp};
/// let event = BuildEvent::new("build-1".parse()?, 1, 2, Timestamp::from_millis(0), Happening::Stage { stage: Stage::Cloning });
/// assert_eq!(event.key(), "build-1:1:2");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct BuildEvent {
    /// The build.
    pub build_id: BuildId,
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
    pub event: Happening,
    /// Correlation and tracing.
    #[serde(default)]
    pub metadata: Metadata,
    /// Everything else, kept.
    #[serde(flatten)]
    pub rest: Rest,
}

/// What can happen to a build.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Happening {
    /// A worker began; carries the whole message, for builds that prow did not queue itself.
    Started {
        /// The build as it was taken from the list.
        message: Box<BuildQueueMessage>,
    },
    /// A stage began.
    Stage {
        /// Which.
        stage: Stage,
    },
    /// How far it is.
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
    /// The worker gave it back unfinished (it was stopped); no attempt was spent.
    Released,
    /// It ended.
    Ended {
        /// How.
        status: Terminal,
        /// Why, unless it succeeded.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<Failure>,
        /// What came out, if it succeeded.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        image: Option<Image>,
        /// All that came out, the one above first, if it was more than one.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        images: Vec<Image>,
        /// How long each stage took.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        stages: Vec<StageTime>,
    },
    /// A kind of event that this version does not know.
    #[serde(other)]
    Unknown,
}

/// Why a build failed: a stable code for machines, a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Failure {
    /// Stable code, such as `build_failed` or `clone_auth`.
    pub kind: String,
    /// A sentence for people.
    pub message: String,
    /// The step that failed, as the build names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// What that step exited with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// The last lines of the log, 20 at most, without what is secret.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log_tail: Vec<String>,
}

/// The image a build produced.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Image {
    /// `registry/name:tag`.
    pub reference: String,
    /// `sha256:…` of the manifest in the registry, or of the image's configuration if it was not pushed.
    pub digest: String,
    /// True when the digest is that of a manifest in a registry.
    pub pushed: bool,
    /// Size of the image on the builder, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
}

/// How long one stage took.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StageTime {
    /// Which.
    pub stage: Stage,
    /// Milliseconds.
    pub ms: u64,
}

// === impl BuildEvent ===

impl BuildEvent {
    /// An event without worker and metadata.
    pub fn new(build_id: BuildId, attempt: u32, sequence: u32, at: Timestamp, event: Happening) -> Self {
        Self {
            build_id,
            attempt,
            sequence,
            at,
            worker: None,
            event,
            metadata: Metadata::default(),
            rest: Rest::new(),
        }
    }

    /// Names the event for ever: build, attempt, sequence.
    pub fn key(&self) -> String {
        format!("{}:{}:{}", self.build_id, self.attempt, self.sequence)
    }
}

// === impl Happening ===

impl Happening {
    /// An end without success.
    pub fn ended(status: Terminal, failure: Failure) -> Self {
        Self::Ended {
            status,
            failure: Some(failure),
            image: None,
            images: Vec::new(),
            stages: Vec::new(),
        }
    }
}

// === impl Failure ===

impl Failure {
    /// A failure without a step.
    pub fn new(kind: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            kind: kind.into(),
            message: message.into(),
            step: None,
            exit_code: None,
            log_tail: Vec::new(),
        }
    }
}

// === impl Image ===

impl Image {
    /// An image with this name and digest.
    pub fn new(reference: impl Into<String>, digest: impl Into<String>, pushed: bool, size: Option<u64>) -> Self {
        Self {
            reference: reference.into(),
            digest: digest.into(),
            pushed,
            size,
        }
    }
}
