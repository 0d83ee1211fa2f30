//! Lines of logs for whoever shows them elsewhere while builds run: sent as notifications, a few at a time, and only while
//! somebody wants them. What comes faster is skipped there and counted; the log itself has all of it.

use bus::{Bus, Courier, Producer, clock};
use contract::{BuildId, LogChunk, LogLine, Notification, Resource, route::List};
use serde_json::{Value, json};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;
use uuid::Uuid;

/// Passes lines on; cheap to clone.
#[derive(Clone)]
pub(super) struct Relay {
    courier: Courier,
    notifications: Producer<Notification>,
    /// Whether somebody wants lines, and until when that is not asked again.
    wanted: Arc<Mutex<Option<(bool, Instant)>>>,
}

/// The lines of one log that are to be passed on.
pub(super) struct Passing<'a> {
    relay: &'a Relay,
    build: &'a BuildId,
    shown: Shown,
    last: Instant,
}

/// So many lines as are passed on at once.
#[derive(Debug, Default)]
struct Shown {
    lines: Vec<Value>,
    bytes: usize,
    skipped: u64,
}

/// Namespace of the ids.
const LINES: Uuid = Uuid::from_u128(0x6f72_6765_2d6c_5569_8c64_732d_7635_0001);
/// What somebody wants is asked for this often.
const ASK: Duration = Duration::from_secs(5);
/// Lines are sent this often …
const PAUSE: Duration = Duration::from_secs(2);
/// … and so many bytes of them at most, as a notification is to be short.
const MOST_BYTES: usize = 12 * 1_024;
/// Longest line, in characters.
const LONGEST: usize = 1_000;

// === impl Relay ===

impl Relay {
    pub(super) fn new(bus: &Bus, notifications: &List<Notification>) -> Self {
        Self {
            courier: bus.courier(notifications),
            notifications: bus.producer(notifications),
            wanted: Arc::default(),
        }
    }

    /// For the log of a build.
    pub(super) fn of<'a>(&'a self, build: &'a BuildId) -> Passing<'a> {
        Passing {
            relay: self,
            build,
            shown: Shown::default(),
            last: Instant::now(),
        }
    }

    async fn is_wanted(&self) -> bool {
        let known = *self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((wanted, until)) = known
            && Instant::now() < until
        {
            return wanted;
        }
        let wanted = self.courier.is_wanted("logs").await.unwrap_or(false);
        let known = Some((wanted, Instant::now() + ASK));
        *self.wanted.lock().unwrap_or_else(PoisonError::into_inner) = known;
        wanted
    }
}

// === impl Passing ===

impl Passing<'_> {
    /// These lines are new.
    pub(super) async fn take(&mut self, chunk: &LogChunk) {
        if !self.relay.is_wanted().await {
            return;
        }
        chunk.lines.iter().for_each(|line| self.shown.add(line));
    }

    /// Sends what there is, if it is time; at the end in any case.
    pub(super) async fn send(&mut self, seq: u64, is_end: bool) {
        let is_time = is_end || self.last.elapsed() >= PAUSE;
        if self.shown.lines.is_empty() || !is_time {
            return;
        }
        let (uid, shown) = (self.build.as_str(), std::mem::take(&mut self.shown));
        let resource = Resource {
            kind: "Build".to_owned(),
            api_version: "forge/v1".to_owned(),
            name: uid.to_owned(),
            namespace: String::new(),
            uid: uid.to_owned(),
        };
        let id = Uuid::new_v5(&LINES, format!("{uid}\n{seq}\n{is_end}").as_bytes());
        let mut notice = Notification::new(id, "build.log", clock::now(), resource);
        (notice.version, notice.sequence_hint) = (seq, seq);
        notice.data.insert("lines".to_owned(), shown.lines.into());
        notice.data.insert("skipped".to_owned(), json!(shown.skipped));
        self.last = Instant::now();
        // It is shown elsewhere, too, and nothing depends on that.
        if let Err(error) = self.relay.notifications.send(&notice).await {
            tracing::debug!(error = %chassis::chain(&error), "lines of a log cannot be passed on");
        }
    }
}

// === impl Shown ===

impl Shown {
    fn add(&mut self, line: &LogLine) {
        if self.bytes >= MOST_BYTES {
            self.skipped += 1;
            return;
        }
        let text: String = line.text.chars().take(LONGEST).collect();
        let line = json!({"t": line.t, "stream": line.stream, "text": text});
        self.bytes += line.to_string().len();
        self.lines.push(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::{Stage, Stream};

    #[test]
    fn what_comes_faster_than_it_is_shown_is_skipped_and_counted() {
        let line = |text: String| LogLine {
            t: 1,
            stage: Stage::Building,
            stream: Stream::Stderr,
            step: None,
            text,
        };
        let mut shown = Shown::default();
        shown.add(&line("\u{1b}".repeat(5_000)));
        (0..1_000).for_each(|n| shown.add(&line(format!("line {n}"))));
        assert_eq!(shown.lines.len() as u64 + shown.skipped, 1_001);
        assert_eq!(shown.lines[0]["text"].as_str().unwrap().chars().count(), LONGEST);
        assert_eq!(
            (&shown.lines[1]["text"], &shown.lines[1]["stream"]),
            (&json!("line 0"), &json!("stderr"))
        );
        let bytes = serde_json::to_string(&shown.lines).unwrap().len();
        assert!((MOST_BYTES..MOST_BYTES + 7 * LONGEST).contains(&bytes), "{bytes}");
    }
}
