//! Tells prow what this forgery does: when something begins or ends, and now and then.

use crate::{Config, bench::Bench};
use bus::{Producer, clock};
use chassis::Life;
use contract::{BuildId, DeploymentId, WorkerReport, WorkerState, worker::Disk};
use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::Notify;

/// What is under way; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Roster(Arc<Entries>);

#[derive(Debug, Default)]
struct Entries {
    open: Mutex<BTreeSet<Entry>>,
    changed: Notify,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Entry {
    Build(String),
    Deployment(String),
}

/// Something is under way until this is dropped.
#[derive(Debug)]
pub(crate) struct UnderWay {
    roster: Roster,
    entry: Entry,
}

/// Tells what is on the roster.
pub(crate) struct Teller {
    roster: Roster,
    reports: Producer<WorkerReport>,
    name: String,
    host: String,
    slots: u32,
    config: Config,
    life: Life,
}

const EVERY: Duration = Duration::from_secs(WorkerReport::EVERY_SECONDS as u64);
/// What changes within this time is told together.
const GATHER: Duration = Duration::from_millis(50);

// === impl Roster ===

impl Roster {
    pub(crate) fn build(&self, id: &BuildId) -> UnderWay {
        self.add(Entry::Build(id.to_string()))
    }

    pub(crate) fn deployment(&self, id: &DeploymentId) -> UnderWay {
        self.add(Entry::Deployment(id.to_string()))
    }

    fn add(&self, entry: Entry) -> UnderWay {
        self.open().insert(entry.clone());
        self.0.changed.notify_one();
        UnderWay {
            entry,
            roster: self.clone(),
        }
    }

    fn open(&self) -> MutexGuard<'_, BTreeSet<Entry>> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until something begins or ends.
    async fn changes(&self) {
        self.0.changed.notified().await;
        tokio::time::sleep(GATHER).await;
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.roster.open().remove(&self.entry);
        self.roster.0.changed.notify_one();
    }
}

// === impl Teller ===

impl Teller {
    pub(crate) fn new(bench: &Bench, name: &str, life: &Life) -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Self {
            roster: bench.roster.clone(),
            reports: bench.bus.producer(&bench.tools.config.workers),
            name: name.to_owned(),
            host: host.trim().to_owned(),
            slots: u32::try_from(bench.tools.config.slots).unwrap_or(u32::MAX),
            config: bench.tools.config.clone(),
            life: life.clone(),
        }
    }

    /// Tells until the service has stopped and nothing is under way any more.
    pub(crate) async fn run(self) {
        let stopping = self.life.stopping();
        while !stopping.is_cancelled() {
            self.tell(WorkerState::Ready).await;
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = self.roster.changes() => {}
                () = stopping.cancelled() => {}
            }
        }
        while !self.roster.open().is_empty() {
            self.tell(WorkerState::Draining).await;
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = self.roster.changes() => {}
            }
        }
        self.tell(WorkerState::Gone).await;
    }

    /// What is not heard is soon told again.
    async fn tell(&self, state: WorkerState) {
        if let Err(error) = self.reports.send(&self.report(state)).await {
            tracing::debug!(error = %chassis::chain(&error), "cannot tell what is under way");
        }
    }

    fn report(&self, state: WorkerState) -> WorkerReport {
        let version = env!("CARGO_PKG_VERSION");
        let mut report = WorkerReport::new(&self.name, &self.host, version, clock::now(), state, self.slots);
        for entry in self.roster.open().iter() {
            match entry {
                Entry::Build(id) => report.builds.extend(id.parse::<BuildId>()),
                Entry::Deployment(id) => report.deployments.extend(id.parse::<DeploymentId>()),
            }
        }
        report.disk = disk(&self.config.work_dir);
        report
    }
}

fn disk(folder: &Path) -> Option<Disk> {
    let about = rustix::fs::statvfs(folder).ok()?;
    Some(Disk {
        total_bytes: about.f_blocks.saturating_mul(about.f_frsize),
        free_bytes: about.f_bavail.saturating_mul(about.f_frsize),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_under_way_is_on_the_roster_until_it_is_dropped() {
        let roster = Roster::default();
        let build = roster.build(&"b".parse().unwrap());
        let deployment = roster.deployment(&"d".parse().unwrap());
        assert_eq!(roster.open().len(), 2);
        drop(build);
        let left = Entry::Deployment("d".to_owned());
        assert_eq!(roster.open().iter().collect::<Vec<_>>(), [&left]);
        drop(deployment);
        assert!(roster.open().is_empty());
    }

    #[test]
    fn a_disk_has_no_more_free_than_it_has() {
        let disk = disk(Path::new("/")).unwrap();
        assert!(disk.free_bytes > 0 && disk.free_bytes < disk.total_bytes);
        assert_eq!(super::disk(Path::new("/there/is/none")), None);
    }
}
