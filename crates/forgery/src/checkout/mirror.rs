//! A bare repository per source, kept between builds.
//!
//! Locks are files beside it, which the kernel frees when their holder dies: `<key>.used` is shared by
//! whoever reads or writes a mirror, and taken alone by whoever removes it; `<key>.written` is held by
//! the one that fetches.

use super::credentials::Purpose;
use contract::CloneUrl;
use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

/// The mirrors of this machine; several forgeries may share them.
#[derive(Clone, Debug)]
pub(crate) struct Mirrors {
    folder: PathBuf,
    /// What all of them may have together, in bytes.
    budget: u64,
    /// Sources whose mirror is to be made anew.
    damaged: Arc<Mutex<Vec<String>>>,
}

/// A mirror in use; it is not removed before this is dropped.
#[derive(Debug)]
pub(super) struct Mirror {
    repository: PathBuf,
    written: PathBuf,
    used: File,
}

/// What was begun so long ago is left over.
const LEFT: Duration = Duration::from_hours(1);
/// How often a lock is tried.
const PAUSE: Duration = Duration::from_millis(10);

// === impl Mirrors ===

impl Mirrors {
    pub(crate) fn open(folder: PathBuf, budget: u64) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        Ok(Self {
            folder,
            budget,
            damaged: Arc::default(),
        })
    }

    /// The mirror of a source, which may be empty still.
    pub(super) fn of(&self, source: &CloneUrl, purpose: Purpose, stop: &AtomicBool) -> io::Result<Mirror> {
        let key = key(source, purpose);
        fs::create_dir_all(&self.folder)?; // Somebody may have emptied the work folder, as one may.
        let used = lock_file(&self.folder.join(format!("{key}.used")))?;
        let repository = self.folder.join(format!("{key}.git"));
        if self.damaged().contains(&key) {
            // Others may still read it; then it stays, and is damaged for them as well.
            if used.try_lock().is_ok() {
                remove(&repository)?;
                used.unlock()?;
            }
            self.damaged().retain(|known| *known != key);
        }
        until(stop, || used.try_lock_shared())?;
        used.set_modified(SystemTime::UNIX_EPOCH + now())?;
        Ok(Mirror {
            repository,
            written: self.folder.join(format!("{key}.written")),
            used,
        })
    }

    /// Has the mirror of a source made anew when it is wanted next.
    pub(super) fn forget(&self, source: &CloneUrl, purpose: Purpose) {
        self.damaged().push(key(source, purpose));
    }

    /// Removes the mirrors that were not used for longest, until the rest is within the budget; how many went.
    pub(crate) fn evict(&self) -> io::Result<usize> {
        self.shrink(self.budget)
    }

    /// The same, to so many bytes.
    pub(crate) fn shrink(&self, budget: u64) -> io::Result<usize> {
        let mut known = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "git") {
                let used = fs::metadata(path.with_extension("used")).and_then(|file| file.modified());
                known.push((
                    used.unwrap_or(SystemTime::UNIX_EPOCH),
                    super::limits::size_of(&path),
                    path,
                ));
            } else if path.extension().is_some_and(|extension| extension == "gone") && is_old(&path) {
                fs::remove_dir_all(&path).ok(); // Whoever began with it died; or another forgery is at it.
            }
        }
        known.sort();
        let mut total: u64 = known.iter().map(|(_, size, _)| size).sum();
        let mut gone = 0;
        for (_, size, path) in known {
            if total <= budget {
                break;
            }
            let used = lock_file(&path.with_extension("used"))?;
            if used.try_lock().is_ok() {
                remove(&path)?;
                total = total.saturating_sub(size);
                gone += 1;
            }
        }
        Ok(gone)
    }

    fn damaged(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Mirror ===

impl Mirror {
    pub(super) fn repository(&self) -> &Path {
        &self.repository
    }

    /// Removes what is there, unless somebody else reads it; whoever calls this writes alone.
    pub(super) fn renew(&self) -> io::Result<()> {
        // A lock that cannot be widened may be lost by the attempt: it is taken again either way.
        if self.used.try_lock().is_ok() {
            remove(&self.repository)?;
        }
        self.used.lock_shared()
    }

    /// Waits to be the only one that writes; that ends with what is returned.
    pub(super) fn write(&self, stop: &AtomicBool) -> io::Result<File> {
        let lock = lock_file(&self.written)?;
        until(stop, || lock.try_lock())?;
        Ok(lock)
    }
}

/// Whether nobody can be at it any more.
fn is_old(path: &Path) -> bool {
    let changed = fs::metadata(path).and_then(|found| found.modified());
    changed.is_ok_and(|changed| changed.elapsed().is_ok_and(|age| age > LEFT))
}

fn lock_file(path: &Path) -> io::Result<File> {
    File::options().create(true).truncate(false).write(true).open(path)
}

/// Since 1970.
fn now() -> Duration {
    Duration::from_millis(u64::try_from(bus::clock::now_ms()).unwrap_or_default())
}

/// Tries for a lock until it is had; waiting for it in the kernel could not be interrupted.
#[expect(clippy::disallowed_methods, reason = "on a thread of its own, which may block")]
fn until(stop: &AtomicBool, mut lock: impl FnMut() -> Result<(), TryLockError>) -> io::Result<()> {
    loop {
        match lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if stop.load(Ordering::Relaxed) => {
                return Err(io::Error::other("interrupted while waiting for a mirror"));
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
        }
    }
}

/// Removes a mirror at once: a half removed one is never seen.
fn remove(repository: &Path) -> io::Result<()> {
    let gone = repository.with_extension(format!("{}.gone", uuid::Uuid::new_v4().simple()));
    match fs::rename(repository, &gone) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => fs::remove_dir_all(gone),
    }
}

