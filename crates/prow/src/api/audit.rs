//! Who changed what, when, and from where.

use super::{
    Shared,
    extract::{Listed, Paging, Query},
    problem::Problem,
};
use crate::access::Caller;
use axum::{
    extract::{Request, State},
    http::Method,
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use contract::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use std::net::SocketAddr;

/// A change that somebody asked for.
#[derive(Serialize, JsonSchema)]
pub(super) struct Change {
    id: i64,
    at: Timestamp,
    /// Name of the token.
    who: String,
    /// Address of who asked, as this service sees it.
    peer: String,
    method: String,
    path: String,
    /// What was answered; null if the service died meanwhile.
    status: Option<i64>,
}

/// Records a request that changes something before it is done, and what was answered after it.
pub(super) async fn record(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    if matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
        return next.run(request).await;
    }
    let store = &shared.0.store;
    let who = request.extensions().get::<Caller>().map_or("", |caller| &caller.name);
    let peer = request.extensions().get::<SocketAddr>();
    let peer = peer.map(|peer| peer.ip().to_string()).unwrap_or_default();
    let (method, path) = (request.method().as_str(), request.uri().path());
    let id = match store.begin_change(who, &peer, method, path).await {
        Ok(id) => id,
        Err(error) => return Problem::from(error).into_response(),
    };
    let response = next.run(request).await;
    if let Err(error) = store.end_change(id, response.status().as_u16()).await {
        tracing::warn!(error = %chassis::chain(&error), "the end of a change is not recorded");
    }
    response
}

/// Changes that somebody asked for, newest first.
pub(super) async fn list(
    State(shared): State<Shared>,
    Query(paging): Query<Paging>,
) -> Result<Listed<Change>, Problem> {
    let changes = shared.0.store.changes(paging.before()?, paging.limit()).await?;
    let next = paging.next(&changes, |last| last.id.to_string());
    let shown = |change: crate::store::Change| Change {
        id: change.id,
        at: Timestamp::from_millis(change.at),
        who: change.who,
        peer: change.peer,
        method: change.method,
        path: change.path,
        status: change.status,
    };
    Ok(Listed {
        items: changes.into_iter().map(shown).collect(),
        next,
    })
}
