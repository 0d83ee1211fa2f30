//! Jobs, in the words of older clients: what a build does, without what it is.

use super::{Shared, builds, problem::Problem};
use crate::store::Build;
use axum::{
    Json,
    extract::{Path, State},
};
use contract::{BuildId, BuildStatus, Timestamp};
use serde::Serialize;
use serde_json::{Value, json};

/// A job; what is not so yet is absent.
#[derive(Serialize)]
struct Job<'a> {
    id: &'a BuildId,
    #[serde(rename = "type")]
    kind: &'static str,
    status: &'static str,
    progress: i64,
    data: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finished_at: Option<Timestamp>,
}

/// `GET /v1/cicd/jobs/:id`, by the `job_id` that a build was begun with.
pub(super) async fn show(State(shared): State<Shared>, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    let build = builds::find(&shared, &id).await?;
    Ok(Json(json!(Job::of(&build))))
}

// === impl Job ===

impl<'a> Job<'a> {
    fn of(build: &'a Build) -> Self {
        let status = match build.status {
            BuildStatus::Queued => "queued",
            BuildStatus::Building | BuildStatus::Retrying => "running",
            BuildStatus::Ended(terminal) => terminal.as_str(),
        };
        let failure = build.failure.as_ref().filter(|_| build.status.terminal().is_some());
        Self {
            id: &build.message.id,
            kind: "build",
            status,
            progress: build.progress,
            data: json!({
                "build_id": build.id,
                "project_id": build.project_id,
                "service_id": build.service_id,
                "image_tag": build.image_tag,
            }),
            error: failure.map(|failure| failure.message.as_str()),
            created_at: Timestamp::from_millis(build.created_at),
            started_at: build.started_at.map(Timestamp::from_millis),
            finished_at: build.finished_at.map(Timestamp::from_millis),
        }
    }
}
