//! Where deliveries go once they are proved: to their list, or to the spool while Redis is away.

use crate::{
    reject::Rejection,
    spool::{Spool, SpoolError},
};
use bus::{Batch, Error, ErrorKind, Parcel, Sent};
use contract::WebhookDelivery;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// Takes deliveries; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Outlet {
    batch: Batch<WebhookDelivery>,
    spool: Option<Spool>,
    /// The longest message that the list takes, in bytes.
    longest: usize,
    /// Whether Redis answered when it was asked last.
    redis_is_there: Arc<AtomicBool>,
}

// === impl Outlet ===

impl Outlet {
    pub(crate) fn new(batch: Batch<WebhookDelivery>, spool: Option<Spool>, longest: usize) -> Self {
        Self {
            batch,
            spool,
            longest,
            redis_is_there: Arc::default(),
        }
    }

    pub(crate) const fn has_spool(&self) -> bool {
        self.spool.is_some()
    }

    /// Remembers whether Redis is there, so that nobody waits to find out.
    pub(crate) fn redis_is(&self, there: bool) {
        self.redis_is_there.store(there, Ordering::Relaxed);
    }

    /// Whether deliveries wait on the disk, or would.
    pub(crate) fn is_degraded(&self) -> bool {
        self.spool
            .as_ref()
            .is_some_and(|spool| !self.is_there() || spool.waiting().0 > 0)
    }

    /// Sends a delivery on. Behind others that wait on the disk it waits there too, so that it overtakes nobody.
    pub(crate) async fn send(&self, parcel: Parcel) -> Result<Sent, Rejection> {
        let Some(spool) = &self.spool else {
            return self.batch.send(parcel).await.map_err(|error| refused(&error));
        };
        if self.is_there() && spool.waiting().0 == 0 {
            match self.batch.send(parcel.clone()).await {
                Err(error) if matches!(error.kind(), ErrorKind::Unreachable | ErrorKind::Unauthorized) => {}
                sent => return sent.map_err(|error| refused(&error)),
            }
        }
        if parcel.payload.len() > self.longest {
            return Err(Rejection::TooLarge(self.longest)); // As the list would say.
        }
        spool.put(parcel).await.map_err(|error| {
            tracing::error!(error = %chassis::chain(&error), "cannot spool a webhook");
            match error {
                SpoolError::Full(_) => Rejection::QueueFull,
                SpoolError::Io(_) => Rejection::QueueAway,
            }
        })
    }

    fn is_there(&self) -> bool {
        self.redis_is_there.load(Ordering::Relaxed)
    }
}

fn refused(error: &Error) -> Rejection {
    tracing::error!(error = %chassis::chain(error), "cannot queue a webhook");
    if let ErrorKind::TooLarge { limit, .. } = error.kind() {
        Rejection::TooLarge(*limit)
    } else if matches!(error.kind(), ErrorKind::Full(_) | ErrorKind::OutOfMemory) {
        Rejection::QueueFull
    } else {
        Rejection::QueueAway
    }
}
