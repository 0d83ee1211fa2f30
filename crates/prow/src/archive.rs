//! Moves the logs of builds from Redis into one file each, and wakes who follows them.

mod files;

use crate::{
    Config,
    store::{Build, Error, Store},
};
use bus::{Bus, LogReader};
use chassis::{Life, Policy};
use contract::{BuildId, LogChunk, Timestamp};
use files::Files;
use std::{
    collections::HashMap,
    fmt::Write as _,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::watch;

/// Pause after a failure.
const PAUSE: Duration = Duration::from_secs(1);

/// The logs of all builds; cheap to clone.
#[derive(Clone)]
pub(crate) struct Archive {
    files: Files,
    bus: Bus,
    store: Store,
    life: Life,
    /// Builds whose logs are being moved; the value counts what was stored.
    open: Arc<Mutex<HashMap<String, watch::Sender<u64>>>>,
}

/// How far one log is.
struct Cursor {
    row: i64,
    seq: u64,
    bytes: u64,
}

// === impl Archive ===

impl Archive {
    pub(crate) fn new(config: &Config, bus: &Bus, store: &Store, life: &Life) -> Self {
        Self {
            files: Files::new(&config.log_dir),
            bus: bus.clone(),
            store: store.clone(),
            life: life.clone(),
            open: Arc::default(),
        }
    }

    /// Goes on with every log that is not complete.
    pub(crate) async fn resume(&self) -> Result<(), Error> {
        self.files.create().map_err(Error::Folder)?;
        for build in self.store.open_logs().await? {
            self.follow(&build);
        }
        Ok(())
    }

    /// Moves the log of a build that has started, until it is complete. Repeating is harmless.
    pub(crate) fn follow(&self, build: &Build) {
        if build.log_done || build.started_at.is_none() {
            return;
        }
        let uid = build.message.id.to_string();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.contains_key(&uid) {
            return;
        }
        open.insert(uid, watch::Sender::new(0));
        drop(open);
        let (archive, id) = (self.clone(), build.message.id.clone());
        self.life.spawn("log archive", Policy::BestEffort, async move {
            let stopping = archive.life.stopping();
            tokio::select! {
                () = archive.drain(&id) => {}
                () = stopping.cancelled() => {}
            }
            archive
                .open
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(id.as_str());
        });
    }

    /// Changes whenever more of the log was stored; `None` when nothing is being moved.
    pub(crate) fn news(&self, id: &BuildId) -> Option<watch::Receiver<u64>> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.get(id.as_str()).map(watch::Sender::subscribe)
    }

    /// The file of a build's log.
    pub(crate) fn path(&self, id: &BuildId) -> PathBuf {
        self.files.path(id)
    }

    async fn drain(&self, id: &BuildId) {
        loop {
            match self.try_drain(id).await {
                Ok(()) => return,
                Err(error) => tracing::warn!(build.id = %id, error, "cannot store a log yet"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn try_drain(&self, id: &BuildId) -> Result<(), String> {
        let text = |error: &dyn std::error::Error| chassis::chain(error);
        let build = self.store.build(id.as_str()).await.map_err(|e| text(&e))?;
        let Some(build) = build else { return Ok(()) }; // Nobody will ask for its log.
        let unsigned = |n: i64| u64::try_from(n).unwrap_or_default();
        let mut cursor = Cursor {
            row: build.id,
            seq: unsigned(build.log_seq),
            bytes: unsigned(build.log_bytes),
        };
        let mut reader = self.bus.log_reader(id, cursor.seq).await.map_err(|e| text(&e))?;
        loop {
            // Asked before reading: a build that has ended appends nothing more.
            let ended = self
                .store
                .build(id.as_str())
                .await
                .map_err(|e| text(&e))?
                .is_none_or(|b| b.finished_at.is_some());
            let chunks = if ended {
                reader.ready().await
            } else {
                reader.next().await
            };
            let chunks = chunks.map_err(|e| text(&e))?;
            if !chunks.is_empty() {
                self.append(id, &mut cursor, &reader, &chunks).await?;
            } else if ended {
                self.record(&cursor, true).await?;
                self.tell(id);
                return Ok(());
            }
        }
    }

    /// File first, then the cursor, then Redis: whatever dies, nothing is lost or doubled.
    async fn append(
        &self,
        id: &BuildId,
        cursor: &mut Cursor,
        reader: &LogReader,
        chunks: &[(u64, LogChunk)],
    ) -> Result<(), String> {
        let mut text = String::new();
        for (_, chunk) in chunks {
            render(chunk, &mut text);
        }
        let written = self.files.write(id, cursor.bytes, &text).await;
        written.map_err(|error| chassis::chain(&error))?;
        chassis::crash_point("prow.log.written");
        cursor.bytes += u64::try_from(text.len()).unwrap_or_default();
        cursor.seq = chunks.last().map_or(cursor.seq, |(seq, _)| *seq);
        self.record(cursor, false).await?;
        chassis::crash_point("prow.log.recorded");
        self.tell(id);
        reader.stored(cursor.seq).await.map_err(|error| chassis::chain(&error))
    }

    async fn record(&self, cursor: &Cursor, done: bool) -> Result<(), String> {
        let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let stored = self
            .store
            .log_stored(cursor.row, signed(cursor.seq), signed(cursor.bytes), done)
            .await;
        stored.map_err(|error| chassis::chain(&error))
    }

    fn tell(&self, id: &BuildId) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(news) = open.get(id.as_str()) {
            news.send_modify(|n| *n += 1);
        }
    }
}

/// `<time> <stage> <text>`, one line each.
fn render(chunk: &LogChunk, text: &mut String) {
    for line in &chunk.lines {
        let at = Timestamp::from_millis(line.t);
        let clean = line.text.replace(['\n', '\r'], " ");
        writeln!(text, "{at} {:<9} {clean}", line.stage.as_str()).ok(); // Writing to a String cannot fail.
    }
}
