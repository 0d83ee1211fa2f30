//! The files of logs: one for each build, written at the place that is known to be the last.

use contract::BuildId;
use std::{
    io::{self, SeekFrom},
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::{
    fs::{File, OpenOptions},
    io::{AsyncSeekExt as _, AsyncWriteExt as _},
    sync::Semaphore,
};

/// A folder of logs; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Files {
    folder: Arc<Path>,
    /// Files that may be open for writing at once, however many logs grow.
    writing: Arc<Semaphore>,
}

/// Most log files open for writing at once.
const WRITING: usize = 32;

// === impl Files ===

impl Files {
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.into(),
            writing: Arc::new(Semaphore::new(WRITING)),
        }
    }

    /// Makes the folder.
    pub(super) fn create(&self) -> io::Result<()> {
        std::fs::create_dir_all(&self.folder)
    }

    /// The file of a build's log.
    pub(super) fn path(&self, id: &BuildId) -> PathBuf {
        self.folder.join(format!("{id}.log"))
    }

    /// Writes at this place, and nothing stays behind it; the disk has it once this returns.
    pub(super) async fn write(&self, id: &BuildId, at: u64, text: &str) -> io::Result<()> {
        let _turn = self.writing.acquire().await.map_err(io::Error::other)?;
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.path(id))
            .await?;
        file.set_len(at).await?;
        file.seek(SeekFrom::Start(at)).await?;
        file.write_all(text.as_bytes()).await?;
        file.flush().await?; // Only this tells whether the disk has taken it.
        file.sync_data().await?;
        drop(file);
        if at == 0 {
            File::open(&self.folder).await?.sync_all().await?; // The disk has the name, too.
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::future::join_all;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// How many files of this folder this process has open.
    fn open(folder: &Path) -> usize {
        let links = std::fs::read_dir("/proc/self/fd").unwrap();
        let targets = links.filter_map(|link| std::fs::read_link(link.unwrap().path()).ok());
        targets.filter(|target| target.starts_with(folder)).count()
    }

    #[tokio::test]
    async fn at_most_32_log_files_are_open_for_writing() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::new(folder.path());
        files.create().unwrap();
        let done = Arc::new(AtomicBool::new(false));
        let watch = {
            let (folder, done) = (folder.path().to_owned(), Arc::clone(&done));
            std::thread::spawn(move || {
                let mut most = 0;
                while !done.load(Ordering::Relaxed) {
                    most = most.max(open(&folder));
                    std::thread::yield_now();
                }
                most
            })
        };
        let text = "x".repeat(8 * 1_024);
        let ids: Vec<BuildId> = (0..200).map(|n| format!("b{n}").parse().unwrap()).collect();
        for written in join_all(ids.iter().map(|id| files.write(id, 0, &text))).await {
            written.unwrap();
        }
        done.store(true, Ordering::Relaxed);
        let most = watch.join().unwrap();
        assert!((2..=WRITING).contains(&most), "{most} were open at once");
    }

    #[tokio::test]
    async fn what_was_written_and_never_recorded_is_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let (files, id) = (Files::new(folder.path()), "b".parse().unwrap());
        files.write(&id, 0, "known\nnever recorded, and long\n").await.unwrap();
        files.write(&id, 6, "again\n").await.unwrap();
        assert_eq!(std::fs::read_to_string(files.path(&id)).unwrap(), "known\nagain\n");
    }
}
