//! One attempt at one message: held by a lease until it is settled.

use crate::{
    Bus, Error, Holders,
    keys::Keys,
    script::{self, Answer},
    worker::Leases,
};
use contract::Message;
use fred::types::{Value, scripts::Script};
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

/// How often settling is tried again while Redis is away.
const SETTLE_PAUSE: Duration = Duration::from_millis(500);

/// Why the work on a message must stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Somebody asked for it; the outcome it should have, such as `cancelled`.
    Asked(String),
    /// The lease is gone: another worker has it, or it has ended. Do not report.
    Lost,
}

/// What became of a message that was settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It ended in this state.
    Ended(String),
    /// It will come again.
    Again,
    /// It was not ours any more; nothing was changed. The state it is in.
    Stale(String),
}

/// How a message ends when its attempts have run out.
#[derive(Clone, Debug)]
pub struct LastWords {
    /// The state it ends in.
    pub state: &'static str,
    /// The event that tells it, or empty.
    pub event: String,
    /// Why, for the dead-letter list; empty keeps it off that list.
    pub why: String,
}

/// A message that is ours until it is settled, by exactly one of the methods that consume it.
///
/// Dropped without being settled, it stays leased until this slot takes again (and adopts it) or
/// this worker is found dead.
#[derive(Debug)]
#[must_use = "a delivery must be settled"]
pub struct Delivery<T> {
    pub(crate) message: T,
    pub(crate) id: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) attempt: u32,
    pub(crate) failures: u32,
    pub(crate) crashes: u32,
    pub(crate) stop: watch::Receiver<Option<Stop>>,
    pub(crate) slot_key: String,
    pub(crate) slot: usize,
    pub(crate) limits: contract::route::Limits,
    pub(crate) bus: Bus,
    pub(crate) keys: Keys,
    pub(crate) leases: Arc<Leases>,
}

// === impl Delivery ===

impl<T: Message> Delivery<T> {
    /// What was sent.
    pub const fn message(&self) -> &T {
        &self.message
    }

    /// Which attempt this is, from 1; grows with every attempt, for whatever reason.
    pub const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// How many attempts have failed.
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// How long it has been put aside in all: at least so long ago it was taken for the first time.
    pub fn waited(&self) -> Duration {
        (1..=self.failures)
            .map(|n| crate::pause(self.limits.pause, n, &self.id))
            .sum()
    }

    /// How many workers have died over it.
    pub const fn crashes(&self) -> u32 {
        self.crashes
    }

    /// Tells when the work must stop, and why. Any number may watch.
    pub fn stop(&self) -> watch::Receiver<Option<Stop>> {
        self.stop.clone()
    }

    /// Whether it is still ours: to be asked before an effect that others see and that cannot be undone.
    ///
    /// Waits while Redis is away. The answer may be out of date a moment later; it makes the window small,
    /// it does not close it.
    pub async fn is_ours(&self) -> bool {
        let holders = Holders {
            bus: self.bus.clone(),
            keys: self.keys.clone(),
        };
        loop {
            match holders.running(&self.id).await {
                // While nobody has taken it over it is ours, even if our lease has run out meanwhile.
                Ok((attempt, slot, _)) => return attempt == self.attempt && slot == self.slot_key,
                Err(error) => tracing::warn!(message.id = self.id, error = %error, "cannot tell whose it is"),
            }
            tokio::time::sleep(SETTLE_PAUSE).await;
        }
    }

    /// Ends it in `state`, telling `event` (unless empty) in the same step.
    ///
    /// Keeps trying while Redis is away: the result is not forgotten.
    ///
    /// # Errors
    /// Only for what trying again cannot cure.
    pub async fn finish(self, state: &str, event: &str) -> Result<Settled, Error> {
        self.end(state, event, "").await
    }

    /// Ends it in `state` and keeps it on the dead-letter list with the reason.
    ///
    /// # Errors
    /// As [`Self::finish`].
    pub async fn bury(self, state: &str, event: &str, why: &str) -> Result<Settled, Error> {
        let why = letter(&self.id, why);
        self.end(state, event, &why).await
    }

    /// Puts it aside for `after`, telling `event`; at its last failure it ends with `last` instead.
    ///
    /// # Errors
    /// As [`Self::finish`].
    pub async fn retry(self, after: Duration, event: &str, last: LastWords) -> Result<Settled, Error> {
        let why = if last.why.is_empty() {
            String::new()
        } else {
            letter(&self.id, &last.why)
        };
        let args = vec![
            after.as_millis().to_string().into(),
            self.limits.attempts.to_string().into(),
            self.id.as_str().into(),
            event.into(),
            last.state.into(),
            last.event.into(),
            self.limits.remember.as_secs().to_string().into(),
            why.into(),
        ];
        self.settle(&self.bus.scripts().retry, "retry", args).await
    }

    /// Settles a message that is simply done, or not yet: then it comes again after its list's pause, and
    /// becomes a dead letter when its attempts have run out. The error says why.
    ///
    /// # Errors
    /// As [`Self::finish`].
    pub async fn done_or_again(self, done: Result<(), String>) -> Result<Settled, Error> {
        let Err(why) = done else {
            return self.finish("done", "").await;
        };
        tracing::warn!(message.id = self.id, reason = why, "not done yet");
        let pause = crate::pause(self.limits.pause, self.failures + 1, &self.id);
        let last = LastWords {
            state: "dead",
            event: String::new(),
            why,
        };
        self.retry(pause, "", last).await
    }

    /// Gives it back, first in line, without counting a failure; tells `event` unless empty.
    ///
    /// # Errors
    /// As [`Self::finish`].
    pub async fn release(self, event: &str) -> Result<Settled, Error> {
        let args = vec![event.into(), self.limits.remember.as_secs().to_string().into()];
        self.settle(&self.bus.scripts().release, "release", args).await
    }

    async fn end(self, state: &str, event: &str, why: &str) -> Result<Settled, Error> {
        let ttl = self.limits.remember.as_secs().to_string();
        let args = vec![state.into(), event.into(), ttl.into(), why.into()];
        self.settle(&self.bus.scripts().finish, "finish", args).await
    }

    async fn settle(&self, script: &Script, operation: &'static str, args: Vec<Value>) -> Result<Settled, Error> {
        let keys = self.keys.all(&self.slot_key, &self.keys.job(&self.id));
        let head = [
            Value::Bytes(self.payload.clone().into()),
            self.attempt.to_string().into(),
        ];
        let args: Vec<Value> = head.into_iter().chain(args).collect();
        let answer = loop {
            match script::run(self.bus.client(), script, operation, keys.clone(), args.clone()).await {
                Ok(answer) => break answer,
                Err(error) if error.is_transient() => {
                    tracing::warn!(message.id = self.id, error = %error, "cannot settle yet");
                    tokio::time::sleep(SETTLE_PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        };
        self.leases.end(self.slot);
        settled(&answer)
    }
}

/// The first line of a dead letter: which message, and why, as JSON.
pub(crate) fn letter(id: &str, why: &str) -> String {
    serde_json::json!({"id": id, "reason": why}).to_string()
}

fn settled(answer: &Answer) -> Result<Settled, Error> {
    match answer.text(0).as_str() {
        "done" => Ok(Settled::Ended(answer.text(1))),
        "delayed" | "released" => Ok(Settled::Again),
        "stale" => Ok(Settled::Stale(answer.text(1))),
        _ => Err(answer.unexpected()),
    }
}
