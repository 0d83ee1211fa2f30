//! From lists into the database: webhooks become decisions, events become states.

mod deployments;
mod events;
mod webhooks;
mod workers;

use bus::{Delivery, Settled};
use contract::Message;

pub(crate) use deployments::{Deployments, record};
pub(crate) use events::Events;
pub(crate) use webhooks::Webhooks;
pub(crate) use workers::Workers;

/// Settles a delivery by what recording it came to.
async fn settle<T: Message>(delivery: Delivery<T>, recorded: Result<(), crate::store::Error>) {
    let recorded = recorded.map_err(|error| chassis::chain(&error));
    settled(delivery.done_or_again(recorded).await);
}

fn settled(settled: Result<Settled, bus::Error>) {
    if let Err(error) = settled {
        tracing::error!(error = %chassis::chain(&error), "cannot settle a message");
    }
}
