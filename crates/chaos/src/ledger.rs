//! The harness's own books: what was sent, how it was answered, what must come of it.

use crate::plan::{Item, What};
use contract::Timestamp;
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard},
    time::Duration,
};
use tokio::time::Instant;

/// Everything that was sent.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    books: Mutex<Books>,
}

/// The pages.
#[derive(Debug, Default)]
pub(crate) struct Books {
    /// By commit.
    pub(crate) entries: HashMap<String, Entry>,
    /// Answers that should not have been given.
    pub(crate) wrong_answers: Vec<String>,
    /// How often something had to be sent again because there was no answer, or a 503.
    pub(crate) resent: u64,
    /// When Redis lost what it had promised, as it may: with power, in a failover.
    pub(crate) losses: Vec<Loss>,
    /// When a forgery was stopped for longer than its lease, in ms of the clock.
    pub(crate) pauses: Vec<i64>,
    pub(crate) sent: usize,
    /// How much that is no build was pushed straight onto the list.
    pub(crate) junk: usize,
    /// Cancel requests that nobody answered.
    pub(crate) unanswered_cancels: usize,
    /// How many builds must end.
    pub(crate) builds: usize,
}

/// One build that must come of something.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) item: Item,
    pub(crate) accepted_at: Instant,
    pub(crate) cancel: Option<CancelAnswer>,
    pub(crate) cancelled_at: Option<Instant>,
}

/// A time of which Redis has forgotten what it was told.
#[derive(Clone, Debug)]
pub(crate) struct Loss {
    from: Instant,
    to: Instant,
    from_ms: i64,
    to_ms: i64,
}

/// What the API said to a cancel request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CancelAnswer {
    Ended,
    Signalled,
    TooLate,
    /// There was no clear answer, so it may or may not have been cancelled.
    Unknown,
}

/// An answer may be on its way for so long.
const ON_ITS_WAY: Duration = Duration::from_millis(500);

// === impl Ledger ===

impl Ledger {
    pub(crate) fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap()
    }

    pub(crate) fn accepted(&self, commit: String, item: &Item) {
        let mut books = self.books();
        if item.ends_as().is_none() && item.what != What::Deletion {
            return;
        }
        books.builds += usize::from(item.ends_as().is_some());
        let entry = Entry {
            item: item.clone(),
            accepted_at: Instant::now(),
            cancel: None,
            cancelled_at: None,
        };
        books.entries.insert(commit, entry);
    }

    /// How many builds must end, and how many of them Redis may have forgotten.
    pub(crate) fn expected(&self) -> (usize, usize) {
        let books = self.books();
        let forgotten = |entry: &&Entry| entry.item.ends_as().is_some() && books.may_be_lost(entry.accepted_at);
        let lost = if books.losses.is_empty() {
            0
        } else {
            books.entries.values().filter(forgotten).count()
        };
        (books.builds, lost)
    }

    pub(crate) fn cancelled(&self, commit: &str, answer: CancelAnswer) {
        if let Some(entry) = self.books().entries.get_mut(commit) {
            entry.cancel = Some(answer);
            entry.cancelled_at = Some(Instant::now());
        }
    }

    /// Redis has just lost what it was told within this time.
    pub(crate) fn lost(&self, within: Duration) {
        let within = within + ON_ITS_WAY;
        let (now, now_ms) = (Instant::now(), bus::clock::now_ms());
        let ms = |duration: Duration| i64::try_from(duration.as_millis()).unwrap();
        self.books().losses.push(Loss {
            from: now - within,
            to: now + ON_ITS_WAY,
            from_ms: now_ms - ms(within),
            to_ms: now_ms + ms(ON_ITS_WAY),
        });
    }

    /// A forgery has just been stopped, and others will take over from it.
    pub(crate) fn paused(&self) {
        self.books().pauses.push(bus::clock::now_ms());
    }

    pub(crate) fn wrong(&self, what: String) {
        self.books().wrong_answers.push(what);
    }
}

impl Books {
    /// Whether what was accepted then may have been lost by Redis itself.
    pub(crate) fn may_be_lost(&self, at: Instant) -> bool {
        self.losses.iter().any(|loss| loss.from <= at && at <= loss.to)
    }

    /// Whether Redis forgot something between two times, as prow writes them down.
    pub(crate) fn may_be_forgotten(&self, from: &str, to: &str) -> bool {
        let Some((from, to)) = millis(from, to) else {
            return false;
        };
        self.losses.iter().any(|loss| loss.from_ms <= to && from <= loss.to_ms)
    }

    /// Whether a forgery was stopped between two times, as prow writes them down.
    pub(crate) fn was_paused(&self, from: &str, to: &str) -> bool {
        millis(from, to).is_some_and(|(from, to)| self.pauses.iter().any(|at| (from..=to).contains(at)))
    }
}

fn millis(from: &str, to: &str) -> Option<(i64, i64)> {
    let at = |time: &str| time.parse::<Timestamp>().map(|at| at.as_millis()).ok();
    at(from).zip(at(to))
}
