//! Webhooks that never arrived: asks GitHub what it could not deliver, and to deliver it again.
//!
//! GitHub tries once. It remembers deliveries for three days, and delivers one again when asked:
//! <https://docs.github.com/en/webhooks/testing-and-troubleshooting-webhooks/redelivering-webhooks>. A webhook that comes
//! twice is one event all the same, by its delivery's id; one that comes late takes no newer build's place.

mod choose;
mod github;

use crate::{
    config::Hooks,
    store::{self, Store},
};
use bus::clock;
use choose::{Lost, lost, some_of};
use github::Github;
use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// Looks for what never arrived, now and then.
#[derive(Clone)]
pub(crate) struct Redelivery {
    store: Store,
    github: Github,
    every: Duration,
    sources: HashMap<String, Source>,
}

/// What is known of an app's hook, or of a repository's.
#[derive(Clone, Debug, Default)]
struct Source {
    /// What was to be delivered before then has been dealt with.
    dealt_with: Option<i64>,
    /// What GitHub will not deliver again.
    refused: HashSet<String>,
}

/// It could not be looked at, or asked for; the next round tries again.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Github(#[from] github::Error),
}

/// For how long GitHub remembers a delivery, in milliseconds.
const REMEMBERED: i64 = 72 * 3_600_000;
/// GitHub may list a delivery so much later than it was made, in milliseconds.
const LATE: i64 = 600_000;
/// Most deliveries that one round asks for, of each source.
const MOST: usize = 100;

// === impl Redelivery ===

impl Redelivery {
    /// `None` when it is not configured.
    pub(crate) fn new(hooks: Option<&Hooks>, store: &Store) -> Result<Option<Self>, reqwest::Error> {
        let Some(hooks) = hooks else { return Ok(None) };
        Ok(Some(Self {
            store: store.clone(),
            github: Github::new(hooks)?,
            every: hooks.every,
            sources: HashMap::new(),
        }))
    }

    pub(crate) async fn run(mut self, stopping: CancellationToken) {
        while !stopping.is_cancelled() {
            if let Err(error) = self.round().await {
                tracing::warn!(error = %chassis::chain(&error), "cannot look for webhooks that never arrived");
            }
            tokio::select! {
                () = tokio::time::sleep(self.every) => {}
                () = stopping.cancelled() => {}
            }
        }
    }

    async fn round(&mut self) -> Result<(), store::Error> {
        if !self.store.lease("redelivery", self.every / 2).await? {
            return Ok(());
        }
        for name in self.github.sources() {
            let known = self.sources.get(&name).cloned().unwrap_or_default();
            match self.look_at(&name, known).await {
                Ok(known) => {
                    self.sources.insert(name, known);
                }
                Err(error) => {
                    let error = chassis::chain(&error);
                    tracing::warn!(error, source = name, "cannot look for webhooks that never arrived");
                }
            }
        }
        Ok(())
    }

    /// Asks for what a source could not deliver; what is known of it then.
    async fn look_at(&self, name: &str, mut known: Source) -> Result<Source, Error> {
        let now = clock::now_ms();
        let since = known.dealt_with.unwrap_or_default().max(now - REMEMBERED);
        let attempts = self.github.deliveries(name, since).await?;
        let mut missing = Vec::new();
        for lost in lost(&attempts) {
            // It may have come, whatever GitHub thinks.
            if !known.refused.contains(&lost.guid) && self.store.told_by(&lost.guid).await?.is_none() {
                missing.push(lost);
            }
        }
        // Until GitHub has given up on it, and so have we, it is looked at again.
        let oldest = missing.iter().map(|lost| lost.due_at).min();
        known.dealt_with = Some(oldest.unwrap_or(now).min(now) - LATE);
        known
            .refused
            .retain(|guid| attempts.iter().any(|attempt| attempt.guid == *guid));
        for lost in some_of(&attempts, missing, now).into_iter().take(MOST) {
            self.ask_for(name, &lost, &mut known).await?;
        }
        Ok(known)
    }

    async fn ask_for(&self, source: &str, lost: &Lost, known: &mut Source) -> Result<(), Error> {
        // Before it comes: by that it is known to be late.
        self.store.asks_for(&lost.guid, lost.due_at).await?;
        match self.github.deliver_again(source, lost.newest).await {
            Ok(()) => {
                tracing::info!(
                    delivery.id = lost.guid,
                    source,
                    "asked GitHub to deliver a webhook again"
                );
            }
            Err(error) if error.is_final() => {
                let error = chassis::chain(&error);
                tracing::warn!(
                    delivery.id = lost.guid,
                    source,
                    error,
                    "GitHub will not deliver a webhook again"
                );
                known.refused.insert(lost.guid.clone());
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}
