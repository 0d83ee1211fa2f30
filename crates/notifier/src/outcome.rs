//! What a reply means. Pure.

use bus::{Fate, Health};
use std::time::Duration;

/// When a delivery is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Schedule {
    /// Over three days.
    Persistent,
    /// Five retries within a quarter of a minute, as older senders did.
    Short,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// A status, how long the receiver asks us to wait, and the beginning of the body.
    Status(u16, Option<Duration>, String),
    /// There was nothing to tell this receiver.
    NothingToSay,
    /// No reply, and why: connection, TLS or time-out.
    Nothing(String),
    /// The receiver refused it for good, and why.
    Refused(String),
    /// Nothing could be sent, and why: it is not the receiver's fault.
    Unfit(String),
    /// Nothing was sent for now, and why: that is not the receiver's fault either.
    NotNow(String),
}

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) fate: Fate,
    pub(crate) health: Health,
    /// What went wrong, in a sentence; empty when nothing did.
    pub(crate) why: String,
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
/// The same, in milliseconds: 500 ms doubling, and below 10 s.
const SHORT_MS: &[u64] = &[500, 1_000, 2_000, 4_000, 8_000];
/// What was not sent for a reason of ours is after this.
const NOT_NOW: Duration = Duration::from_secs(5);
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

    /// The pause after this many failures (from 1): spread by a fifth, or anything up to it.
    fn pause(self, failures: u32, seed: &str) -> Duration {
        let index = usize::try_from(failures.saturating_sub(1)).unwrap_or(usize::MAX);
        let at = |pauses: &[u64]| pauses.get(index.min(pauses.len() - 1)).copied().unwrap_or_default();
        let chance = chance(&format!("{seed}\n{failures}"));
        match self {
            Self::Persistent => Duration::from_secs(at(PERSISTENT)).mul_f64(chance.mul_add(0.4, 0.8)),
            Self::Short => Duration::from_millis(at(SHORT_MS)).mul_f64(chance),
        }
    }

    /// Decides by the reply to the attempt after which there are `failures` (from 1, were it one).
    /// What is refused by status is tried so many times.
    pub(crate) fn decide(self, reply: &Reply, failures: u32, seed: &str, refused_attempts: u32) -> Outcome {
        let (health, asked, why) = match reply {
            Reply::Status(200..=299, ..) => {
                return Outcome {
                    fate: Fate::Done,
                    health: Health::Well,
                    why: String::new(),
                };
            }
            Reply::Status(410, ..) => {
                let why = "the receiver answered 410: it wants nothing more".to_owned();
                return dead(Health::Gone, why);
            }
            Reply::Unfit(why) => return dead(Health::Unknown, why.clone()),
            Reply::NothingToSay => {
                return Outcome {
                    fate: Fate::Done,
                    health: Health::Unknown,
                    why: "there was nothing to tell it".to_owned(),
                };
            }
            Reply::NotNow(why) => {
                return Outcome {
                    fate: Fate::Later(NOT_NOW),
                    health: Health::Unknown,
                    why: why.clone(),
                };
            }
            Reply::Refused(why) => return dead(Health::Refusing, why.clone()),
            // Who says when to come again is there, and means all that is for it.
            Reply::Status(status @ (429 | 503), Some(asked), _) => {
                let asked = (*asked).min(LONGEST_RETRY_AFTER);
                let health = if *status == 503 {
                    Health::Overloaded(asked)
                } else {
                    Health::Busy(asked)
                };
                (health, Some(asked), format!("the receiver answered {status}"))
            }
            Reply::Status(429, None, _) => (Health::Refusing, None, "the receiver answered 429".to_owned()),
            Reply::Status(status @ (408 | 425 | 500..=599), asked, _) => {
                (Health::Ill, *asked, format!("the receiver answered {status}"))
            }
            Reply::Status(status @ 300..=399, ..) => {
                let why = format!("the receiver answered {status}; redirects are not followed");
                return dead(Health::Refusing, why);
            }
            Reply::Status(status, ..) if failures >= refused_attempts => {
                return dead(Health::Refusing, format!("the receiver answered {status}"));
            }
            Reply::Status(status, ..) => (Health::Refusing, None, format!("the receiver answered {status}")),
            Reply::Nothing(why) => (Health::Ill, None, why.clone()),
        };
        if failures >= self.attempts() {
            return dead(health, format!("{why}; that was the last of {failures} attempts"));
        }
        let asked = asked.unwrap_or_default().min(LONGEST_RETRY_AFTER);
        let fate = Fate::Again(self.pause(failures, seed).max(asked));
        Outcome { fate, health, why }
    }
}

