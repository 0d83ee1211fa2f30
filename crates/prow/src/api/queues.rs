//! Queues: how much waits, and what could not be done.

use super::{Shared, problem::Problem};
use crate::Config;
use axum::{
    Json,
    extract::{Path, Query, State},
    http::StatusCode,
};
use bus::{Bus, DeadLetter, DeadLetters, ErrorKind, Producer, Replayed};
use contract::{
    BuildEvent, BuildQueueMessage, EndpointDelivery, Message, Notification, WebhookDelivery, route, route::List,
};
use serde::Deserialize;
use serde_json::{Value, json};

/// Every list of the system.
pub(crate) struct Queues {
    webhooks: Queue<WebhookDelivery>,
    builds: Queue<BuildQueueMessage>,
    events: Queue<BuildEvent>,
    notifications: Queue<Notification>,
    deliveries: Queue<EndpointDelivery>,
}

struct Queue<T> {
    name: String,
    producer: Producer<T>,
    dead: DeadLetters<T>,
}

/// What is asked of the dead letters of a queue.
enum Asked<'a> {
    Page(Listing),
    Show(&'a str),
    Replay(&'a str),
    Drop(&'a str),
    ReplayAll,
    DropAll,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Listing {
    limit: Option<u32>,
    offset: Option<u32>,
}

const USUAL_PAGE: u32 = 50;
const LARGEST_PAGE: u32 = 500;

type Answer = Result<(StatusCode, Json<Value>), Problem>;

// === impl Queues ===

impl Queues {
    pub(crate) fn new(config: &Config, bus: &Bus) -> Self {
        Self {
            webhooks: Queue::new(bus, &config.webhooks),
            builds: Queue::new(bus, &config.builds),
            events: Queue::new(bus, &config.events),
            notifications: Queue::new(bus, &config.notifications),
            deliveries: Queue::new(bus, &route::deliveries(&config.notifications)),
        }
    }

    async fn ask(&self, name: &str, asked: Asked<'_>) -> Answer {
        match name {
            "webhooks" => self.webhooks.ask(asked).await,
            "builds" => self.builds.ask(asked).await,
            "events" => self.events.ask(asked).await,
            "notifications" => self.notifications.ask(asked).await,
            "deliveries" => self.deliveries.ask(asked).await,
            _ => Err(Problem::NotFound),
        }
    }
}

// === impl Queue ===

impl<T: Message> Queue<T> {
    fn new(bus: &Bus, list: &List<T>) -> Self {
        Self {
            name: list.name().to_owned(),
            producer: bus.producer(list),
            dead: bus.dead_letters(list),
        }
    }

    async fn depth(&self) -> Result<Value, Problem> {
        let (depth, dead) = (self.producer.depth().await?, self.dead.count().await?);
        Ok(json!({"list": self.name, "waiting": depth.waiting, "lanes": depth.lanes, "dead": dead}))
    }

    async fn ask(&self, asked: Asked<'_>) -> Answer {
        match asked {
            Asked::Page(listing) => {
                let limit = listing.limit.unwrap_or(USUAL_PAGE).clamp(1, LARGEST_PAGE);
                let page = self.dead.page(listing.offset.unwrap_or_default(), limit).await?;
                Ok((StatusCode::OK, Json(page.iter().map(shown).collect())))
            }
            Asked::Show(id) => {
                let letter = self.find(id).await?;
                let mut whole = shown(&letter);
                if let Value::Object(fields) = &mut whole {
                    let text = String::from_utf8_lossy(&letter.payload);
                    fields.insert("payload".to_owned(), text.into());
                }
                Ok((StatusCode::OK, Json(whole)))
            }
            Asked::Replay(id) => match self.dead.replay(&self.find(id).await?).await? {
                Replayed::Queued => Ok((StatusCode::ACCEPTED, Json(json!({"status": "queued"})))),
                Replayed::Ended(state) => Err(Problem::Conflict(format!("its message has ended as {state}, for ever"))),
                Replayed::Unreadable(why) => Err(Problem::Conflict(format!("it is no message of this queue: {why}"))),
            },
            Asked::Drop(id) => {
                self.dead.discard(&self.find(id).await?).await?;
                Ok((StatusCode::OK, Json(json!({"status": "dropped"}))))
            }
            Asked::ReplayAll => self.replay_all().await,
            Asked::DropAll => self.drop_all().await,
        }
    }

    async fn find(&self, id: &str) -> Result<DeadLetter, Problem> {
        self.dead.find(id).await?.ok_or(Problem::NotFound)
    }

    /// Oldest first. Those that cannot be sent again stay; so do the rest when the queue is full.
    async fn replay_all(&self) -> Answer {
        let all = u32::try_from(self.dead.count().await?).unwrap_or(u32::MAX);
        let (mut queued, mut left) = (0, 0);
        while queued + left < all
            && let Some(letter) = self.dead.oldest(left).await?
        {
            match self.dead.replay(&letter).await {
                Ok(Replayed::Queued) => queued += 1,
                Ok(Replayed::Ended(_) | Replayed::Unreadable(_)) => left += 1,
                Err(error) if matches!(error.kind(), ErrorKind::Full(_)) => left = all - queued,
                Err(error) => return Err(error.into()),
            }
        }
        Ok((StatusCode::ACCEPTED, Json(json!({"queued": queued, "left": left}))))
    }

    async fn drop_all(&self) -> Answer {
        let all = self.dead.count().await?;
        self.dead.discard_oldest(all).await?;
        Ok((StatusCode::OK, Json(json!({"dropped": all}))))
    }
}

/// `GET /v1/queues`: what waits where.
pub(super) async fn list(State(shared): State<Shared>) -> Result<Json<Value>, Problem> {
    let queues = &shared.0.queues;
    Ok(Json(json!({
        "webhooks": queues.webhooks.depth().await?,
        "builds": queues.builds.depth().await?,
        "events": queues.events.depth().await?,
        "notifications": queues.notifications.depth().await?,
        "deliveries": queues.deliveries.depth().await?,
    })))
}

/// `GET /v1/queues/:name/dead?limit=&offset=`: newest first, without the messages themselves.
pub(super) async fn letters(
    State(shared): State<Shared>,
    Path(name): Path<String>,
    Query(listing): Query<Listing>,
) -> Answer {
    shared.0.queues.ask(&name, Asked::Page(listing)).await
}

/// `GET /v1/queues/:name/dead/:id`: with the message.
pub(super) async fn letter(State(shared): State<Shared>, Path((name, id)): Path<(String, String)>) -> Answer {
    shared.0.queues.ask(&name, Asked::Show(&id)).await
}

/// `POST /v1/queues/:name/dead/:id`: sends it again.
pub(super) async fn replay(State(shared): State<Shared>, Path((name, id)): Path<(String, String)>) -> Answer {
    shared.0.queues.ask(&name, Asked::Replay(&id)).await
}

/// `DELETE /v1/queues/:name/dead/:id`.
pub(super) async fn drop_one(State(shared): State<Shared>, Path((name, id)): Path<(String, String)>) -> Answer {
    shared.0.queues.ask(&name, Asked::Drop(&id)).await
}

/// `POST /v1/queues/:name/dead`: sends all of them again that can be.
pub(super) async fn replay_all(State(shared): State<Shared>, Path(name): Path<String>) -> Answer {
    shared.0.queues.ask(&name, Asked::ReplayAll).await
}

/// `DELETE /v1/queues/:name/dead`.
pub(super) async fn drop_all(State(shared): State<Shared>, Path(name): Path<String>) -> Answer {
    shared.0.queues.ask(&name, Asked::DropAll).await
}

fn shown(letter: &DeadLetter) -> Value {
    json!({
        "id": letter.id,
        "message_id": letter.message_id,
        "reason": letter.reason,
        "bytes": letter.payload.len(),
    })
}
