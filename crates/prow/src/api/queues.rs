//! Queues: how much waits, and what could not be done.

use super::{
    Shared,
    extract::{Accepted, Path, Query},
    problem::Problem,
};
use crate::Config;
use axum::{Json, extract::State};
use bus::{Bus, DeadLetter, DeadLetters, ErrorKind, Producer, Replayed, clock};
use contract::{
    BuildEvent, BuildQueueMessage, DeploymentEvent, DeploymentQueueMessage, Message, Notification, WebhookDelivery,
    route::List,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Every list of the system, but that of workers' reports.
pub(crate) struct Queues {
    webhooks: Queue<WebhookDelivery>,
    builds: Queue<BuildQueueMessage>,
    events: Queue<BuildEvent>,
    deployments: Queue<DeploymentQueueMessage>,
    deployment_events: Queue<DeploymentEvent>,
    notifications: Queue<Notification>,
}

struct Queue<T> {
    name: String,
    producer: Producer<T>,
    dead: DeadLetters<T>,
}

/// One of the queues.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Name {
    Webhooks,
    Builds,
    Events,
    Deployments,
    DeploymentEvents,
    Notifications,
}

/// The dead letters of a queue.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Of {
    name: Name,
}

/// One of them.
#[derive(Deserialize, JsonSchema)]
pub(super) struct One {
    name: Name,
    id: String,
}

/// Which of them.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
pub(super) struct Listing {
    /// Most that is listed; 50 without it, never more than 500.
    limit: Option<u32>,
    /// How many newer ones are left out.
    offset: Option<u32>,
}

/// How much waits in a queue.
#[derive(Serialize, JsonSchema)]
pub(super) struct Depth {
    /// The list in Redis.
    list: String,
    waiting: u64,
    /// How much of it on which lane.
    lanes: BTreeMap<String, u64>,
    /// How long the oldest has waited, in seconds, where that is known.
    oldest_age_seconds: Option<i64>,
    /// What could not be done.
    dead: u64,
}

/// How much waits where.
#[derive(Serialize, JsonSchema)]
pub(super) struct Depths {
    webhooks: Depth,
    builds: Depth,
    events: Depth,
    deployments: Depth,
    deployment_events: Depth,
    notifications: Depth,
}

/// A message that could not be done.
#[derive(Serialize, JsonSchema)]
pub(super) struct Letter {
    id: String,
    /// The id of the message, where it could be read.
    message_id: String,
    /// Why.
    reason: String,
    bytes: usize,
    /// The message itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<String>,
}

/// What became of a letter.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "LetterDone")]
pub(super) struct Done {
    /// `queued` or `dropped`.
    status: &'static str,
}

/// What became of all of them.
#[derive(Serialize, JsonSchema)]
pub(super) struct AllQueued {
    queued: u32,
    /// Those that cannot be sent again, or not now.
    left: u32,
}

/// What became of all of them.
#[derive(Serialize, JsonSchema)]
pub(super) struct AllDropped {
    dropped: u64,
}

const USUAL_PAGE: u32 = 50;
const LARGEST_PAGE: u32 = 500;

/// Does something with the queue of a name, whatever its messages are.
macro_rules! on {
    ($shared:expr, $name:expr, $queue:ident => $do:expr) => {{
        let queues = &$shared.0.queues;
        match $name {
            Name::Webhooks => {
                let $queue = &queues.webhooks;
                $do
            }
            Name::Builds => {
                let $queue = &queues.builds;
                $do
            }
            Name::Events => {
                let $queue = &queues.events;
                $do
            }
            Name::Deployments => {
                let $queue = &queues.deployments;
                $do
            }
            Name::DeploymentEvents => {
                let $queue = &queues.deployment_events;
                $do
            }
            Name::Notifications => {
                let $queue = &queues.notifications;
                $do
            }
        }
    }};
}

// === impl Queues ===

