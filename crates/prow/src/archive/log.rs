//! A log as its readers see it: as far as it is now, or as it grows.

use super::{Archive, Error, segment};
use crate::store::{Build, Segment};
use bus::LogReader;
use bytes::Bytes;
use contract::LogChunk;
use futures_util::stream::{self, Stream, StreamExt as _};
use std::{collections::VecDeque, ops::Range};

/// A log as far as it was at one moment.
pub(crate) struct Log {
    archive: Archive,
    parts: Vec<Part>,
    /// All of it.
    pub(crate) bytes: u64,
}

/// A part of a log: stored, or just read from Redis.
#[derive(Clone)]
enum Part {
    Stored(Segment),
    Live { at: u64, text: String },
}

/// A line of a log that grows, and the byte after it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) end: u64,
    pub(crate) text: String,
}

/// Reads a log from a byte on, as it grows.
pub(crate) struct Follower {
    archive: Archive,
    build: Build,
    /// Bytes that were read.
    at: u64,
    lines: VecDeque<Line>,
    live: Option<Live>,
}

/// What is read from Redis.
struct Live {
    reader: LogReader,
    /// Bytes of the log before what the reader reads next.
    at: u64,
}

/// So many segments are fetched ahead of what is read.
const AHEAD: usize = 3;
/// Most that is read from Redis for one answer; the rest is stored by the next time.
const MOST_LIVE: usize = 16 * 1_024 * 1_024;
/// How often a log is opened anew because it was being stored meanwhile.
const TRIES: u32 = 10;

// === impl Archive ===

impl Archive {
    /// The log of a build as far as it is now.
    pub(crate) async fn log(&self, build: &Build) -> Result<Log, Error> {
        for _ in 0..TRIES {
            let cursor = self.store.log_cursor(build.id).await?;
            let stored = self.stored(build).await?;
            let Some(cursor) = cursor.filter(|cursor| !cursor.done && build.started_at.is_some()) else {
                return Ok(stored);
            };
            if cursor.bytes == stored.bytes
                && let Some(live) = self.live(build, cursor.seq).await?
            {
                return Ok(stored.and(live));
            }
        }
        self.stored(build).await // It grows too fast; its end is a moment old.
    }

    async fn stored(&self, build: &Build) -> Result<Log, Error> {
        let segments = self.store.segments(build.id, 0).await?;
        Ok(Log {
            archive: self.clone(),
            bytes: segments.last().map_or(0, |last| last.at + last.bytes),
            parts: segments.into_iter().map(Part::Stored).collect(),
        })
    }

    /// What comes after this chunk, and is only in Redis; `None` when it was stored before it was read.
    async fn live(&self, build: &Build, seq: u64) -> Result<Option<String>, Error> {
        let mut text = String::new();
        let mut reader = self.bus.log_reader(&build.message.id, seq).await?;
        while text.len() < MOST_LIVE {
            let last = reader.last();
            let chunks = reader.ready().await?;
            if chunks.is_empty() {
                break;
            }
            if !follows(&chunks, last) {
                return Ok(None);
            }
            for (_, chunk) in chunks {
                segment::render(&chunk, &mut text);
            }
        }
        Ok(Some(text))
    }

    /// The log of a build from a byte on, as it grows.
    pub(crate) fn follower(&self, build: Build, at: u64) -> Follower {
        Follower {
            archive: self.clone(),
            build,
            at,
            lines: VecDeque::new(),
            live: None,
        }
    }
}

// === impl Log ===

impl Log {
    fn and(mut self, live: String) -> Self {
        let at = self.bytes;
        self.bytes += u64::try_from(live.len()).unwrap_or_default();
        self.parts.push(Part::Live { at, text: live });
        self
    }

    /// These bytes of it.
    pub(crate) fn text(self, range: Range<u64>) -> impl Stream<Item = Result<Bytes, Error>> + use<> {
        let wanted = range.clone();
        let parts = self.parts.into_iter().filter(move |part| {
            let part = part.range();
            part.start < wanted.end && wanted.start < part.end
        });
        let archive = self.archive;
        stream::iter(parts.collect::<Vec<_>>())
            .map(move |part| read(archive.clone(), part))
            .buffered(AHEAD)
            .map(move |read| {
                let (at, text) = read?;
                let text = Bytes::from(text);
                let within = |n: u64| {
                    usize::try_from(n.saturating_sub(at))
                        .unwrap_or(usize::MAX)
                        .min(text.len())
                };
                Ok(text.slice(within(range.start)..within(range.end)))
            })
    }

