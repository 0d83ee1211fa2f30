//! A folder per attempt: gone when dropped; leftovers of dead processes swept at start.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::Duration,
};
use tempfile::TempDir;

/// The folder of this process, held by a lock for as long as it lives.
#[derive(Debug)]
pub(crate) struct Workspaces {
    folder: PathBuf,
    /// Held, not read: whoever can take it knows that its owner is dead.
    _lock: File,
}

const PREFIX: &str = "forgery-";
const LOCK: &str = "lock";
/// Pauses between attempts at removing a workspace.
const REMOVAL_PAUSES: [Duration; 5] = [
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::ZERO,
];

// === impl Workspaces ===

impl Workspaces {
    /// Makes this process's folder, and removes those whose owners are dead.
    pub(crate) fn open(work_dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(work_dir)?;
        sweep(work_dir)?;
        // Locked before anybody can take it for one that a dead process left.
        let name = uuid::Uuid::new_v4().simple().to_string();
        let (young, folder) = (
            work_dir.join(format!(".{name}")),
            work_dir.join(format!("{PREFIX}{name}")),
        );
        fs::create_dir(&young)?;
        let lock = File::create(young.join(LOCK))?;
        lock.try_lock().map_err(io::Error::other)?;
        fs::rename(young, &folder)?;
        Ok(Self { folder, _lock: lock })
    }

    /// Removes the folders beside ours whose owners are dead.
    pub(crate) fn sweep(&self) -> io::Result<()> {
        self.folder.parent().map_or(Ok(()), sweep)
    }

    /// The folder of this process.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A new, empty folder that is removed when dropped.
    pub(crate) fn make(&self) -> io::Result<TempDir> {
        // Somebody may have emptied the work folder meanwhile, as one may. Without its lock file nobody sweeps it.
        fs::create_dir_all(&self.folder)?;
        tempfile::Builder::new().prefix("build-").tempdir_in(&self.folder)
    }

    /// Removes one of them; whoever still writes in it has been told to stop.
    pub(crate) async fn remove(workspace: TempDir) {
        let path = workspace.keep();
        for pause in REMOVAL_PAUSES {
            let folder = path.clone();
            let removed = tokio::task::spawn_blocking(move || fs::remove_dir_all(folder)).await;
            match removed {
                Ok(Err(error)) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::debug!(%error, folder = %path.display(), "a workspace cannot be removed, yet");
                    tokio::time::sleep(pause).await;
                }
                _ => return,
            }
        }
        tracing::warn!(folder = %path.display(), "a workspace stays until this forgery ends");
    }
}

impl Drop for Workspaces {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.folder).ok(); // What cannot be removed now is swept at the next start.
    }
}

fn sweep(work_dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(work_dir)? {
        let path = entry?.path();
        let ours = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with(PREFIX));
        if ours && is_free(&path.join(LOCK)) {
            tracing::info!(folder = %path.display(), "removing what a dead process left");
            match fs::remove_dir_all(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(%error, folder = %path.display(), "it cannot be removed");
                }
                _ => {} // Another forgery was faster.
            }
        }
    }
    Ok(())
}

/// Whether nobody who lives holds a lock file. One that is not there is just being made, or what it guards is empty anyway.
pub(crate) fn is_free(lock: &Path) -> bool {
    File::open(lock).is_ok_and(|lock| lock.try_lock().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_the_dead_are_swept_and_those_of_the_living_are_not() {
        let work = tempfile::tempdir().unwrap();
        let dead = work.path().join("forgery-dead");
        fs::create_dir(&dead).unwrap();
        File::create(dead.join(LOCK)).unwrap();
        let alien = work.path().join("other");
        fs::create_dir(&alien).unwrap();
        let living = Workspaces::open(work.path()).unwrap();
        let build = living.make().unwrap();
        let other = Workspaces::open(work.path()).unwrap();
        assert!(build.path().exists() && alien.exists() && !dead.exists());
        let (path, folder) = (build.path().to_owned(), other.folder.clone());
        drop((build, other));
        assert!(!path.exists() && !folder.exists());
    }

    #[tokio::test]
    async fn a_work_folder_that_somebody_has_emptied_is_used_all_the_same() {
        let work = tempfile::tempdir().unwrap();
        let spaces = Workspaces::open(work.path()).unwrap();
        fs::remove_dir_all(work.path()).unwrap();
        let build = spaces.make().unwrap();
        let _other = Workspaces::open(work.path()).unwrap();
        assert!(build.path().exists(), "nobody takes it for one of the dead");
        let path = build.path().to_owned();
        fs::write(path.join("a"), "b").unwrap();
        Workspaces::remove(build).await;
        assert!(!path.exists());
    }
}
