//! What could not be done, kept for people: looked at, sent again, or thrown away.

use crate::{Bus, Error, ErrorKind, Parcel, Producer, Sent};
use contract::{Message, route::List};
use fred::{bytes::Bytes, interfaces::ListInterface as _};
use serde_json::Value;
use uuid::Uuid;

/// The dead letters of one list; cheap to clone.
#[derive(Debug)]
pub struct DeadLetters<T> {
    bus: Bus,
    key: String,
    producer: Producer<T>,
}

/// A message that could not be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Names the letter among those of its list.
    pub id: String,
    /// The message's own id; empty when it has none that can be read.
    pub message_id: String,
    /// Why it could not be done.
    pub reason: String,
    /// The message, byte for byte.
    pub payload: Vec<u8>,
    /// As it is on the list.
    entry: Bytes,
}

/// What became of a letter that was to be sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// It is on its list, and no letter any more.
    Queued,
    /// Its message has ended in this state, of which others were told; nothing was changed.
    Ended(String),
    /// It is no message that its list takes, for this reason; nothing was changed.
    Unreadable(String),
}

/// How many letters are looked at in one round trip.
const PAGE: u32 = 100;
/// Namespace of the letters' names.
const LETTERS: Uuid = Uuid::from_u128(0x6f72_6765_2d64_5561_8c64_6c65_7474_0001);

impl Bus {
    /// The dead letters of this list.
    pub fn dead_letters<T: Message>(&self, list: &List<T>) -> DeadLetters<T> {
        DeadLetters {
            bus: self.clone(),
            key: list.side_key("dead"),
            producer: self.producer(list),
        }
    }
}

// === impl DeadLetters ===

impl<T> Clone for DeadLetters<T> {
    fn clone(&self) -> Self {
        Self {
            bus: self.bus.clone(),
            key: self.key.clone(),
            producer: self.producer.clone(),
        }
    }
}

impl<T: Message> DeadLetters<T> {
    /// How many there are.
    ///
    /// # Errors
    /// When Redis is unreachable.
    pub async fn count(&self) -> Result<u64, Error> {
        let count = self.bus.client().llen(&self.key).await;
        count.map_err(|source| Error::redis(source, "count", &self.key))
    }

    /// Some of them, newest first, without the first `skip`. What is buried meanwhile moves those that follow.
    ///
    /// # Errors
    /// When Redis is unreachable.
    pub async fn page(&self, skip: u32, count: u32) -> Result<Vec<DeadLetter>, Error> {
        let first = i64::from(skip);
        self.range(first, first + i64::from(count) - 1).await
    }

    /// The oldest, without those that are `skip` older.
    ///
    /// # Errors
    /// When Redis is unreachable.
    pub async fn oldest(&self, skip: u32) -> Result<Option<DeadLetter>, Error> {
        let place = -1 - i64::from(skip);
        self.range(place, place).await.map(|mut letters| letters.pop())
    }

    async fn range(&self, first: i64, last: i64) -> Result<Vec<DeadLetter>, Error> {
        let entries: Vec<Bytes> = self
            .bus
            .client()
            .lrange(&self.key, first, last)
            .await
            .map_err(|source| Error::redis(source, "read", &self.key))?;
        Ok(entries.into_iter().map(DeadLetter::read).collect())
    }

    /// A letter by its name.
    ///
    /// # Errors
    /// When Redis is unreachable.
    pub async fn find(&self, id: &str) -> Result<Option<DeadLetter>, Error> {
        let mut skip = 0;
        loop {
            let page = self.page(skip, PAGE).await?;
            let last = page.len() < usize::try_from(PAGE).unwrap_or(usize::MAX);
            let found = page.into_iter().find(|letter| letter.id == id);
            if found.is_some() || last {
                return Ok(found);
            }
            skip += PAGE;
        }
    }

    /// Sends a letter's message again, with as many attempts as a new one has. Who dies in the middle of it may
    /// do it again: the message is queued once.
    ///
    /// # Errors
    /// The list is full, or Redis is unreachable; then it may or may not have been sent.
    pub async fn replay(&self, letter: &DeadLetter) -> Result<Replayed, Error> {
        let message = match T::from_bytes(&letter.payload) {
            Ok(message) => message,
            Err(error) => return Ok(Replayed::Unreadable(error.to_string())),
        };
        let sent = match self.producer.send_parcel(Parcel::new(&message)?).await {
            Err(error) if matches!(error.kind(), ErrorKind::TooLarge { .. }) => {
                return Ok(Replayed::Unreadable(error.to_string()));
            }
            sent => sent?,
        };
        match sent {
            Sent::Duplicate(state) if !matches!(state.as_str(), "queued" | "delayed" | "running") => {
                Ok(Replayed::Ended(state))
            }
            Sent::Queued | Sent::Duplicate(_) => {
                self.discard(letter).await?;
                Ok(Replayed::Queued)
            }
        }
    }

    /// Throws a letter away; whether it was still there.
    ///
    /// # Errors
    /// When Redis is unreachable.
    pub async fn discard(&self, letter: &DeadLetter) -> Result<bool, Error> {
        let gone: Result<u64, _> = self.bus.client().lrem(&self.key, 1, letter.entry.clone()).await;
        gone.map(|gone| gone > 0)
            .map_err(|source| Error::redis(source, "discard", &self.key))
    }

    /// Throws the `count` oldest away.
    ///
    /// # Errors
    /// When Redis is unreachable.
    pub async fn discard_oldest(&self, count: u64) -> Result<(), Error> {
        let last = -1 - i64::try_from(count).unwrap_or(i64::MAX - 1);
        let trimmed = self.bus.client().ltrim(&self.key, 0, last).await;
        trimmed.map_err(|source| Error::redis(source, "discard", &self.key))
    }
}

// === impl DeadLetter ===

impl DeadLetter {
    /// What somebody else has put there has no label.
    fn read(entry: Bytes) -> Self {
        let line = entry.iter().position(|byte| *byte == b'\n').unwrap_or_default();
        let (label, rest) = entry.split_at_checked(line).unwrap_or_default();
        let label: Option<Value> = serde_json::from_slice(label).ok();
        let text = |name| {
            label
                .as_ref()
                .and_then(|label| label[name].as_str())
                .unwrap_or_default()
        };
        let payload = if label.is_some() {
            rest.get(1..).unwrap_or_default()
        } else {
            &entry
        };
        Self {
            id: Uuid::new_v5(&LETTERS, &entry).to_string(),
            message_id: text("id").to_owned(),
            reason: text("reason").to_owned(),
            payload: payload.to_vec(),
            entry,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_read_whatever_somebody_has_put_there() {
        let read = |text: &'static str| {
            let letter = DeadLetter::read(Bytes::from_static(text.as_bytes()));
            (
                letter.message_id,
                letter.reason,
                String::from_utf8(letter.payload).unwrap(),
            )
        };
        let all = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        assert_eq!(read("{\"id\":\"a\",\"reason\":\"why\"}\n{}\n"), all("a", "why", "{}\n"));
        assert_eq!(read("{\"reason\":\"why\"}\n"), all("", "why", ""));
        for foreign in ["", "\n", "text", "not a label\n{}", "{}"] {
            assert_eq!(read(foreign), all("", "", foreign));
        }
    }
}
