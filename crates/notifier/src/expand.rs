//! One notification, many endpoints: one delivery each.

use crate::endpoint::Endpoint;
use bus::{Delivery, Producer, Slot};
use chassis::trace;
use contract::{EndpointDelivery, Notification};
use std::sync::Arc;
use tracing::Instrument as _;

/// Turns notifications into deliveries.
#[derive(Clone)]
pub(crate) struct Expand {
    producer: Producer<EndpointDelivery>,
    endpoints: Arc<Vec<Endpoint>>,
}

// === impl Expand ===

impl Expand {
    pub(crate) const fn new(producer: Producer<EndpointDelivery>, endpoints: Arc<Vec<Endpoint>>) -> Self {
        Self { producer, endpoints }
    }

    /// Expands until the service stops.
    pub(crate) async fn run(self, mut slot: Slot<Notification>, stopping: tokio_util::sync::CancellationToken) {
        loop {
            let delivery = tokio::select! {
                delivery = slot.take() => delivery,
                () = stopping.cancelled() => return,
            };
            let notification = delivery.message();
            let span = tracing::info_span!("expand", notification.id = %notification.event_id);
            trace::follow(&span, notification.metadata.traceparent.as_deref());
            self.expand(delivery).instrument(span).await;
        }
    }

    async fn expand(&self, delivery: Delivery<Notification>) {
        let mut notification = delivery.message().clone();
        let incoming = notification.metadata.traceparent.take();
        notification.metadata.traceparent = trace::carry(&tracing::Span::current(), incoming.as_deref());
        let mut failed = None;
        for endpoint in self.endpoints.iter() {
            let sent = self
                .producer
                .send(&EndpointDelivery::new(endpoint.name(), notification.clone()))
                .await;
            chassis::crash_point("notifier.expanded");
            failed = sent.err().or(failed);
        }
        let expanded = failed.map_or(Ok(()), |error| Err(chassis::chain(&error)));
        if let Err(error) = delivery.done_or_again(expanded).await {
            tracing::error!(error = %chassis::chain(&error), "cannot settle a notification");
        }
    }
}
