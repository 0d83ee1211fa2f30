//! What forges told, and what followed: why a push was built, or was not.

use super::{
    Shared,
    extract::{Accepted, ByName, Listed, Paging, Path, Query, no_cursor, number_of},
    problem::Problem,
};
use crate::{
    access::Caller,
    store::{Place, Told},
};
use axum::{Json, extract::State};
use contract::{BuildId, Message as _, Timestamp, WebhookDelivery};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which webhooks.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Wanted {
    /// Only those of this repository.
    repository: Option<String>,
}

/// A webhook, and what it led to.
#[derive(Serialize, JsonSchema)]
pub(super) struct Event {
    /// The delivery's id.
    id: String,
    provider: String,
    event: String,
    action: Option<String>,
    repository: Option<String>,
    received_at: Timestamp,
    /// What followed, and why, in a sentence.
    result: String,
    /// Names of the builds that it led to.
    builds: Vec<String>,
    /// Number of the change that it is about.
    workflow_id: Option<i64>,
}

/// What followed this time.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ReplayedEvent")]
pub(super) struct Replayed {
    /// What followed, and why, in a sentence.
    result: String,
    /// Names of the builds that are new.
    builds: Vec<BuildId>,
}

/// Webhooks, newest first.
pub(super) async fn list(
    State(shared): State<Shared>,
    caller: Caller,
    Query(wanted): Query<Wanted>,
    Query(paging): Query<Paging>,
) -> Result<Listed<Event>, Problem> {
    let before = paging.cursor.as_deref().map(place).transpose()?;
    let (store, repository) = (&shared.0.store, wanted.repository.as_deref());
    let told = if may_list(&shared, &caller, repository).await? {
        store.told(before.as_ref(), repository, paging.limit()).await?
    } else {
        Vec::new()
    };
    let next = paging.next(&told, |last| cursor(&last.place()));
    Ok(Listed {
        items: told.into_iter().map(Event::from).collect(),
        next,
    })
}

/// A webhook by the delivery's id.
pub(super) async fn show(
    State(shared): State<Shared>,
    caller: Caller,
    Path(ByName { id }): Path<ByName>,
) -> Result<Json<Event>, Problem> {
    let told = shared.0.store.told_by(&id).await?.ok_or(Problem::NotFound)?;
    if !sees(&shared, &caller, told.repository.as_deref()).await? {
        return Err(Problem::NotFound);
    }
    Ok(Json(told.into()))
}

/// Plans a webhook once more, as its services are configured now. Builds that are known are not built again.
pub(super) async fn replay(
    State(shared): State<Shared>,
    caller: Caller,
    Path(ByName { id }): Path<ByName>,
) -> Result<Accepted<Replayed>, Problem> {
    let store = &shared.0.store;
    let told = store.told_by(&id).await?.ok_or(Problem::NotFound)?;
    if !sees(&shared, &caller, told.repository.as_deref()).await? {
        return Err(Problem::NotFound);
    }
    let Some(said) = store.said(&id).await? else {
        return Err(Problem::Conflict("what it said is not kept any more".to_owned()));
    };
    let webhook = WebhookDelivery::from_bytes(said.as_bytes());
    let webhook = webhook.map_err(|error| Problem::Conflict(format!("it cannot be read any more: {error}")))?;
    let (result, builds) = shared.0.planning.replay(&webhook).await?;
    Ok(Accepted(Replayed {
        result,
        builds: builds.into_iter().map(|build| build.message.id).collect(),
    }))
}

/// Whether they see what belongs to a repository, or to any where none is named.
pub(super) async fn may_list(shared: &Shared, caller: &Caller, repository: Option<&str>) -> Result<bool, Problem> {
    if caller.projects.is_some() && repository.is_none() {
        let text = "repository: is required with a token that is for some projects only";
        return Err(Problem::Unprocessable(text.to_owned()));
    }
    sees(shared, caller, repository).await
}

/// Whether a repository is a project of theirs.
pub(super) async fn sees(shared: &Shared, caller: &Caller, repository: Option<&str>) -> Result<bool, Problem> {
    if caller.projects.is_none() {
        return Ok(true);
    }
    let Some(repository) = repository else { return Ok(false) };
    let project = shared.0.store.project_named(repository).await?;
    Ok(project.is_some_and(|project| caller.sees(project.id)))
}

fn cursor(place: &Place) -> String {
    format!("{}.{}", place.received_at, place.delivery)
}

fn place(cursor: &str) -> Result<Place, Problem> {
    let (received_at, delivery) = number_of(cursor);
    Ok(Place {
        received_at: received_at.parse().map_err(|_not_a_number| no_cursor())?,
        delivery: delivery.to_owned(),
    })
}

// === impl Event ===

impl From<Told> for Event {
    fn from(told: Told) -> Self {
        Self {
            id: told.delivery,
            provider: told.provider,
            event: told.event,
            action: told.action,
            repository: told.repository,
            received_at: Timestamp::from_millis(told.received_at),
            result: told.result,
            builds: told.builds,
            workflow_id: told.workflow_id,
        }
    }
}
