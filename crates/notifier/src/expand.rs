//! One notification, many endpoints: a delivery for each.

use crate::book::Book;
use bus::{Bus, Courier, Delivery, Slot};
use chassis::{Life, Policy, trace};
use contract::{Message as _, Notification, route::List};
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

/// So many notifications are expanded at a time: each takes a few round trips to Redis.
const AT_ONCE: usize = 4;

// === impl Expand ===

impl Expand {
    /// Expands what comes by this list, until the service stops.
    pub(crate) async fn start(self, bus: &Bus, list: &List<Notification>, life: &Life) -> Result<(), bus::Error> {
        let worker = bus.worker(list, "notifier", AT_ONCE, |_| String::new()).await?;
        life.spawn("expanders", Policy::Essential, worker.tend(life.stopping()));
        for n in 0..AT_ONCE {
            let (worker, expand, stopping) = (Arc::clone(&worker), self.clone(), life.stopping());
            life.keep("expander", move || expand.clone().run(worker.slot(n), stopping.clone()));
        }
        Ok(())
    }

    async fn run(self, mut slot: Slot<Notification>, stopping: tokio_util::sync::CancellationToken) {
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
