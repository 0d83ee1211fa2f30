//! Deliveries that wait on the disk while Redis is away: written and synced before they are answered, forwarded
//! in their order when it is back.
//!
//! A file each, named by a number that grows. A file that is being written has another name, so a crash leaves
//! either all of a delivery or nothing that counts.

use bus::{Batch, ErrorKind, Parcel, Sent, clock};
use chassis::{Life, metrics::metrics::gauge::Gauge};
use contract::WebhookDelivery;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, DirBuilder, File},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// A folder of deliveries; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Spool {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    most: u64,
    held: Mutex<Held>,
    news: Notify,
    /// Locked for as long as this process lives.
    _lock: File,
}

/// What is in the folder.
#[derive(Debug, Default)]
struct Held {
    files: BTreeMap<u64, Entry>,
    /// Delivery ids and fingerprints of them all: whose they are, and until when they hold, in ms of the clock;
    /// ids for ever.
    known: HashMap<String, (u64, Option<i64>)>,
    next: u64,
    bytes: u64,
    gauges: Gauges,
}

/// The same, for metrics.
#[derive(Clone, Debug, Default)]
struct Gauges {
    waiting: Gauge,
    bytes: Gauge,
    refused: Gauge,
}

#[derive(Clone, Debug)]
struct Entry {
    names: Vec<String>,
    bytes: u64,
    /// Its file is whole.
    written: bool,
}

/// What a file holds.
#[derive(Serialize, Deserialize)]
struct Written {
    id: String,
    lane: String,
    once: Option<(String, u64)>,
    copy_to: Option<String>,
    payload: String,
    /// When it came, in ms of the clock.
    #[serde(default)]
    at: i64,
}

/// Why a delivery was not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpoolError {
    #[error("the spool is full: {0} bytes are waiting")]
    Full(u64),
    #[error("the same delivery is being written")]
    Twice,
    #[error("the spool cannot be written")]
    Io(#[from] io::Error),
}

/// Most deliveries that wait, however short they are.
const FILES: usize = 100_000;
/// Pause before forwarding is tried again.
const PAUSE: Duration = Duration::from_millis(500);
/// A delivery of this name was never finished, and never answered.
const UNFINISHED: &str = "part";
/// One of this name waits.
const WRITTEN: &str = "json";
/// One of this name could not be forwarded.
const REFUSED: &str = "refused";
const LOCK: &str = "lock";
/// Higher numbers are nobody's: there would be none left to count on.
const MOST_NUMBER: u64 = u64::MAX / 2;

// === impl Spool ===

