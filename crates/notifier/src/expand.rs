//! One notification, many endpoints: a delivery for each.

use crate::book::Book;
use bus::{Courier, Delivery, Slot};
use chassis::trace;
use contract::{Message as _, Notification};
use std::sync::Arc;
use tokio::sync::Notify;
use tracing::Instrument as _;

/// Turns notifications into deliveries.
#[derive(Clone)]
pub(crate) struct Expand {
    pub(crate) courier: Courier,
    pub(crate) book: Arc<Book>,
    /// Told when there is something to deliver.
    pub(crate) kick: Arc<Notify>,
}

// === impl Expand ===

impl Expand {
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
        let sent = self.send(delivery.message()).await;
        chassis::crash_point("notifier.expanded");
        self.kick.notify_one();
        if let Err(error) = delivery.done_or_again(sent).await {
            tracing::error!(error = %chassis::chain(&error), "cannot settle a notification");
        }
    }

    async fn send(&self, notification: &Notification) -> Result<(), String> {
        let mut notification = notification.clone();
        let incoming = notification.metadata.traceparent.take();
        notification.metadata.traceparent = trace::carry(&tracing::Span::current(), incoming.as_deref());
        let payload = notification.to_json().map_err(|error| error.to_string())?;
        let pages = self.book.pages();
        let wanting = pages
            .all()
            .iter()
            .filter(|endpoint| endpoint.filter.wants(&notification));
        let to: Vec<_> = wanting.map(|endpoint| endpoint.name().to_owned()).collect();
        let event = notification.event_id.to_string();
        let full = self.courier.send(&event, &payload.into(), &to).await;
        for endpoint in full.map_err(|error| chassis::chain(&error))? {
            tracing::error!(
                endpoint,
                "too many deliveries wait for an endpoint: this one is a dead letter"
            );
        }
        Ok(())
    }
}
