//! Intents to tell others, waiting to be carried out.

use super::{Error, Kind, Store};
use bus::clock;
use contract::{
    BuildId, BuildQueueMessage, CancelOutcome, CancelRequest, DeploymentQueueMessage, Message, Notification, Priority,
};
use sqlx::{Any, AnyConnection, AssertSqlSafe, Row as _, Transaction, any::AnyRow};

/// Where an intent goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Builds,
    Notifications,
    /// Builds to stop.
    Cancels,
    Deployments,
}

/// A message that must be sent.
#[derive(Clone, Debug)]
pub(crate) struct Intent {
    pub(crate) id: i64,
    pub(crate) route: Route,
    pub(crate) message_id: String,
    pub(crate) priority: Priority,
    pub(crate) payload: String,
    /// Of a notification what it tells, and the uid of what it is about.
    tells: Option<(String, String)>,
}

/// Intents that one prow has in hand.
pub(crate) struct Batch {
    pub(crate) intents: Vec<Intent>,
    /// PostgreSQL keeps them from other prows until this ends; if this prow dies, they are free again.
    held: Option<Transaction<'static, Any>>,
    store: Store,
}

/// The oldest intents of a route.
macro_rules! unsent {
    ($lock:literal) => {
        concat!(
            "SELECT id, message_id, priority, payload FROM outbox
             WHERE route = $1 AND sent_at IS NULL ORDER BY id LIMIT $2 ",
            $lock
        )
    };
}

// === impl Intent ===

impl Intent {
    fn new(route: Route, message_id: String, payload: String) -> Self {
        Self {
            id: 0,
            route,
            message_id,
            priority: Priority::Normal,
            payload,
            tells: None,
        }
    }

    pub(crate) fn build(message: &BuildQueueMessage, payload: &str) -> Self {
        Self {
            priority: message.priority.unwrap_or(Priority::Normal),
            ..Self::new(Route::Builds, message.id.to_string(), payload.to_owned())
        }
    }

    pub(crate) fn deployment(message: &DeploymentQueueMessage, payload: &str) -> Self {
        Self::new(Route::Deployments, message.id.to_string(), payload.to_owned())
    }

    /// Ends a build that a newer one, or nobody any more, has a use for.
    pub(crate) fn end(build: BuildId, reason: &str) -> Result<Self, Error> {
        let message_id = build.to_string();
        let request = CancelRequest::new(build, CancelOutcome::Superseded, reason);
        let payload = serde_json::to_string(&request).map_err(|error| Error::Corrupt(error.to_string()))?;
        Ok(Self::new(Route::Cancels, message_id, payload))
    }

    pub(crate) fn notification(notification: &Notification) -> Result<Self, Error> {
        let payload = notification
            .to_json()
            .map_err(|error| Error::Corrupt(error.to_string()))?;
        Ok(Self {
            tells: Some((notification.event_type.clone(), notification.resource.uid.clone())),
            ..Self::new(Route::Notifications, notification.event_id.to_string(), payload)
        })
    }
}

// === impl Route ===

impl Route {
    const fn word(self) -> &'static str {
        match self {
            Self::Builds => "builds",
            Self::Notifications => "notifications",
            Self::Cancels => "cancels",
            Self::Deployments => "deployments",
        }
    }
}

// === impl Batch ===

impl Batch {
    /// Says that these were sent. Others may take the rest.
    pub(crate) async fn sent(self, ids: &[i64]) -> Result<(), Error> {
        if ids.is_empty() {
            return Ok(());
        }
        let ids: Vec<String> = ids.iter().map(i64::to_string).collect();
        let query = format!("UPDATE outbox SET sent_at = $1 WHERE id IN ({})", ids.join(","));
        let query = sqlx::query(AssertSqlSafe(query)) // Numbers.
            .persistent(false)
            .bind(clock::now_ms());
        match self.held {
            None => {
                query.execute(&self.store.writer).await?;
            }
            Some(mut held) => {
                query.execute(&mut *held).await?;
                held.commit().await?;
            }
        }
        Ok(())
    }
}

