//! What one prow does for all: one at a time asks for deliveries again.

use super::{Error, Store, text};
use bus::clock;
use std::time::Duration;

// === impl Store ===

impl Store {
    /// Whether this is ours to do, for so long from now on.
    pub(crate) async fn lease(&self, name: &'static str, length: Duration) -> Result<bool, Error> {
        let now = clock::now_ms();
        let until = now.saturating_add(i64::try_from(length.as_millis()).unwrap_or(i64::MAX));
        let ours = sqlx::query(
            "INSERT INTO leases (name, until) VALUES ($1, $2)
             ON CONFLICT (name) DO UPDATE SET until = excluded.until WHERE leases.until <= $3",
        )
        .bind(name)
        .bind(until)
        .bind(now)
        .execute(&self.writer)
        .await?;
        Ok(ours.rows_affected() == 1)
    }

    /// A delivery that never arrived is about to be asked for; it should have come then.
    pub(crate) async fn asks_for(&self, delivery: &str, due_at: i64) -> Result<(), Error> {
        sqlx::query("INSERT INTO redeliveries (delivery, due_at) VALUES ($1, $2) ON CONFLICT DO NOTHING")
            .bind(text(delivery))
            .bind(due_at)
            .execute(&self.writer)
            .await?;
        Ok(())
    }
}
