//! Deployments: asked for, rolled back, listed, stopped.

use super::{
    Shared,
    extract::{Accepted, Body, ById, ByName, Created, Listed, Paging, Path, Query},
    problem::Problem,
    repeat::Seed,
    services,
};
use crate::{
    access::Caller,
    deployment::{Wanted, by_hand, ended, fold, pinned},
    notice,
    reconciler::stop_deployment,
    service::Service,
    store::{Deployment, Intent},
};
use axum::{Json, extract::State};
use bus::Cancelled;
use contract::{CancelOutcome, DeploymentId, Failure, InvalidProjectName, Metadata, ProjectName, Terminal, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is to run.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewDeployment {
    /// An image by its tag or its digest. The tag of a build of this service means the digest that was pushed then.
    #[schemars(regex(pattern = "^[A-Za-z0-9][A-Za-z0-9._:@/+-]{0,511}$"))]
    image_tag: String,
    /// Why, for people.
    #[schemars(length(max = 1_000))]
    reason: Option<String>,
}

/// A deployment.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Deployment")]
pub(super) struct Shown {
    id: i64,
    project_id: i64,
    service_id: i64,
    /// As it was asked for.
    image_tag: String,
    /// `queued`, `deploying`, `success`, `failed`, `cancelled`; `rolled_back` when what came before it was brought back.
    status: &'static str,
    /// Why somebody asked for it.
    reason: Option<String>,
    created_at: Timestamp,
    /// Its name for ever, and that of its job.
    uid: DeploymentId,
    /// What runs, by its digest.
    image: Option<String>,
    container: Option<String>,
    build_id: Option<i64>,
    /// 0 to 100.
    progress: i64,
    attempts: u32,
    /// Why it waits, or why it ended, in a sentence.
    detail: Option<String>,
    failure: Option<Failure>,
    /// Number of the deployment whose image it takes away again.
    rollback_of: Option<i64>,
    /// Number of the deployment whose image it brings back.
    rollback_to: Option<i64>,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
}

/// A deployment that begins.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "BegunDeployment")]
pub(super) struct Begun {
    deployment_id: i64,
    job_id: DeploymentId,
    status: &'static str,
}

/// A rollback that begins.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "BegunRollback")]
pub(super) struct BegunRollback {
    deployment_id: i64,
    job_id: DeploymentId,
    /// Number of the deployment whose image is brought back.
    rollback_to: i64,
    rollback_image_tag: String,
    status: &'static str,
}

/// What became of a request to stop.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "StoppedDeployment")]
pub(super) struct Stopped {
    /// `cancelled`, or `cancelling` while its worker stops it.
    status: &'static str,
}

const REASON_LENGTH: usize = 1_000;

/// Runs an image as a service.
pub(super) async fn deploy(
    State(shared): State<Shared>,
    caller: Caller,
    Seed(seed): Seed,
    Path(ById { id }): Path<ById>,
    Body(asked): Body<NewDeployment>,
) -> Result<Created<Begun>, Problem> {
    let service = services::find(&shared, &caller, id).await?;
    if asked
        .reason
        .as_ref()
        .is_some_and(|reason| reason.chars().count() > REASON_LENGTH)
    {
        return Err(Problem::Unprocessable(
            "reason: expected at most 1000 characters".to_owned(),
        ));
    }
    let built = shared.0.store.build_of_image(service.id, &asked.image_tag).await?;
    if built.is_none() && caller.projects.is_some() {
        let text = "image_tag: with a token that is for some projects only, an image that this service was built as";
        return Err(Problem::Unprocessable(text.to_owned()));
    }
    let digest = built.as_ref().and_then(|(_, digest)| digest.as_deref());
    let wanted = Wanted {
        project: project(&shared, &service).await?,
        service: &service,
        image: pinned(&asked.image_tag, digest).map_err(Problem::Unprocessable)?,
        image_tag: asked.image_tag,
        reason: asked.reason,
        metadata: by(&caller),
    };
    let deployment = Deployment {
        build_id: built.map(|(build, _)| build),
        ..by_hand(wanted, seed).map_err(Problem::Unprocessable)?
    };
    let added = add(&shared, deployment).await?;
    Ok(Created(Begun {
        deployment_id: added.id,
        job_id: added.message.id,
        status: added.status.word(),
    }))
}

/// Brings back what ran before.
pub(super) async fn rollback(
    State(shared): State<Shared>,
    caller: Caller,
    Seed(seed): Seed,
    Path(ById { id }): Path<ById>,
) -> Result<Created<BegunRollback>, Problem> {
    let service = services::find(&shared, &caller, id).await?;
    let newest = shared.0.store.deployments(service.id, None, 1).await?;
    if let Some(under_way) = newest.first().filter(|newest| !newest.status.has_ended()) {
        let text = format!(
            "deployment {} is under way: what it leads to is what could be rolled back",
            under_way.id
        );
        return Err(Problem::Conflict(text));
    }
    let Some(back) = shared.0.store.rollback(service.id).await? else {
        return Err(Problem::BadRequest(
            "there is no successful, earlier and different deployment to go back to".to_owned(),
        ));
    };
    let wanted = Wanted {
        project: project(&shared, &service).await?,
        service: &service,
        image: pinned(back.to.runs(), None).map_err(Problem::Unprocessable)?,
        image_tag: back.to.image_tag.clone(),
        reason: Some(format!(
            "rollback of deployment {} to that of deployment {}",
            back.of.id, back.origin
        )),
        metadata: by(&caller),
    };
    let mut deployment = by_hand(wanted, seed).map_err(Problem::Unprocessable)?;
    // It runs as it ran then.
    deployment.message.config = back.to.message.config.clone();
    deployment.payload = serde_json::to_string(&deployment.message).unwrap_or(deployment.payload);
    (deployment.rollback_of, deployment.rollback_to) = (Some(back.of.id), Some(back.origin));
    deployment.build_id = back.to.build_id;
    let added = add(&shared, deployment).await?;
    Ok(Created(BegunRollback {
        deployment_id: added.id,
        job_id: added.message.id,
        rollback_to: back.origin,
        rollback_image_tag: back.to.image_tag,
        status: added.status.word(),
    }))
}

/// Deployments of a service, newest first.
pub(super) async fn list(
    State(shared): State<Shared>,
    caller: Caller,
    Path(ById { id }): Path<ById>,
    Query(paging): Query<Paging>,
) -> Result<Listed<Shown>, Problem> {
    let service = services::find(&shared, &caller, id).await?;
    let store = &shared.0.store;
    let found = store.deployments(service.id, paging.before()?, paging.limit()).await?;
    Ok(Listed {
        next: paging.next(&found, |last| last.id.to_string()),
        items: found.into_iter().map(Shown::from).collect(),
    })
}

/// A deployment, by its number or its name for ever.
pub(super) async fn show(
    State(shared): State<Shared>,
    caller: Caller,
    Path(ByName { id }): Path<ByName>,
) -> Result<Json<Shown>, Problem> {
    Ok(Json(find(&shared, &caller, &id).await?.into()))
}

/// Stops a deployment that has not begun to take over.
pub(super) async fn cancel(
    State(shared): State<Shared>,
    caller: Caller,
    Path(ByName { id }): Path<ByName>,
) -> Result<Accepted<Stopped>, Problem> {
    let known = find(&shared, &caller, &id).await?;
    if known.status.has_ended() {
        let text = format!("it is too late: the deployment is {}", known.status.word());
        return Err(Problem::Conflict(text));
    }
    let reason = format!("cancelled through the API by {}", caller.name);
    if !known.queued {
        // Nobody but this database has it. If it was given to forgery meanwhile, its version says so.
        let event = ended(&known, Terminal::Cancelled, &reason);
        if let Some(next) = fold(&known, &event) {
            let notice = notice::of_deployment(&next, Some(known.status), None);
            let intents: Vec<Intent> = notice.iter().map(Intent::notification).collect::<Result<_, _>>()?;
            if shared.0.store.advance_deployment(&next, &intents).await? {
                shared.0.kick.now();
                return Ok(Accepted(Stopped { status: "cancelled" }));
            }
        }
        return Err(Problem::Conflict("it is moving just now, come again".to_owned()));
    }
    match stop_deployment(
        &shared.0.deployment_canceller,
        &known,
        CancelOutcome::Cancelled,
        &reason,
    )
    .await?
    {
        Cancelled::Ended => Ok(Accepted(Stopped { status: "cancelled" })),
        Cancelled::Signalled => Ok(Accepted(Stopped { status: "cancelling" })),
        Cancelled::TooLate(state) => Err(Problem::Conflict(format!("it is too late: the deployment is {state}"))),
    }
}

/// A deployment of a project that they see.
pub(super) async fn find(shared: &Shared, caller: &Caller, id: &str) -> Result<Deployment, Problem> {
    let store = &shared.0.store;
    let by_number = match id.parse() {
        Ok(number) => store.deployment(number).await?,
        Err(_) => None,
    };
    let found = match by_number {
        Some(found) => Some(found),
        None => store.deployment_named(id).await?,
    };
    found
        .filter(|found| caller.sees(found.project_id))
        .ok_or(Problem::NotFound)
}

async fn add(shared: &Shared, deployment: Deployment) -> Result<Deployment, Problem> {
    let notice = notice::of_deployment(&deployment, None, None);
    let intents: Vec<Intent> = notice.iter().map(Intent::notification).collect::<Result<_, _>>()?;
    let id = deployment.message.id.clone();
    let added = shared.0.store.add_deployment(deployment, &intents).await?;
    shared.0.kick.now();
    match added {
        Some(added) => Ok(added),
        // Who began the same request died before answering.
        None => shared
            .0
            .store
            .deployment_named(id.as_str())
            .await?
            .ok_or(Problem::NotFound),
    }
}

async fn project(shared: &Shared, service: &Service) -> Result<ProjectName, Problem> {
    let project = shared
        .0
        .store
        .project(service.project_id)
        .await?
        .ok_or(Problem::NotFound)?;
    let name = project.name.parse();
    name.map_err(|error: InvalidProjectName| Problem::Conflict(error.to_string()))
}

fn by(caller: &Caller) -> Metadata {
    let mut metadata = Metadata::default();
    metadata.triggered_by = Some(format!("api: {}", caller.name));
    metadata
}

// === impl Shown ===

impl From<Deployment> for Shown {
    fn from(deployment: Deployment) -> Self {
        Self {
            id: deployment.id,
            project_id: deployment.project_id,
            service_id: deployment.service_id,
            image_tag: deployment.image_tag,
            status: deployment.status.word(),
            reason: deployment.reason,
            created_at: Timestamp::from_millis(deployment.created_at),
            uid: deployment.message.id,
            image: deployment.image,
            container: deployment.container,
            build_id: deployment.build_id,
            progress: deployment.progress,
            attempts: deployment.attempt,
            detail: deployment.detail,
            failure: deployment.failure,
            rollback_of: deployment.rollback_of,
            rollback_to: deployment.rollback_to,
            started_at: deployment.started_at.map(Timestamp::from_millis),
            finished_at: deployment.finished_at.map(Timestamp::from_millis),
        }
    }
}