// === impl Store ===

impl Store {
    /// The oldest intents of a route that were not sent yet, and that no other prow has in hand.
    pub(crate) async fn intents(&self, route: Route, limit: u32) -> Result<Batch, Error> {
        let (query, mut held) = match self.kind {
            Kind::Sqlite => (unsent!(""), None),
            Kind::Postgres => (unsent!("FOR UPDATE SKIP LOCKED"), Some(self.writer.begin().await?)),
        };
        let query = sqlx::query(query).bind(route.word()).bind(i64::from(limit));
        let rows = match &mut held {
            None => query.fetch_all(&self.readers).await?,
            Some(held) => query.fetch_all(&mut **held).await?,
        };
        let intent = |row: &AnyRow| {
            let priority = row.get::<&str, _>("priority").parse().unwrap_or(Priority::Normal);
            Intent {
                id: row.get("id"),
                route,
                message_id: row.get("message_id"),
                priority,
                payload: row.get("payload"),
                tells: None,
            }
        };
        Ok(Batch {
            intents: rows.iter().map(intent).collect(),
            held,
            store: self.clone(),
        })
    }

    /// Asks for everything that was sent of late to be sent again, but for builds that have ended; how many
    /// intents that is.
    pub(crate) async fn send_again(&self) -> Result<u64, Error> {
        let query = "UPDATE outbox SET sent_at = NULL WHERE sent_at IS NOT NULL AND NOT EXISTS (
             SELECT 1 FROM builds b WHERE route = 'builds' AND b.uid = message_id AND b.finished_at IS NOT NULL)
             AND NOT EXISTS (
             SELECT 1 FROM deployments d WHERE route = 'deployments' AND d.uid = message_id
                 AND d.finished_at IS NOT NULL)";
        let again = sqlx::query(query).execute(&self.writer).await?;
        Ok(again.rows_affected())
    }

    /// Forgets intents that were sent before then.
    pub(crate) async fn forget_sent(&self, before: i64) -> Result<(), Error> {
        sqlx::query("DELETE FROM outbox WHERE sent_at < $1")
            .bind(before)
            .execute(&self.writer)
            .await?;
        Ok(())
    }
}

/// Writes intents within a transaction.
pub(super) async fn add_all(
    connection: &mut AnyConnection,
    intents: impl IntoIterator<Item = &Intent>,
) -> Result<(), Error> {
    for intent in intents {
        add(connection, intent).await?;
    }
    Ok(())
}

/// Writes the intent of a notification within a transaction, unless there was the same before.
pub(super) async fn add_once(connection: &mut AnyConnection, intent: &Intent) -> Result<(), Error> {
    let known = "SELECT event_id FROM notices WHERE event_id = $1";
    let known: Option<String> = sqlx::query_scalar(known)
        .bind(&intent.message_id)
        .fetch_optional(&mut *connection)
        .await?;
    match known {
        Some(_) => Ok(()),
        None => add(connection, intent).await,
    }
}

/// Writes an intent within a transaction.
pub(super) async fn add(connection: &mut AnyConnection, intent: &Intent) -> Result<(), Error> {
    sqlx::query("INSERT INTO outbox (route, message_id, priority, payload, created_at) VALUES ($1, $2, $3, $4, $5)")
        .bind(intent.route.word())
        .bind(&intent.message_id)
        .bind(intent.priority.as_str())
        .bind(&intent.payload)
        .bind(clock::now_ms())
        .execute(&mut *connection)
        .await?;
    if let Some((what, about)) = &intent.tells {
        sqlx::query("INSERT INTO notices (event_id, what, about, at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING")
            .bind(&intent.message_id)
            .bind(what)
            .bind(about)
            .bind(clock::now_ms())
            .execute(connection)
            .await?;
    }
    Ok(())
}
