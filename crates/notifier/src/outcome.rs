//! What a reply means. Pure.

use std::time::Duration;

/// When a delivery is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Schedule {
    /// Over three days.
    Persistent,
    /// Five retries within a quarter of a minute, as older senders did.
    Short,
}

/// What came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// A status, and `Retry-After` in seconds.
    Status(u16, Option<u64>),
    /// No reply: connection, TLS or time-out.
    Nothing,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The receiver has it.
    Delivered,
    /// Try again after this time, unless it was the last attempt.
    Again(Duration),
    /// The receiver will never take it.
    GiveUp,
}

const SECOND: u64 = 1;
const MINUTE: u64 = 60;
const HOUR: u64 = 3_600;
/// Pauses after the first failure, the second, and so on, in seconds.
const PERSISTENT: &[u64] = &[
    5 * SECOND,
    5 * MINUTE,
    30 * MINUTE,
    2 * HOUR,
    5 * HOUR,
    10 * HOUR,
    14 * HOUR,
    20 * HOUR,
    24 * HOUR,
];
/// The same, in milliseconds: 500 ms doubling up to 10 s.
const SHORT_MS: &[u64] = &[500, 1_000, 2_000, 4_000, 8_000];
/// The longest that a receiver may ask us to wait.
const LONGEST_RETRY_AFTER: Duration = Duration::from_hours(24);

// === impl Schedule ===

impl Schedule {
    /// How many attempts there are, the first one included.
    pub(crate) fn attempts(self) -> u32 {
        let pauses = match self {
            Self::Persistent => PERSISTENT.len(),
            Self::Short => SHORT_MS.len(),
        };
        u32::try_from(pauses).unwrap_or(u32::MAX).saturating_add(1)
    }

    /// The pause after this many failures (from 1), before jitter.
    fn pause(self, failures: u32) -> Duration {
        let index = usize::try_from(failures.saturating_sub(1)).unwrap_or(usize::MAX);
        let at = |pauses: &[u64]| pauses.get(index.min(pauses.len() - 1)).copied().unwrap_or_default();
        match self {
            Self::Persistent => Duration::from_secs(at(PERSISTENT)),
            Self::Short => Duration::from_millis(at(SHORT_MS)),
        }
    }

    /// Decides by the reply to the attempt after which there are `failures` (from 1, were it one).
    pub(crate) fn decide(self, reply: Reply, failures: u32, seed: &str) -> Outcome {
        let pause = self.pause(failures);
        let again = |at_least: Option<u64>| {
            let asked = Duration::from_secs(at_least.unwrap_or_default()).min(LONGEST_RETRY_AFTER);
            Outcome::Again(bus::pause((pause, pause), 1, seed).max(asked))
        };
        match reply {
            Reply::Status(200..=299, _) => Outcome::Delivered,
            Reply::Status(408 | 425 | 429 | 500..=599, retry_after) => again(retry_after),
            Reply::Status(..) => Outcome::GiveUp,
            Reply::Nothing => again(None),
        }
    }
}

impl std::str::FromStr for Schedule {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "persistent" => Ok(Self::Persistent),
            "short" => Ok(Self::Short),
            _ => Err("expected persistent or short"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_mean_what_the_table_says() {
        let kind = |reply| match Schedule::Persistent.decide(reply, 1, "x") {
            Outcome::Delivered => "delivered",
            Outcome::Again(_) => "again",
            Outcome::GiveUp => "give up",
        };
        for (status, expected) in [
            (200, "delivered"),
            (204, "delivered"),
            (301, "give up"),
            (400, "give up"),
            (401, "give up"),
            (404, "give up"),
            (408, "again"),
            (410, "give up"),
            (425, "again"),
            (429, "again"),
            (500, "again"),
            (503, "again"),
            (599, "again"),
        ] {
            assert_eq!(kind(Reply::Status(status, None)), expected, "{status}");
        }
        assert_eq!(kind(Reply::Nothing), "again");
    }

    #[test]
    fn pauses_follow_the_schedule_and_retry_after_within_bounds() {
        let pause = |schedule: Schedule, reply, failures| match schedule.decide(reply, failures, "x") {
            Outcome::Again(pause) => pause.as_secs_f64(),
            other @ (Outcome::Delivered | Outcome::GiveUp) => panic!("{other:?}"),
        };
        for (failures, seconds) in [(1, 5.0), (2, 300.0), (9, 86_400.0), (50, 86_400.0)] {
            let ratio = pause(Schedule::Persistent, Reply::Nothing, failures) / seconds;
            assert!((0.8..=1.2).contains(&ratio), "{failures}: {ratio}");
        }
        assert!(pause(Schedule::Short, Reply::Status(429, Some(7)), 1) >= 7.0);
        assert!(pause(Schedule::Short, Reply::Status(503, Some(u64::MAX)), 1) <= 86_400.0);
        assert_eq!((Schedule::Persistent.attempts(), Schedule::Short.attempts()), (10, 6));
    }
}
