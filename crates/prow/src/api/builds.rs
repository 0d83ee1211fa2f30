//! Builds: listed, shown, cancelled.

use super::{Shared, problem::Problem};
use crate::{
    notice, planner,
    stop::stop,
    store::{Approved, Build, Page},
};
use axum::{
    Json,
    extract::{Path, Query, State},
    http::StatusCode,
};
use bus::{Cancelled, clock};
use contract::{BuildStatus, CancelOutcome, CancelRequest, Message as _, Terminal, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

pub(super) const USUAL_PAGE: u32 = 50;
pub(super) const LARGEST_PAGE: u32 = 500;

#[derive(Debug, Deserialize)]
pub(super) struct Listing {
    limit: Option<u32>,
    cursor: Option<i64>,
}

/// `GET /v1/cicd/builds?limit=&cursor=`: newest first; the cursor is the last id of a page.
pub(super) async fn list(State(shared): State<Shared>, Query(listing): Query<Listing>) -> Result<Json<Value>, Problem> {
    page(&shared, listing.page()).await
}

pub(super) async fn page(shared: &Shared, page: Page) -> Result<Json<Value>, Problem> {
    let builds = shared.0.store.builds(page).await?;
    Ok(Json(builds.iter().map(|build| shown(shared, build)).collect()))
}

/// `GET /v1/cicd/builds/:id`, by number or by name for ever.
pub(super) async fn show(State(shared): State<Shared>, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    let build = find(&shared, &id).await?;
    Ok(Json(shown(&shared, &build)))
}

/// `POST /v1/cicd/builds/:id/cancel`.
pub(super) async fn cancel(
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let build = find(&shared, &id).await?;
    if let BuildStatus::Ended(state) = build.status {
        return Err(Problem::TooLate(state.to_string())); // Redis may have forgotten it, with the power or by age.
    }
    let reason = "cancelled through the API";
    let request = CancelRequest::new(build.message.id.clone(), CancelOutcome::Cancelled, reason);
    match stop(&shared.0.canceller, &request).await? {
        Cancelled::Ended => Ok((StatusCode::ACCEPTED, Json(json!({"status": "cancelled"})))),
        Cancelled::Signalled => Ok((StatusCode::ACCEPTED, Json(json!({"status": "cancelling"})))),
        Cancelled::TooLate(state) => Err(Problem::TooLate(state)),
    }
}

/// `POST /v1/cicd/builds/:id/retry`: the same build again, under a name of its own.
pub(super) async fn retry(
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let ended = find(&shared, &id).await?;
    if ended.status.terminal().is_none() {
        return Err(Problem::Conflict(format!(
            "it has not ended: the build is {}",
            ended.status
        )));
    }
    let store = &shared.0.store;
    let first = ended.rerun_of.unwrap_or(ended.id);
    let origin = store.build_by_number(first).await?.ok_or(Problem::NotFound)?;
    let n = store.reruns(first).await? + 1;
    let mut message = ended.message.clone();
    message.id = planner::rerun_id(&origin.message.id, n);
    message.created_at = Some(clock::now());
    message.metadata_mut().triggered_by = Some("api".to_owned());
    let payload = message
        .to_json()
        .map_err(|error| Problem::BadRequest(error.to_string()))?;
    let mut build = Build::queued(message, payload);
    (build.service, build.about, build.rerun_of) = (ended.service, ended.about, Some(first));
    let intents = notice::queued(&build, None)?;
    let again = store.add_build(build, &intents).await?;
    shared.0.kick.now();
    // Somebody else asked at the same moment: that is the repetition.
    let again = again.ok_or_else(|| Problem::Conflict("it is being repeated already".to_owned()))?;
    let body = json!({"build_id": again.id, "uid": again.message.id, "status": again.status.as_str()});
    Ok((StatusCode::ACCEPTED, Json(body)))
}

/// `POST /v1/cicd/builds/:id/approve`: a build of a fork's commit may run.
pub(super) async fn approve(
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let build = find(&shared, &id).await?;
    let mut approved = Build::queued(build.message.clone(), build.payload.clone());
    approved.id = build.id;
    let intents = notice::queued(&approved, None)?;
    match shared.0.store.approve(&approved, &intents).await? {
        Approved::Queued => {
            shared.0.kick.now();
            Ok((StatusCode::ACCEPTED, Json(json!({"status": "queued"}))))
        }
        Approved::TooLate if build.held.is_none() && build.status.terminal().is_none() => {
            Err(Problem::Conflict("it waits for nobody's approval".to_owned()))
        }
        Approved::TooLate => Err(Problem::TooLate(build.status.to_string())),
    }
}

pub(super) async fn find(shared: &Shared, id: &str) -> Result<Build, Problem> {
    let store = &shared.0.store;
    let by_number = match id.parse() {
        Ok(number) => store.build_by_number(number).await?,
        Err(_) => None,
    };
    match by_number {
        Some(build) => Ok(build),
        None => store.build(id).await?.ok_or(Problem::NotFound),
    }
}

/// A build in the shape of the API.
fn shown(shared: &Shared, build: &Build) -> Value {
    let message = &build.message;
    let time = |ms: Option<i64>| ms.map(Timestamp::from_millis);
    let git_ref = message.webhook_data.as_ref().and_then(|data| data.git_ref.clone());
    let log_path = (build.log_bytes > 0).then(|| shared.0.archive.shown(build));
    json!({
        "id": build.id,
        "project_id": build.project_id,
        "service_id": build.service_id,
        "service": build.service,
        "git_url": message.source,
        "git_ref": git_ref.or_else(|| message.branch.as_ref().map(ToString::to_string)).unwrap_or_default(),
        "context_path": message.context_path.as_ref().map_or(".", |path| path.as_str()),
        "dockerfile": message.dockerfile.as_ref().map_or("Dockerfile", |path| path.as_str()),
        "image_tag": build.image_tag,
        "status": build.status.as_str(),
        "log_path": log_path,
        "started_at": time(build.started_at),
        "finished_at": time(build.finished_at),
        "created_at": time(Some(build.created_at)),
        "uid": message.id,
        "project": message.project_name,
        "commit": message.commit_hash,
        "digest": build.digest,
        "attempts": build.attempt,
        "stage": build.stage,
        "progress": build.progress,
        "stages": build.stages,
        "reason": build.reason,
        "superseded_by": build.superseded_by.filter(|_| build.status == BuildStatus::Ended(Terminal::Superseded)),
        "rerun_of": build.rerun_of,
        "waits_for_approval": build.held.is_some() && build.status.terminal().is_none(),
        "failure": build.failure,
        "correlation_id": message.correlation_id(),
    })
}

// === impl Listing ===

impl Listing {
    pub(super) fn page(&self) -> Page {
        Page {
            limit: self.limit.unwrap_or(USUAL_PAGE).clamp(1, LARGEST_PAGE),
            before: self.cursor,
            service: None,
        }
    }
}
