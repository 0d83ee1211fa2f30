//! Where deliveries go once they are proved: to their list, or to the spool while Redis is away.

use crate::{
    reject::Rejection,
    spool::{Spool, SpoolError},
};
use bus::{Batch, Error, ErrorKind, Parcel, Sent};
use contract::WebhookDelivery;
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;

/// Takes deliveries; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Outlet {
    batch: Batch<WebhookDelivery>,
    spool: Option<Spool>,
    /// The longest message that the list takes, in bytes.
    longest: usize,
    /// Whether Redis answered when it was asked last.
    redis_is_there: Arc<AtomicBool>,
    /// Since when deliveries cannot be taken, and why, as the last of them was told.
    trouble: Arc<Mutex<Option<(Instant, &'static str)>>>,
}

/// How long nobody is told of a delivery that could not be taken, if none has come since.
const RECENT: Duration = Duration::from_secs(30);

// === impl Outlet ===

impl Outlet {
    pub(crate) fn new(batch: Batch<WebhookDelivery>, spool: Option<Spool>, longest: usize) -> Self {
        Self {
            batch,
            spool,
            longest,
            redis_is_there: Arc::default(),
            trouble: Arc::default(),
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

    /// Why the last delivery could not be taken, if that was lately.
    pub(crate) fn trouble(&self) -> Option<&'static str> {
        let trouble = *self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.filter(|(at, _)| at.elapsed() < RECENT).map(|(_, word)| word)
    }

    /// Sends a delivery on, or says why it could not be taken.
    pub(crate) async fn send(&self, parcel: Parcel) -> Result<Sent, Rejection> {
        let sent = self.try_send(parcel).await;
        let trouble = match &sent {
            Err(error) if !error.is_violation() => Some((Instant::now(), error.word())),
            Ok(_) | Err(_) => None,
        };
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
        sent
    }

    /// Sends a delivery on. Behind others that wait on the disk it waits there too, so that it overtakes nobody.
    async fn try_send(&self, parcel: Parcel) -> Result<Sent, Rejection> {
        let Some(spool) = &self.spool else {
            return self.batch.send(parcel).await.map_err(|error| refused(&error));
        };
        if self.is_there() && spool.waiting().0 == 0 {
            match self.batch.send(parcel.clone()).await {
                Err(error) if is_away(&error) => {}
                sent => return sent.map_err(|error| refused(&error)),
            }
        }
        if parcel.payload.len() > self.longest {
            return Err(Rejection::TooLarge("message made of the body", self.longest)); // As the list would say.
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

/// Whether a delivery may wait on the disk for what was in its way.
const fn is_away(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Unreachable | ErrorKind::Unauthorized | ErrorKind::Busy(_)
    )
}

fn refused(error: &Error) -> Rejection {
    tracing::error!(error = %chassis::chain(error), "cannot queue a webhook");
    if let ErrorKind::TooLarge { limit, .. } = error.kind() {
        Rejection::TooLarge("message made of the body", *limit)
    } else if matches!(error.kind(), ErrorKind::Full(_) | ErrorKind::OutOfMemory) {
        Rejection::QueueFull
    } else if matches!(error.kind(), ErrorKind::Busy(_)) {
        Rejection::Busy
    } else {
        Rejection::QueueAway
    }
}
