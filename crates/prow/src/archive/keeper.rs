//! Sees to it that every log that grows is stored by some prow.

use super::Archive;
use crate::store::{Build, OpenLog, Store};
use chassis::{Life, Policy};
use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Stores logs; cheap to clone.
#[derive(Clone)]
pub(crate) struct Keeper {
    archive: Archive,
    store: Store,
    life: Life,
    /// Numbers of the builds whose logs this prow stores.
    ours: Arc<Mutex<HashSet<i64>>>,
}

/// Pause after a failure, and between two looks for logs that nobody stores.
const PAUSE: Duration = Duration::from_secs(2);

// === impl Keeper ===

impl Keeper {
    pub(crate) fn new(archive: &Archive, store: &Store, life: &Life) -> Self {
        Self {
            archive: archive.clone(),
            store: store.clone(),
            life: life.clone(),
            ours: Arc::default(),
        }
    }

    /// Looks for logs that nobody stores, for their prow has died.
    pub(crate) async fn run(self) {
        let stopping = self.life.stopping();
        while !stopping.is_cancelled() {
            match self.store.free_logs().await {
                Ok(logs) => logs.into_iter().for_each(|log| self.take(log)),
                Err(error) => tracing::warn!(error = %chassis::chain(&error), "cannot look for logs"),
            }
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = stopping.cancelled() => {}
            }
        }
    }

    /// Stores the log of a build that has started, until it is complete. Repeating is harmless.
    pub(crate) fn follow(&self, build: &Build) {
        if !build.log_done && build.started_at.is_some() {
            self.take(OpenLog {
                row: build.id,
                id: build.message.id.clone(),
            });
        }
    }

    fn take(&self, log: OpenLog) {
        if !self.ours().insert(log.row) {
            return;
        }
        let keeper = self.clone();
        self.life.spawn("log archive", Policy::BestEffort, async move {
            let stopping = keeper.life.stopping();
            tokio::select! {
                () = keeper.drain(&log) => {}
                () = stopping.cancelled() => {}
            }
            keeper.ours().remove(&log.row);
        });
    }

    fn ours(&self) -> MutexGuard<'_, HashSet<i64>> {
        self.ours.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn drain(&self, log: &OpenLog) {
        while let Err(error) = self.archive.drain(log).await {
            tracing::warn!(build.id = %log.id, error = %chassis::chain(&error), "cannot store a log yet");
            tokio::time::sleep(PAUSE).await;
        }
    }
}