impl Queues {
    pub(crate) fn new(config: &Config, bus: &Bus) -> Self {
        Self {
            webhooks: Queue::new(bus, &config.webhooks),
            builds: Queue::new(bus, &config.builds),
            events: Queue::new(bus, &config.events),
            deployments: Queue::new(bus, &config.deployments),
            deployment_events: Queue::new(bus, &config.deployment_events),
            notifications: Queue::new(bus, &config.notifications),
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

    async fn depth(&self) -> Result<Depth, Problem> {
        let (depth, dead) = (self.producer.depth().await?, self.dead.count().await?);
        let oldest = self.producer.oldest().await?;
        Ok(Depth {
            list: self.name.clone(),
            waiting: depth.waiting,
            lanes: depth.lanes.into_iter().map(|(lane, n)| (lane.to_owned(), n)).collect(),
            oldest_age_seconds: oldest.map(|sent| (clock::now_ms() - sent).max(0) / 1_000),
            dead,
        })
    }

    async fn page(&self, listing: Listing) -> Result<Json<Vec<Letter>>, Problem> {
        let limit = listing.limit.unwrap_or(USUAL_PAGE).clamp(1, LARGEST_PAGE);
        let page = self.dead.page(listing.offset.unwrap_or_default(), limit).await?;
        Ok(Json(page.iter().map(Letter::of).collect()))
    }

    async fn find(&self, id: &str) -> Result<DeadLetter, Problem> {
        self.dead.find(id).await?.ok_or(Problem::NotFound)
    }

    async fn show(&self, id: &str) -> Result<Json<Letter>, Problem> {
        let letter = self.find(id).await?;
        let text = String::from_utf8_lossy(&letter.payload).into_owned();
        Ok(Json(Letter {
            payload: Some(text),
            ..Letter::of(&letter)
        }))
    }

    async fn replay(&self, id: &str) -> Result<Accepted<Done>, Problem> {
        match self.dead.replay(&self.find(id).await?).await? {
            Replayed::Queued => Ok(Accepted(Done { status: "queued" })),
            Replayed::Ended(state) => Err(Problem::Conflict(format!("its message has ended as {state}, for ever"))),
            Replayed::Unreadable(why) => Err(Problem::Conflict(format!("it is no message of this queue: {why}"))),
        }
    }

    async fn drop_one(&self, id: &str) -> Result<Json<Done>, Problem> {
        self.dead.discard(&self.find(id).await?).await?;
        Ok(Json(Done { status: "dropped" }))
    }

    /// Oldest first. Those that cannot be sent again stay; so do the rest when the queue is full.
    async fn replay_all(&self) -> Result<Accepted<AllQueued>, Problem> {
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
        Ok(Accepted(AllQueued { queued, left }))
    }

    async fn drop_all(&self) -> Result<Json<AllDropped>, Problem> {
        let all = self.dead.count().await?;
        self.dead.discard_oldest(all).await?;
        Ok(Json(AllDropped { dropped: all }))
    }
}

/// What waits where.
pub(super) async fn list(State(shared): State<Shared>) -> Result<Json<Depths>, Problem> {
    let queues = &shared.0.queues;
    Ok(Json(Depths {
        webhooks: queues.webhooks.depth().await?,
        builds: queues.builds.depth().await?,
        events: queues.events.depth().await?,
        deployments: queues.deployments.depth().await?,
        deployment_events: queues.deployment_events.depth().await?,
        notifications: queues.notifications.depth().await?,
    }))
}

/// What could not be done, newest first, without the messages themselves.
pub(super) async fn letters(
    State(shared): State<Shared>,
    Path(Of { name }): Path<Of>,
    Query(listing): Query<Listing>,
) -> Result<Json<Vec<Letter>>, Problem> {
    on!(shared, name, queue => queue.page(listing).await)
}

/// One of them, with its message.
pub(super) async fn letter(
    State(shared): State<Shared>,
    Path(One { name, id }): Path<One>,
) -> Result<Json<Letter>, Problem> {
    on!(shared, name, queue => queue.show(&id).await)
}

/// Sends it again.
pub(super) async fn replay(
    State(shared): State<Shared>,
    Path(One { name, id }): Path<One>,
) -> Result<Accepted<Done>, Problem> {
    on!(shared, name, queue => queue.replay(&id).await)
}

/// Forgets it.
pub(super) async fn drop_one(
    State(shared): State<Shared>,
    Path(One { name, id }): Path<One>,
) -> Result<Json<Done>, Problem> {
    on!(shared, name, queue => queue.drop_one(&id).await)
}

/// Sends all of them again that can be.
pub(super) async fn replay_all(
    State(shared): State<Shared>,
    Path(Of { name }): Path<Of>,
) -> Result<Accepted<AllQueued>, Problem> {
    on!(shared, name, queue => queue.replay_all().await)
}

/// Forgets all of them.
pub(super) async fn drop_all(
    State(shared): State<Shared>,
    Path(Of { name }): Path<Of>,
) -> Result<Json<AllDropped>, Problem> {
    on!(shared, name, queue => queue.drop_all().await)
}

// === impl Letter ===

impl Letter {
    fn of(letter: &DeadLetter) -> Self {
        Self {
            id: letter.id.clone(),
            message_id: letter.message_id.clone(),
            reason: letter.reason.clone(),
            bytes: letter.payload.len(),
            payload: None,
        }
    }
}
