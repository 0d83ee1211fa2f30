//! Jobs, in the words of older clients: what a build does, without what it is.

use super::{
    Shared, builds, deployments,
    extract::{ByName, Path},
    problem::Problem,
};
use crate::{
    access::Caller,
    store::{Build, Deployment, Status},
};
use axum::{Json, extract::State};
use contract::{BuildStatus, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;

/// A job; what is not so yet is absent.
#[derive(Serialize, JsonSchema)]
pub(super) struct Job {
    id: String,
    /// `build` or `deploy`.
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
    #[serde(skip_serializing_if = "Option::is_none")]
    build_id: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deployment_id: Option<i64>,
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
    match builds::find(&shared, &caller, &id).await {
        Ok(build) => Ok(Json(build.into())),
        // A number is a build's; a name may be a deployment's.
        Err(Problem::NotFound) if id.parse::<i64>().is_err() => {
            Ok(Json(deployments::find(&shared, &caller, &id).await?.into()))
        }
        Err(problem) => Err(problem),
    }
}

// === impl Job ===

impl From<Build> for Job {
    fn from(build: Build) -> Self {
        let status = match build.status {
            BuildStatus::Queued => "queued",
            BuildStatus::Building | BuildStatus::Retrying => "running",
            BuildStatus::Ended(terminal) => terminal.as_str(),
        };
        let failure = build.failure.filter(|_| build.status.terminal().is_some());
        Self {
            id: build.message.id.to_string(),
            kind: "build",
            status,
            progress: build.progress,
            data: Data {
                build_id: Some(build.id),
                deployment_id: None,
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

impl From<Deployment> for Job {
    fn from(deployment: Deployment) -> Self {
        let status = match deployment.status {
            Status::Deploying => "running",
            Status::RolledBack => Status::Success.word(), // It did what it was asked for.
            Status::Queued | Status::Success | Status::Failed | Status::Cancelled => deployment.status.word(),
        };
        let failure = deployment.failure.filter(|_| deployment.status.has_ended());
        Self {
            id: deployment.message.id.to_string(),
            kind: "deploy",
            status,
            progress: deployment.progress,
            data: Data {
                build_id: deployment.build_id,
                deployment_id: Some(deployment.id),
                project_id: deployment.project_id,
                service_id: deployment.service_id,
                image_tag: deployment.image_tag,
            },
            error: failure.map(|failure| failure.message),
            created_at: Timestamp::from_millis(deployment.created_at),
            started_at: deployment.started_at.map(Timestamp::from_millis),
            finished_at: deployment.finished_at.map(Timestamp::from_millis),
        }
    }
}
