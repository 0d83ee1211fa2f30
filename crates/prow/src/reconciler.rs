//! Compares what should be with what is, and repairs what Redis lost.

use crate::{
    Config,
    dispatcher::Kick,
    notice,
    store::{Build, Intent, Store},
    tracker,
};
use bus::{Bus, Producer, clock};
use contract::{BuildEvent, BuildQueueMessage, Failure, Happening, Terminal};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const EVERY: Duration = Duration::from_secs(30);
/// A build that was silent for this long is looked after, in milliseconds.
const SILENT_MS: i64 = 60_000;
/// After this long, in milliseconds, the last event of a build that has ended is taken for lost.
const LOST_MS: i64 = 15 * 60_000;
const BATCH: u32 = 200;

/// Looks after builds that nothing was heard of.
#[derive(Clone)]
pub(crate) struct Reconciler {
    store: Store,
    builds: Producer<BuildQueueMessage>,
    kick: Kick,
}

// === impl Reconciler ===

impl Reconciler {
    pub(crate) fn new(config: &Config, bus: &Bus, store: &Store, kick: &Kick) -> Self {
        Self {
            store: store.clone(),
            builds: bus.producer(&config.builds),
            kick: kick.clone(),
        }
    }

    pub(crate) async fn run(self, stopping: CancellationToken) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = stopping.cancelled() => return,
            }
            if let Err(error) = self.round().await {
                tracing::warn!(error, "cannot reconcile");
            }
        }
    }

    async fn round(&self) -> Result<(), String> {
        let silent = self.store.silent_builds(clock::now_ms() - SILENT_MS, BATCH).await;
        for build in silent.map_err(|error| chassis::chain(&error))? {
            let id = build.message.id.as_str();
            let ended = self
                .builds
                .repair(id, &build.payload)
                .await
                .map_err(|error| chassis::chain(&error))?;
            match ended.as_deref().map(str::parse::<Terminal>) {
                // Its last event may just be late, and says more than the record does.
                Some(Ok(_)) if build.updated_at > clock::now_ms() - LOST_MS => {}
                Some(Ok(terminal)) => self.end(&build, terminal).await?,
                _ => self
                    .store
                    .looked_after(build.id)
                    .await
                    .map_err(|error| chassis::chain(&error))?,
            }
        }
        Ok(())
    }

    /// The record says how it ended, but its last event never came.
    async fn end(&self, build: &Build, status: Terminal) -> Result<(), String> {
        let failure = (status != Terminal::Success).then(|| Failure::new(status.as_str(), "its last event was lost"));
        let event = Happening::Ended {
            status,
            failure,
            image: None,
            stages: Vec::new(),
        };
        let event = BuildEvent::new(
            build.message.id.clone(),
            build.attempt,
            build.sequence,
            clock::now(),
            event,
        );
        let Some(next) = tracker::fold(build, &event) else {
            return Ok(());
        };
        let notice = notice::about(&next, Some(build.status), None);
        let intents: Result<Vec<_>, _> = notice.iter().map(Intent::notification).collect();
        let intents = intents.map_err(|error| chassis::chain(&error))?;
        self.store
            .advance(&next, &intents)
            .await
            .map_err(|error| chassis::chain(&error))?;
        self.kick.now();
        tracing::warn!(build.id = %build.message.id, %status, "a build had ended without its last event");
        Ok(())
    }
}
