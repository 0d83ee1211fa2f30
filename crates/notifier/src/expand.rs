//! One notification, many endpoints: a delivery for each.

use crate::{book::Book, channel::LOG};
use bus::{Bus, Event, Intake};
use chassis::{Life, Policy};
use contract::{Notification, route::List};
use std::{sync::Arc, time::Duration};
use tokio::sync::{Mutex, Notify};
use tokio_util::sync::CancellationToken;

/// Turns notifications into deliveries.
#[derive(Clone)]
pub(crate) struct Expand {
    pub(crate) book: Arc<Book>,
    /// Told when there is something to deliver.
    pub(crate) kick: Arc<Notify>,
}

/// Pause after a failure; what could not be expanded waits where it was.
const PAUSE: Duration = Duration::from_millis(500);

// === impl Expand ===

impl Expand {
    /// Expands what comes by this list, until the service stops.
    pub(crate) async fn start(self, bus: &Bus, list: &List<Notification>, life: &Life) -> Result<(), bus::Error> {
        let intake = bus.intake(list, "notifier").await?;
        life.spawn("intake", Policy::Essential, intake.tend(life.stopping()));
        let (intake, stopping) = (Arc::new(Mutex::new(intake)), life.stopping());
        life.keep("expander", move || {
            self.clone().run(Arc::clone(&intake), stopping.clone())
        });
        Ok(())
    }

    async fn run(self, intake: Arc<Mutex<Intake<Notification>>>, stopping: CancellationToken) {
        let mut intake = intake.lock().await;
        while let Some(events) = stopping.run_until_cancelled(intake.next()).await {
            chassis::crash_point("notifier.read");
            let events: Vec<_> = events.into_iter().map(|event| self.addressed(event)).collect();
            if let Err(error) = Self::send(&intake, &events).await {
                tracing::warn!(error = %chassis::chain(&error), "notifications cannot be expanded, yet");
                tokio::time::sleep(PAUSE).await;
            }
            chassis::crash_point("notifier.expanded");
            self.kick.notify_one();
        }
    }

    /// A notification and the endpoints that want it.
    fn addressed(&self, mut event: Event<Notification>) -> (Event<Notification>, Vec<String>) {
        event.about.clone_from(&event.message.resource.uid);
        if event.message.event_type == LOG {
            // Lines are in a line of their own: they keep back nothing that matters.
            event.about.push_str("/log");
            event.brief = true;
        }
        let pages = self.book.pages();
        let wanting = pages.all().iter().filter(|endpoint| endpoint.wants(&event.message));
        let to = wanting.map(|endpoint| endpoint.name().to_owned()).collect();
        (event, to)
    }

    async fn send(
        intake: &Intake<Notification>,
        events: &[(Event<Notification>, Vec<String>)],
    ) -> Result<(), bus::Error> {
        match intake.send(events).await {
            Ok(full) => {
                tell(&full);
                Ok(())
            }
            Err(error) if error.is_transient() => Err(error),
            // One that cannot be expanded, whatever it is, is not to keep back all others.
            Err(_) => {
                for event in events {
                    match intake.send(std::slice::from_ref(event)).await {
                        Ok(full) => tell(&full),
                        Err(error) if error.is_transient() => return Err(error),
                        Err(error) => intake.bury(&event.0, &chassis::chain(&error)).await?,
                    }
                }
                Ok(())
            }
        }
    }
}

fn tell(full: &[String]) {
    for endpoint in full {
        tracing::error!(
            endpoint,
            "too many deliveries wait for an endpoint: this one is a dead letter"
        );
    }
}
