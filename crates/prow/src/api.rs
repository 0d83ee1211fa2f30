//! The REST API: what each route is called, and which role it takes.

mod audit;
mod auth;
mod badge;
mod builds;
mod deployments;
mod docs;
mod events;
mod extract;
mod jobs;
mod logs;
mod problem;
mod queues;
mod repeat;
mod reply;
mod services;
mod tokens;
mod updates;
mod workers;
mod workflows;

use crate::{access::Role, archive::Archive, dispatcher::Kick, intake::Webhooks, store::Store, updates::Updates};
use aide::{
    axum::{
        ApiRouter,
        routing::{delete_with, get_with, post_with, put_with},
    },
    openapi::OpenApi,
    transform::TransformOperation,
};
use axum::{
    Json, Router,
    extract::DefaultBodyLimit,
    http::{
        Method,
        header::{CONTENT_TYPE, ETAG},
    },
    middleware::{from_fn, from_fn_with_state},
    response::Html,
    routing::get,
};
use bus::Canceller;
use chassis::Origin;
use std::sync::Arc;

pub(crate) use auth::AdminToken;
pub(crate) use problem::Problem;
pub(crate) use queues::Queues;

/// What the routes need; cheap to clone.
#[derive(Clone)]
pub(crate) struct Shared(Arc<Parts>);

/// The parts of it.
pub(crate) struct Parts {
    pub(crate) store: Store,
    pub(crate) archive: Archive,
    pub(crate) canceller: Canceller,
    pub(crate) deployment_canceller: Canceller,
    pub(crate) queues: Queues,
    pub(crate) token: AdminToken,
    pub(crate) planning: Webhooks,
    pub(crate) updates: Updates,
    pub(crate) kick: Kick,
    /// Whether badges are for whoever asks.
    pub(crate) public_badges: bool,
    pub(crate) origins: Vec<Origin>,
}

/// The longest body of a request.
const BODY_BYTES: usize = 1_024 * 1_024;

impl From<Parts> for Shared {
    fn from(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }
}

/// Every route.
pub(crate) fn routes(shared: Shared) -> Router {
    aide::generate::infer_responses(true);
    aide::generate::extract_schemas(true);
    let of = |routes: ApiRouter<Shared>, role| routes.route_layer(from_fn_with_state(role, auth::takes));
    let mut api = OpenApi::default();
    let guarded = of(seen().merge(seen_besides()), Role::Viewer)
        .merge(of(begun(), Role::Deployer))
        .merge(of(changed(), Role::Admin))
        .finish_api_with(&mut api, docs::describe);
    let guarded = guarded
        .fallback(async || Problem::NotFound)
        .method_not_allowed_fallback(async || Problem::MethodNotAllowed)
        .layer(from_fn_with_state(shared.clone(), repeat::once))
        .layer(from_fn_with_state(shared.clone(), audit::record))
        .layer(from_fn_with_state(shared.clone(), auth::guard))
        .layer(DefaultBodyLimit::max(BODY_BYTES));
    let page = docs::page(&api);
    let described = serde_json::to_string(&api).unwrap_or_default();
    let open = Router::new()
        .route("/health", get(async || Json(serde_json::json!({"status": "healthy"}))))
        .route(
            "/openapi.json",
            get(move || async move { ([(CONTENT_TYPE, "application/json")], described) }),
        )
        .route("/badge/{*path}", get(badge::show))
        .route("/docs", get(move || async move { Html(page) }));
    let methods = [Method::GET, Method::POST, Method::PUT, Method::DELETE];
    let cors = chassis::cors(&shared.0.origins, methods);
    let routes = guarded.merge(open).layer(from_fn(reply::finish)).with_state(shared);
    match cors {
        Some(cors) => routes.layer(cors.expose_headers([reply::NEXT, ETAG])),
        None => routes,
    }
}

/// What viewers see.
fn seen() -> ApiRouter<Shared> {
    ApiRouter::new()
        .api_route(
            "/v1/cicd/services/{id}/deployments",
            get_with(
                deployments::list,
                named("listDeployments", "Deployments of a service, newest first"),
            ),
        )
        .api_route(
            "/v1/cicd/deployments/{id}",
            get_with(
                deployments::show,
                named("getDeployment", "A deployment, by its number or its name for ever"),
            ),
        )
        .api_route(
            "/v1/cicd/builds",
            get_with(builds::list, named("listBuilds", "Builds, newest first")),
        )
        .api_route(
            "/v1/cicd/builds/{id}",
            get_with(
                builds::show,
                named("getBuild", "A build, by its number or its name for ever"),
            ),
        )
        .api_route("/v1/cicd/builds/{id}/logs", get_with(logs::show, logs::described))
        .api_route(
            "/v1/cicd/projects",
            get_with(services::projects, named("listProjects", "Projects, by name")),
        )
        .api_route(
            "/v1/cicd/projects/{id}",
            get_with(services::project, named("getProject", "A project")),
        )
        .api_route(
            "/v1/cicd/services",
            get_with(
                services::services,
                named("listServices", "Services, in the order in which they were added"),
            ),
        )
        .api_route(
            "/v1/cicd/services/{id}",
            get_with(services::show, named("getService", "A service")),
        )
        .api_route(
            "/v1/cicd/services/{id}/builds",
            get_with(
                services::builds,
                named("listBuildsOfService", "Builds of a service, newest first"),
            ),
        )
        .api_route(
            "/v1/cicd/jobs/{id}",
            get_with(jobs::show, named("getJob", "A build, in the words of older clients")),
        )
}

