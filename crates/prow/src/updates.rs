//! Tells whoever watches what has changed: each prow tells every prow, over Redis, and each its own watchers.
//!
//! A change is announced after it was committed. A channel may lose messages, so a watcher who missed some is told that
//! it did, and reads again.

use crate::store::{Build, Changed, Changes, Deployment, Store};
use bus::{Bus, Heard, clock};
use contract::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, time::Duration};
use tokio::{
    sync::broadcast::{self, error::RecvError},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// What has changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Update {
    pub(crate) kind: Kind,
    pub(crate) id: i64,
    /// Its name for ever.
    pub(crate) uid: String,
    pub(crate) project_id: i64,
    pub(crate) service_id: i64,
    pub(crate) status: String,
    /// 0 to 100.
    pub(crate) progress: i64,
    /// What a build is doing.
    pub(crate) stage: Option<String>,
    /// Grows with each change of it.
    pub(crate) version: i64,
    pub(crate) at: Timestamp,
}

/// What it is that has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    Build,
    Deployment,
}

/// What travels on the channel.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Told {
    Changed(Update),
    /// Something was not told.
    Missed,
}

/// Announces and hears; cheap to clone.
#[derive(Clone)]
pub(crate) struct Updates {
    bus: Bus,
    store: Store,
    channel: String,
    watchers: broadcast::Sender<Told>,
}

/// Updates that may wait for a slow watcher; past it, it is told that it missed some.
const WAITING: usize = 1_024;
/// Changes within this time are told together.
const GATHER: Duration = Duration::from_millis(20);
/// A connection that is there again has subscribed again within this time.
const RESUBSCRIBED: Duration = Duration::from_secs(3);
/// Pause before the channel is listened to again.
const PAUSE: Duration = Duration::from_secs(1);

// === impl Updates ===

impl Updates {
    pub(crate) fn new(bus: &Bus, store: &Store, channel: &str) -> Self {
        Self {
            bus: bus.clone(),
            store: store.clone(),
            channel: channel.to_owned(),
            watchers: broadcast::Sender::new(WAITING),
        }
    }

    /// Everything that is told from now on.
    pub(crate) fn watch(&self) -> broadcast::Receiver<Told> {
        self.watchers.subscribe()
    }

    /// Announces what this prow changes.
    pub(crate) async fn announce(self, stopping: CancellationToken) {
        let mut changes = self.store.watch();
        let mut missed = false;
        loop {
            let first = tokio::select! {
                first = changes.recv() => first,
                () = tokio::time::sleep(PAUSE), if missed => {
                    missed = !self.publish(&Told::Missed).await;
                    continue;
                }
                () = stopping.cancelled() => return,
            };
            tokio::time::sleep(GATHER).await;
            let (changed, lost) = gather(first, &mut changes);
            missed |= lost;
            if missed {
                missed = !self.publish(&Told::Missed).await;
            }
            for change in changed {
                missed |= !self.tell(&change).await;
            }
        }
    }

    /// Hears what any prow announces, and tells those who watch here.
    pub(crate) async fn hear(self, stopping: CancellationToken) {
        while !stopping.is_cancelled() {
            tokio::select! {
                () = self.listen() => {}
                () = stopping.cancelled() => return,
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn listen(&self) {
        let mut channel = match self.bus.subscribe(&self.channel).await {
            Ok(channel) => channel,
            Err(error) => {
                tracing::warn!(error = %chassis::chain(&error), "cannot hear of changes yet");
                return;
            }
        };
        self.pass_on(Told::Missed); // Before this nobody listened.
        let mut again_at = None;
        loop {
            let heard = tokio::select! {
                heard = channel.next() => heard,
                () = at(again_at) => {
                    again_at = None;
                    self.pass_on(Told::Missed);
                    continue;
                }
            };
            match heard {
                Heard::Message(bytes) => {
                    if let Ok(told) = serde_json::from_slice(&bytes) {
                        self.pass_on(told);
                    }
                }
                Heard::Missed(_) => {
                    // It may still be missing some, until it has subscribed again.
                    again_at = Some(Instant::now() + RESUBSCRIBED);
                    self.pass_on(Told::Missed);
                }
                Heard::Ended => return,
            }
        }
    }

    fn pass_on(&self, told: Told) {
        self.watchers.send(told).ok(); // Whoever watches; there may be nobody.
    }

    /// Says what has become of something; false when nobody could be told.
    async fn tell(&self, changed: &Changed) -> bool {
        let update = match changed {
            Changed::Build(uid) => self.store.build(uid).await.map(|build| build.map(Update::from)),
            Changed::Deployment(uid) => {
                let deployment = self.store.deployment_named(uid).await;
                deployment.map(|deployment| deployment.map(Update::from))
            }
        };
        match update {
            Ok(Some(update)) => self.publish(&Told::Changed(update)).await,
            Ok(None) => true,
            Err(_away) => false,
        }
    }

    async fn publish(&self, told: &Told) -> bool {
        let text = serde_json::to_string(told).unwrap_or_default();
        match self.bus.publish(&self.channel, text).await {
            Ok(()) => true,
            Err(error) => {
                tracing::debug!(error = %chassis::chain(&error), "cannot tell of a change");
                false
            }
        }
    }
}

/// At this time, if there is one.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// What has changed until now, each once; and whether something is not among it.
fn gather(first: Result<Changed, RecvError>, more: &mut Changes) -> (BTreeSet<Changed>, bool) {
    let mut changed = BTreeSet::new();
    let mut lost = first.is_err();
    changed.extend(first.ok());
    loop {
        match more.try_recv() {
            Ok(change) => {
                changed.insert(change);
            }
            Err(broadcast::error::TryRecvError::Lagged(_)) => lost = true,
            Err(_none) => return (changed, lost),
        }
    }
}

// === impl Update ===

impl From<Build> for Update {
    fn from(build: Build) -> Self {
        Self {
            kind: Kind::Build,
            id: build.id,
            uid: build.message.id.to_string(),
            project_id: build.project_id,
            service_id: build.service_id,
            status: build.status.to_string(),
            progress: build.progress,
            stage: build.stage,
            version: build.version,
            at: clock::now(),
        }
    }
}

impl From<Deployment> for Update {
    fn from(deployment: Deployment) -> Self {
        Self {
            kind: Kind::Deployment,
            id: deployment.id,
            uid: deployment.message.id.to_string(),
            project_id: deployment.project_id,
            service_id: deployment.service_id,
            status: deployment.status.word().to_owned(),
            progress: deployment.progress,
            stage: None,
            version: deployment.version,
            at: clock::now(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_often_is_told_once_and_what_was_lost_is_said() {
        let (sender, mut changes) = broadcast::channel(2);
        let build = |n: u32| Changed::Build(n.to_string());
        sender.send(build(1)).unwrap();
        sender.send(build(1)).unwrap();
        let (changed, lost) = gather(Ok(build(1)), &mut changes);
        assert_eq!((changed.len(), lost), (1, false));
        for n in 1..=3 {
            sender.send(build(n)).unwrap();
        }
        let (changed, lost) = gather(Ok(build(1)), &mut changes);
        assert_eq!((changed.len(), lost), (3, true), "the first came before, two are kept");
    }
}
