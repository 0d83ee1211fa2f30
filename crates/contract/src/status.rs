//! The states of a build, and which may follow which.

use crate::vocabulary::words;

words! {
    /// How a build ended. Never changes once set.
    Terminal, "success, failed, cancelled, superseded, timed_out, lost", {
        /// Built (and pushed, if asked).
        Success = "success",
        /// The build itself failed, or its attempts ran out.
        Failed = "failed",
        /// Somebody stopped it, and nothing of it is left running.
        Cancelled = "cancelled",
        /// A newer build made it pointless.
        Superseded = "superseded",
        /// It took longer than it was allowed.
        TimedOut = "timed_out",
        /// Its workers died too often to try again.
        Lost = "lost",
    }
}

/// Where a build is in its life.
///
/// ```text
/// queued ─▶ building ─▶ success | failed | cancelled | superseded | timed_out | lost
///    ▲          │
///    └──────────┴─ retrying (infrastructure only)
/// ```
///
/// # Examples
/// ```
/// use contract::{BuildStatus, Terminal};
/// let status = BuildStatus::Queued.advance(BuildStatus::Building)?;
/// let status = status.advance(BuildStatus::Ended(Terminal::Success))?;
/// assert!(status.advance(BuildStatus::Building).is_err());
/// # Ok::<(), contract::IllegalTransition>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BuildStatus {
    /// Waits for a worker.
    Queued,
    /// A worker has it.
    Building,
    /// Will be queued again after a pause.
    Retrying,
    /// Ended, for ever.
    Ended(Terminal),
}

/// A build cannot go from this state to that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a build that is {from} cannot become {to}")]
pub struct IllegalTransition {
    from: BuildStatus,
    to: BuildStatus,
}

// === impl BuildStatus ===

impl BuildStatus {
    /// The word on the wire and in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Building => "building",
            Self::Retrying => "retrying",
            Self::Ended(terminal) => terminal.as_str(),
        }
    }

    /// Moves on to `to`, if the life of a build allows it.
    ///
    /// # Errors
    /// When it does not; a terminal state allows nothing.
    pub const fn advance(self, to: Self) -> Result<Self, IllegalTransition> {
        match (self, to) {
            (Self::Queued | Self::Building | Self::Retrying, Self::Building | Self::Ended(_))
            | (Self::Building, Self::Retrying | Self::Queued)
            | (Self::Retrying, Self::Queued) => Ok(to),
            _ => Err(IllegalTransition { from: self, to }),
        }
    }

    /// How it ended, if it did.
    pub const fn terminal(self) -> Option<Terminal> {
        match self {
            Self::Ended(terminal) => Some(terminal),
            Self::Queued | Self::Building | Self::Retrying => None,
        }
    }
}

impl std::fmt::Display for BuildStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for BuildStatus {
    type Err = crate::UnknownWord;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "queued" => Ok(Self::Queued),
            "building" => Ok(Self::Building),
            "retrying" => Ok(Self::Retrying),
            other => other.parse().map(Self::Ended),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_follows_a_terminal_state_and_everything_else_can_end() {
        let live = [BuildStatus::Queued, BuildStatus::Building, BuildStatus::Retrying];
        let ended = Terminal::ALL.iter().map(|t| BuildStatus::Ended(*t));
        let all: Vec<_> = live.into_iter().chain(ended).collect();
        let mut legal = Vec::new();
        for from in &all {
            for to in &all {
                if from.advance(*to).is_ok() {
                    legal.push(format!("{from}>{}", to.terminal().map_or(to.as_str(), |_| "end")));
                }
            }
        }
        legal.dedup();
        assert_eq!(
            legal,
            [
                "queued>building",
                "queued>end",
                "building>queued",
                "building>building",
                "building>retrying",
                "building>end",
                "retrying>queued",
                "retrying>building",
                "retrying>end",
            ]
        );
    }

    #[test]
    fn every_status_survives_its_own_word() {
        for word in [
            "queued",
            "building",
            "retrying",
            "success",
            "failed",
            "cancelled",
            "superseded",
            "timed_out",
            "lost",
        ] {
            assert_eq!(word.parse::<BuildStatus>().map(BuildStatus::as_str), Ok(word));
        }
        assert!("done".parse::<BuildStatus>().is_err());
    }
}
