//! Builds: listed, shown, stopped, repeated, approved.

use super::{
    Shared,
    extract::{Accepted, ByName, Listed, Paging, Path, Query},
    problem::Problem,
};
use crate::{
    access::Caller,
    notice, planner,
    stop::stop,
    store::{Approved, Build, Page},
};
use axum::{Json, extract::State};
use bus::Cancelled;
use contract::{
    BuildId, BuildStatus, CancelOutcome, CancelRequest, CloneUrl, CommitHash, Failure, ProjectName, StageTime,
    Terminal, Timestamp,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which builds.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Wanted {
    /// Only those of this project.
    project_id: Option<i64>,
    /// Only those in this state, such as `queued`, `building`, `success`, `failed`.
    status: Option<String>,
}

/// A build.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Build")]
pub(super) struct Shown {
    id: i64,
    project_id: i64,
    service_id: i64,
    /// Name of the service.
    service: String,
    git_url: CloneUrl,
    /// What was pushed; empty when only the commit is known.
    git_ref: String,
    context_path: String,
    dockerfile: String,
    /// The image as it will be, or is, called.
    image_tag: String,
    /// `queued`, `building`, `retrying`; or how it ended: `success`, `failed`, `cancelled`, `timed_out`, `superseded`,
    /// `lost`, `skipped`.
    status: &'static str,
    /// Where the log is stored; null while none of it is.
    log_path: Option<String>,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    created_at: Timestamp,
    /// Its name for ever.
    uid: BuildId,
    /// The repository.
    project: ProjectName,
    commit: CommitHash,
    /// Digest of the image in the registry.
    digest: Option<String>,
    /// How often it was begun.
    attempts: u32,
    /// What it is doing.
    stage: Option<String>,
    /// 0 to 100.
    progress: i64,
    /// What it did, and how long each took.
    stages: Vec<StageTime>,
    /// Why it waits, or why it ended, in a sentence.
    reason: Option<String>,
    /// Number of the build that took its place.
    superseded_by: Option<i64>,
    /// Number of the build that it repeats.
    rerun_of: Option<i64>,
    /// Number of the change that it is about.
    workflow_id: Option<i64>,
    waits_for_approval: bool,
    failure: Option<Failure>,
    correlation_id: Option<String>,
}

/// What became of a request to stop.
#[derive(Serialize, JsonSchema)]
pub(super) struct Stopped {
    /// `cancelled`, or `cancelling` while its worker stops it.
    status: &'static str,
}

/// A build that begins.
#[derive(Serialize, JsonSchema)]
pub(super) struct Begun {
    build_id: i64,
    /// Its name for ever.
    uid: BuildId,
    status: &'static str,
}

/// A build that was approved.
#[derive(Serialize, JsonSchema)]
pub(super) struct Allowed {
    status: &'static str,
}

/// Builds, newest first.
pub(super) async fn list(
    State(shared): State<Shared>,
    caller: Caller,
    Query(wanted): Query<Wanted>,
    Query(paging): Query<Paging>,
) -> Result<Listed<Shown>, Problem> {
    let status = wanted.status.as_deref().map(str::parse).transpose();
    let projects = match (wanted.project_id, caller.projects) {
        (None, projects) => projects,
        (Some(project), Some(projects)) if !projects.contains(&project) => Some(Vec::new()),
        (Some(project), _) => Some(vec![project]),
    };
    let page = Page {
        projects,
        status: status.map_err(|error| Problem::BadRequest(format!("status: {error}")))?,
        ..Page::default()
    };
    listed(&shared, &paging, page).await
}

pub(super) async fn listed(shared: &Shared, paging: &Paging, page: Page) -> Result<Listed<Shown>, Problem> {
    let page = Page {
        limit: paging.limit(),
        before: paging.before()?,
        ..page
    };
    let is_empty = page.projects.as_ref().is_some_and(Vec::is_empty);
    let builds = if is_empty {
        Vec::new()
    } else {
        shared.0.store.builds(&page).await?
    };
    Ok(Listed {
        next: paging.next(&builds, |last| last.id.to_string()),
        items: builds.into_iter().map(|build| Shown::of(shared, build)).collect(),
    })
}

/// A build, by its number or its name for ever.
pub(super) async fn show(
    State(shared): State<Shared>,
    caller: Caller,
    Path(ByName { id }): Path<ByName>,
) -> Result<Json<Shown>, Problem> {
    let build = find(&shared, &caller, &id).await?;
    Ok(Json(Shown::of(&shared, build)))
}

/// Stops a build, whether it waits or runs.
pub(super) async fn cancel(
    State(shared): State<Shared>,
    caller: Caller,
    Path(ByName { id }): Path<ByName>,
) -> Result<Accepted<Stopped>, Problem> {
    let build = find(&shared, &caller, &id).await?;
    if let BuildStatus::Ended(state) = build.status {
        return Err(Problem::TooLate(state.to_string())); // Redis may have forgotten it, with the power or by age.
    }
    let reason = format!("cancelled through the API by {}", caller.name);
    let request = CancelRequest::new(build.message.id.clone(), CancelOutcome::Cancelled, reason);
    match stop(&shared.0.canceller, &request).await? {
        Cancelled::Ended => Ok(Accepted(Stopped { status: "cancelled" })),
        Cancelled::Signalled => Ok(Accepted(Stopped { status: "cancelling" })),
        Cancelled::TooLate(state) => Err(Problem::TooLate(state)),
    }
}

/// Begins the same build again, under a name of its own.
pub(super) async fn retry(
    State(shared): State<Shared>,
    caller: Caller,
    Path(ByName { id }): Path<ByName>,
) -> Result<Accepted<Begun>, Problem> {
    let ended = find(&shared, &caller, &id).await?;
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
    let build = ended.again(planner::rerun_id(&origin.message.id, n), "api")?;
    let intents = notice::queued(&build, None)?;
    let again = store.add_build(build, &intents).await?;
    shared.0.kick.now();
    // Somebody else asked at the same moment: that is the repetition.
    let again = again.ok_or_else(|| Problem::Conflict("it is being repeated already".to_owned()))?;
    Ok(Accepted(Begun {
        build_id: again.id,
        uid: again.message.id,
        status: again.status.as_str(),
    }))
}

/// Lets a build of a fork's commit run.
pub(super) async fn approve(
    State(shared): State<Shared>,
    caller: Caller,
    Path(ByName { id }): Path<ByName>,
) -> Result<Accepted<Allowed>, Problem> {
    let build = find(&shared, &caller, &id).await?;
    let mut approved = Build::queued(build.message.clone(), build.payload.clone());
    (approved.id, approved.project_id) = (build.id, build.project_id);
    let intents = notice::queued(&approved, None)?;
    match shared.0.store.approve(&approved, &intents).await? {
        Approved::Queued => {
            shared.0.kick.now();
            Ok(Accepted(Allowed { status: "queued" }))
        }
        Approved::TooLate if build.held.is_none() && build.status.terminal().is_none() => {
            Err(Problem::Conflict("it waits for nobody's approval".to_owned()))
        }
        Approved::TooLate => Err(Problem::TooLate(build.status.to_string())),
    }
}

/// A build of a project that they see.
pub(super) async fn find(shared: &Shared, caller: &Caller, id: &str) -> Result<Build, Problem> {
    let store = &shared.0.store;
    let by_number = match id.parse() {
        Ok(number) => store.build_by_number(number).await?,
        Err(_) => None,
    };
    let found = match by_number {
        Some(build) => Some(build),
        None => store.build(id).await?,
    };
    found
        .filter(|build| caller.sees(build.project_id))
        .ok_or(Problem::NotFound)
}

// === impl Shown ===

impl Shown {
    pub(super) fn of(shared: &Shared, build: Build) -> Self {
        let log_path = (build.log_bytes > 0).then(|| shared.0.archive.shown(&build));
        let correlation_id = build.message.correlation_id().map(ToOwned::to_owned);
        let message = build.message;
        let git_ref = message.webhook_data.as_ref().and_then(|data| data.git_ref.clone());
        Self {
            id: build.id,
            project_id: build.project_id,
            service_id: build.service_id,
            service: build.service,
            git_ref: git_ref
                .or_else(|| message.branch.as_ref().map(ToString::to_string))
                .unwrap_or_default(),
            context_path: message.context_path.map_or_else(|| ".".to_owned(), Into::into),
            dockerfile: message.dockerfile.map_or_else(|| "Dockerfile".to_owned(), Into::into),
            image_tag: build.image_tag,
            status: build.status.as_str(),
            log_path,
            started_at: build.started_at.map(Timestamp::from_millis),
            finished_at: build.finished_at.map(Timestamp::from_millis),
            created_at: Timestamp::from_millis(build.created_at),
            git_url: message.source,
            uid: message.id,
            project: message.project_name,
            commit: message.commit_hash,
            digest: build.digest,
            attempts: build.attempt,
            stage: build.stage,
            progress: build.progress,
            stages: build.stages,
            reason: build.reason,
            superseded_by: build
                .superseded_by
                .filter(|_| build.status == BuildStatus::Ended(Terminal::Superseded)),
            rerun_of: build.rerun_of,
            workflow_id: build.workflow_id,
            waits_for_approval: build.held.is_some() && build.status.terminal().is_none(),
            failure: build.failure,
            correlation_id,
        }
    }
}