const fn dead(health: Health, why: String) -> Outcome {
    Outcome {
        fate: Fate::Dead,
        health,
        why,
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

/// `Retry-After` (RFC 9110, section 10.2.3) at a moment, in seconds since the Unix epoch: seconds, or a date.
pub(crate) fn retry_after(text: &str, now: u64) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    let since = date.duration_since(std::time::UNIX_EPOCH).ok()?.as_secs();
    Some(Duration::from_secs(since.saturating_sub(now)))
}

/// A number from 0 to 1 that a text gives, the same each time.
fn chance(seed: &str) -> f64 {
    let digest = seal::digest(seed.as_bytes());
    let drawn = digest.get(..8).and_then(|hex| u32::from_str_radix(hex, 16).ok());
    f64::from(drawn.unwrap_or_default()) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(status: u16) -> Reply {
        Reply::Status(status, None, String::new())
    }

    #[test]
    fn what_is_refused_may_be_tried_a_few_times() {
        let fate = |code: u16, failures: u32| Schedule::Short.decide(&status(code), failures, "x", 3).fate;
        assert!(matches!(fate(404, 1), Fate::Again(_)));
        assert!(matches!(fate(422, 2), Fate::Again(_)));
        assert_eq!(fate(422, 3), Fate::Dead);
        assert_eq!(fate(302, 1), Fate::Dead, "a redirect means it");
        assert_eq!(fate(410, 1), Fate::Dead);
    }

    #[test]
    fn replies_mean_what_the_table_says() {
        let nothing = Reply::Nothing("connection refused".to_owned());
        let kind = |reply: &Reply| {
            let outcome = Schedule::Persistent.decide(reply, 1, "x", 1);
            let fate = match outcome.fate {
                Fate::Done => "done",
                Fate::Dead => "dead",
                Fate::Again(_) => "again",
                Fate::Later(_) => "later",
            };
            (fate, outcome.health)
        };
        for (code, expected) in [
            (200, ("done", Health::Well)),
            (201, ("done", Health::Well)),
            (204, ("done", Health::Well)),
            (301, ("dead", Health::Refusing)),
            (307, ("dead", Health::Refusing)),
            (400, ("dead", Health::Refusing)),
            (401, ("dead", Health::Refusing)),
            (404, ("dead", Health::Refusing)),
            (408, ("again", Health::Ill)),
            (410, ("dead", Health::Gone)),
            (425, ("again", Health::Ill)),
            (429, ("again", Health::Refusing)),
            (500, ("again", Health::Ill)),
            (503, ("again", Health::Ill)),
            (599, ("again", Health::Ill)),
        ] {
            assert_eq!(kind(&status(code)), expected, "{code}");
        }
        assert_eq!(kind(&nothing), ("again", Health::Ill));
        assert_eq!(kind(&Reply::Unfit(String::new())), ("dead", Health::Unknown));
        let minute = Duration::from_mins(1);
        for (code, health) in [(429, Health::Busy(minute)), (503, Health::Overloaded(minute))] {
            let busy = Reply::Status(code, Some(minute), String::new());
            assert_eq!(kind(&busy), ("again", health), "{code}");
        }
        for schedule in [Schedule::Persistent, Schedule::Short] {
            let last = schedule.decide(&nothing, schedule.attempts(), "x", 1);
            assert_eq!(last.fate, Fate::Dead);
            assert!(
                last.why.contains("connection refused; that was the last of"),
                "{}",
                last.why
            );
        }
    }

    #[test]
    fn pauses_follow_the_schedule_and_retry_after_within_bounds() {
        let pause = |schedule: Schedule, reply: &Reply, failures, seed: &str| match schedule
            .decide(reply, failures, seed, 1)
            .fate
        {
            Fate::Again(pause) => pause.as_secs_f64(),
            other @ (Fate::Done | Fate::Dead | Fate::Later(_)) => panic!("{other:?}"),
        };
        let nothing = Reply::Nothing(String::new());
        let asks = |seconds| Reply::Status(503, Some(Duration::from_secs(seconds)), String::new());
        for (failures, seconds) in [(1, 5.0), (2, 300.0), (9, 86_400.0)] {
            let ratios: Vec<_> = (0..100)
                .map(|n| pause(Schedule::Persistent, &nothing, failures, &n.to_string()) / seconds)
                .collect();
            assert!(
                ratios.iter().all(|ratio| (0.8..=1.2).contains(ratio)),
                "{failures}: {ratios:?}"
            );
            assert!(
                ratios.iter().any(|r| *r < 0.9) && ratios.iter().any(|r| *r > 1.1),
                "it is spread"
            );
        }
        let short: Vec<_> = (0..100)
            .map(|n| pause(Schedule::Short, &nothing, 5, &n.to_string()))
            .collect();
        assert!(
            short.iter().all(|s| *s <= 8.0) && short.iter().any(|s| *s < 2.0),
            "full jitter: {short:?}"
        );
        assert!(pause(Schedule::Short, &asks(7), 1, "x") >= 7.0);
        assert!(pause(Schedule::Short, &asks(u64::MAX), 1, "x") <= 86_400.0);
        assert_eq!((Schedule::Persistent.attempts(), Schedule::Short.attempts()), (10, 6));
    }

    #[test]
    fn retry_after_is_read_in_both_forms() {
        let seconds = |text: &str| retry_after(text, 784_111_700).map(|after| after.as_secs());
        assert_eq!(seconds(" 120 "), Some(120));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:37 GMT"), Some(77));
        assert_eq!(
            seconds("Sunday, 06-Nov-94 08:49:37 GMT"),
            Some(77),
            "the obsolete form of RFC 850"
        );
        assert_eq!(seconds("Sun, 06 Nov 1994 08:00:00 GMT"), Some(0), "it has passed");
        for odd in ["", "soon", "-1", "1.5"] {
            assert_eq!(seconds(odd), None, "{odd}");
        }
    }
}
