//! Hearing of cancellations at once, instead of at the next beat.

use crate::Config;
use bus::{Bus, Canceller, Heard, Subscription, Worker, clock};
use contract::{BuildEvent, BuildQueueMessage, CancelRequest, Failure, Happening, Message as _};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Listens to the cancel channel.
pub(crate) struct Listener {
    bus: Bus,
    channel: String,
    canceller: Canceller,
    worker: Arc<Worker<BuildQueueMessage>>,
}

// === impl Listener ===

impl Listener {
    pub(crate) fn new(bus: &Bus, config: &Config, worker: &Arc<Worker<BuildQueueMessage>>) -> Self {
        let channel = config.cancel_channel.clone();
        let canceller = bus.canceller(&config.builds, &channel);
        Self {
            bus: bus.clone(),
            canceller,
            channel,
            worker: Arc::clone(worker),
        }
    }

    /// Subscribes, which must be done before a build is taken: a channel keeps nothing for latecomers.
    pub(crate) async fn subscribe(self) -> Result<(Self, Subscription), bus::Error> {
        let channel = self.bus.subscribe(&self.channel).await?;
        Ok((self, channel))
    }

    pub(crate) async fn run(self, mut channel: Subscription, stopping: CancellationToken) {
        loop {
            let heard = tokio::select! {
                heard = channel.next() => heard,
                () = stopping.cancelled() => return,
            };
            match heard {
                Heard::Message(text) => self.hear(&text).await,
                Heard::Missed(_) => {}
                Heard::Ended => return,
            }
            self.worker.hurry();
        }
    }

    /// Makes a request durable: whoever published it may not have left a flag. A flag that is there
    /// stays, so this does not go round in circles.
    async fn hear(&self, text: &[u8]) {
        let request: CancelRequest = match serde_json::from_slice(text) {
            Ok(request) => request,
            Err(error) => return tracing::warn!(%error, "a cancel request cannot be understood"),
        };
        let reason = request
            .reason
            .clone()
            .unwrap_or_else(|| "cancelled by a message".to_owned());
        let terminal = request.outcome.terminal();
        let event = Happening::ended(terminal, Failure::new(terminal.as_str(), reason));
        let event = BuildEvent::new(request.build_id.clone(), 0, 0, clock::now(), event);
        if let Err(error) = self
            .canceller
            .cancel(&request, &event.to_json().unwrap_or_default())
            .await
        {
            tracing::warn!(error = %chassis::chain(&error), "cannot record a cancel request");
        }
    }
}
