//! Sending again what an endpoint got, or did not get, in some time: after it was broken, or for a new one behind it.

use super::{Api, Problem};
use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
};
use contract::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

/// What is sent again; of nothing else.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Wanted {
    /// What was sent from here on; all that is known, if nothing is said.
    since: Option<Timestamp>,
    /// And up to here.
    until: Option<Timestamp>,
    /// What has become of it.
    state: Ended,
    /// Only says how many there are.
    dry_run: bool,
}

/// How deliveries ended that are sent again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Ended {
    #[default]
    Dead,
    Done,
    /// Either way.
    Any,
}

/// Sends again what matches, the oldest first; each delivery that has ended is at its end at most once.
pub(super) async fn replay(
    State(api): State<Api>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let endpoint = api.find(&id)?;
    let text: &[u8] = if body.is_empty() { b"{}" } else { &body };
    let wanted: Wanted = serde_json::from_slice(text).map_err(|error| Problem::Unprocessable(error.to_string()))?;
    let courier = &api.book.courier;
    if !wanted.dry_run && courier.addressee(endpoint.name()).await?.contains_key("off") {
        return Err(Problem::Conflict("the endpoint is disabled: enable it first"));
    }
    let since = wanted.since.as_ref().map_or(0, Timestamp::as_millis);
    let until = wanted.until.as_ref().map_or(i64::MAX, Timestamp::as_millis);
    let (mut matching, mut replayed) = (0, 0);
    for delivery in courier.between(endpoint.name(), since, until).await? {
        let record = courier.record(&delivery).await?;
        let state = record.as_ref().and_then(|record| record.fields.get("state"));
        if !state.is_some_and(|state| wanted.state.is(state)) {
            continue;
        }
        matching += 1;
        if !wanted.dry_run && courier.again(&delivery).await?.is_ok() {
            replayed += 1;
        }
    }
    api.kick.notify_one();
    if replayed > 0 {
        tracing::info!(endpoint = id, replayed, "deliveries were sent again by hand");
    }
    // What was to be delivered may not be kept any more.
    let left = if wanted.dry_run { 0 } else { matching - replayed };
    Ok(Json(
        json!({"matching": matching, "replayed": replayed, "left": left, "dry_run": wanted.dry_run}),
    ))
}

// === impl Ended ===

impl Ended {
    fn is(self, state: &str) -> bool {
        match self {
            Self::Dead => state == "dead",
            Self::Done => state == "done",
            Self::Any => ["dead", "done"].contains(&state),
        }
    }
}
