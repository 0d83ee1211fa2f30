//! Method and path, and what answers there.

use crate::{Config, hook::Hook};
use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bus::Bus;
use chassis::Life;
use serde_json::json;
use std::sync::Arc;
use tokio::time::Instant;

/// Every route of the public port.
pub(crate) fn routes(config: &Config, bus: &Bus, life: &Life) -> Router {
    let hook = Arc::new(Hook::new(config, bus, life));
    let github = post(async |State(hook): State<Arc<Hook>>, request| hook.answer(request).await);
    let started = Instant::now();
    let life = life.clone();
    let health = get(async move || report(&life, started));
    Router::new()
        .route("/webhook/github", github.clone())
        .route("/v1/webhooks/github", github)
        .route("/health", health)
        .with_state(hook)
}

fn report(life: &Life, started: Instant) -> Response {
    let wrong = life.wrong();
    let (status, word) = if wrong.is_empty() {
        (StatusCode::OK, "healthy")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "unhealthy")
    };
    let uptime = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    (status, Json(json!({"status": word, "uptime": uptime, "checks": wrong}))).into_response()
}
