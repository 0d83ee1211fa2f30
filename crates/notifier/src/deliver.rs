//! One attempt at one delivery.

use crate::{
    client,
    endpoint::Endpoint,
    metrics::Metrics,
    outcome::{Outcome, Schedule},
};
use bus::{Delivery, LastWords, Slot};
use chassis::trace;
use contract::EndpointDelivery;
use reqwest::Client;
use std::sync::Arc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

/// Sends deliveries to their endpoints.
#[derive(Clone)]
pub(crate) struct Deliver {
    client: Client,
    endpoints: Arc<Vec<Endpoint>>,
    schedule: Schedule,
    metrics: Metrics,
}

// === impl Deliver ===

impl Deliver {
    pub(crate) const fn new(
        client: Client,
        endpoints: Arc<Vec<Endpoint>>,
        schedule: Schedule,
        metrics: Metrics,
    ) -> Self {
        Self {
            client,
            endpoints,
            schedule,
            metrics,
        }
    }

    /// Delivers until the service stops; an attempt that has begun is finished.
    pub(crate) async fn run(self, mut slot: Slot<EndpointDelivery>, stopping: CancellationToken) {
        loop {
            let delivery = tokio::select! {
                delivery = slot.take() => delivery,
                () = stopping.cancelled() => return,
            };
            let notification = &delivery.message().notification;
            let span = tracing::info_span!(
                "delivery", notification.id = %notification.event_id, notification.kind = notification.event_type,
                attempt = delivery.failures() + 1, endpoint = delivery.message().endpoint,
            );
            trace::follow(&span, notification.metadata.traceparent.as_deref());
            self.deliver(delivery).instrument(span).await;
        }
    }

    async fn deliver(&self, delivery: Delivery<EndpointDelivery>) {
        let message = delivery.message();
        let Some(endpoint) = self.endpoints.iter().find(|e| e.name() == message.endpoint) else {
            return settled(
                delivery
                    .bury("dead", "", "the endpoint is not configured any more")
                    .await,
            );
        };
        let incoming = message.notification.metadata.traceparent.as_deref();
        let traceparent = trace::carry(&tracing::Span::current(), incoming);
        let now = bus::clock::now_ms() / 1000;
        let Some(signed) = endpoint.sign(message, now, traceparent) else {
            return settled(delivery.bury("dead", "", "the notification cannot be encoded").await);
        };
        let begun = Instant::now();
        let reply = client::send(&self.client, signed).await;
        chassis::crash_point("notifier.delivered");
        let spent = begun.elapsed();
        let outcome = self.schedule.decide(
            reply,
            delivery.failures() + 1,
            &message.notification.event_id.to_string(),
        );
        self.metrics.count(outcome, spent.as_secs_f64());
        tracing::info!(
            ?reply,
            ?outcome,
            host = endpoint.host(),
            duration_ms = spent.as_millis(),
            "tried a delivery"
        );
        settled(match outcome {
            Outcome::Delivered => delivery.finish("done", "").await,
            Outcome::GiveUp => {
                delivery
                    .bury("dead", "", &format!("the receiver refused it: {reply:?}"))
                    .await
            }
            Outcome::Again(after) => {
                let why = format!("the attempts have run out: {reply:?}");
                delivery
                    .retry(
                        after,
                        "",
                        LastWords {
                            state: "dead",
                            event: String::new(),
                            why,
                        },
                    )
                    .await
            }
        });
    }
}

fn settled(result: Result<bus::Settled, bus::Error>) {
    if let Err(error) = result {
        tracing::error!(error = %chassis::chain(&error), "cannot settle a delivery");
    }
}
