//! Workers: who is there, and what each does.

use super::{Shared, problem::Problem};
use crate::{access::Caller, store::REMEMBERED};
use axum::{Json, extract::State};
use bus::clock;
use contract::{BuildId, DeploymentId, Timestamp, WorkerReport, WorkerState, worker::Disk};
use schemars::JsonSchema;
use serde::Serialize;

/// A worker, as it was heard of last.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Worker")]
pub(super) struct Shown {
    /// As in the events of its builds; another each time that it starts.
    name: String,
    /// The machine's name.
    host: String,
    version: String,
    /// `ready`, `draining` (it ends what it has), `gone`; `silent` when it should have been heard of and was not.
    status: &'static str,
    /// How many builds it runs at once.
    slots: u32,
    /// How many of them are taken.
    busy: usize,
    /// What it builds, of what the token of this request sees.
    builds: Vec<BuildId>,
    /// What it deploys, of what the token of this request sees.
    deployments: Vec<DeploymentId>,
    disk: Option<DiskShown>,
    /// When it was heard of.
    heard_at: Timestamp,
}

/// The disk of its work folder.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Disk")]
pub(super) struct DiskShown {
    total_bytes: u64,
    /// What may still be written to it.
    free_bytes: u64,
}

/// One that was not heard of for so long is silent, in milliseconds.
const SILENT: i64 = 3_000 * WorkerReport::EVERY_SECONDS as i64;

/// Workers that were heard of within a day, those heard of last first.
pub(super) async fn list(State(shared): State<Shared>, caller: Caller) -> Result<Json<Vec<Shown>>, Problem> {
    let (store, now) = (&shared.0.store, clock::now_ms());
    let mut shown = Vec::new();
    for (report, heard) in store.workers(now - REMEMBERED).await? {
        let busy = report.builds.len();
        let mut worker = Shown::of(report, heard, now, busy);
        if caller.projects.is_some() {
            let (mut builds, mut deployments) = (Vec::new(), Vec::new());
            for id in worker.builds {
                let build = store.build(id.as_str()).await?;
                builds.extend(build.filter(|build| caller.sees(build.project_id)).map(|_| id));
            }
            for id in worker.deployments {
                let deployment = store.deployment_named(id.as_str()).await?;
                deployments.extend(deployment.filter(|it| caller.sees(it.project_id)).map(|_| id));
            }
            (worker.builds, worker.deployments) = (builds, deployments);
        }
        shown.push(worker);
    }
    Ok(Json(shown))
}

// === impl Shown ===

impl Shown {
    fn of(report: WorkerReport, heard: i64, now: i64, busy: usize) -> Self {
        let status = match report.state {
            WorkerState::Gone => "gone",
            WorkerState::Ready | WorkerState::Draining if heard < now - SILENT => "silent",
            WorkerState::Ready => "ready",
            WorkerState::Draining => "draining",
        };
        Self {
            status,
            busy,
            name: report.name,
            host: report.host,
            version: report.version,
            slots: report.slots,
            builds: report.builds,
            deployments: report.deployments,
            disk: report.disk.map(DiskShown::from),
            heard_at: Timestamp::from_millis(heard),
        }
    }
}

// === impl DiskShown ===

impl From<Disk> for DiskShown {
    fn from(disk: Disk) -> Self {
        Self {
            total_bytes: disk.total_bytes,
            free_bytes: disk.free_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_should_have_been_heard_of_is_silent_and_one_that_has_stopped_is_gone() {
        for (state, heard, expected) in [
            (WorkerState::Ready, 1, "ready"),
            (WorkerState::Ready, 0, "silent"),
            (WorkerState::Draining, 0, "silent"),
            (WorkerState::Draining, 1, "draining"),
            (WorkerState::Gone, 0, "gone"),
        ] {
            let report = WorkerReport::new("w", "h", "1", Timestamp::from_millis(0), state, 2);
            assert_eq!(
                Shown::of(report, heard, SILENT + 1, 0).status,
                expected,
                "{state} {heard}"
            );
        }
    }
}
