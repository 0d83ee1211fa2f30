//! Moves the logs of builds from Redis into segments of a log store, and reads them.
//!
//! A log is what is stored, in segments, and after that what is still in Redis. One prow at a time stores it; every
//! prow reads both.

mod keeper;
mod log;
mod relay;
mod segment;
mod shelf;

use crate::store::{self, Build, Cursor, OpenLog, Segment, Store};
use bus::{Bus, LogReader};
use contract::{LogChunk, Notification, route::List};
use relay::Relay;
use shelf::Shelf;
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

pub(crate) use keeper::Keeper;
pub(crate) use log::{Follower, Line, Log};
pub(crate) use shelf::{Place, examine};

/// The logs of all builds; cheap to clone.
#[derive(Clone)]
pub(crate) struct Archive {
    place: Place,
    shelf: Shelf,
    bus: Bus,
    store: Store,
    relay: Relay,
    /// This prow, among others.
    holder: Arc<str>,
}

/// A log cannot be stored, or read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the log store failed")]
    Shelf(#[from] object_store::Error),
    #[error("a segment of the log cannot be read")]
    Segment(#[from] std::io::Error),
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Bus(#[from] bus::Error),
    #[error("another prow stores this log")]
    Overtaken,
}

/// What was read from Redis, and is not stored yet.
struct Pending {
    text: String,
    lines: u64,
    chunks: u32,
    seq: u64,
    since: Instant,
}

/// A prow that was not heard of for so long does not store its logs any more.
const LEASE: Duration = Duration::from_secs(15);
/// A segment is stored when there is so much of it,
const FULL_BYTES: usize = 1_024 * 1_024;
/// or so many chunks, for Redis keeps them meanwhile and has a bound;
const FULL_CHUNKS: u32 = 128;
/// or when its first line is older than the smaller of these, the second a part of the log's age.
const OLDEST: Duration = Duration::from_mins(1);
const YOUNGEST: Duration = Duration::from_secs(2);
const PART_OF_AGE: u32 = 20;

// === impl Archive ===

impl Archive {
    pub(crate) fn open(
        place: &Place,
        bus: &Bus,
        store: &Store,
        notifications: &List<Notification>,
    ) -> Result<Self, Error> {
        Ok(Self {
            relay: Relay::new(bus, notifications),
            shelf: Shelf::open(place)?,
            place: place.clone(),
            bus: bus.clone(),
            store: store.clone(),
            holder: uuid::Uuid::now_v7().to_string().into(),
        })
    }

    /// Where the log of a build is, for people.
    pub(crate) fn shown(&self, build: &Build) -> String {
        self.place.shown(build.message.id.as_str())
    }

    /// Stores a log to its end, or until another prow has it.
    async fn drain(&self, log: &OpenLog) -> Result<(), Error> {
        if !self.store.hold_log(log.row, &self.holder, LEASE).await? {
            return Ok(());
        }
        let mut held = Instant::now();
        let Some(mut cursor) = self.store.log_cursor(log.row).await? else {
            return Ok(()); // Nobody will ask for its log.
        };
        let mut reader = self.bus.log_reader(&log.id, cursor.seq).await?;
        let (began, mut pending) = (Instant::now(), Pending::new(cursor.seq));
        let mut passing = self.relay.of(&log.id);
        loop {
            if held.elapsed() > LEASE / 3 {
                if !self.store.hold_log(log.row, &self.holder, LEASE).await? {
                    return Ok(());
                }
                held = Instant::now();
            }
            // Asked before reading: a build that has ended appends nothing more.
            let ended = self.store.log_cursor(log.row).await?.is_none_or(|now| now.ended);
            let chunks = if ended {
                reader.ready().await?
            } else {
                reader.next().await?
            };
            let all = ended && chunks.is_empty();
            for (seq, chunk) in chunks {
                passing.take(&chunk).await;
                pending.push(seq, &chunk);
                if pending.is_full() {
                    self.keep(log, &mut cursor, &mut pending, &reader).await?;
                }
            }
            passing.send(pending.seq, all).await;
            if all || pending.is_due(began.elapsed()) {
                self.keep(log, &mut cursor, &mut pending, &reader).await?;
            }
            if all {
                return Ok(self.store.close_log(log.row, cursor).await?);
            }
        }
    }

    /// Object first, then its row, then Redis: whatever dies, nothing is lost or doubled.
    async fn keep(
        &self,
        log: &OpenLog,
        cursor: &mut Cursor,
        pending: &mut Pending,
        reader: &LogReader,
    ) -> Result<(), Error> {
        let part = std::mem::replace(pending, Pending::new(pending.seq));
        if part.text.is_empty() {
            return Ok(());
        }
        let segment = Segment {
            at: cursor.bytes,
            bytes: u64::try_from(part.text.len()).unwrap_or_default(),
            lines: part.lines,
            name: segment::name(&log.id, cursor.bytes, &part.text),
        };
        let packed = tokio::task::spawn_blocking(move || segment::pack(&part.text)).await;
        self.shelf
            .put(&segment.name, packed.map_err(std::io::Error::other)??)
            .await?;
        chassis::crash_point("prow.log.written");
        if !self.store.add_segment(log.row, *cursor, part.seq, &segment).await? {
            return Err(Error::Overtaken);
        }
        chassis::crash_point("prow.log.recorded");
        (cursor.seq, cursor.bytes) = (part.seq, cursor.bytes + segment.bytes);
        Ok(reader.stored(part.seq).await?)
    }

    /// Removes the object of a segment; one that is gone needs no removing.
    pub(crate) async fn forget(&self, segment: &Segment) -> Result<(), Error> {
        Ok(self.shelf.remove(&segment.name).await?)
    }

    /// The text of a segment.
    async fn read(&self, segment: &Segment) -> Result<String, Error> {
        let object = self.shelf.get(&segment.name).await?;
        let name = segment.name.clone();
        let text = tokio::task::spawn_blocking(move || segment::unpack(&name, &object)).await;
        let mut text = text.map_err(std::io::Error::other)??;
        // A plain file may hold more than was ever recorded.
        text.truncate(usize::try_from(segment.bytes).unwrap_or(usize::MAX).min(text.len()));
        Ok(text)
    }
}

// === impl Pending ===

impl Pending {
    fn new(seq: u64) -> Self {
        Self {
            text: String::new(),
            lines: 0,
            chunks: 0,
            seq,
            since: Instant::now(),
        }
    }

    fn push(&mut self, seq: u64, chunk: &LogChunk) {
        if self.text.is_empty() {
            self.since = Instant::now();
        }
        self.lines += segment::render(chunk, &mut self.text);
        self.chunks += 1;
        self.seq = seq;
    }

    fn is_full(&self) -> bool {
        self.text.len() >= FULL_BYTES || self.chunks >= FULL_CHUNKS
    }

    /// Segments of a log that has grown for long may be longer.
    fn is_due(&self, age: Duration) -> bool {
        !self.text.is_empty() && self.since.elapsed() >= (age / PART_OF_AGE).clamp(YOUNGEST, OLDEST)
    }
}

#[cfg(test)]
mod tests;