impl Spool {
    /// Opens a folder, and finds what is in it.
    ///
    /// # Errors
    /// When it cannot be used, or another gateway uses it.
    pub(crate) fn open(folder: &Path, most: u64) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let lock = File::create(folder.join(LOCK))?;
        lock.try_lock()
            .map_err(|_taken| io::Error::other("another gateway uses this folder"))?;
        let mut held = Held::default();
        let mut unreadable = 0;
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let Some(n) = number(&path) else { continue };
            held.next = held.next.max(n.saturating_add(1)); // Whatever is there, nothing is written over it.
            match path.extension().and_then(|kind| kind.to_str()) {
                Some(UNFINISHED) => fs::remove_file(&path)?,
                Some(WRITTEN) => match read(&path) {
                    Ok(written) => held.add(n, &written, path.metadata()?.len(), true),
                    Err(error) => {
                        unreadable += 1;
                        tracing::error!(%error, path = %path.display(), "a spooled delivery cannot be read; it stays there");
                    }
                },
                Some(_) | None => {}
            }
        }
        held.gauges.refused.set((count_refused(folder) + unreadable).into());
        let shared = Shared {
            folder: folder.to_owned(),
            most,
            held: Mutex::new(held),
            news: Notify::new(),
            _lock: lock,
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Counts what waits among the service's metrics.
    pub(crate) fn register(&self, life: &Life) {
        let Gauges {
            waiting,
            bytes,
            refused,
        } = self.held().gauges.clone();
        life.metrics(|registry| {
            registry.register("gateway_spool_deliveries", "Deliveries that wait on the disk", waiting);
            registry.register("gateway_spool_bytes", "How long they are", bytes);
            registry.register(
                "gateway_spool_refused",
                "Deliveries that were put aside, for people to look at",
                refused,
            );
        });
    }

    /// How many deliveries wait, and how many bytes of them.
    pub(crate) fn waiting(&self) -> (usize, u64) {
        let held = self.held();
        (held.files.len(), held.bytes)
    }

    /// Writes a delivery down; once this returns it survives a loss of power.
    pub(crate) async fn put(&self, parcel: Parcel) -> Result<Sent, SpoolError> {
        let spool = self.clone();
        let written = tokio::task::spawn_blocking(move || spool.write(parcel)).await;
        written.unwrap_or_else(|_panic| Err(SpoolError::Io(io::Error::other("the writer broke"))))
    }

    fn write(&self, parcel: Parcel) -> Result<Sent, SpoolError> {
        let written = Written {
            id: parcel.id,
            lane: parcel.lane,
            once: parcel.once.map(|(fingerprint, within)| (fingerprint, within.as_secs())),
            copy_to: parcel.copy_to,
            payload: String::from_utf8(parcel.payload.into()).map_err(io::Error::other)?,
            at: clock::now_ms(),
        };
        let text = serde_json::to_vec(&written).map_err(io::Error::from)?;
        let bytes = text.len() as u64;
        let n = {
            let mut held = self.held();
            match held.same(&written) {
                Some(same) if same.written => return Ok(Sent::Duplicate("spooled".to_owned())),
                // It may yet fail, and then nothing would be here.
                Some(_) => return Err(SpoolError::Twice),
                None => {}
            }
            if held.files.len() >= FILES || held.bytes.saturating_add(bytes) > self.shared.most {
                return Err(SpoolError::Full(held.bytes));
            }
            // Reserved, so that nobody overtakes it and nobody writes it twice.
            let n = held.next;
            held.add(n, &written, bytes, false);
            n
        };
        let done = self.write_file(n, &text);
        chassis::crash_point("gateway.spooled");
        match &done {
            Ok(()) => self.is_written(n),
            Err(_) => self.forget(n),
        }
        self.shared.news.notify_one();
        done.map(|()| Sent::Queued).map_err(SpoolError::from)
    }

    fn write_file(&self, n: u64, text: &[u8]) -> io::Result<()> {
        let (part, path) = (self.path(n, UNFINISHED), self.path(n, WRITTEN));
        // Bodies tell of private repositories.
        let mut file = File::options()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&part)?;
        let done = file
            .write_all(text)
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&part, &path))
            .and_then(|()| File::open(&self.shared.folder)?.sync_all());
        if done.is_err() {
            // Its sender is told that it was not taken.
            fs::remove_file(&part).ok();
            fs::remove_file(&path).ok();
        }
        done
    }

    /// Says in the log when it begins to fill, and when it is empty again.
    fn tell(&self, told: &mut bool) {
        let waits = self.waiting().0 > 0;
        if waits && !*told {
            tracing::warn!("deliveries wait in the spool");
        } else if !waits && *told {
            tracing::info!("the spool is empty again: what waited was sent on");
        }
        *told = waits;
    }

    /// Forwards what waits, oldest first, until the service stops.
    pub(crate) async fn forward(self, batch: Batch<WebhookDelivery>, stopping: CancellationToken) {
        let mut told = false;
        loop {
            self.tell(&mut told);
            let Some(n) = self.oldest() else {
                tokio::select! {
                    () = self.shared.news.notified() => continue,
                    () = stopping.cancelled() => return,
                }
            };
            let unfinished = self.is_being_written(n);
            let pause = match read(&self.path(n, WRITTEN)) {
                Ok(written) => match batch.send(written.into_parcel()).await {
                    Ok(_) => {
                        chassis::crash_point("gateway.forwarded");
                        fs::remove_file(self.path(n, WRITTEN)).ok(); // Sent again it is a duplicate.
                        self.forget(n);
                        Duration::ZERO
                    }
                    Err(error) if matches!(error.kind(), ErrorKind::TooLarge { .. }) => {
                        self.put_aside(n, &error);
                        Duration::ZERO
                    }
                    Err(error) => {
                        tracing::debug!(%error, "a spooled delivery waits");
                        PAUSE
                    }
                },
                Err(_none) if unfinished => Duration::from_millis(5),
                Err(error) => {
                    self.put_aside(n, &error);
                    Duration::ZERO
                }
            };
            if pause.is_zero() && !stopping.is_cancelled() {
                continue;
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stopping.cancelled() => return,
            }
        }
    }

    /// Lets those behind it pass, for people to look at.
    fn put_aside(&self, n: u64, error: &dyn std::fmt::Display) {
        let path = self.path(n, REFUSED);
        tracing::error!(%error, path = %path.display(), "a spooled delivery cannot be forwarded; it is put aside");
        match fs::rename(self.path(n, WRITTEN), path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::error!(%error, "it stays where it is, and is tried again after a restart");
            }
            Ok(()) | Err(_) => {} // Somebody has removed it.
        }
        self.forget(n);
        let refused = count_refused(&self.shared.folder);
        self.held().gauges.refused.set(refused.into());
    }

    fn is_written(&self, n: u64) {
        if let Some(entry) = self.held().files.get_mut(&n) {
            entry.written = true;
        }
    }

    fn is_being_written(&self, n: u64) -> bool {
        self.held().files.get(&n).is_some_and(|entry| !entry.written)
    }

    fn oldest(&self) -> Option<u64> {
        self.held().files.keys().next().copied()
    }

    fn forget(&self, n: u64) {
        let mut held = self.held();
        if let Some(entry) = held.files.remove(&n) {
            held.bytes = held.bytes.saturating_sub(entry.bytes);
            held.measure();
            for name in &entry.names {
                held.known.remove(name);
            }
        }
    }

    fn path(&self, n: u64, kind: &str) -> PathBuf {
        self.shared.folder.join(format!("{n:020}.{kind}"))
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.shared.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Held ===

impl Held {
    fn add(&mut self, n: u64, delivery: &Written, bytes: u64, written: bool) {
        let names = delivery.names();
        self.known
            .extend(names.iter().map(|(name, until)| (name.clone(), (n, *until))));
        let names = names.into_iter().map(|(name, _)| name).collect();
        self.files.insert(n, Entry { names, bytes, written });
        self.next = self.next.max(n.saturating_add(1));
        self.bytes = self.bytes.saturating_add(bytes);
        self.measure();
    }

    fn measure(&self) {
        let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        self.gauges.waiting.set(signed(self.files.len() as u64));
        self.gauges.bytes.set(signed(self.bytes));
    }

    /// The same delivery, if it is here already.
    fn same(&self, delivery: &Written) -> Option<&Entry> {
        let known = delivery
            .names()
            .into_iter()
            .filter_map(|(name, _)| self.known.get(&name));
        let mut holds = known.filter(|(_, until)| until.is_none_or(|until| delivery.at < until));
        holds.find_map(|(n, _)| self.files.get(n))
    }
}

// === impl Written ===

impl Written {
    /// Each of these makes it the same delivery as another, until this time.
    fn names(&self) -> Vec<(String, Option<i64>)> {
        let until = |seconds: u64| self.at.saturating_add_unsigned(seconds.saturating_mul(1_000));
        let fingerprint = self.once.as_ref();
        let fingerprint = fingerprint.map(|(seal, seconds)| (format!("seal {seal}"), Some(until(*seconds))));
        fingerprint
            .into_iter()
            .chain([(format!("id {}", self.id), None)])
            .collect()
    }

    /// Its fingerprint counts from when it came, not from when it goes on.
    fn into_parcel(self) -> Parcel {
        let age = u64::try_from(clock::now_ms() - self.at).unwrap_or_default() / 1_000;
        let once = self.once.and_then(|(seal, seconds)| {
            let left = seconds.checked_sub(age).filter(|left| *left > 0)?;
            Some((seal, Duration::from_secs(left)))
        });
        Parcel {
            id: self.id,
            payload: self.payload.into(),
            lane: self.lane,
            once,
            copy_to: self.copy_to,
        }
    }
}

fn read(path: &Path) -> io::Result<Written> {
    serde_json::from_slice(&fs::read(path)?).map_err(io::Error::from)
}

/// How many deliveries of a folder were put aside.
pub(crate) fn count_refused(folder: &Path) -> u32 {
    count(folder, REFUSED)
}

/// How many deliveries wait in a folder.
pub(crate) fn count_waiting(folder: &Path) -> u32 {
    count(folder, WRITTEN)
}

fn count(folder: &Path, kind: &str) -> u32 {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let of_kind = files.filter(|file| file.path().extension().is_some_and(|own| own == kind));
    u32::try_from(of_kind.count()).unwrap_or(u32::MAX)
}

/// The number of a file that the spool has written.
fn number(path: &Path) -> Option<u64> {
    let name = path.file_stem()?.to_str().filter(|name| name.len() == 20)?;
    name.parse().ok().filter(|n| *n < MOST_NUMBER && path.is_file())
}

#[cfg(test)]
mod tests;
