//! Where a courier's events come from: they wait on a list until deliveries of them are made.
//!
//! Nothing is taken: events are looked at where they are, many at once, and leave the list in the same step in which their
//! deliveries are made. So nothing has to be given back, whatever dies.

use super::{Courier, MOST_WAITING};
use crate::{
    Bus, Error, Worker,
    keys::Keys,
    unfit,
    wait::{ERROR_PAUSE, Wait},
};
use bytes::Bytes;
use contract::{Message, route::List};
use fred::types::Value;
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// Events that wait on a list.
#[derive(Debug)]
pub struct Intake<T> {
    courier: Courier,
    list: List<T>,
    keys: Keys,
    worker: Arc<Worker<T>>,
    wait: Wait,
}

/// An event that waits.
#[derive(Clone, Debug)]
pub struct Event<T> {
    /// What was sent.
    pub message: T,
    /// The same, byte for byte.
    pub payload: Bytes,
    /// What it is about, for addressees that want order; whoever sends it says so.
    pub about: String,
    /// Whether it is of use for a few minutes only: then it is no dead letter, ever.
    pub brief: bool,
}

/// So many events are looked at at once …
const MOST_EVENTS: usize = 64;
/// … and not one further when they have so many bytes.
const MOST_BYTES: usize = 1 << 20;
/// So many deliveries are made at once: nothing else runs on Redis beside a script.
const MOST_DELIVERIES: usize = 500;
/// Whoever looks at events has this long until another does.
const LOOK: Duration = Duration::from_secs(1);
/// Pause while another has them.
const BUSY: Duration = Duration::from_millis(100);

impl Bus {
    /// Joins a list of events whose deliveries its courier makes; `name` is for people, uniqueness is added.
    ///
    /// [`Intake::tend`] must run beside it.
    ///
    /// # Errors
    /// When Redis is unreachable.
    pub async fn intake<T: Message>(&self, list: &List<T>, name: &str) -> Result<Intake<T>, Error> {
        Ok(Intake {
            courier: self.courier(list),
            list: list.clone(),
            keys: Keys::new(list),
            // Holds nothing, in no slot; it is seen, and takes care of what was put aside.
            worker: self.worker(list, name, 0, |_| String::new()).await?,
            wait: Wait::new(self, list.name()),
        })
    }
}

// === impl Intake ===

impl<T: Message> Intake<T> {
    /// Is seen among the workers of the list, until it stops.
    pub fn tend(&self, stop: CancellationToken) -> impl Future<Output = ()> + Send + use<T> {
        self.worker.tend(stop)
    }

    /// The oldest events, whenever there are some; bad ones are buried on the way.
    ///
    /// Dropping the future is safe. Errors are logged and waited out, so this only ends with events.
    pub async fn next(&mut self) -> Vec<Event<T>> {
        loop {
            match self.look().await {
                Ok(events) if events.is_empty() => {}
                Ok(events) => return events,
                Err(error) => {
                    tracing::warn!(error = %error, list = self.keys.list(), "cannot look for events");
                    tokio::time::sleep(ERROR_PAUSE).await;
                }
            }
        }
    }

    /// One round: look, else wait for a while.
    async fn look(&mut self) -> Result<Vec<Event<T>>, Error> {
        let keys = [self.keys.list(), self.keys.paused()].map(str::to_owned);
        let args = vec![
            self.worker.name().into(),
            LOOK.as_millis().to_string().into(),
            MOST_EVENTS.to_string().into(),
            MOST_BYTES.to_string().into(),
        ];
        let script = &self.courier.bus.scripts().courier_look;
        let answer = self.courier.run_on(script, "look", &keys, args).await?;
        match answer.text(0).as_str() {
            "ok" => {}
            "busy" => {
                tokio::time::sleep(BUSY).await;
                return Ok(Vec::new());
            }
            "paused" => {
                tokio::time::sleep(self.courier.bus.lease().block()).await;
                return Ok(Vec::new());
            }
            _ => return Err(answer.unexpected()),
        }
        let payloads = answer.into_values().into_iter().skip(1).filter_map(Value::into_bytes);
        let payloads: Vec<Bytes> = payloads.collect();
        if payloads.is_empty() {
            self.wait.come().await?;
        }
        let mut events = Vec::with_capacity(payloads.len());
        for payload in payloads {
            match unfit::read(&self.list, &payload) {
                Ok(message) => events.push(Event {
                    message,
                    payload,
                    about: String::new(),
                    brief: false,
                }),
                Err(why) => {
                    unfit::bury(&self.courier.bus, &self.keys, self.keys.list(), &payload, &why, None).await?;
                }
            }
        }
        Ok(events)
    }

    /// Makes deliveries of events, each for its addressees, and takes the events from the list. Those are told whose
    /// deliveries are full: theirs are dead, and can be seen.
    ///
    /// # Errors
    /// When Redis is unreachable, or full; then some may have been made, and the events that were not come again.
    pub async fn send(&self, events: &[(Event<T>, Vec<String>)]) -> Result<Vec<String>, Error> {
        let (mut full, mut args, mut deliveries) = (Vec::new(), Vec::new(), 0);
        for (event, to) in events {
            let id = event.message.id();
            // What is sent first is never one alone: it would be taken for all there is, and what comes later is then kept
            // for longer than need be.
            let first = match to.len().saturating_sub(MOST_DELIVERIES) {
                1 => 2,
                first => first,
            };
            let to = match to.split_at_checked(first) {
                Some((before @ [_, ..], rest)) => {
                    full.extend(
                        self.courier
                            .send_kept(&id, &event.about, &event.payload, before, event.brief)
                            .await?,
                    );
                    rest
                }
                Some(([], _)) | None => to,
            };
            if deliveries + to.len() > MOST_DELIVERIES {
                full.extend(self.admit(std::mem::take(&mut args)).await?);
                deliveries = 0;
            }
            deliveries += to.len();
            let record = self.keys.job(&id);
            let texts = [&id, &record, &event.about, super::brief(event.brief)];
            super::listed(&mut args, texts, &event.payload, to);
        }
        full.extend(self.admit(args).await?);
        Ok(full)
    }

    /// Puts an event with the dead letters.
    ///
    /// # Errors
    /// When Redis is unreachable.
    pub async fn bury(&self, event: &Event<T>, why: &str) -> Result<(), Error> {
        let bus = &self.courier.bus;
        let id = event.message.id();
        let record = Some((id.as_str(), self.list.limits.remember));
        unfit::bury(bus, &self.keys, self.keys.list(), &event.payload, why, record).await
    }

    async fn admit(&self, events: Vec<Value>) -> Result<Vec<String>, Error> {
        let head = [
            MOST_WAITING.to_string().into(),
            self.worker.name().into(),
            self.list.limits.remember.as_secs().to_string().into(),
        ];
        let args = head.into_iter().chain(events).collect();
        let script = &self.courier.bus.scripts().courier_send;
        let answer = self
            .courier
            .run_on(script, "send", &[self.keys.list().to_owned()], args)
            .await?;
        Ok(answer.texts())
    }
}

#[cfg(test)]
mod tests;
