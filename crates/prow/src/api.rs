//! The REST API.

mod auth;
mod builds;
mod logs;
mod problem;
mod queues;

use crate::{archive::Archive, store::Store};
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
}

// === impl Shared ===

impl Shared {
    pub(crate) fn new(store: Store, archive: Archive, canceller: Canceller, queues: Queues, token: AdminToken) -> Self {
        Self(Arc::new(Parts {
            store,
            archive,
            canceller,
            queues,
            token,
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
        .route("/v1/cicd/builds/{id}/logs", get(logs::show))
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
