//! Putting messages on a list: once each, within the list's bounds.

use crate::{Bus, Error, ErrorKind, keys::Keys, script};
use contract::{Message, Priority, route::List};
use std::time::Duration;

/// Puts messages on one list.
#[derive(Clone, Debug)]
pub struct Producer<T> {
    bus: Bus,
    keys: Keys,
    list: List<T>,
}

/// What became of a message that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It is on the list.
    Queued,
    /// It was sent before; this is the state it is in now.
    Duplicate(String),
}

impl Bus {
    /// A producer for this list.
    pub fn producer<T: Message>(&self, list: &List<T>) -> Producer<T> {
        Producer {
            bus: self.clone(),
            keys: Keys::new(list),
            list: list.clone(),
        }
    }
}

// === impl Producer ===

impl<T: Message> Producer<T> {
    /// Sends a message in the normal lane. Sending it again is harmless.
    ///
    /// # Errors
    /// `Full`, `TooLarge`, or Redis is unreachable; then it may or may not have been sent.
    pub async fn send(&self, message: &T) -> Result<Sent, Error> {
        let payload = self.encode(message)?;
        self.send_text(&message.id(), payload, Priority::Normal, None).await
    }

    /// Sends a message unless one with the same fingerprint was sent within that time.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn send_once(&self, message: &T, fingerprint: &str, within: Duration) -> Result<Sent, Error> {
        let payload = self.encode(message)?;
        self.send_text(&message.id(), payload, Priority::Normal, Some((fingerprint, within)))
            .await
    }

    /// Sends the text of a message that was encoded before.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn send_text(
        &self,
        id: &str,
        payload: String,
        priority: Priority,
        once: Option<(&str, Duration)>,
    ) -> Result<Sent, Error> {
        let limits = &self.list.limits;
        if payload.len() > limits.message_bytes {
            let kind = ErrorKind::TooLarge {
                bytes: payload.len(),
                limit: limits.message_bytes,
            };
            return Err(Error::new(kind, "enqueue", self.keys.list()));
        }
        let seen = self.keys.seen(once.map_or("", |(fingerprint, _)| fingerprint));
        let lane = self.keys.lane(Some(priority.as_str()));
        let args = vec![
            payload.into(),
            lane.to_string().into(),
            limits.items.to_string().into(),
            limits.total_bytes.to_string().into(),
            once.map_or(0, |(_, within)| within.as_secs()).to_string().into(),
        ];
        let keys = self.keys.all(&seen, &self.keys.job(id));
        let answer = script::run(self.bus.client(), &self.bus.scripts().enqueue, "enqueue", keys, args).await?;
        match answer.text(0).as_str() {
            "ok" => Ok(Sent::Queued),
            "exists" => Ok(Sent::Duplicate(answer.text(1))),
            "full" => Err(Error::new(ErrorKind::Full(answer.text(1)), "enqueue", self.keys.list())),
            _ => Err(answer.unexpected()),
        }
    }

    /// How many messages wait on the list, those put aside included; what is being worked on does not count.
    ///
    /// # Errors
    /// When Redis is unreachable.
    pub async fn waiting(&self) -> Result<u64, Error> {
        let answer = script::run(
            self.bus.client(),
            &self.bus.scripts().waiting,
            "count",
            self.keys.plain(),
            Vec::new(),
        )
        .await?;
        Ok(answer.number(0))
    }

    /// Puts a message back that Redis has lost; `None` when it is still there, else how it ended.
    ///
    /// # Errors
    /// When Redis is unreachable.
    pub async fn repair(&self, id: &str, payload: &str) -> Result<Option<String>, Error> {
        let keys = self.keys.all(self.keys.list(), &self.keys.job(id));
        let args = vec![payload.into(), id.into()];
        let answer = script::run(self.bus.client(), &self.bus.scripts().requeue, "requeue", keys, args).await?;
        match answer.text(0).as_str() {
            "present" => Ok(None),
            "requeued" => {
                tracing::warn!(message.id = id, "redis had lost a message; it is back on its list");
                Ok(None)
            }
            "ended" => Ok(Some(answer.text(1))),
            _ => Err(answer.unexpected()),
        }
    }

    fn encode(&self, message: &T) -> Result<String, Error> {
        message
            .to_json()
            .map_err(|error| Error::new(ErrorKind::Protocol(error.to_string()), "encode", self.keys.list()))
    }
}