    /// Where the last lines begin.
    pub(crate) async fn last_lines(&self, mut lines: u64) -> Result<u64, Error> {
        for part in self.parts.iter().rev() {
            if let Part::Stored(segment) = part
                && (1..=lines).contains(&segment.lines)
            {
                lines -= segment.lines;
                continue;
            }
            if lines == 0 {
                return Ok(part.range().end);
            }
            let (at, text) = read(self.archive.clone(), part.clone()).await?;
            let ends: Vec<usize> = text
                .bytes()
                .enumerate()
                .filter(|(_, byte)| *byte == b'\n')
                .map(|(at, _)| at)
                .collect();
            let here = u64::try_from(ends.len()).unwrap_or_default();
            if here > lines {
                let before = ends.len() - usize::try_from(lines).unwrap_or_default();
                let begin = before
                    .checked_sub(1)
                    .and_then(|last| ends.get(last))
                    .map_or(0, |end| end + 1);
                return Ok(at + u64::try_from(begin).unwrap_or_default());
            }
            lines -= here;
        }
        Ok(0)
    }
}

async fn read(archive: Archive, part: Part) -> Result<(u64, String), Error> {
    match part {
        Part::Stored(segment) => Ok((segment.at, archive.read(&segment).await?)),
        Part::Live { at, text } => Ok((at, text)),
    }
}

/// Whether these are the chunks after that one, without a gap.
fn follows(chunks: &[(u64, LogChunk)], last: u64) -> bool {
    chunks.first().is_none_or(|(first, _)| *first == last + 1)
}

// === impl Part ===

impl Part {
    fn range(&self) -> Range<u64> {
        match self {
            Self::Stored(segment) => segment.at..segment.at + segment.bytes,
            Self::Live { at, text } => *at..at + u64::try_from(text.len()).unwrap_or_default(),
        }
    }
}

// === impl Follower ===

impl Follower {
    /// The next line, however long it takes; `None` at the end of the log.
    pub(crate) async fn next(&mut self) -> Result<Option<Line>, Error> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Ok(Some(line));
            }
            let Some(cursor) = self.archive.store.log_cursor(self.build.id).await? else {
                return Ok(None);
            };
            if cursor.bytes > self.at {
                let stored = self.archive.store.segments(self.build.id, self.at).await?;
                let Some(segment) = stored.first() else { return Ok(None) };
                let text = self.archive.read(segment).await?;
                self.push(segment.at, &text);
            } else if cursor.done || cursor.ended && !self.has_started().await? {
                return Ok(None);
            } else {
                self.read_live(cursor.seq, cursor.bytes).await?;
            }
        }
    }

    /// A build that never started has no log.
    async fn has_started(&mut self) -> Result<bool, Error> {
        if self.build.started_at.is_none()
            && let Some(build) = self.archive.store.build_by_number(self.build.id).await?
        {
            self.build = build;
        }
        Ok(self.build.started_at.is_some())
    }

    /// Waits a moment for what is not stored yet.
    async fn read_live(&mut self, seq: u64, bytes: u64) -> Result<(), Error> {
        let mut live = match self.live.take() {
            Some(live) if live.at >= bytes => live,
            _ => Live {
                reader: self.archive.bus.log_reader(&self.build.message.id, seq).await?,
                at: bytes,
            },
        };
        let read = live.reader.last();
        let chunks = live.reader.next().await?;
        if live.reader.last() < read {
            self.at = self.at.min(bytes); // Redis has lost what was not stored; it goes on from there.
            return Ok(());
        }
        if !follows(&chunks, read) {
            return Ok(()); // What is missing was stored, and taken out of Redis before it was read.
        }
        let mut text = String::new();
        for (_, chunk) in &chunks {
            segment::render(chunk, &mut text);
        }
        self.push(live.at, &text);
        live.at += u64::try_from(text.len()).unwrap_or_default();
        self.live = Some(live);
        Ok(())
    }

    /// Takes in the lines of a text that begins at this byte, but for what was read before.
    fn push(&mut self, at: u64, text: &str) {
        let mut end = at;
        for line in text.split_inclusive('\n') {
            end += u64::try_from(line.len()).unwrap_or_default();
            if end > self.at {
                self.at = end;
                let text = line.trim_end_matches('\n').to_owned();
                self.lines.push_back(Line { end, text });
            }
        }
    }
}
