//! One slot: takes one message at a time, and adopts what an ambiguous error left behind.

use crate::{
    Bus, Delivery, Error, Lease, Worker,
    delivery::letter,
    keys::Keys,
    script::{self, Answer},
    unfit,
    wait::{ERROR_PAUSE, Wait},
    worker::Leases,
};
use contract::{Message, route::List};
use fred::types::Value;
use std::sync::Arc;

/// One slot of a worker; has a connection of its own, because waiting blocks it.
#[derive(Debug)]
pub struct Slot<T> {
    bus: Bus,
    keys: Keys,
    list: List<T>,
    worker: String,
    leases: Arc<Leases>,
    lost_event: fn(&T) -> String,
    n: usize,
    key: String,
    turn: u64,
    wait: Wait,
}

/// What became of a message that was picked.
enum Claim<T> {
    Run(Box<Delivery<T>>),
    Next,
    Paused,
}

// === impl Slot ===

impl<T: Message> Slot<T> {
    pub(crate) fn new(worker: &Worker<T>, n: usize) -> Self {
        Self {
            bus: worker.bus.clone(),
            keys: worker.keys.clone(),
            list: worker.list.clone(),
            worker: worker.name.clone(),
            leases: Arc::clone(&worker.leases),
            lost_event: worker.lost_event,
            key: worker.keys.slot(&worker.name, n),
            turn: 0,
            wait: Wait::new(&worker.bus, worker.keys.list()),
            n,
        }
    }

    /// The next message, whenever there is one; bad ones are buried on the way.
    ///
    /// Dropping the future is safe: what Redis moved meanwhile is adopted by the next call, or
    /// reaped. Errors are logged and waited out, so this only ends with a message.
    pub async fn take(&mut self) -> Delivery<T> {
        loop {
            match self.try_take().await {
                Ok(Some(delivery)) => return delivery,
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(error = %error, list = self.keys.list(), "cannot take");
                    tokio::time::sleep(ERROR_PAUSE).await;
                }
            }
        }
    }

    /// One round: pick, else block for a while.
    async fn try_take(&mut self) -> Result<Option<Delivery<T>>, Error> {
        let payload = match self.pick().await? {
            Some(payload) => payload,
            None => match self.wait.taken(&self.key).await? {
                Some(payload) => payload,
                None => return Ok(None),
            },
        };
        match self.claim(payload).await? {
            Claim::Run(delivery) => Ok(Some(*delivery)),
            Claim::Next => Ok(None),
            Claim::Paused => {
                tokio::time::sleep(self.lease().block()).await;
                Ok(None)
            }
        }
    }

    fn lease(&self) -> Lease {
        self.bus.lease()
    }

    async fn pick(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let keys = self.keys.all(&self.key, &self.key);
        let order = self.keys.order(self.turn).into_iter().map(Value::from).collect();
        self.turn = self.turn.wrapping_add(1);
        let answer = script::run(self.bus.client(), &self.bus.scripts().pick, "pick", keys, order).await?;
        Ok(answer.into_bytes())
    }

    async fn claim(&self, payload: Vec<u8>) -> Result<Claim<T>, Error> {
        let message = match unfit::read(&self.list, &payload) {
            Ok(message) => message,
            Err(why) => {
                unfit::bury(&self.bus, &self.keys, &self.key, &payload, &why, None).await?;
                return Ok(Claim::Next);
            }
        };
        let id = message.id();
        let job = self.keys.job(&id);
        let args = vec![
            Value::Bytes(payload.clone().into()),
            self.worker.as_str().into(),
            self.list.limits.remember.as_secs().to_string().into(),
            id.as_str().into(),
            (self.lost_event)(&message).into(),
            letter(&id, "the worker that ran it broke too often").into(),
        ];
        let keys = self.keys.all(&self.key, &job);
        let answer = script::run(self.bus.client(), &self.bus.scripts().claim, "claim", keys, args).await?;
        match answer.text(0).as_str() {
            "run" => Ok(Claim::Run(Box::new(self.delivery(message, id, payload, &answer, job)))),
            "paused" => Ok(Claim::Paused),
            "gone" => Ok(Claim::Next),
            "ended" | "duplicate" => {
                tracing::debug!(message.id = id, because = answer.text(0), "dropped a copy");
                Ok(Claim::Next)
            }
            _ => Err(answer.unexpected()),
        }
    }

    fn delivery(&self, message: T, id: String, payload: Vec<u8>, answer: &Answer, job: String) -> Delivery<T> {
        let count = |n| u32::try_from(answer.number(n)).unwrap_or(u32::MAX);
        Delivery {
            attempt: count(1),
            failures: count(2),
            crashes: count(3),
            stop: self.leases.begin(self.n, job, count(1)),
            slot_key: self.key.clone(),
            slot: self.n,
            limits: self.list.limits,
            bus: self.bus.clone(),
            keys: self.keys.clone(),
            leases: Arc::clone(&self.leases),
            message,
            id,
            payload,
        }
    }
}
