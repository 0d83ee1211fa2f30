//! Seeing to it that the disk never gets full: what can be had again goes first, and nothing new is begun without room.

use crate::{attempt::Bench, checkout::Sources, engine::Engine};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Whether there is room for more; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Room(watch::Sender<bool>);

/// Looks after the disks of the work folder, the mirrors and the engine.
#[derive(Clone, Debug)]
pub(crate) struct Governor {
    room: Room,
    sources: Sources,
    engine: Engine,
    installation: String,
    folders: Vec<PathBuf>,
    /// What must stay free on each, in bytes.
    least: u64,
}

const EVERY: Duration = Duration::from_secs(15);
/// The mirrors' budget is looked at once in so many rounds: it takes reading all their folders.
const ROUNDS: u32 = 8;
const MIB: u64 = 1_024 * 1_024;

// === impl Room ===

impl Default for Room {
    fn default() -> Self {
        Self(watch::Sender::new(true))
    }
}

impl Room {
    /// Waits until there is room.
    pub(crate) async fn wait(&self) {
        self.0.subscribe().wait_for(|room| *room).await.ok(); // It lives as long as whoever waits.
    }

    /// Waits until there is none.
    pub(crate) async fn shortage(&self) {
        self.0.subscribe().wait_for(|room| !*room).await.ok();
    }
}

// === impl Governor ===

impl Governor {
    pub(crate) async fn new(bench: &Arc<Bench>) -> Self {
        let mut folders = vec![bench.config.work_dir.clone(), bench.config.git.mirrors.clone()];
        // An engine elsewhere looks after its own disk.
        folders.extend(bench.engine.folder().await.filter(|folder| folder.exists()));
        Self {
            room: bench.room.clone(),
            sources: bench.sources.clone(),
            engine: bench.engine.clone(),
            installation: bench.installation.clone(),
            folders,
            least: bench.config.min_free_mib.saturating_mul(MIB),
        }
    }

    pub(crate) async fn run(self, stopping: CancellationToken) {
        for round in 0_u32.. {
            self.round(round.is_multiple_of(ROUNDS)).await;
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = stopping.cancelled() => return,
            }
        }
    }

    async fn round(&self, all: bool) {
        if all {
            let sources = self.sources.clone();
            report("mirrors", tokio::task::spawn_blocking(move || sources.evict()).await);
        }
        if self.short().is_some() {
            let sources = self.sources.clone();
            report(
                "mirrors",
                tokio::task::spawn_blocking(move || sources.evict_all()).await,
            );
            self.engine.prune(&self.installation).await;
        }
        let short = self.short();
        if let Some((folder, free)) = &short {
            tracing::warn!(
                folder = %folder.display(), free_mib = free / MIB, least_mib = self.least / MIB,
                "the disk is nearly full: no builds are taken (disk.min_free_mib)"
            );
        }
        if self
            .room
            .0
            .send_if_modified(|room| std::mem::replace(room, short.is_none()) != *room)
            && short.is_none()
        {
            tracing::info!("there is room on the disk again: builds are taken");
        }
    }

    /// The first folder with too little room, and how much it has, in bytes.
    fn short(&self) -> Option<(&Path, u64)> {
        self.folders.iter().find_map(|folder| {
            let about = rustix::fs::statvfs(folder).ok()?;
            let free = about.f_bavail.saturating_mul(about.f_frsize);
            (free < self.least).then_some((folder.as_path(), free))
        })
    }
}

fn report<E: std::fmt::Display>(what: &str, done: Result<std::io::Result<usize>, E>) {
    match done {
        Ok(Ok(0)) => {}
        Ok(Ok(gone)) => tracing::info!(gone, "removed {what} that were not used for longest"),
        Ok(Err(error)) => tracing::warn!(%error, "cannot remove {what}"),
        Err(error) => tracing::error!(%error, "removing {what} broke"),
    }
}
