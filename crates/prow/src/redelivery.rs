//! Webhooks that never arrived: asks GitHub what it could not deliver, and to deliver it again.
//!
//! GitHub tries once. It remembers deliveries for three days, and delivers one again when asked:
//! <https://docs.github.com/en/webhooks/testing-and-troubleshooting-webhooks/redelivering-webhooks>. A webhook that comes
//! twice is one event all the same, by its delivery's id.

mod choose;
mod github;

use crate::{
    config::Hooks,
    store::{self, Store},
};
use bus::clock;
use choose::choose;
use github::Github;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Looks for what never arrived, now and then.
#[derive(Clone)]
pub(crate) struct Redelivery {
    store: Store,
    github: Github,
    every: Duration,
    /// Everything was looked at; from now on what is new is enough.
    has_seen_all: bool,
}

/// It could not be looked at, or asked for; the next round tries again.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Github(#[from] github::Error),
}

/// For how long GitHub remembers a delivery.
const REMEMBERED: Duration = Duration::from_hours(72);
/// Each is asked for in three rounds at most; so what is older than so many rounds, and than this, was dealt with.
const ROUNDS: u32 = 12;
const RECENT: Duration = Duration::from_hours(1);
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
            has_seen_all: false,
        }))
    }

    pub(crate) async fn run(mut self, stopping: CancellationToken) {
        while !stopping.is_cancelled() {
            match self.round().await {
                Ok(()) => self.has_seen_all = true,
                Err(error) => {
                    tracing::warn!(error = %chassis::chain(&error), "cannot look for webhooks that never arrived");
                }
            }
            tokio::select! {
                () = tokio::time::sleep(self.every) => {}
                () = stopping.cancelled() => {}
            }
        }
    }

    async fn round(&self) -> Result<(), Error> {
        if !self.store.lease("redelivery", self.every / 2).await? {
            return Ok(());
        }
        let back = if self.has_seen_all {
            (self.every * ROUNDS).max(RECENT).min(REMEMBERED)
        } else {
            REMEMBERED
        };
        let now = clock::now_ms();
        let since = now - i64::try_from(back.as_millis()).unwrap_or(i64::MAX);
        for source in self.github.sources() {
            let deliveries = self.github.deliveries(source, since).await?;
            for attempt in choose(&deliveries, now).into_iter().take(MOST) {
                if self.store.told_by(&attempt.guid).await?.is_some() {
                    continue; // It came, whatever GitHub thinks.
                }
                self.github.deliver_again(source, attempt.id).await?;
                tracing::info!(
                    delivery.id = attempt.guid,
                    event = attempt.event,
                    source,
                    "asked GitHub to deliver a webhook again"
                );
            }
        }
        Ok(())
    }
}
