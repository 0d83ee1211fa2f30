//! Seeing to it that the disk never gets full: what can be had again goes first, and nothing new is begun without room.

use crate::{artifacts, bench::Bench, checkout::Sources, engine::Engine};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Whether there is room for more; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Room(watch::Sender<Level>);

/// How much room there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Enough,
    /// Nothing new is begun.
    Short,
    /// What runs is ended, before the disk is full for everybody.
    Emergency,
}

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
    /// What steps have left for people, and for how many days.
    artifacts: Option<(PathBuf, u32)>,
}

const EVERY: Duration = Duration::from_secs(1);
/// The mirrors' budget and what is old are looked at once in so many rounds: it takes reading many folders.
const ROUNDS: u32 = 120;
/// Room is made once in so many rounds.
const EFFORTS: u32 = 15;
/// With less than this part of what must stay free there is an emergency.
const EMERGENCY: u64 = 4;
const MIB: u64 = 1_024 * 1_024;

// === impl Room ===

impl Default for Room {
    fn default() -> Self {
        Self(watch::Sender::new(Level::Enough))
    }
}

impl Room {
    fn set(&self, level: Level) {
        self.0.send_if_modified(|now| std::mem::replace(now, level) != level);
    }

    /// Waits until there is room.
    pub(crate) async fn wait(&self) {
        self.0.subscribe().wait_for(|level| *level == Level::Enough).await.ok(); // It lives as long as whoever waits.
    }

    /// Waits until there is none.
    pub(crate) async fn shortage(&self) {
        self.0.subscribe().wait_for(|level| *level != Level::Enough).await.ok();
    }

    /// Waits until what runs must end.
    pub(crate) async fn emergency(&self) {
        self.0
            .subscribe()
            .wait_for(|level| *level == Level::Emergency)
            .await
            .ok();
    }
}

// === impl Governor ===

impl Governor {
    pub(crate) async fn new(bench: &Arc<Bench>) -> Self {
        let mut folders = vec![
            bench.tools.config.work_dir.clone(),
            bench.tools.config.git.mirrors.clone(),
        ];
        // An engine elsewhere looks after its own disk.
        folders.extend(bench.tools.engine.folder().await.filter(|folder| folder.exists()));
        Self {
            room: bench.room.clone(),
            sources: bench.tools.sources.clone(),
            engine: bench.tools.engine.clone(),
            installation: bench.tools.installation.clone(),
            folders,
            artifacts: bench
                .tools
                .config
                .artifacts
                .clone()
                .map(|folder| (folder, bench.tools.config.artifact_days)),
            least: bench.tools.config.min_free_mib.saturating_mul(MIB),
        }
    }

    pub(crate) async fn run(self, stopping: CancellationToken) {
        for round in 0_u32.. {
            self.round(round).await;
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = stopping.cancelled() => return,
            }
        }
    }

    async fn round(&self, round: u32) {
        if round.is_multiple_of(ROUNDS) {
            let sources = self.sources.clone();
            report("mirrors", tokio::task::spawn_blocking(move || sources.evict()).await);
            if let Some((folder, days)) = self.artifacts.clone() {
                report(
                    "artifacts",
                    tokio::task::spawn_blocking(move || artifacts::forget(&folder, days)).await,
                );
            }
        }
        let (before, level) = (*self.room.0.borrow(), self.level());
        // Told first: making room takes its time.
        self.room.set(level);
        if level != before {
            self.say(level);
        }
        if level != Level::Enough && (before == Level::Enough || round.is_multiple_of(EFFORTS)) {
            self.make_room().await;
        }
    }

    fn say(&self, level: Level) {
        let (folder, free) = self.short().unwrap_or_else(|| (Path::new(""), 0));
        let (folder, free_mib, least_mib) = (folder.display(), free / MIB, self.least / MIB);
        match level {
            Level::Enough => tracing::info!("there is room on the disk again: builds are taken"),
            Level::Short => tracing::warn!(
                %folder, free_mib, least_mib, "the disk is nearly full: no builds are taken (disk.min_free_mib)"
            ),
            Level::Emergency => tracing::error!(
                %folder, free_mib, least_mib, "the disk is about to be full: what runs is ended (disk.min_free_mib)"
            ),
        }
    }

    /// Removes what can be had again, and goes on looking meanwhile: the engine may take long.
    async fn make_room(&self) {
        let looking = async {
            loop {
                tokio::time::sleep(EVERY).await;
                self.room.set(self.level());
            }
        };
        tokio::select! {
            () = self.remove() => {}
            () = looking => {}
        }
    }

    async fn remove(&self) {
        let sources = self.sources.clone();
        report(
            "mirrors",
            tokio::task::spawn_blocking(move || sources.evict_all()).await,
        );
        self.engine.prune(&self.installation).await;
    }

    fn level(&self) -> Level {
        match self.short() {
            None => Level::Enough,
            Some((_, free)) if free < self.least / EMERGENCY => Level::Emergency,
            Some(_) => Level::Short,
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
