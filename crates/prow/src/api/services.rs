//! Projects and services: what is built, of which repository, when.

use super::{Shared, builds, problem::Problem};
use crate::{
    notice, planner,
    service::{Recipe, Service},
    store::{Build, Error, Page, Project},
};
use axum::{
    Json,
    body::Bytes,
    extract::{Path, Query, State},
    http::StatusCode,
};
use contract::{CloneUrl, CommitHash, InvalidProjectName, Message as _, ProjectName, RelativePath, Timestamp};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewProject {
    name: ProjectName,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewService {
    project_id: i64,
    name: String,
    #[serde(default)]
    recipe: Recipe,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangedService {
    recipe: Recipe,
}

/// What is asked for by hand.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewBuild {
    /// That of its newest build, if there is one.
    git_url: Option<CloneUrl>,
    /// A commit's hash; else a branch or tag of which a commit is known.
    git_ref: String,
    context_path: Option<RelativePath>,
    dockerfile: Option<RelativePath>,
}

#[derive(Debug, Deserialize)]
pub(super) struct OfProject {
    project_id: Option<i64>,
}

/// Longest name of a service.
const NAME_BYTES: usize = 64;

/// `GET /v1/cicd/projects`, by name.
pub(super) async fn projects(State(shared): State<Shared>) -> Result<Json<Value>, Problem> {
    let projects = shared.0.store.projects().await?;
    Ok(Json(projects.iter().map(shown_project).collect()))
}

/// `POST /v1/cicd/projects` `{name}`.
pub(super) async fn add_project(
    State(shared): State<Shared>,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let NewProject { name } = parse(&body)?;
    let added = shared.0.store.add_project(name.as_str()).await.map_err(taken)?;
    Ok((StatusCode::CREATED, Json(shown_project(&added))))
}

/// `GET /v1/cicd/projects/:id`.
pub(super) async fn project(State(shared): State<Shared>, Path(id): Path<i64>) -> Result<Json<Value>, Problem> {
    let project = shared.0.store.project(id).await?.ok_or(Problem::NotFound)?;
    Ok(Json(shown_project(&project)))
}

/// `GET /v1/cicd/services?project_id=`.
pub(super) async fn services(
    State(shared): State<Shared>,
    Query(of): Query<OfProject>,
) -> Result<Json<Value>, Problem> {
    let services = shared.0.store.services(of.project_id).await?;
    Ok(Json(services.iter().map(shown).collect()))
}

/// `POST /v1/cicd/services` `{project_id, name, recipe}`.
pub(super) async fn add(State(shared): State<Shared>, body: Bytes) -> Result<(StatusCode, Json<Value>), Problem> {
    let NewService {
        project_id,
        name,
        recipe,
    } = parse(&body)?;
    let first = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let others = |c: char| first(c) || matches!(c, '.' | '-');
    if name.len() > NAME_BYTES || !name.starts_with(first) || !name.chars().all(others) {
        let text = "name: expected 1 to 64 of A-Z a-z 0-9 . _ -, the first none of . and -";
        return Err(Problem::Unprocessable(text.to_owned()));
    }
    is_sound(&recipe)?;
    let store = &shared.0.store;
    if store.project(project_id).await?.is_none() {
        return Err(Problem::Unprocessable(
            "project_id: there is no such project".to_owned(),
        ));
    }
    let added = store.add_service(project_id, &name, &recipe).await.map_err(taken)?;
    Ok((StatusCode::CREATED, Json(shown(&added))))
}

/// `GET /v1/cicd/services/:id`.
pub(super) async fn show(State(shared): State<Shared>, Path(id): Path<i64>) -> Result<Json<Value>, Problem> {
    Ok(Json(shown(&find(&shared, id).await?)))
}

/// `PUT /v1/cicd/services/:id` `{recipe}`.
pub(super) async fn change(
    State(shared): State<Shared>,
    Path(id): Path<i64>,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let ChangedService { recipe } = parse(&body)?;
    is_sound(&recipe)?;
    let changed = shared.0.store.change_service(id, &recipe).await?;
    Ok(Json(shown(&changed.ok_or(Problem::NotFound)?)))
}

/// `GET /v1/cicd/services/:id/builds?limit=&cursor=`: newest first.
pub(super) async fn builds(
    State(shared): State<Shared>,
    Path(id): Path<i64>,
    Query(listing): Query<builds::Listing>,
) -> Result<Json<Value>, Problem> {
    let service = find(&shared, id).await?;
    let page = Page {
        service: Some(service.id),
        ..listing.page()
    };
    builds::page(&shared, page).await
}

/// `POST /v1/cicd/services/:id/build` `{git_ref, git_url?, context_path?, dockerfile?}`.
pub(super) async fn build(
    State(shared): State<Shared>,
    Path(id): Path<i64>,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let asked: NewBuild = parse(&body)?;
    let service = find(&shared, id).await?;
    let store = &shared.0.store;
    let project = store.project(service.project_id).await?.ok_or(Problem::NotFound)?;
    let newest = |about| store.newest_of_service(service.id, about);
    let source = match asked.git_url {
        Some(url) => url,
        None => match newest(None).await? {
            Some(build) => build.message.source,
            None => {
                return Err(Problem::Unprocessable(
                    "git_url: is required before the first build".to_owned(),
                ));
            }
        },
    };
    let (commit, git_ref) = match asked.git_ref.parse::<CommitHash>() {
        Ok(commit) => (commit, None),
        Err(_) => known_commit(&asked.git_ref, newest).await?,
    };
    let name = project
        .name
        .parse()
        .map_err(|error: InvalidProjectName| Problem::Conflict(error.to_string()))?;
    let mut message = planner::by_hand(name, &service, source, commit, git_ref.as_deref());
    message.context_path = asked.context_path.or(message.context_path);
    message.dockerfile = asked.dockerfile.or(message.dockerfile);
    let payload = message
        .to_json()
        .map_err(|error| Problem::BadRequest(error.to_string()))?;
    let mut build = Build::queued(message, payload);
    (build.service, build.about) = (service.name, git_ref);
    let intents = notice::queued(&build, None)?;
    let Some(build) = store.add_build(build, &intents).await? else {
        return Err(Problem::Conflict("there is such a build already".to_owned()));
    };
    shared.0.kick.now();
    let body = json!({"build_id": build.id, "job_id": build.message.id, "status": build.status.as_str()});
    Ok((StatusCode::CREATED, Json(body)))
}

/// The newest commit that is known of a branch or tag, and its whole ref. Prow reads no repositories; it knows what
/// it was told of.
async fn known_commit<F>(
    name: &str,
    newest: impl Fn(Option<String>) -> F,
) -> Result<(CommitHash, Option<String>), Problem>
where
    F: Future<Output = Result<Option<Build>, Error>>,
{
    let names = if name.starts_with("refs/") {
        vec![name.to_owned()]
    } else {
        vec![format!("refs/heads/{name}"), format!("refs/tags/{name}")]
    };
    for git_ref in names {
        if let Some(build) = newest(Some(git_ref.clone())).await? {
            return Ok((build.message.commit_hash, Some(git_ref)));
        }
    }
    let text = "git_ref: expected a commit's hash, or a branch or tag that this service was built of before";
    Err(Problem::Unprocessable(text.to_owned()))
}

async fn find(shared: &Shared, id: i64) -> Result<Service, Problem> {
    shared.0.store.service(id).await?.ok_or(Problem::NotFound)
}

/// A body of JSON; the mistake names the field.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| {
        if error.is_data() {
            Problem::Unprocessable(error.to_string())
        } else {
            Problem::BadRequest(format!("the body is not JSON: {error}"))
        }
    })
}

fn is_sound(recipe: &Recipe) -> Result<(), Problem> {
    recipe.mistake().map_or(Ok(()), |mistake| {
        Err(Problem::Unprocessable(format!("recipe.{mistake}")))
    })
}

fn taken(error: Error) -> Problem {
    if matches!(error, Error::Taken) {
        Problem::Conflict(error.to_string())
    } else {
        error.into()
    }
}

fn shown_project(project: &Project) -> Value {
    json!({
        "id": project.id,
        "name": project.name,
        "created_at": Timestamp::from_millis(project.created_at),
    })
}

fn shown(service: &Service) -> Value {
    json!({
        "id": service.id,
        "project_id": service.project_id,
        "name": service.name,
        "recipe": service.recipe,
        "created_at": Timestamp::from_millis(service.created_at),
    })
}