/// What they see beside builds.
fn seen_besides() -> ApiRouter<Shared> {
    ApiRouter::new()
        .api_route(
            "/v1/events",
            get_with(
                events::list,
                named("listEvents", "Webhooks and what followed, newest first"),
            ),
        )
        .api_route(
            "/v1/events/{id}",
            get_with(events::show, named("getEvent", "A webhook and what followed")),
        )
        .api_route(
            "/v1/workers",
            get_with(workers::list, named("listWorkers", "Who is there, and what each does")),
        )
        .api_route("/v1/updates", get_with(updates::watch, updates::described))
        .api_route(
            "/v1/workflows",
            get_with(
                workflows::list,
                named("listWorkflows", "Changes of repositories, newest first"),
            ),
        )
        .api_route(
            "/v1/workflows/{id}",
            get_with(
                workflows::show,
                named("getWorkflow", "A change with everything that happened about it"),
            ),
        )
        .api_route(
            "/v1/queues",
            get_with(queues::list, named("listQueues", "How much waits where")),
        )
        .api_route(
            "/v1/me",
            get_with(tokens::me, named("getMe", "What the token of this request may do")),
        )
}

/// What deployers begin and stop.
fn begun() -> ApiRouter<Shared> {
    ApiRouter::new()
        .api_route(
            "/v1/events/{id}/replay",
            post_with(
                events::replay,
                named(
                    "replayEvent",
                    "Plan a webhook once more, as its services are configured now",
                ),
            ),
        )
        .api_route(
            "/v1/cicd/services/{id}/deploy",
            post_with(deployments::deploy, named("deployService", "Run an image as a service")),
        )
        .api_route(
            "/v1/cicd/services/{id}/rollback",
            post_with(
                deployments::rollback,
                named("rollbackService", "Bring back what ran before"),
            ),
        )
        .api_route(
            "/v1/cicd/deployments/{id}/cancel",
            post_with(
                deployments::cancel,
                named("cancelDeployment", "Stop a deployment that has not begun to take over"),
            ),
        )
        .api_route(
            "/v1/cicd/builds/{id}/cancel",
            post_with(
                builds::cancel,
                named("cancelBuild", "Stop a build, whether it waits or runs"),
            ),
        )
        .api_route(
            "/v1/cicd/builds/{id}/retry",
            post_with(builds::retry, named("retryBuild", "Begin the same build again")),
        )
        .api_route(
            "/v1/cicd/builds/{id}/approve",
            post_with(
                builds::approve,
                named("approveBuild", "Let a build of a fork's commit run"),
            ),
        )
        .api_route(
            "/v1/cicd/services/{id}/build",
            post_with(services::build, named("buildService", "Build a service by hand")),
        )
}

/// What administrators change.
fn changed() -> ApiRouter<Shared> {
    ApiRouter::new()
        .api_route(
            "/v1/cicd/projects",
            post_with(services::add_project, named("addProject", "Add a project")),
        )
        .api_route(
            "/v1/cicd/projects/{id}",
            put_with(
                services::change_project,
                named(
                    "changeProject",
                    "Change how many builds of a project there may be at a time",
                ),
            )
            .delete_with(
                services::remove_project,
                named("removeProject", "Remove a project that has no services"),
            ),
        )
        .api_route(
            "/v1/cicd/services",
            post_with(services::add, named("addService", "Add a service to a project")),
        )
        .api_route(
            "/v1/cicd/services/{id}",
            put_with(
                services::change,
                named("changeService", "Change what a service is built of, and when"),
            )
            .delete_with(
                services::remove,
                named("removeService", "Remove a service of which nothing was ever built"),
            ),
        )
        .api_route(
            "/v1/queues/{name}/dead",
            get_with(
                queues::letters,
                named("listDeadLetters", "What could not be done, newest first"),
            )
            .post_with(
                queues::replay_all,
                named("replayDeadLetters", "Send all of it again that can be"),
            )
            .delete_with(queues::drop_all, named("dropDeadLetters", "Forget all of it")),
        )
        .api_route(
            "/v1/queues/{name}/dead/{id}",
            get_with(
                queues::letter,
                named("getDeadLetter", "What could not be done, with its message"),
            )
            .post_with(queues::replay, named("replayDeadLetter", "Send it again"))
            .delete_with(queues::drop_one, named("dropDeadLetter", "Forget it")),
        )
        .api_route(
            "/v1/tokens",
            get_with(tokens::list, named("listTokens", "Tokens, by name"))
                .post_with(tokens::add, named("addToken", "Make a token; it is shown once")),
        )
        .api_route(
            "/v1/tokens/{id}",
            delete_with(tokens::remove, named("removeToken", "End a token")),
        )
        .api_route(
            "/v1/audit",
            get_with(audit::list, named("listChanges", "Who changed what, newest first")),
        )
}

/// Names an operation for those who generate clients, and says what it is for.
fn named(id: &'static str, summary: &'static str) -> impl FnOnce(TransformOperation<'_>) -> TransformOperation<'_> {
    move |operation| operation.id(id).summary(summary)
}
