//! Projects and services: what is built, of which repository, when.

use super::{
    Shared, builds,
    extract::{Body, ById, Created, Listed, Object, Paging, Path, Query},
    problem::Problem,
    repeat::Seed,
};
use crate::{
    access::Caller,
    begin, planner,
    service::{Recipe, Service},
    store::{Error, Page, Project},
};
use axum::{Json, extract::State, response::NoContent};
use contract::{BuildId, CloneUrl, CommitHash, InvalidProjectName, ProjectName, RelativePath, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A project to be added.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewProject {
    /// The repository's full name.
    name: ProjectName,
    /// Most builds of it at a time; as many as there are workers without it.
    #[schemars(range(min = 1, max = 10_000))]
    max_builds: Option<u32>,
}

/// What becomes of a project.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangedProject {
    /// Most builds of it at a time; as many as there are workers without it.
    #[schemars(range(min = 1, max = 10_000))]
    max_builds: Option<u32>,
}

/// A service to be added.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewService {
    project_id: i64,
    #[schemars(regex(pattern = "^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$"))]
    name: String,
    recipe: Option<Object<Recipe>>,
}

/// What becomes of a service.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangedService {
    recipe: Object<Recipe>,
}

/// What is asked for by hand.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewBuild {
    /// That of its newest build, if there is one.
    git_url: Option<CloneUrl>,
    /// A commit's hash; else a branch or tag of which a commit is known.
    #[schemars(length(min = 1))]
    git_ref: String,
    context_path: Option<RelativePath>,
    dockerfile: Option<RelativePath>,
}

/// Which services.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct OfProject {
    /// Only those of this project.
    project_id: Option<i64>,
}

/// A repository.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Project")]
pub(super) struct ShownProject {
    id: i64,
    name: String,
    /// Most builds of it at a time.
    max_builds: Option<i64>,
    created_at: Timestamp,
}

/// One thing that is built of a repository.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Service")]
pub(super) struct Shown {
    id: i64,
    project_id: i64,
    name: String,
    recipe: Recipe,
    created_at: Timestamp,
}

/// A build that begins.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "BegunByHand")]
pub(super) struct Begun {
    build_id: i64,
    /// Name of the build for ever, and of its job.
    job_id: BuildId,
    status: &'static str,
}

const UNKNOWN_REF: &str = "git_ref: expected a commit's hash, or a branch or tag that this service was built of before";
/// Longest name of a service.
const NAME_BYTES: usize = 64;

/// Projects by their names.
pub(super) async fn projects(State(shared): State<Shared>, caller: Caller) -> Result<Json<Vec<ShownProject>>, Problem> {
    let projects = shared.0.store.projects().await?;
    let theirs = projects.into_iter().filter(|project| caller.sees(project.id));
    Ok(Json(theirs.map(ShownProject::from).collect()))
}

/// Adds a project.
pub(super) async fn add_project(
    State(shared): State<Shared>,
    Body(NewProject { name, max_builds }): Body<NewProject>,
) -> Result<Created<ShownProject>, Problem> {
    is_possible(max_builds)?;
    let added = shared.0.store.add_project(name.as_str(), max_builds).await?;
    Ok(Created(added.into()))
}

/// Changes how many builds of a project there may be at a time.
pub(super) async fn change_project(
    State(shared): State<Shared>,
    Path(ById { id }): Path<ById>,
    Body(ChangedProject { max_builds }): Body<ChangedProject>,
) -> Result<Json<ShownProject>, Problem> {
    is_possible(max_builds)?;
    let changed = shared.0.store.change_project(id, max_builds).await?;
    shared.0.kick.now();
    Ok(Json(changed.ok_or(Problem::NotFound)?.into()))
}

/// A project.
pub(super) async fn project(
    State(shared): State<Shared>,
    caller: Caller,
    Path(ById { id }): Path<ById>,
) -> Result<Json<ShownProject>, Problem> {
    let project = shared.0.store.project(id).await?;
    let project = project.filter(|project| caller.sees(project.id));
    Ok(Json(project.ok_or(Problem::NotFound)?.into()))
}

/// Removes a project that has no services.
pub(super) async fn remove_project(
    State(shared): State<Shared>,
    Path(ById { id }): Path<ById>,
) -> Result<NoContent, Problem> {
    match shared.0.store.remove_project(id).await {
        Ok(true) => Ok(NoContent),
        Ok(false) => Err(Problem::NotFound),
        Err(Error::Taken) => Err(Problem::Conflict(
            "it has services, or builds: these come first".to_owned(),
        )),
        Err(error) => Err(error.into()),
    }
}

/// Services, in the order in which they were added.
pub(super) async fn services(
    State(shared): State<Shared>,
    caller: Caller,
    Query(of): Query<OfProject>,
) -> Result<Json<Vec<Shown>>, Problem> {
    let services = shared.0.store.services(of.project_id).await?;
    let theirs = services.into_iter().filter(|service| caller.sees(service.project_id));
    Ok(Json(theirs.map(Shown::from).collect()))
}

