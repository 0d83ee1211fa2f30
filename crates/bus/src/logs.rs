//! Live logs: numbered chunks on a list, trimmed once they are stored elsewhere.

use crate::{Bus, Error, ErrorKind, news::Wake, script};
use contract::{BuildId, LogChunk, route};
use fred::types::Value;
use std::time::Duration;

/// Most chunks that wait for being stored; past it, the writer is refused.
const MOST_CHUNKS: u64 = 512;
/// Most bytes of one chunk.
const MOST_CHUNK_BYTES: usize = 256 * 1024;
/// How long a log is kept that nobody stores.
const TTL_SECONDS: u64 = 7 * 86_400;
/// How many chunks are read at once.
const BATCH: u64 = 64;
/// How long a reader trusts the channel before it looks for itself.
const IDLE: Duration = Duration::from_millis(500);

/// Appends to the log of one build.
#[derive(Debug)]
pub struct LogWriter {
    bus: Bus,
    keys: Vec<String>,
    channel: String,
}

/// Reads the log of one build, without gaps, from wherever it left off.
#[derive(Debug)]
pub struct LogReader {
    bus: Bus,
    keys: Vec<String>,
    last: u64,
    news: Wake,
}

/// What became of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It has this number (a chunk that was sent before keeps its number).
    At(u64),
    /// Nobody stores what was written; try again later.
    Full,
}

impl Bus {
    /// A writer for the log of this build.
    pub fn log_writer(&self, build: &BuildId) -> LogWriter {
        LogWriter {
            bus: self.clone(),
            keys: log_keys(build),
            channel: route::logs(build),
        }
    }

    /// A reader for the log of this build that has read everything up to `last`.
    ///
    /// # Errors
    /// When Redis is unreachable.
    pub async fn log_reader(&self, build: &BuildId, last: u64) -> Result<LogReader, Error> {
        let news = self.news().await?.of(&route::logs(build));
        Ok(LogReader {
            bus: self.clone(),
            keys: log_keys(build),
            last,
            news,
        })
    }
}

// === impl LogWriter ===

impl LogWriter {
    /// Appends a chunk. Appending the same (attempt, n) again is harmless.
    ///
    /// # Errors
    /// When Redis is unreachable, or the chunk is too large.
    pub async fn append(&self, chunk: &LogChunk) -> Result<Appended, Error> {
        let text = serde_json::to_string(chunk)
            .map_err(|error| Error::new(ErrorKind::Protocol(error.to_string()), "encode", &self.channel))?;
        if text.len() > MOST_CHUNK_BYTES {
            let kind = ErrorKind::TooLarge {
                bytes: text.len(),
                limit: MOST_CHUNK_BYTES,
            };
            return Err(Error::new(kind, "append", &self.channel));
        }
        let args = vec![
            chunk.attempt.to_string().into(),
            chunk.n.to_string().into(),
            text.into(),
            MOST_CHUNKS.to_string().into(),
            TTL_SECONDS.to_string().into(),
            self.channel.as_str().into(),
        ];
        let scripts = self.bus.scripts();
        let answer = script::run(
            self.bus.client(),
            &scripts.log_append,
            "append",
            self.keys.clone(),
            args,
        )
        .await?;
        match answer.text(0).as_str() {
            "ok" | "seen" => Ok(Appended::At(answer.number(1))),
            "full" => Ok(Appended::Full),
            _ => Err(answer.unexpected()),
        }
    }
}

// === impl LogReader ===

impl LogReader {
    /// The next chunks with their numbers, waiting for them at most `IDLE`; empty when none came.
    ///
    /// Cancel-safe: what was not returned is returned by the next call.
    ///
    /// # Errors
    /// When Redis is unreachable.
    pub async fn next(&mut self) -> Result<Vec<(u64, LogChunk)>, Error> {
        let ready = self.ready().await?;
        if !ready.is_empty() {
            return Ok(ready);
        }
        // The channel only wakes us; the list is what is read.
        self.news.within(IDLE).await;
        self.ready().await
    }

    /// Number of the last chunk that was read. When it gets smaller, Redis has lost the log, and its writer began anew.
    pub const fn last(&self) -> u64 {
        self.last
    }

    /// Says that everything up to `last` is stored, so that it may be removed.
    ///
    /// # Errors
    /// When Redis is unreachable; then it is removed by a later call.
    pub async fn stored(&self, last: u64) -> Result<(), Error> {
        let args = vec![last.to_string().into()];
        let scripts = self.bus.scripts();
        script::run(self.bus.client(), &scripts.log_trim, "trim", self.keys.clone(), args)
            .await
            .map(drop)
    }

    /// The next chunks that are there already.
    ///
    /// # Errors
    /// When Redis is unreachable.
    pub async fn ready(&mut self) -> Result<Vec<(u64, LogChunk)>, Error> {
        let args = vec![self.last.to_string().into(), BATCH.to_string().into()];
        let scripts = self.bus.scripts();
        let answer = script::run(
            self.bus.client(),
            &scripts.log_read,
            "read log",
            self.keys.clone(),
            args,
        )
        .await?;
        if answer.number(0) < self.last {
            self.last = 0; // Redis has lost the log and a writer began anew.
            return Ok(Vec::new());
        }
        let chunks: Vec<_> = answer.into_values().iter().skip(1).filter_map(numbered).collect();
        if let Some((last, _)) = chunks.last() {
            self.last = *last;
        }
        Ok(chunks)
    }
}

fn log_keys(build: &BuildId) -> Vec<String> {
    let list = route::logs(build);
    let meta = route::side_key(&list, "meta");
    vec![list, meta]
}

/// `<sequence> <LogChunk as JSON>`; anything else was not written by a [`LogWriter`].
fn numbered(item: &Value) -> Option<(u64, LogChunk)> {
    let text = item.as_string()?;
    let (number, chunk) = text.split_once(' ')?;
    Some((number.parse().ok()?, serde_json::from_str(chunk).ok()?))
}
