//! A process that takes messages: registered, beating, watching over its leases.

use crate::{Bus, Delivery, Error, Lease, Slot, Stop, keys::Keys, reaper::Reaper, script};
use contract::{Message, route::List};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// How much later than asked for Redis may let go of a blocked reader.
const LATE: Duration = Duration::from_secs(1);
/// How often a stopped worker looks whether it still holds something.
const IDLE_CHECK: Duration = Duration::from_millis(50);

/// Takes messages of one list, in a fixed number of slots.
#[derive(Debug)]
pub struct Worker<T> {
    pub(crate) bus: Bus,
    pub(crate) keys: Keys,
    pub(crate) list: List<T>,
    pub(crate) name: String,
    pub(crate) leases: Arc<Leases>,
    pub(crate) lost_event: fn(&T) -> String,
    slots: usize,
    beat_now: Notify,
    /// Redis has answered, and our own lease has held, since then. Only after a calm lease is silence a
    /// worker's own fault, and not that of an outage or of a machine that slept.
    calm_since: std::sync::Mutex<Instant>,
}

/// What this process holds, by slot.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    held: std::sync::Mutex<HashMap<usize, Held>>,
}

#[derive(Debug)]
struct Held {
    job: String,
    attempt: u32,
    stop: watch::Sender<Option<Stop>>,
}

impl Bus {
    /// Joins a list as a worker with `slots` slots; `name` is for people, uniqueness is added.
    ///
    /// [`Worker::tend`] must run beside it. `lost_event` makes the event that tells that a message's
    /// workers died too often; empty means none.
    ///
    /// # Errors
    /// When Redis is unreachable.
    pub async fn worker<T: Message>(
        &self,
        list: &List<T>,
        name: &str,
        slots: usize,
        lost_event: fn(&T) -> String,
    ) -> Result<Arc<Worker<T>>, Error> {
        // Random, because a reused name would hide what its predecessor left; ends with the number
        // of slots, so that a reaper knows where to look.
        let name = format!("{name}-{}.{slots}", uuid::Uuid::new_v4().simple());
        let worker = Worker {
            bus: self.clone(),
            keys: Keys::new(list),
            list: list.clone(),
            leases: Arc::default(),
            beat_now: Notify::new(),
            calm_since: std::sync::Mutex::new(Instant::now()),
            name,
            slots,
            lost_event,
        };
        worker.beat().await?; // Registered before anything is taken.
        Ok(Arc::new(worker))
    }
}

// === impl Worker ===

impl<T: Message> Worker<T> {
    /// Its name in Redis, unique to this process.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// One of its slots; each is taken from by one task at a time.
    pub fn slot(&self, n: usize) -> Slot<T> {
        Slot::new(self, n.min(self.slots))
    }

    /// Asks for a beat now, to learn of a cancellation at once.
    pub fn hurry(&self) {
        self.beat_now.notify_one();
    }

    /// Beats, reaps dead workers and promotes delayed messages; after `stop` goes on until nothing is
    /// held any more, then signs off.
    pub fn tend(self: &Arc<Self>, stop: CancellationToken) -> impl Future<Output = ()> + Send + use<T> {
        let worker = Arc::clone(self);
        async move {
            let idle = async {
                stop.cancelled().await;
                // A blocked reader that was dropped may still be given a message by Redis.
                tokio::time::sleep(worker.lease().block() + LATE).await;
                while worker.leases.is_held() {
                    tokio::time::sleep(IDLE_CHECK).await;
                }
            };
            tokio::select! {
                never = worker.keep_beating() => never,
                never = Reaper::new(&worker).run() => never,
                () = idle => {}
            }
            if let Err(error) = worker.leave().await {
                tracing::warn!(error = %error, worker = worker.name, "could not sign off; the lease will run out");
            }
        }
    }

    pub(crate) fn lease(&self) -> Lease {
        self.bus.lease()
    }

    /// Redis was away, or we were.
    pub(crate) fn was_disturbed(&self) {
        *self.calm() = Instant::now();
    }

    /// Whether Redis has answered and our own lease has held for a whole lease: only then the silence of others
    /// means anything.
    pub fn is_calm(&self) -> bool {
        self.calm().elapsed() >= self.lease().length()
    }

    fn calm(&self) -> std::sync::MutexGuard<'_, Instant> {
        self.calm_since
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Strikes itself off, unless something is left in its slots; that will be reaped.
    async fn leave(&self) -> Result<(), Error> {
        let slots = (0..self.slots).map(|n| self.keys.slot(&self.name, n));
        let keys = [self.keys.workers().to_owned()].into_iter().chain(slots).collect();
        let args = vec![self.name.as_str().into(), "1".into()];
        script::run(self.bus.client(), &self.bus.scripts().forget, "leave", keys, args)
            .await
            .map(drop)
    }

    async fn keep_beating(&self) -> ! {
        loop {
            if let Err(error) = self.beat().await {
                self.was_disturbed();
                tracing::warn!(error = %error, worker = self.name, "cannot beat");
            }
            tokio::select! {
                () = tokio::time::sleep(self.lease().beat()) => {}
                () = self.beat_now.notified() => {}
            }
        }
    }

    async fn beat(&self) -> Result<(), Error> {
        let held = self.leases.snapshot();
        let jobs = held.iter().map(|(_, job, _)| job.clone());
        let keys = [self.keys.workers().to_owned()].into_iter().chain(jobs).collect();
        let attempts = held.iter().map(|(_, _, attempt)| attempt.to_string().into());
        let head = [self.name.as_str().into(), self.lease().millis().into()];
        let args = head.into_iter().chain(attempts).collect();
        let answer = script::run(self.bus.client(), &self.bus.scripts().beat, "beat", keys, args).await?;
        if answer.text(0) == "late" {
            self.was_disturbed();
        }
        for (n, (slot, job, attempt)) in held.iter().enumerate() {
            match answer.text(n + 1).as_str() {
                "ok" => {}
                "lost" => self.leases.stop(*slot, job, *attempt, Stop::Lost),
                outcome => self.leases.stop(*slot, job, *attempt, Stop::Asked(outcome.to_owned())),
            }
        }
        Ok(())
    }
}

// === impl Leases ===

impl Leases {
    pub(crate) fn begin(&self, slot: usize, job: String, attempt: u32) -> watch::Receiver<Option<Stop>> {
        let (stop, watcher) = watch::channel(None);
        self.lock().insert(slot, Held { job, attempt, stop });
        watcher
    }

    pub(crate) fn end(&self, slot: usize) {
        self.lock().remove(&slot);
    }

    fn is_held(&self) -> bool {
        !self.lock().is_empty()
    }

    fn snapshot(&self) -> Vec<(usize, String, u32)> {
        self.lock()
            .iter()
            .map(|(slot, lease)| (*slot, lease.job.clone(), lease.attempt))
            .collect()
    }

    /// Stops a lease, unless the slot has moved on since.
    fn stop(&self, slot: usize, job: &str, attempt: u32, why: Stop) {
        let held = self.lock();
        let Some(lease) = held.get(&slot) else { return };
        if lease.job == job && lease.attempt == attempt {
            lease.stop.send_if_modified(|current| {
                let changed = current.as_ref() != Some(&why) && *current != Some(Stop::Lost);
                if changed {
                    *current = Some(why);
                }
                changed
            });
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<usize, Held>> {
        self.held.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// However it ends, its lease is no longer watched.
impl<T> Drop for Delivery<T> {
    fn drop(&mut self) {
        self.leases.end(self.slot);
    }
}
