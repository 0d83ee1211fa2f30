//! Forgets what is older than anybody wants it: logs first, then the builds that they were of.

use crate::{
    Config,
    archive::{self, Archive},
    store::{self, Store},
};
use bus::clock;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// For how many days what is kept; for ever where it is none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept {
    pub(crate) logs: Option<u32>,
    pub(crate) builds: Option<u32>,
    /// What webhooks said, for replay.
    pub(crate) bodies: Option<u32>,
    /// That they came, and what followed.
    pub(crate) events: Option<u32>,
    pub(crate) audit: Option<u32>,
    /// What belongs together as one change.
    pub(crate) workflows: Option<u32>,
}

/// Forgets, now and then.
#[derive(Clone)]
pub(crate) struct Retention {
    store: Store,
    archive: Archive,
    kept: Kept,
}

/// Something could not be forgotten; it is tried again with the next round.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Archive(#[from] archive::Error),
}

/// Pause between two rounds.
const EVERY: Duration = Duration::from_mins(10);
/// Pause between two parts of a round: who uses the database comes first.
const BREATH: Duration = Duration::from_millis(50);
const DAY: i64 = 86_400_000;

// === impl Retention ===

impl Retention {
    pub(crate) fn new(config: &Config, store: &Store, archive: &Archive) -> Self {
        Self {
            store: store.clone(),
            archive: archive.clone(),
            kept: config.kept,
        }
    }

    pub(crate) async fn run(self, stopping: CancellationToken) {
        while !stopping.is_cancelled() {
            let pause = match self.round(clock::now_ms()).await {
                Ok(0) => EVERY,
                Ok(forgotten) => {
                    tracing::info!(forgotten, "forgot what was old");
                    BREATH
                }
                Err(error) => {
                    tracing::warn!(error = %chassis::chain(&error), "cannot forget what is old");
                    EVERY
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stopping.cancelled() => {}
            }
        }
    }

    /// Forgets a part of what is old; how much.
    async fn round(&self, now: i64) -> Result<u64, Error> {
        let before = |days: Option<u32>| days.map(|days| now - i64::from(days) * DAY);
        let mut forgotten = 0;
        if let Some(before) = before(self.kept.logs) {
            for (build, segment) in self.store.old_segments(before).await? {
                // The object first: whatever dies, no object is left that nobody knows of.
                self.archive.forget(&segment).await?;
                self.store.forget_segment(build, &segment).await?;
                forgotten += 1;
            }
        }
        if let Some(before) = before(self.kept.builds) {
            forgotten += self.store.forget_builds(before).await?;
        }
        if let Some(before) = before(self.kept.bodies) {
            forgotten += self.store.forget_messages(before).await?;
        }
        if let Some(before) = before(self.kept.events) {
            forgotten += self.store.forget_webhooks(before).await?;
        }
        if let Some(before) = before(self.kept.audit) {
            forgotten += self.store.forget_changes(before).await?;
        }
        if let Some(before) = before(self.kept.workflows) {
            forgotten += self.store.forget_workflows(before).await?;
        }
        forgotten += self.store.forget_workers(now - store::REMEMBERED).await?;
        Ok(forgotten)
    }
}

// === impl Kept ===

impl Kept {
    /// What is wrong with it.
    pub(crate) fn mistake(self) -> Option<&'static str> {
        let shorter = |a: Option<u32>, b: Option<u32>| a.unwrap_or(u32::MAX) < b.unwrap_or(u32::MAX);
        if shorter(self.builds, self.logs) {
            return Some("builds must be kept for at least as long as their logs");
        }
        shorter(self.events, self.bodies).then_some("events must be kept for at least as long as their bodies")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_may_be_forgotten_before_what_depends_on_it() {
        let kept = |logs, builds, bodies, events| Kept {
            logs,
            builds,
            bodies,
            events,
            audit: None,
            workflows: None,
        };
        assert_eq!(kept(Some(30), Some(30), Some(7), Some(90)).mistake(), None);
        assert_eq!(kept(Some(30), None, Some(7), None).mistake(), None);
        assert!(kept(None, Some(30), Some(7), None).mistake().is_some());
        assert!(kept(Some(31), Some(30), Some(7), None).mistake().is_some());
        assert!(kept(Some(1), None, Some(91), Some(90)).mistake().is_some());
    }
}
