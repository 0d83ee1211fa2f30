//! Who changed what, and what was answered to requests that may be sent again.

use super::{Error, Store, text};
use bus::clock;
use sqlx::{Row as _, any::AnyRow};

/// A change that somebody asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) id: i64,
    pub(crate) at: i64,
    pub(crate) who: String,
    pub(crate) peer: String,
    pub(crate) method: String,
    pub(crate) path: String,
    /// What was answered; none if nobody lived to.
    pub(crate) status: Option<i64>,
}

/// What is known of a request with a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// Nothing: it is ours to answer.
    New,
    /// It is being answered.
    Begun,
    /// This was answered.
    Answered { status: i64, body: String },
    /// The key was that of another request.
    Another,
}

/// Who began to answer and has not for so long has died; in ms.
const GIVEN_UP: i64 = 60_000;

// === impl Store ===

impl Store {
    /// Records that somebody asks for a change; its number.
    pub(crate) async fn begin_change(&self, who: &str, peer: &str, method: &str, path: &str) -> Result<i64, Error> {
        let query = "INSERT INTO audit (at, who, peer, method, path) VALUES ($1, $2, $3, $4, $5) RETURNING id";
        Ok(sqlx::query_scalar(query)
            .bind(clock::now_ms())
            .bind(text(who))
            .bind(peer)
            .bind(method)
            .bind(text(path))
            .fetch_one(&self.writer)
            .await?)
    }

    /// Records what was answered.
    pub(crate) async fn end_change(&self, id: i64, status: u16) -> Result<(), Error> {
        sqlx::query("UPDATE audit SET status = $2 WHERE id = $1")
            .bind(id)
            .bind(i64::from(status))
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    /// Changes, newest first.
    pub(crate) async fn changes(&self, before: Option<i64>, limit: u32) -> Result<Vec<Change>, Error> {
        let rows = sqlx::query("SELECT * FROM audit WHERE id < $1 ORDER BY id DESC LIMIT $2")
            .bind(before.unwrap_or(i64::MAX))
            .bind(i64::from(limit))
            .fetch_all(&self.readers)
            .await?;
        let change = |row: &AnyRow| Change {
            id: row.get("id"),
            at: row.get("at"),
            who: row.get("who"),
            peer: row.get("peer"),
            method: row.get("method"),
            path: row.get("path"),
            status: row.get("status"),
        };
        Ok(rows.iter().map(change).collect())
    }

    /// Asks what is known of a request by its key, and takes it if that is nothing.
    pub(crate) async fn begin_reply(&self, who: &str, key: &str, digest: &str) -> Result<Known, Error> {
        let now = clock::now_ms();
        let begun = sqlx::query(
            "INSERT INTO replies (who, key, digest, created_at) VALUES ($1, $2, $3, $4)
             ON CONFLICT (who, key) DO UPDATE SET created_at = $4
                 WHERE replies.status IS NULL AND replies.digest = $3 AND replies.created_at < $5",
        )
        .bind(text(who))
        .bind(key)
        .bind(digest)
        .bind(now)
        .bind(now - GIVEN_UP)
        .execute(&self.writer)
        .await?;
        if begun.rows_affected() == 1 {
            return Ok(Known::New);
        }
        let row = sqlx::query("SELECT digest, status, body FROM replies WHERE who = $1 AND key = $2")
            .bind(text(who))
            .bind(key)
            .fetch_optional(&self.writer)
            .await?;
        Ok(match row {
            Some(row) if row.get::<&str, _>("digest") != digest => Known::Another,
            Some(row) => match row.get("status") {
                Some(status) => Known::Answered {
                    status,
                    body: row.get::<Option<String>, _>("body").unwrap_or_default(),
                },
                None => Known::Begun,
            },
            None => Known::Begun, // It was just forgotten.
        })
    }

    /// Keeps an answer; without one the request may be sent again as if it were new.
    pub(crate) async fn end_reply(&self, who: &str, key: &str, answer: Option<(u16, &str)>) -> Result<(), Error> {
        let query = match answer {
            Some((status, body)) => {
                sqlx::query("UPDATE replies SET status = $3, body = $4 WHERE who = $1 AND key = $2")
                    .bind(text(who))
                    .bind(key)
                    .bind(i64::from(status))
                    .bind(text(body))
            }
            None => sqlx::query("DELETE FROM replies WHERE who = $1 AND key = $2")
                .bind(text(who))
                .bind(key),
        };
        query.execute(&self.writer).await?;
        Ok(())
    }

    /// Forgets answers from before then.
    pub(crate) async fn forget_replies(&self, before: i64) -> Result<(), Error> {
        sqlx::query("DELETE FROM replies WHERE created_at < $1")
            .bind(before)
            .execute(&self.writer)
            .await?;
        Ok(())
    }
}
