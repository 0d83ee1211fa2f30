//! What the operator and the orchestrator ask: alive, ready, how is it.

use crate::{Failure, Life, http};
use axum::{
    Json, Router,
    extract::{Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::json;
use std::net::SocketAddr;
use tower::ServiceExt as _;

/// Serves the admin endpoints until the service has drained.
pub(crate) async fn start(address: SocketAddr, life: &Life) -> Result<(), Failure> {
    let routes = router(life.clone());
    http::serve("admin", address, routes, http::Limits::default(), life)
        .await
        .map(drop)
}

/// `/live`, `/ready`, `/metrics` and `/health`.
pub(crate) fn router(life: Life) -> Router {
    Router::new()
        .route("/live", get(async || "alive\n"))
        .route("/ready", get(ready))
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .fallback(own)
        .with_state(life)
}

/// What the service itself has here.
async fn own(State(life): State<Life>, request: Request) -> Response {
    match life.admin_routes() {
        Some(routes) => routes.oneshot(request).await.into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn ready(State(life): State<Life>) -> Response {
    let wrong = life.wrong();
    let status = if wrong.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(json!({"ready": wrong.is_empty(), "wrong": wrong}))).into_response()
}

async fn health(State(life): State<Life>) -> Response {
    let (wrong, degraded) = (life.wrong(), life.degraded_parts());
    let (status, word) = if !wrong.is_empty() {
        (StatusCode::SERVICE_UNAVAILABLE, "unhealthy")
    } else if !degraded.is_empty() {
        (StatusCode::OK, "degraded")
    } else {
        (StatusCode::OK, "healthy")
    };
    (
        status,
        Json(json!({"status": word, "checks": wrong, "degraded": degraded})),
    )
        .into_response()
}

async fn metrics(State(life): State<Life>) -> Response {
    metrics_page(&life)
}

/// Every metric of the service in the text format of `OpenMetrics`.
pub fn metrics_page(life: &Life) -> Response {
    let mut text = String::new();
    let encoded = life.metrics(|registry| prometheus_client::encoding::text::encode(&mut text, registry));
    match encoded {
        Ok(()) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
