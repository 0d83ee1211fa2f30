//! Method and path, and what answers there.

use crate::{Config, intake::Intake, outlet::Outlet, reject::Rejection};
use axum::{
    Json, Router,
    body::Body,
    extract::State,
    http::{HeaderMap, Method, Request, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use chassis::Life;
use contract::Provider;
use serde_json::json;
use std::{collections::BTreeMap, sync::Arc};
use tokio::time::Instant;

/// What every route may ask.
pub(crate) struct Shared {
    pub(crate) intake: Arc<Intake>,
    pub(crate) outlet: Outlet,
    pub(crate) life: Life,
    pub(crate) started: Instant,
}

/// Every route of the public port.
pub(crate) fn routes(config: &Config, shared: Shared) -> Router {
    let mut routes = Router::new()
        .route("/health", get(health))
        .route("/metrics", get(metrics));
    for provider in Provider::ALL.iter().copied() {
        let take = post(async move |State(shared): State<Arc<Shared>>, request: Request<Body>| {
            shared.intake.answer(provider, request).await
        });
        routes = routes
            .route(&format!("/webhook/{provider}"), take.clone())
            .route(&format!("/v1/webhooks/{provider}"), take);
    }
    let routes = routes
        .fallback(async || Rejection::NoRoute.into_reply(""))
        .with_state(Arc::new(shared));
    match chassis::cors(&config.origins, [Method::GET, Method::POST]) {
        Some(cors) => routes.layer(cors),
        None => routes,
    }
}

async fn health(State(shared): State<Arc<Shared>>) -> Response {
    let mut wrong = shared.life.wrong();
    if let Some(word) = shared.outlet.trouble() {
        wrong.insert("queue", word.to_owned());
    }
    let (status, word) = if !wrong.is_empty() {
        (StatusCode::SERVICE_UNAVAILABLE, "unhealthy")
    } else if shared.outlet.is_degraded() {
        (StatusCode::OK, "degraded")
    } else {
        (StatusCode::OK, "healthy")
    };
    let totals = shared.intake.metrics.totals();
    let uptime = u64::try_from(shared.started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let redis = if shared.outlet.redis_is_there() { "ok" } else { "away" };
    let mut checks = BTreeMap::from([("redis", redis.to_owned())]);
    checks.extend(wrong);
    let body = json!({
        "status": word,
        "uptime": uptime,
        "metrics": {
            "totalRequests": totals.all,
            "validRequests": totals.valid,
            "invalidRequests": totals.invalid,
        },
        "checks": checks,
    });
    (status, Json(body)).into_response()
}

/// For Prometheus where it is asked for, as scrapers do; else the document of the older form.
async fn metrics(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let accept = accept.unwrap_or_default();
    if accept.contains("text/plain") || accept.contains("openmetrics") {
        return chassis::metrics_page(&shared.life);
    }
    let totals = shared.intake.metrics.totals();
    let depth = shared.outlet.depth();
    Json(json!({
        "totalRequests": totals.all,
        "validRequests": totals.valid,
        "invalidRequests": totals.invalid,
        "processedEvents": totals.processed,
        "failedEvents": totals.failed,
        "averageProcessingTime": totals.average_ms,
        "queueMetrics": depth.as_ref().map(|depth| &depth.lanes),
    }))
    .into_response()
}
