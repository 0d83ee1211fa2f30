//! Putting messages on a list: once each, within the list's bounds.

use crate::{Bus, Error, ErrorKind, keys::Keys, script};
use bytes::Bytes;
use contract::{Message, route::List};
use fred::interfaces::HashesInterface as _;
use std::{collections::BTreeMap, time::Duration};

/// Puts messages on one list; cheap to clone.
#[derive(Debug)]
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

/// How many messages wait on a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// In all, those put aside included.
    pub waiting: u64,
    /// In each lane by its name; the list itself is `default`.
    pub lanes: BTreeMap<&'static str, u64>,
}

/// A message, encoded and addressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parcel {
    /// The message's id: the same id twice is the same message.
    pub id: String,
    /// Its JSON text.
    pub payload: Bytes,
    /// The lane it waits in; the list itself when it has no such lane.
    pub lane: String,
    /// What else makes it the same message as another, and for how long, in whole seconds.
    pub once: Option<(String, Duration)>,
    /// Another list that gets a copy in the same step, for a program of somebody else. It keeps the newest
    /// [`COPIES`]. In a Redis Cluster its key must have the hash tag of the message's own list.
    pub copy_to: Option<String>,
}

/// Most messages that a list of copies keeps.
pub const COPIES: u32 = 10_000;

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

/// Messages of more bytes are not looked at to see since when they wait.
const LOOKED_AT: usize = 256 * 1024;

// === impl Parcel ===

impl Parcel {
    /// Encodes a message.
    ///
    /// # Errors
    /// When it cannot be written as JSON, which no message of the contract can cause.
    pub fn new<T: Message>(message: &T) -> Result<Self, Error> {
        let payload = message
            .to_json()
            .map_err(|error| Error::new(ErrorKind::Protocol(error.to_string()), "encode", &message.id()))?;
        Ok(Self::encoded(message, payload.into()))
    }

    /// Addresses a message whose JSON text is there already.
    pub fn encoded<T: Message>(message: &T, payload: Bytes) -> Self {
        Self {
            id: message.id(),
            payload,
            lane: message.lane().to_owned(),
            once: None,
            copy_to: None,
        }
    }
}

// === impl Producer ===

impl<T> Clone for Producer<T> {
    fn clone(&self) -> Self {
        Self {
            bus: self.bus.clone(),
            keys: self.keys.clone(),
            list: self.list.clone(),
        }
    }
}

impl<T: Message> Producer<T> {
    /// Sends a message in its lane. Sending it again is harmless.
    ///
    /// # Errors
    /// `Full`, `TooLarge`, or Redis is unreachable; then it may or may not have been sent.
    pub async fn send(&self, message: &T) -> Result<Sent, Error> {
        self.send_parcel(Parcel::new(message)?).await
    }

    /// Sends a message that was encoded before.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn send_parcel(&self, parcel: Parcel) -> Result<Sent, Error> {
        self.send_all(vec![parcel]).await.pop().unwrap_or(Ok(Sent::Queued))
    }

    /// Sends several messages in one round trip; one answer for each, in the same order.
    pub(crate) async fn send_all(&self, parcels: Vec<Parcel>) -> Vec<Result<Sent, Error>> {
        let longest = self.list.limits.message_bytes;
        let fits = |parcel: &Parcel| parcel.payload.len() <= longest;
        let sizes: Vec<_> = parcels.iter().map(|parcel| parcel.payload.len()).collect();
        let mut answers = match self.enqueue(parcels.into_iter().filter(fits)).await {
            Ok(answers) => answers,
            Err(error) => sizes
                .iter()
                .filter(|size| **size <= longest)
                .map(|_| Err(error.again()))
                .collect(),
        }
        .into_iter();
        let answer = |size: usize| {
            if size <= longest {
                let missing = || Err(self.error(ErrorKind::Protocol("too few answers".to_owned())));
                return answers.next().unwrap_or_else(missing);
            }
            let (bytes, limit) = (size, longest);
            Err(self.error(ErrorKind::TooLarge { bytes, limit }))
        };
        sizes.into_iter().map(answer).collect()
    }

    async fn enqueue(&self, parcels: impl Iterator<Item = Parcel>) -> Result<Vec<Result<Sent, Error>>, Error> {
        let limits = &self.list.limits;
        let mut keys = self.keys.plain();
        let mut args = vec![
            keys.len().to_string().into(),
            limits.items.to_string().into(),
            limits.total_bytes.to_string().into(),
            COPIES.to_string().into(),
        ];
        for parcel in parcels {
            let (fingerprint, within) = parcel.once.unwrap_or_default();
            let copies = parcel.copy_to.unwrap_or_else(|| self.keys.list().to_owned());
            keys.extend([self.keys.seen(&fingerprint), self.keys.job(&parcel.id), copies]);
            args.extend([
                parcel.payload.into(),
                self.keys.lane(&parcel.lane).to_string().into(),
                within.as_secs().to_string().into(),
            ]);
        }
        let answer = script::run(self.bus.client(), &self.bus.scripts().enqueue, "enqueue", keys, args).await?;
        let texts = answer.texts();
        let (words, _odd) = texts.as_chunks::<2>();
        let one = |[word, detail]: &[String; 2]| match word.as_str() {
            "ok" => Ok(Sent::Queued),
            "exists" => Ok(Sent::Duplicate(detail.clone())),
            "full" => Err(self.error(ErrorKind::Full(detail.clone()))),
            _ => Err(answer.unexpected()),
        };
        Ok(words.iter().map(one).collect())
    }

    pub(crate) fn error(&self, kind: ErrorKind) -> Error {
        Error::new(kind, "enqueue", self.keys.list())
    }

    /// How many messages wait; what is being worked on does not count.
    ///
    /// # Errors
    /// When Redis is unreachable.
    pub async fn depth(&self) -> Result<Depth, Error> {
        let script = &self.bus.scripts().waiting;
        let counts = script::run(self.bus.client(), script, "count", self.keys.plain(), Vec::new()).await?;
        let lanes = self.list.limits.lanes.iter().map(|lane| lane.name);
        Ok(Depth {
            waiting: counts.number(0),
            lanes: ["default"]
                .into_iter()
                .chain(lanes)
                .zip(1..)
                .map(|(lane, n)| (lane, counts.number(n)))
                .collect(),
        })
    }

    /// When the oldest message that waits was sent, in milliseconds since the Unix epoch by Redis's clock; `None` when
    /// none waits, or nobody knows: foreign producers do not say, and what is longer than 256 KiB is not looked at.
    ///
    /// # Errors
    /// When Redis is unreachable.
    pub async fn oldest(&self) -> Result<Option<i64>, Error> {
        let (script, client) = (&self.bus.scripts().oldest, self.bus.client());
        let args = vec![LOOKED_AT.to_string().into()];
        let found = script::run(client, script, "oldest", self.keys.plain(), args).await?;
        let mut oldest: Option<i64> = None;
        for payload in found.texts() {
            let Ok(message) = T::from_bytes(payload.as_bytes()) else {
                continue;
            };
            let record = self.keys.job(&message.id());
            let sent: Result<Option<i64>, _> = client.hget(&record, "enq").await;
            let sent = sent.map_err(|source| Error::redis(source, "oldest", &record))?;
            oldest = oldest.into_iter().chain(sent).min();
        }
        Ok(oldest)
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
}
