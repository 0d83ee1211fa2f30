//! Changes, as they happen.

use super::{Shared, extract::Query};
use crate::{
    access::Caller,
    updates::{Kind, Told, Update},
};
use aide::{openapi::MediaType, transform::TransformOperation};
use axum::{
    extract::State,
    response::{
        IntoResponse as _, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::stream::{self, Stream};
use schemars::JsonSchema;
use serde::Deserialize;
use std::{convert::Infallible, time::Duration};
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::Instant,
};

/// Which changes.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Wanted {
    /// Only those of this project.
    project_id: Option<i64>,
}

/// Who watches what.
struct Watcher {
    told: Receiver<Told>,
    caller: Caller,
    project: Option<i64>,
    greeted: bool,
    until: Instant,
}

const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// A token may be ended; who has one still comes again.
const LONGEST: Duration = Duration::from_hours(1);

/// Server-sent events: `build` and `deployment` say what has become of one, `ready` that from here on nothing is missed
/// without `missed` saying so. After either, lists must be read again to know everything.
pub(super) async fn watch(State(shared): State<Shared>, caller: Caller, Query(wanted): Query<Wanted>) -> Response {
    let watcher = Watcher {
        told: shared.0.updates.watch(),
        caller,
        project: wanted.project_id,
        greeted: false,
        until: Instant::now() + LONGEST,
    };
    let events = Sse::new(watcher.events()).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    ([("x-accel-buffering", "no")], events).into_response()
}

/// What OpenAPI tells of it, for the answer is no JSON.
pub(super) fn described(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("watch")
        .summary("What becomes of builds and deployments, as it happens")
        .response_with::<200, String, _>(|mut answer| {
            let events = [("text/event-stream".to_owned(), MediaType::default())];
            answer.inner().content = events.into_iter().collect();
            answer.description("Server-sent events.")
        })
}

// === impl Watcher ===

impl Watcher {
    fn events(self) -> impl Stream<Item = Result<Event, Infallible>> {
        stream::unfold(self, async |mut watcher| {
            let event = watcher.next().await?;
            Some((Ok(event), watcher))
        })
    }

    async fn next(&mut self) -> Option<Event> {
        if !std::mem::replace(&mut self.greeted, true) {
            return Some(Event::default().event("ready").data("{}"));
        }
        loop {
            let told = tokio::time::timeout_at(self.until, self.told.recv()).await.ok()?;
            match told {
                Ok(Told::Changed(update)) if self.wants(&update) => {
                    let kind = match update.kind {
                        Kind::Build => "build",
                        Kind::Deployment => "deployment",
                    };
                    let data = serde_json::to_string(&update).unwrap_or_default();
                    return Some(Event::default().event(kind).data(data));
                }
                Ok(Told::Changed(_)) => {}
                Ok(Told::Missed) | Err(RecvError::Lagged(_)) => {
                    return Some(Event::default().event("missed").data("{}"));
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }

    fn wants(&self, update: &Update) -> bool {
        self.caller.sees(update.project_id) && self.project.is_none_or(|project| project == update.project_id)
    }
}
