//! What was told by forges, and what followed.

use super::{Error, Store};
use sqlx::{Row as _, any::AnyRow};

/// A webhook, and what it led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) delivery: String,
    pub(crate) provider: String,
    pub(crate) event: String,
    pub(crate) action: Option<String>,
    pub(crate) repository: Option<String>,
    pub(crate) received_at: i64,
    /// In a sentence.
    pub(crate) result: String,
    /// The builds that it led to, those that were there already included.
    pub(crate) builds: Vec<String>,
    /// Number of the change that it is about.
    pub(crate) workflow_id: Option<i64>,
}

/// A place in the list of webhooks, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) received_at: i64,
    pub(crate) delivery: String,
}

/// Webhooks older than a place.
macro_rules! told {
    ($which:literal) => {
        concat!(
            "SELECT delivery, provider, event, action, repository, received_at, result, build_uid, workflow_id FROM webhooks
             WHERE (received_at, delivery) < ($1, $2) ",
            $which,
            " ORDER BY received_at DESC, delivery DESC LIMIT $3"
        )
    };
}

// === impl Told ===

impl Told {
    pub(crate) fn place(&self) -> Place {
        Place {
            received_at: self.received_at,
            delivery: self.delivery.clone(),
        }
    }

    pub(super) fn from_row(row: &AnyRow) -> Self {
        let builds: Option<&str> = row.get("build_uid");
        Self {
            delivery: row.get("delivery"),
            provider: row.get("provider"),
            event: row.get("event"),
            action: row.get("action"),
            repository: row.get("repository"),
            received_at: row.get("received_at"),
            result: row.get("result"),
            workflow_id: row.get("workflow_id"),
            builds: builds
                .into_iter()
                .flat_map(|uids| uids.split(','))
                .map(ToOwned::to_owned)
                .collect(),
        }
    }
}

// === impl Store ===

impl Store {
    /// Webhooks, newest first, older than that place; of one repository, where it is named.
    pub(crate) async fn told(
        &self,
        before: Option<&Place>,
        repository: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Told>, Error> {
        let query = match repository {
            None => told!(""),
            Some(_) => told!("AND repository = $4"),
        };
        let query = sqlx::query(query)
            .bind(before.map_or(i64::MAX, |place| place.received_at))
            .bind(before.map_or("", |place| place.delivery.as_str()))
            .bind(i64::from(limit));
        let query = match repository {
            None => query,
            Some(name) => query.bind(name),
        };
        let rows = query.fetch_all(&self.readers).await?;
        Ok(rows.iter().map(Told::from_row).collect())
    }

    /// What a webhook said, while it is kept.
    pub(crate) async fn said(&self, delivery: &str) -> Result<Option<String>, Error> {
        let message: Option<Option<String>> = sqlx::query_scalar("SELECT message FROM webhooks WHERE delivery = $1")
            .bind(delivery)
            .fetch_optional(&self.readers)
            .await?;
        Ok(message.flatten())
    }

    /// A webhook by its delivery's id.
    pub(crate) async fn told_by(&self, delivery: &str) -> Result<Option<Told>, Error> {
        let row = sqlx::query("SELECT * FROM webhooks WHERE delivery = $1")
            .bind(delivery)
            .fetch_optional(&self.readers)
            .await?;
        Ok(row.as_ref().map(Told::from_row))
    }
}
