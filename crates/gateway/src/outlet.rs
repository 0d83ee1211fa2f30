//! Where deliveries go once they are proved: to their list, or to the spool while Redis is away.

use crate::{
    reject::Rejection,
    spool::{Spool, SpoolError},
};
use arc_swap::ArcSwapOption;
use bus::{Batch, Depth, Error, ErrorKind, Parcel, Sent};
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
    /// When a delivery could not be taken for want of the queue, and why, unless one was since.
    trouble: Arc<Mutex<Option<(Instant, &'static str)>>>,
    /// How much waited when Redis was asked last.
    depth: Arc<ArcSwapOption<Depth>>,
}

/// How long such a delivery is remembered if none comes after it.
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
            depth: Arc::default(),
        }
    }

    pub(crate) const fn has_spool(&self) -> bool {
        self.spool.is_some()
    }

    /// Remembers whether Redis is there, so that nobody waits to find out.
    pub(crate) fn redis_is(&self, there: bool) {
        self.redis_is_there.store(there, Ordering::Relaxed);
    }

    pub(crate) fn redis_is_there(&self) -> bool {
        self.redis_is_there.load(Ordering::Relaxed)
    }

    /// Remembers how much waits, if that is known.
    pub(crate) fn depth_is(&self, depth: Option<Depth>) {
        self.depth.store(depth.map(Arc::new));
    }

    pub(crate) fn depth(&self) -> Option<Arc<Depth>> {
        self.depth.load_full()
    }

    /// Whether deliveries wait on the disk, or would.
    pub(crate) fn is_degraded(&self) -> bool {
        self.spool
            .as_ref()
            .is_some_and(|spool| !self.redis_is_there() || spool.waiting().0 > 0)
    }

    /// Why the last delivery could not be taken, if that was lately.
    pub(crate) fn trouble(&self) -> Option<&'static str> {
        let trouble = *self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.filter(|(at, _)| at.elapsed() < RECENT).map(|(_, word)| word)
    }

    /// Sends a delivery on, or says why it could not be taken.
    pub(crate) async fn send(&self, parcel: Parcel) -> Result<Sent, Rejection> {
        let sent = self.try_send(parcel).await;
        match &sent {
            Ok(Sent::Queued) => self.is_in_trouble(None),
            Ok(Sent::Duplicate(_)) => {} // Nothing had to be taken.
            Err(rejection) => self.cannot_take(rejection),
        }
        sent
    }

    /// Remembers that a delivery could not be taken, if that was for want of the queue.
    pub(crate) fn cannot_take(&self, rejection: &Rejection) {
        if matches!(rejection, Rejection::QueueFull | Rejection::QueueAway) {
            self.is_in_trouble(Some(rejection.word()));
        }
    }

    fn is_in_trouble(&self, why: Option<&'static str>) {
        let trouble = why.map(|word| (Instant::now(), word));
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    /// Sends a delivery on. Behind others that wait on the disk it waits there too, so that it overtakes nobody.
    async fn try_send(&self, parcel: Parcel) -> Result<Sent, Rejection> {
        let Some(spool) = &self.spool else {
            return self.batch.send(parcel).await.map_err(|error| refused(&error));
        };
        if self.redis_is_there() && spool.waiting().0 == 0 {
            match self.batch.send(parcel.clone()).await {
                Err(error) if matches!(error.kind(), ErrorKind::Unreachable | ErrorKind::Unauthorized) => {}
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
                SpoolError::Twice => Rejection::QueueBusy,
                SpoolError::Io(_) => Rejection::QueueAway,
            }
        })
    }
}

fn refused(error: &Error) -> Rejection {
    if matches!(error.kind(), ErrorKind::Busy(_)) {
        return Rejection::QueueBusy; // One of thousands: it is counted, and told with the others.
    }
    tracing::error!(error = %chassis::chain(error), "cannot queue a webhook");
    if let ErrorKind::TooLarge { limit, .. } = error.kind() {
        Rejection::TooLarge("message made of the body", *limit)
    } else if matches!(error.kind(), ErrorKind::Full(_) | ErrorKind::OutOfMemory) {
        Rejection::QueueFull
    } else {
        Rejection::QueueAway
    }
}
