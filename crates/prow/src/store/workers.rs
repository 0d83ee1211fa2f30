//! What workers said of themselves, of each the last.

use super::{Error, Store, text};
use bus::clock;
use contract::{Message as _, WorkerReport};
use sqlx::Row as _;

/// So long a worker is remembered that is not heard of, in milliseconds.
pub(crate) const REMEMBERED: i64 = 24 * 3_600_000;
/// Most workers that are listed.
const MOST: i64 = 1_000;

// === impl Store ===

impl Store {
    /// Keeps what a worker says, unless it has said something newer.
    pub(crate) async fn heard_of(&self, report: &WorkerReport) -> Result<(), Error> {
        let json = report.to_json().map_err(|error| Error::Corrupt(error.to_string()))?;
        sqlx::query(
            "INSERT INTO workers (name, at, heard, report) VALUES ($1, $2, $3, $4) ON CONFLICT (name) DO UPDATE
             SET at = excluded.at, heard = excluded.heard, report = excluded.report WHERE workers.at <= excluded.at",
        )
        .bind(text(&report.name))
        .bind(report.at.as_millis())
        .bind(clock::now_ms())
        .bind(json)
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    /// Workers that were heard of since then, with when that was; those heard of last come first.
    pub(crate) async fn workers(&self, since: i64) -> Result<Vec<(WorkerReport, i64)>, Error> {
        let query = "SELECT heard, report FROM workers WHERE heard >= $1 ORDER BY heard DESC, name LIMIT $2";
        let rows = sqlx::query(query)
            .bind(since)
            .bind(MOST)
            .fetch_all(&self.readers)
            .await?;
        let one = |row: &sqlx::any::AnyRow| {
            let report = WorkerReport::from_bytes(row.get::<&str, _>("report").as_bytes());
            Ok((
                report.map_err(|error| Error::Corrupt(error.to_string()))?,
                row.get("heard"),
            ))
        };
        rows.iter().map(one).collect()
    }

    /// Forgets workers that were not heard of since then; how many.
    pub(crate) async fn forget_workers(&self, before: i64) -> Result<u64, Error> {
        let query = "DELETE FROM workers WHERE heard < $1";
        Ok(sqlx::query(query)
            .bind(before)
            .execute(&self.writer)
            .await?
            .rows_affected())
    }
}
