//! What forges told, and what followed: why a push was built, or was not.

use super::{
    Shared,
    builds::{LARGEST_PAGE, USUAL_PAGE},
    problem::Problem,
};
use crate::store::{Place, Told};
use axum::{
    Json,
    extract::{Path, Query, State},
    http::HeaderMap,
};
use contract::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Debug, Deserialize)]
pub(super) struct Listing {
    limit: Option<u32>,
    /// Where the page before ended; what it looks like is nobody's business.
    cursor: Option<String>,
    repository: Option<String>,
}

/// Names the next page, while there is one.
const NEXT: axum::http::HeaderName = axum::http::HeaderName::from_static("x-next-cursor");

/// `GET /v1/events?limit=&cursor=&repository=`: newest first; the header `X-Next-Cursor` names the next page.
pub(super) async fn list(
    State(shared): State<Shared>,
    Query(listing): Query<Listing>,
) -> Result<(HeaderMap, Json<Value>), Problem> {
    let limit = listing.limit.unwrap_or(USUAL_PAGE).clamp(1, LARGEST_PAGE);
    let before = listing.cursor.as_deref().map(place).transpose()?;
    let repository = listing.repository.as_deref();
    let told = shared.0.store.told(before.as_ref(), repository, limit).await?;
    let mut headers = HeaderMap::new();
    let is_full = told.len() == usize::try_from(limit).unwrap_or(usize::MAX);
    if let Some(last) = told.last().filter(|_| is_full) {
        headers.extend(cursor(&last.place()).parse().ok().map(|value| (NEXT, value)));
    }
    Ok((headers, Json(told.iter().map(shown).collect())))
}

/// `GET /v1/events/:id`, by the delivery's id.
pub(super) async fn show(State(shared): State<Shared>, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    let told = shared.0.store.told_by(&id).await?.ok_or(Problem::NotFound)?;
    Ok(Json(shown(&told)))
}

fn cursor(place: &Place) -> String {
    format!("{}.{}", place.received_at, place.delivery)
}

fn place(cursor: &str) -> Result<Place, Problem> {
    let parts = cursor.split_once('.');
    let place = parts.and_then(|(received_at, delivery)| {
        Some(Place {
            received_at: received_at.parse().ok()?,
            delivery: delivery.to_owned(),
        })
    });
    place.ok_or_else(|| Problem::BadRequest("cursor: expected what the page before gave".to_owned()))
}

fn shown(told: &Told) -> Value {
    json!({
        "id": told.delivery,
        "provider": told.provider,
        "event": told.event,
        "action": told.action,
        "repository": told.repository,
        "received_at": Timestamp::from_millis(told.received_at),
        "result": told.result,
        "builds": told.builds,
    })
}
