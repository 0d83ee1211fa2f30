//! Stop this build, and why.

use crate::{BuildId, Rest, Terminal, vocabulary::words};

words! {
    /// What a stopped build becomes.
    CancelOutcome, "cancelled, superseded, timed_out", {
        /// Somebody asked for it.
        Cancelled = "cancelled",
        /// A newer build took its place.
        Superseded = "superseded",
        /// Its deadline has passed.
        TimedOut = "timed_out",
    }
}

/// A request to stop a build, on the channel `forge:cancel`.
///
/// The older form `{"deploymentId": "…"}` means the same.
///
/// # Examples
/// ```
/// use contract::CancelRequest;
/// let request: CancelRequest = serde_json::from_str(r#"{"deploymentId": "build-1"}"#)?;
/// assert_eq!(request.build_id.as_str(), "build-1");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct CancelRequest {
    /// The build to stop.
    #[serde(alias = "deploymentId")]
    pub build_id: BuildId,
    /// What it becomes; default cancelled.
    #[serde(default = "cancelled")]
    pub outcome: CancelOutcome,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Everything else, kept.
    #[serde(flatten)]
    pub rest: Rest,
}

const fn cancelled() -> CancelOutcome {
    CancelOutcome::Cancelled
}

// === impl CancelRequest ===

impl CancelRequest {
    /// A request with a reason.
    pub fn new(build_id: BuildId, outcome: CancelOutcome, reason: impl Into<String>) -> Self {
        Self {
            build_id,
            outcome,
            reason: Some(reason.into()),
            rest: Rest::new(),
        }
    }
}

// === impl CancelOutcome ===

impl CancelOutcome {
    /// The terminal state this outcome leads to.
    pub const fn terminal(self) -> Terminal {
        match self {
            Self::Cancelled => Terminal::Cancelled,
            Self::Superseded => Terminal::Superseded,
            Self::TimedOut => Terminal::TimedOut,
        }
    }
}
