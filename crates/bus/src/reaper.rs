//! Gives back what dead workers held, and what was put aside and is due. Every worker does it.

use crate::{Bus, Error, Worker, delivery::letter, keys::Keys, script};
use contract::Message;
use fred::{
    interfaces::{ListInterface as _, SortedSetsInterface as _},
    types::Value,
};
use futures_util::TryStreamExt as _;
use std::time::Duration;
use tokio::time::Instant;

const PROMOTE_EVERY: Duration = Duration::from_millis(500);
const PROMOTE_BATCH: u64 = 100;
/// No worker has more slots, whatever its name says.
const MOST_SLOTS: usize = 1_024;
/// How often slots without a registered worker are looked for; it walks the whole key space.
const SWEEP_EVERY: Duration = Duration::from_hours(1);

/// Watches over the other workers of a list.
pub(crate) struct Reaper<'a, T> {
    worker: &'a Worker<T>,
    bus: &'a Bus,
    keys: &'a Keys,
}

// === impl Reaper ===

impl<'a, T: Message> Reaper<'a, T> {
    pub(crate) const fn new(worker: &'a Worker<T>) -> Self {
        Self {
            worker,
            bus: &worker.bus,
            keys: &worker.keys,
        }
    }

    pub(crate) async fn run(self) -> ! {
        let mut reaped = Instant::now();
        // Once at the start, too: what a predecessor left may have nobody else to find it.
        let mut swept = None::<Instant>;
        loop {
            tokio::time::sleep(PROMOTE_EVERY).await;
            let mut round = self.promote().await;
            if round.is_ok() && reaped.elapsed() >= self.worker.lease().reap() {
                reaped = Instant::now();
                round = self.reap_the_dead().await;
            }
            if round.is_ok() && swept.is_none_or(|at| at.elapsed() >= SWEEP_EVERY) {
                swept = Some(Instant::now());
                round = self.sweep_orphans().await;
            }
            if let Err(error) = round {
                self.worker.was_disturbed();
                tracing::warn!(error = %error, list = self.keys.list(), "cannot reap");
            }
        }
    }

    async fn promote(&self) -> Result<(), Error> {
        let args = vec![self.keys.job("").into(), PROMOTE_BATCH.to_string().into()];
        script::run(
            self.bus.client(),
            &self.bus.scripts().promote,
            "promote",
            self.keys.plain(),
            args,
        )
        .await
        .map(drop)
    }

    async fn reap_the_dead(&self) -> Result<(), Error> {
        if chassis::is_switched_off("bus.reap") || !self.worker.is_calm() {
            return Ok(());
        }
        let keys = vec![self.keys.workers().to_owned()];
        let own = vec![self.worker.name.as_str().into()];
        let dead = script::run(self.bus.client(), &self.bus.scripts().dead, "list the dead", keys, own).await?;
        if dead.text(0) == "late" {
            self.worker.was_disturbed();
            return Ok(());
        }
        for worker in dead.texts().iter().skip(1) {
            self.reap(worker).await?;
        }
        Ok(())
    }

    async fn reap(&self, worker: &str) -> Result<(), Error> {
        let slots: usize = worker
            .rsplit('.')
            .next()
            .and_then(|n| n.parse().ok())
            .unwrap_or_default();
        let slots: Vec<_> = (0..slots.min(MOST_SLOTS)).map(|n| self.keys.slot(worker, n)).collect();
        for slot in &slots {
            self.empty(worker, slot).await?;
        }
        let keys = [self.keys.workers().to_owned()].into_iter().chain(slots).collect();
        let args = vec![worker.into(), "".into()];
        script::run(self.bus.client(), &self.bus.scripts().forget, "forget", keys, args)
            .await
            .map(drop)
    }

    /// Takes everything out of one slot.
    async fn empty(&self, worker: &str, slot: &str) -> Result<(), Error> {
        let held: Vec<Value> = self
            .bus
            .client()
            .lrange(slot, 0, -1)
            .await
            .map_err(|source| Error::redis(source, "read slot", slot))?;
        for payload in held.iter().filter_map(Value::as_bytes) {
            // What cannot be parsed has no record; it goes back and is buried by who takes it next.
            let message = T::from_bytes(payload).ok();
            let id = message.as_ref().map(Message::id).unwrap_or_default();
            let event = message.as_ref().map(self.worker.lost_event).unwrap_or_default();
            let limits = &self.worker.list.limits;
            let args = vec![
                worker.into(),
                Value::Bytes(payload.to_vec().into()),
                limits.crashes.to_string().into(),
                event.into(),
                limits.remember.as_secs().to_string().into(),
                letter(&id, "its workers died too often").into(),
            ];
            let keys = self.keys.all(slot, &self.keys.job(&id));
            let answer = script::run(self.bus.client(), &self.bus.scripts().reap, "reap", keys, args).await?;
            tracing::warn!(message.id = id, worker, outcome = answer.text(0), "a worker died");
        }
        Ok(())
    }

    /// Finds slots whose worker is not registered at all, and registers it as long dead.
    async fn sweep_orphans(&self) -> Result<(), Error> {
        use fred::interfaces::ClientLike as _;
        let (pattern, prefix) = self.keys.slots_of_anyone();
        let client = self.bus.client();
        let failed = |source| Error::redis(source, "sweep", &prefix);
        let found: Vec<String> = if client.is_clustered() {
            client
                .scan_cluster_buffered(pattern, Some(500), None)
                .map_ok(key_text)
                .try_collect()
                .await
                .map_err(failed)?
        } else {
            client
                .scan_buffered(pattern, Some(500), None)
                .map_ok(key_text)
                .try_collect()
                .await
                .map_err(failed)?
        };
        for key in found {
            let Some((worker, _)) = key.strip_prefix(&prefix).and_then(|rest| rest.rsplit_once(':')) else {
                continue;
            };
            let absent = fred::types::SetOptions::NX;
            client
                .zadd::<(), _, _>(self.keys.workers(), Some(absent), None, false, false, (0.0, worker))
                .await
                .map_err(failed)?;
        }
        Ok(())
    }
}

fn key_text(key: fred::types::Key) -> String {
    key.into_string().unwrap_or_default()
}
