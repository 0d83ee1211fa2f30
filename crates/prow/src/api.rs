//! The REST API.

mod auth;
mod builds;
mod events;
mod jobs;
mod logs;
mod problem;
mod queues;
mod services;

use crate::{archive::Archive, dispatcher::Kick, store::Store};
use axum::{
    Router,
    routing::{get, post},
};
use bus::Canceller;
use std::sync::Arc;

pub(crate) use auth::AdminToken;
pub(crate) use queues::Queues;

/// What the routes need.
#[derive(Clone)]
pub(crate) struct Shared(Arc<Parts>);

struct Parts {
    store: Store,
    archive: Archive,
    canceller: Canceller,
    queues: Queues,
    token: AdminToken,
    kick: Kick,
}

// === impl Shared ===

impl Shared {
    pub(crate) fn new(
        store: Store,
        archive: Archive,
        canceller: Canceller,
        queues: Queues,
        token: AdminToken,
        kick: Kick,
    ) -> Self {
        Self(Arc::new(Parts {
            store,
            archive,
            canceller,
            queues,
            token,
            kick,
        }))
    }
}

/// Every route; all but `/health` ask for a bearer token.
pub(crate) fn routes(shared: Shared) -> Router {
    let guard = axum::middleware::from_fn_with_state(shared.clone(), auth::guard);
    Router::new()
        .route("/v1/cicd/builds", get(builds::list))
        .route("/v1/cicd/builds/{id}", get(builds::show))
        .route("/v1/cicd/builds/{id}/cancel", post(builds::cancel))
        .route("/v1/cicd/builds/{id}/retry", post(builds::retry))
        .route("/v1/cicd/builds/{id}/approve", post(builds::approve))
        .route("/v1/cicd/builds/{id}/logs", get(logs::show))
        .route("/v1/cicd/projects", get(services::projects).post(services::add_project))
        .route("/v1/cicd/projects/{id}", get(services::project))
        .route("/v1/cicd/services", get(services::services).post(services::add))
        .route("/v1/cicd/services/{id}", get(services::show).put(services::change))
        .route("/v1/cicd/services/{id}/builds", get(services::builds))
        .route("/v1/cicd/services/{id}/build", post(services::build))
        .route("/v1/cicd/jobs/{id}", get(jobs::show))
        .route("/v1/events", get(events::list))
        .route("/v1/events/{id}", get(events::show))
        .route("/v1/queues", get(queues::list))
        .route(
            "/v1/queues/{name}/dead",
            get(queues::letters).post(queues::replay_all).delete(queues::drop_all),
        )
        .route(
            "/v1/queues/{name}/dead/{id}",
            get(queues::letter).post(queues::replay).delete(queues::drop_one),
        )
        .fallback(async || problem::Problem::NotFound)
        .layer(guard)
        .route(
            "/health",
            get(async || axum::Json(serde_json::json!({"status": "healthy"}))),
        )
        .with_state(shared)
}
