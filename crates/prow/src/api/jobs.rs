//! Jobs, in the words of older clients: what a build does, without what it is.

use super::{
    Shared, builds,
    extract::{ByName, Path},
    problem::Problem,
};
use crate::{access::Caller, store::Build};
use axum::{Json, extract::State};
use contract::{BuildId, BuildStatus, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;

/// A job; what is not so yet is absent.
#[derive(Serialize, JsonSchema)]
pub(super) struct Job {
    id: BuildId,
    #[serde(rename = "type")]
    kind: &'static str,
    /// `queued`, `running`; or how it ended: `success`, `failed`, and so on.
    status: &'static str,
    /// 0 to 100.
    progress: i64,
    data: Data,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finished_at: Option<Timestamp>,
}

/// What it is a job of.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "JobData")]
struct Data {
    build_id: i64,
    project_id: i64,
    service_id: i64,
    image_tag: String,
}

/// A job, by the `job_id` that it was begun with.
pub(super) async fn show(
    State(shared): State<Shared>,
    caller: Caller,
    Path(ByName { id }): Path<ByName>,
) -> Result<Json<Job>, Problem> {
    let build = builds::find(&shared, &caller, &id).await?;
    Ok(Json(Job::of(build)))
}

// === impl Job ===

impl Job {
    fn of(build: Build) -> Self {
        let status = match build.status {
            BuildStatus::Queued => "queued",
            BuildStatus::Building | BuildStatus::Retrying => "running",
            BuildStatus::Ended(terminal) => terminal.as_str(),
        };
        let failure = build.failure.filter(|_| build.status.terminal().is_some());
        Self {
            id: build.message.id,
            kind: "build",
            status,
            progress: build.progress,
            data: Data {
                build_id: build.id,
                project_id: build.project_id,
                service_id: build.service_id,
                image_tag: build.image_tag,
            },
            error: failure.map(|failure| failure.message),
            created_at: Timestamp::from_millis(build.created_at),
            started_at: build.started_at.map(Timestamp::from_millis),
            finished_at: build.finished_at.map(Timestamp::from_millis),
        }
    }
}