/// Adds a service to a project.
pub(super) async fn add(State(shared): State<Shared>, Body(new): Body<NewService>) -> Result<Created<Shown>, Problem> {
    let NewService {
        project_id,
        name,
        recipe,
    } = new;
    let recipe = recipe.map(|Object(recipe)| recipe).unwrap_or_default();
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
    let added = store.add_service(project_id, &name, &recipe).await?;
    Ok(Created(added.into()))
}

/// A service.
pub(super) async fn show(
    State(shared): State<Shared>,
    caller: Caller,
    Path(ById { id }): Path<ById>,
) -> Result<Json<Shown>, Problem> {
    Ok(Json(find(&shared, &caller, id).await?.into()))
}

/// Changes what a service is built of; builds that were planned before keep what they have.
pub(super) async fn change(
    State(shared): State<Shared>,
    Path(ById { id }): Path<ById>,
    Body(ChangedService { recipe: Object(recipe) }): Body<ChangedService>,
) -> Result<Json<Shown>, Problem> {
    is_sound(&recipe)?;
    let changed = shared.0.store.change_service(id, &recipe).await?;
    Ok(Json(changed.ok_or(Problem::NotFound)?.into()))
}

/// Removes a service of which nothing was ever built.
pub(super) async fn remove(State(shared): State<Shared>, Path(ById { id }): Path<ById>) -> Result<NoContent, Problem> {
    match shared.0.store.remove_service(id).await {
        Ok(true) => Ok(NoContent),
        Ok(false) => Err(Problem::NotFound),
        Err(Error::Taken) => {
            let text = "it was built; to build it no more, give it a recipe without events: branches [\"!**\"]";
            Err(Problem::Conflict(text.to_owned()))
        }
        Err(error) => Err(error.into()),
    }
}

/// Builds of a service, newest first.
pub(super) async fn builds(
    State(shared): State<Shared>,
    caller: Caller,
    Path(ById { id }): Path<ById>,
    Query(paging): Query<Paging>,
) -> Result<Listed<builds::Shown>, Problem> {
    let service = find(&shared, &caller, id).await?;
    let page = Page {
        service: Some(service.id),
        ..Page::default()
    };
    builds::listed(&shared, &paging, page).await
}

/// Builds a service by hand.
pub(super) async fn build(
    State(shared): State<Shared>,
    caller: Caller,
    Seed(seed): Seed,
    Path(ById { id }): Path<ById>,
    Body(asked): Body<NewBuild>,
) -> Result<Created<Begun>, Problem> {
    let service = find(&shared, &caller, id).await?;
    let store = &shared.0.store;
    let project = store.project(service.project_id).await?.ok_or(Problem::NotFound)?;
    let newest = |about| store.newest_of_service(service.id, about);
    let source = match asked.git_url {
        Some(url) if caller.projects.is_none() => url,
        Some(url) if newest(None).await?.is_some_and(|build| build.message.source == url) => url,
        Some(_) => {
            let text = "git_url: with a token that is for some projects only, that of this service's builds";
            return Err(Problem::Unprocessable(text.to_owned()));
        }
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
        Err(_) => match begin::newest_of_ref(store, service.id, &asked.git_ref).await? {
            Some((newest, git_ref)) => (newest.message.commit_hash, Some(git_ref)),
            None => return Err(Problem::Unprocessable(UNKNOWN_REF.to_owned())),
        },
    };
    let name = project
        .name
        .parse()
        .map_err(|error: InvalidProjectName| Problem::Conflict(error.to_string()))?;
    let why = planner::Why::Asked(seed);
    let mut message = planner::not_pushed(name, &service, source, commit, git_ref.as_deref(), why);
    message.context_path = asked.context_path.or(message.context_path);
    message.dockerfile = asked.dockerfile.or(message.dockerfile);
    // Whoever began the same request and died before answering has begun this build.
    let build = begin::begin(store, &shared.0.kick, &service, message, git_ref).await?;
    Ok(Created(Begun {
        build_id: build.id,
        job_id: build.message.id,
        status: build.status.as_str(),
    }))
}

/// A service of a project that they see.
pub(super) async fn find(shared: &Shared, caller: &Caller, id: i64) -> Result<Service, Problem> {
    let service = shared.0.store.service(id).await?;
    service
        .filter(|service| caller.sees(service.project_id))
        .ok_or(Problem::NotFound)
}

fn is_possible(max_builds: Option<u32>) -> Result<(), Problem> {
    match max_builds {
        Some(0 | 10_001..) => Err(Problem::Unprocessable("max_builds: expected 1 to 10000".to_owned())),
        Some(_) | None => Ok(()),
    }
}

fn is_sound(recipe: &Recipe) -> Result<(), Problem> {
    recipe.mistake().map_or(Ok(()), |mistake| {
        Err(Problem::Unprocessable(format!("recipe.{mistake}")))
    })
}

// === impl ShownProject ===

impl From<Project> for ShownProject {
    fn from(project: Project) -> Self {
        Self {
            id: project.id,
            name: project.name,
            max_builds: project.max_builds,
            created_at: Timestamp::from_millis(project.created_at),
        }
    }
}

// === impl Shown ===

impl From<Service> for Shown {
    fn from(service: Service) -> Self {
        Self {
            id: service.id,
            project_id: service.project_id,
            name: service.name,
            recipe: service.recipe,
            created_at: Timestamp::from_millis(service.created_at),
        }
    }
}
