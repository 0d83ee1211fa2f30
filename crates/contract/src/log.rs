//! The log of a build on its way from forgery to prow.

use crate::{Rest, Stage, vocabulary::words};

words! {
    /// Where a line came from.
    Stream, "stdout, stderr, forge", {
        /// The build's standard output.
        Stdout = "stdout",
        /// The build's standard error.
        Stderr = "stderr",
        /// Forge itself.
        Forge = "forge",
    }
}

/// Some consecutive lines; an element of `forge:logs:<build id>` is `<sequence> <this as JSON>`.
///
/// The sequence is given by Redis when the chunk is appended and has no gaps.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct LogChunk {
    /// Which attempt at the build.
    pub attempt: u32,
    /// Grows with each chunk of this attempt. Forgery begins with the time in milliseconds: Redis may lose, with the
    /// power, that an attempt began, and then another begins under its number.
    pub n: u64,
    /// The lines.
    pub lines: Vec<LogLine>,
    /// Everything else, kept.
    #[serde(flatten)]
    pub rest: Rest,
}

/// One line of a build's log, without its line end.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LogLine {
    /// Milliseconds since the Unix epoch.
    pub t: i64,
    /// The stage it belongs to.
    pub stage: Stage,
    /// Where it came from.
    pub stream: Stream,
    /// The step of the recipe it belongs to, such as `[2/3] RUN make`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// The text.
    pub text: String,
}

// === impl LogChunk ===

impl LogChunk {
    /// A chunk of lines.
    pub fn new(attempt: u32, n: u64, lines: Vec<LogLine>) -> Self {
        Self {
            attempt,
            n,
            lines,
            rest: Rest::new(),
        }
    }
}