/// Names a source in the file system, readably and without a doubt. What we have fetched by our credentials is in no mirror
/// that a stranger's submodules come from: whoever knows a commit of it could have it by asking for that.
fn key(source: &CloneUrl, purpose: Purpose) -> String {
    let own = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_URL, source.as_str().as_bytes()).simple();
    let name = source
        .as_str()
        .trim_end_matches('/')
        .rsplit(['/', ':'])
        .next()
        .unwrap_or_default();
    let name = name.strip_suffix(".git").unwrap_or(name);
    let plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let name: String = name.chars().filter(plain).take(32).collect();
    match purpose {
        Purpose::Build => format!("{name}-{own}"),
        Purpose::Untrusted => format!("{name}-{own}-public"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static GO: AtomicBool = AtomicBool::new(false);

    fn filled(mirrors: &Mirrors, url: &str, bytes: usize) -> Mirror {
        let mirror = mirrors.of(&url.parse().unwrap(), Purpose::Build, &GO).unwrap();
        fs::create_dir_all(mirror.repository()).unwrap();
        fs::write(mirror.repository().join("pack"), vec![0; bytes]).unwrap();
        mirror
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "times of files tell the order")]
    fn past_the_budget_the_mirrors_go_that_were_not_used_for_longest() {
        let folder = tempfile::tempdir().unwrap();
        let mirrors = Mirrors::open(folder.path().join("mirrors"), 2_500).unwrap();
        let first = filled(&mirrors, "https://h/o/first.git", 1_000);
        for url in ["https://h/o/second.git", "https://h/o/third.git"] {
            std::thread::sleep(Duration::from_millis(5));
            drop(filled(&mirrors, url, 1_000));
        }
        assert_eq!(mirrors.evict().unwrap(), 1, "the first one is in use");
        let left = |url: &str| {
            let mirror = mirrors.of(&url.parse().unwrap(), Purpose::Build, &GO).unwrap();
            mirror.repository().exists()
        };
        assert!(first.repository().exists() && !left("https://h/o/second.git") && left("https://h/o/third.git"));
        assert_eq!(mirrors.evict().unwrap(), 0);
    }

    #[test]
    fn a_damaged_mirror_is_made_anew_and_one_writes_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let mirrors = Mirrors::open(folder.path().join("mirrors"), u64::MAX).unwrap();
        let (url, name) = ("https://h/o/r.git".parse().unwrap(), "https://h/o/r.git");
        drop(filled(&mirrors, name, 10));
        mirrors.forget(&url, Purpose::Build);
        let mirror = mirrors.of(&url, Purpose::Build, &GO).unwrap();
        assert!(!mirror.repository().exists());
        let writer = mirror.write(&GO).unwrap();
        let stop = AtomicBool::new(true);
        assert!(mirror.write(&stop).is_err(), "whoever waits can be interrupted");
        drop(writer);
        mirror.write(&stop).unwrap();
    }

    #[test]
    fn sources_that_are_spelt_alike_have_mirrors_of_their_own() {
        let key = |url: &str| key(&url.parse().unwrap(), Purpose::Build);
        assert!(key("https://h/o/r.git").starts_with("r-"));
        assert_ne!(key("https://h/o/r.git"), key("https://h/p/r.git"));
        assert!(key("git@h:o/r").starts_with("r-"));
    }
}
