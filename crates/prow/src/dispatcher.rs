//! Carries intents from the database to Redis, idempotently, in order.

use crate::{
    Config,
    notice::links::Links,
    stop::stop,
    store::{Intent, Route, Store},
};
use bus::{Bus, Canceller, Error, ErrorKind, Parcel, Producer};
use contract::{BuildQueueMessage, CancelRequest, DeploymentQueueMessage, Notification};
use std::{sync::Arc, time::Duration};
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

/// How often the outbox is looked at without being asked.
const IDLE: Duration = Duration::from_secs(1);
/// Pause after a failure.
const PAUSE: Duration = Duration::from_millis(500);
const BATCH: u32 = 100;
/// The longest that one batch is carried: other prows cannot carry it meanwhile.
const TURN: Duration = Duration::from_secs(10);

/// Carries intents.
#[derive(Clone)]
pub(crate) struct Dispatcher {
    store: Store,
    builds: Producer<BuildQueueMessage>,
    notifications: Producer<Notification>,
    deployments: Producer<DeploymentQueueMessage>,
    canceller: Canceller,
    links: Links,
    kick: Kick,
}

/// Wakes the dispatcher.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kick(Arc<Notify>);

// === impl Kick ===

impl Kick {
    /// There is something to carry.
    pub(crate) fn now(&self) {
        self.0.notify_one();
    }
}

// === impl Dispatcher ===

impl Dispatcher {
    pub(crate) fn new(config: &Config, bus: &Bus, store: &Store) -> Self {
        Self {
            store: store.clone(),
            builds: bus.producer(&config.builds),
            notifications: bus.producer(&config.notifications),
            deployments: bus.producer(&config.deployments),
            canceller: bus.canceller(&config.builds, &config.cancel_channel),
            links: config.links.clone(),
            kick: Kick::default(),
        }
    }

    pub(crate) fn kick(&self) -> Kick {
        self.kick.clone()
    }

    pub(crate) async fn run(self, stopping: CancellationToken) {
        while !stopping.is_cancelled() {
            let pause = match self.round().await {
                Ok(0) => IDLE,
                Ok(_) => Duration::ZERO,
                Err(error) => {
                    tracing::warn!(error, "cannot dispatch yet");
                    PAUSE
                }
            };
            if pause == Duration::ZERO {
                continue;
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.kick.0.notified() => {}
                () = stopping.cancelled() => {}
            }
        }
    }

    /// Carries one batch of each route, so that a full list does not hold up the other; how many.
    async fn round(&self) -> Result<usize, String> {
        let builds = self.batch(Route::Builds).await;
        let notifications = self.batch(Route::Notifications).await;
        let cancels = self.batch(Route::Cancels).await;
        let deployments = self.batch(Route::Deployments).await;
        Ok(builds? + notifications? + cancels? + deployments?)
    }

    async fn batch(&self, route: Route) -> Result<usize, String> {
        let batch = self.store.intents(route, BATCH).await.map_err(|e| chassis::chain(&e))?;
        let mut carried = Vec::with_capacity(batch.intents.len());
        let mut failed = None;
        let began = Instant::now();
        for intent in batch.intents.iter().take_while(|_| began.elapsed() < TURN) {
            match self.carry(route, intent).await {
                Ok(()) => {
                    chassis::crash_point("prow.sent");
                    carried.push(intent.id);
                }
                Err(error) => {
                    failed = Some(chassis::chain(&error));
                    break;
                }
            }
        }
        batch.sent(&carried).await.map_err(|error| chassis::chain(&error))?;
        failed.map_or(Ok(carried.len()), Err)
    }

    async fn carry(&self, route: Route, intent: &Intent) -> Result<(), Error> {
        let linked = (route == Route::Notifications)
            .then(|| self.links.add(&intent.payload))
            .flatten();
        let parcel = Parcel {
            id: intent.message_id.clone(),
            payload: linked.unwrap_or_else(|| intent.payload.clone()).into(),
            lane: intent.priority.as_str().to_owned(),
            once: None,
            copy_to: None,
        };
        let sent = match route {
            Route::Builds => self.builds.send_parcel(parcel).await,
            Route::Notifications => self.notifications.send_parcel(parcel).await,
            Route::Deployments => self.deployments.send_parcel(parcel).await,
            Route::Cancels => return self.cancel(intent).await,
        };
        match sent {
            Ok(_) => Ok(()),
            Err(error) if matches!(error.kind(), ErrorKind::TooLarge { .. }) => {
                // It will never fit; holding up everything behind it would help nobody.
                tracing::error!(message.id = intent.message_id, error = %error, "a message can never be sent");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Stops a build, wherever it is. One that is not queued yet never will be.
    async fn cancel(&self, intent: &Intent) -> Result<(), Error> {
        let Ok(request) = serde_json::from_str::<CancelRequest>(&intent.payload) else {
            tracing::error!(
                message.id = intent.message_id,
                "an intent to stop a build cannot be read"
            );
            return Ok(());
        };
        stop(&self.canceller, &request).await.map(drop)
    }
}
