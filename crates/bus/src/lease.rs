//! How long a worker may be silent, and every interval that follows from it.

use std::{str::FromStr, time::Duration};

/// How long a worker may be silent before others take over what it held; 20 seconds by default.
///
/// Each worker writes down when its own lease ends, so workers of one list may differ in it.
///
/// # Examples
/// ```
/// let lease: bus::Lease = "20".parse().unwrap();
/// assert_eq!((lease, lease.beat().as_secs()), (bus::Lease::default(), 3));
/// assert!("1".parse::<bus::Lease>().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease(Duration);

/// A lease that is too short to keep, or too long to notice a death by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected 2 to 300 seconds")]
#[non_exhaustive]
pub struct InvalidLease;

/// The longest pause between two beats: a cancel that was not heard is learnt at the next one.
const BEAT: Duration = Duration::from_secs(3);
/// The longest that Redis holds a blocked reader.
const BLOCK: Duration = Duration::from_secs(2);
/// The longest pause between two looks for the dead.
const REAP: Duration = Duration::from_secs(5);

// === impl Lease ===

impl Lease {
    /// How long it lasts.
    pub const fn length(self) -> Duration {
        self.0
    }

    /// How often a worker is heard of.
    pub fn beat(self) -> Duration {
        BEAT.min(self.0 / 4)
    }

    /// How long Redis holds a blocked reader; far below the lease, so that a dead worker's block
    /// cannot receive a message after it was reaped.
    pub(crate) fn block(self) -> Duration {
        BLOCK.min(self.0 / 4)
    }

    /// How long that answer is waited for.
    pub(crate) fn block_patience(self) -> Duration {
        self.block() * 2
    }

    /// How often the dead are looked for.
    pub(crate) fn reap(self) -> Duration {
        REAP.min(self.0 / 4)
    }

    pub(crate) fn millis(self) -> String {
        self.0.as_millis().to_string()
    }
}

impl Default for Lease {
    fn default() -> Self {
        Self(Duration::from_secs(20))
    }
}

impl FromStr for Lease {
    type Err = InvalidLease;

    fn from_str(text: &str) -> Result<Self, InvalidLease> {
        let seconds = text.parse().ok().filter(|seconds| (2..=300).contains(seconds));
        seconds
            .map(|seconds| Self(Duration::from_secs(seconds)))
            .ok_or(InvalidLease)
    }
}
