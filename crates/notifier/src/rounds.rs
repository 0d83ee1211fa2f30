//! Rounds of deliveries: take what is due, try it, say how it went.
//!
//! One task takes and settles, many at a time; each attempt is a task of its own. So the cost of Redis is shared by all that
//! is under way, and a receiver that hangs holds nothing but its own attempt.

use crate::{announce::Announcer, deliver::Deliver};
use bus::{Courier, Patience, Report, Taken, Told};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// Takes deliveries to whoever tries them.
pub(crate) struct Rounds {
    pub(crate) courier: Courier,
    pub(crate) patience: Patience,
    /// For attempts that are under way, until they are slow.
    pub(crate) room: Arc<Semaphore>,
    /// How many attempts are under way at most, slow ones included.
    pub(crate) most: usize,
    pub(crate) deliver: Deliver,
    pub(crate) announcer: Announcer,
    /// Told when there is something to deliver.
    pub(crate) kick: Arc<Notify>,
}

/// So many are taken at once.
const BATCH: usize = 128;
/// An attempt that takes longer is slow …
const SLOW: Duration = Duration::from_millis(100);
/// … and of those there may be this many times as many.
pub(crate) const PATIENT: usize = 8;
/// So many times within a lease it is said that an attempt is under way still.
const BEATS: u32 = 4;
/// How long nothing is looked for that nobody has told us of: other notifiers send, too.
const IDLE: Duration = Duration::from_millis(500);
/// How attempts went is said of some at once, but not so long after they have ended.
const GATHERED: Duration = Duration::from_millis(1);
/// Pause while Redis is away.
const PAUSE: Duration = Duration::from_millis(500);

// === impl Rounds ===

impl Rounds {
    /// Delivers until the service stops; attempts that have begun are finished.
    pub(crate) async fn run(self: Arc<Self>, stopping: CancellationToken) {
        let (mut under_way, mut reports) = (JoinSet::new(), Vec::new());
        loop {
            while let Some(ended) = under_way.try_join_next() {
                reports.extend(ended.ok()); // One that broke comes back when its lease ends.
            }
            let stops = stopping.is_cancelled();
            let left = self.most.saturating_sub(under_way.len() + reports.len());
            let room = if stops {
                0
            } else {
                left.min(self.room.available_permits()).min(BATCH)
            };
            let wait = if room == 0 && reports.is_empty() {
                IDLE
            } else {
                self.round(room, &mut reports, &mut under_way).await
            };
            if stops && under_way.is_empty() && reports.is_empty() {
                return;
            }
            tokio::select! {
                biased;
                Some(ended) = under_way.join_next() => {
                    reports.extend(ended.ok());
                    let some = (under_way.len() / 4).min(BATCH);
                    let gathered = gather(&mut under_way, &mut reports, some);
                    timeout(GATHERED, gathered).await.ok();
                }
                () = self.kick.notified(), if !stops => {}
                () = tokio::time::sleep(wait) => {}
                () = stopping.cancelled(), if !stops => {}
            }
        }
    }

    /// Says how attempts went, and begins further ones; how long to wait for more.
    async fn round(
        self: &Arc<Self>,
        room: usize,
        reports: &mut Vec<Report>,
        under_way: &mut JoinSet<Report>,
    ) -> Duration {
        let round = match self.courier.round(reports, room, self.patience).await {
            Ok(round) => round,
            Err(error) if error.is_transient() => {
                tracing::warn!(error = %chassis::chain(&error), "cannot deliver, yet");
                return PAUSE;
            }
            Err(error) => {
                tracing::error!(error = %chassis::chain(&error), "cannot say how deliveries went; they come again");
                reports.clear();
                return PAUSE;
            }
        };
        for taken in round.taken {
            // Now, and not when the attempt comes to run: others are counted with it from here on.
            let permit = Arc::clone(&self.room).try_acquire_owned().ok();
            under_way.spawn(Arc::clone(self).attempt(taken, permit));
        }
        for (report, told) in reports.drain(..).zip(round.told) {
            self.follow_up(&report, told).await;
        }
        round.wait.unwrap_or(IDLE).min(IDLE)
    }

    /// Tries a delivery. One that takes long gives its room to others: receivers that hang, however many, are not to
    /// delay those that work.
    async fn attempt(self: Arc<Self>, taken: Taken, permit: Option<OwnedSemaphorePermit>) -> Report {
        let attempt = self.deliver.attempt(&taken);
        tokio::pin!(attempt);
        if let Ok(report) = timeout(SLOW, &mut attempt).await {
            return report;
        }
        drop(permit);
        self.kick.notify_one();
        tokio::select! {
            report = attempt => report,
            never = self.hold(&taken) => never,
        }
    }

    /// Holds a delivery for as long as it is tried.
    async fn hold(&self, taken: &Taken) -> ! {
        loop {
            tokio::time::sleep(self.patience.lease / BEATS).await;
            match self.courier.hold(&taken.id, taken.token, self.patience.lease).await {
                Ok(true) => {}
                Ok(false) => tracing::warn!(delivery = taken.id, "somebody else has this delivery by now"),
                Err(error) => {
                    tracing::warn!(delivery = taken.id, error = %chassis::chain(&error), "cannot hold a delivery");
                }
            }
        }
    }

    async fn follow_up(&self, report: &Report, told: Told) {
        let (_, to) = report.id.split_once('/').unwrap_or_default();
        match told {
            Told::Settled => {}
            Told::Stale => tracing::warn!(delivery = report.id, "somebody else has this delivery by now"),
            Told::Opened => {
                tracing::warn!(
                    endpoint = to,
                    reason = report.why,
                    "an endpoint is left alone for a while"
                );
            }
            Told::TurnedOff => {
                tracing::error!(endpoint = to, reason = report.why, "an endpoint was turned off");
                self.announcer.announce().await;
            }
        }
    }
}

/// Waits until so many attempts have ended.
async fn gather(under_way: &mut JoinSet<Report>, reports: &mut Vec<Report>, some: usize) {
    while reports.len() < some
        && let Some(ended) = under_way.join_next().await
    {
        reports.extend(ended.ok());
    }
}
