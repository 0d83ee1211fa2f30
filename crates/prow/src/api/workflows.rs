//! Which of repositories, each with everything that happened about it.

use super::{
    Shared, builds, deployments, events,
    extract::{ById, Listed, Paging, Path, Query},
    problem::Problem,
};
use crate::{
    access::Caller,
    store::{Notice, Which, Workflow},
};
use axum::{Json, extract::State};
use contract::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which changes.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Wanted {
    /// Only those of this repository.
    repository: Option<String>,
    /// Only those on this branch.
    branch: Option<String>,
    /// Only those that brought this commit, by its whole hash.
    commit: Option<String>,
    /// Only those that this user had a part in.
    user: Option<String>,
}

/// A change: a pull request, a branch, a tag, or a commit of the main branch.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Workflow")]
pub(super) struct Shown {
    id: i64,
    repository: String,
    /// `pull/<number>`, a ref, or `commit/<hash>`.
    key: String,
    branch: Option<String>,
    /// Title of the pull request.
    title: Option<String>,
    /// The commit that the pull request became.
    merged_as: Option<String>,
    /// `active`; `completed` once it was closed, or what was pushed was dealt with.
    status: &'static str,
    created_at: Timestamp,
    updated_at: Timestamp,
}

/// A change with everything that happened about it; of each kind the newest 200, newest first.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "WholeWorkflow")]
pub(super) struct Whole {
    #[serde(flatten)]
    workflow: Shown,
    events: Vec<events::Event>,
    builds: Vec<builds::Shown>,
    deployments: Vec<deployments::Shown>,
    notifications: Vec<Told>,
}

/// What others were told.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ToldOfWorkflow")]
pub(super) struct Told {
    event_id: String,
    event_type: String,
    /// Name for ever of the build or deployment that it is about.
    about: String,
    at: Timestamp,
}

/// Which, newest first.
pub(super) async fn list(
    State(shared): State<Shared>,
    caller: Caller,
    Query(wanted): Query<Wanted>,
    Query(paging): Query<Paging>,
) -> Result<Listed<Shown>, Problem> {
    let changes = Which {
        limit: paging.limit(),
        before: paging.before()?,
        repository: wanted.repository,
        branch: wanted.branch,
        commit: wanted.commit,
        user: wanted.user,
    };
    let found = if events::may_list(&shared, &caller, changes.repository.as_deref()).await? {
        shared.0.store.workflows(&changes).await?
    } else {
        Vec::new()
    };
    Ok(Listed {
        next: paging.next(&found, |last| last.id.to_string()),
        items: found.into_iter().map(Shown::from).collect(),
    })
}

/// A change with everything that happened about it.
pub(super) async fn show(
    State(shared): State<Shared>,
    caller: Caller,
    Path(ById { id }): Path<ById>,
) -> Result<Json<Whole>, Problem> {
    let store = &shared.0.store;
    let workflow = store.workflow(id).await?.ok_or(Problem::NotFound)?;
    if !events::sees(&shared, &caller, Some(&workflow.repository)).await? {
        return Err(Problem::NotFound);
    }
    let about = store.about(&workflow).await?;
    let builds = about.builds.into_iter();
    Ok(Json(Whole {
        workflow: workflow.into(),
        events: about.events.into_iter().map(events::Event::from).collect(),
        builds: builds.map(|build| builds::Shown::of(&shared, build)).collect(),
        deployments: about.deployments.into_iter().map(deployments::Shown::from).collect(),
        notifications: about.notices.into_iter().map(Told::from).collect(),
    }))
}

// === impl Shown ===

impl From<Workflow> for Shown {
    fn from(workflow: Workflow) -> Self {
        Self {
            status: if workflow.is_completed() { "completed" } else { "active" },
            id: workflow.id,
            repository: workflow.repository,
            key: workflow.key,
            branch: workflow.branch,
            title: workflow.title,
            merged_as: workflow.merged_as,
            created_at: Timestamp::from_millis(workflow.created_at),
            updated_at: Timestamp::from_millis(workflow.updated_at),
        }
    }
}

// === impl Told ===

impl From<Notice> for Told {
    fn from(notice: Notice) -> Self {
        Self {
            event_id: notice.event_id,
            event_type: notice.what,
            about: notice.about,
            at: Timestamp::from_millis(notice.at),
        }
    }
}
