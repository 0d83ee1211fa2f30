//! From lists into the database: webhooks become decisions, events become states.

mod events;
mod webhooks;

use bus::{Delivery, LastWords};
use contract::{Message, route::Limits};

pub(crate) use events::Events;
pub(crate) use webhooks::Webhooks;

/// Settles a delivery by what recording it came to.
async fn settle<T: Message>(delivery: Delivery<T>, recorded: Result<(), crate::store::Error>, limits: Limits) {
    let settled = match recorded {
        Ok(()) => delivery.finish("done", "").await,
        Err(error) => {
            let pause = bus::pause(limits.pause, delivery.failures() + 1, "");
            let why = chassis::chain(&error);
            tracing::error!(error = why, "cannot record a message yet");
            delivery
                .retry(
                    pause,
                    "",
                    LastWords {
                        state: "dead",
                        event: String::new(),
                        why,
                    },
                )
                .await
        }
    };
    if let Err(error) = settled {
        tracing::error!(error = %chassis::chain(&error), "cannot settle a message");
    }
}
