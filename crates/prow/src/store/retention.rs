//! Forgetting what is old, a little at a time.

use super::{Error, Segment, Store};
use sqlx::Row as _;

/// So much is forgotten by one statement, so that nobody waits for it.
const BATCH: i64 = 500;

/// Builds whose end is so long ago that nothing refers to them any more.
const OLD_BUILDS: &str = "DELETE FROM builds WHERE id IN (
     SELECT b.id FROM builds b WHERE b.finished_at < $1 AND b.log_done = 1
         AND NOT EXISTS (SELECT 1 FROM log_segments l WHERE l.build_id = b.id)
         AND NOT EXISTS (SELECT 1 FROM deployments d WHERE d.build_id = b.id)
         AND NOT EXISTS (SELECT 1 FROM builds o WHERE o.superseded_by = b.id OR o.rerun_of = b.id)
     ORDER BY b.id LIMIT $2)";

// === impl Store ===

impl Store {
    /// Segments of logs of builds that ended before then, with the numbers of these.
    pub(crate) async fn old_segments(&self, before: i64) -> Result<Vec<(i64, Segment)>, Error> {
        let rows = sqlx::query(
            "SELECT l.build_id, l.at, l.bytes, l.lines, l.name FROM log_segments l JOIN builds b ON b.id = l.build_id
             WHERE b.finished_at < $1 AND b.log_done = 1 ORDER BY l.build_id, l.at LIMIT $2",
        )
        .bind(before)
        .bind(BATCH)
        .fetch_all(&self.readers)
        .await?;
        Ok(rows
            .iter()
            .map(|row| (row.get("build_id"), Segment::from_row(row)))
            .collect())
    }

    /// Forgets a segment whose object is gone.
    pub(crate) async fn forget_segment(&self, build: i64, segment: &Segment) -> Result<(), Error> {
        sqlx::query("DELETE FROM log_segments WHERE build_id = $1 AND name = $2")
            .bind(build)
            .bind(&segment.name)
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    /// Forgets builds that ended before then and have no log any more; how many.
    pub(crate) async fn forget_builds(&self, before: i64) -> Result<u64, Error> {
        // A build that never started has no log to wait for.
        sqlx::query("UPDATE builds SET log_done = 1 WHERE finished_at < $1 AND started_at IS NULL AND log_done = 0")
            .bind(before)
            .execute(&self.writer)
            .await?;
        self.forget(OLD_BUILDS, before).await
    }

    /// Forgets webhooks from before then; how many.
    pub(crate) async fn forget_webhooks(&self, before: i64) -> Result<u64, Error> {
        let query = "DELETE FROM webhooks WHERE delivery IN (
             SELECT delivery FROM webhooks WHERE received_at < $1 ORDER BY received_at LIMIT $2)";
        self.forget(query, before).await
    }

    /// Forgets what webhooks from before then said, but not what followed; how many.
    pub(crate) async fn forget_messages(&self, before: i64) -> Result<u64, Error> {
        let query = "UPDATE webhooks SET message = NULL WHERE delivery IN (
             SELECT delivery FROM webhooks WHERE received_at < $1 AND message IS NOT NULL ORDER BY received_at LIMIT $2)";
        self.forget(query, before).await
    }

    /// Forgets changes from before then; how many.
    pub(crate) async fn forget_changes(&self, before: i64) -> Result<u64, Error> {
        let query = "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at < $1 ORDER BY at LIMIT $2)";
        self.forget(query, before).await
    }

    /// Forgets changes of repositories of which nothing was heard since then, and what others were told; how many. What
    /// happened about them is kept for as long as it would be alone.
    pub(crate) async fn forget_workflows(&self, before: i64) -> Result<u64, Error> {
        let mut forgotten = 0;
        for query in [
            "DELETE FROM redeliveries WHERE delivery IN (
                 SELECT delivery FROM redeliveries WHERE due_at < $1 ORDER BY due_at LIMIT $2)",
            "DELETE FROM workflow_commits WHERE workflow_id IN (
                 SELECT id FROM workflows WHERE updated_at < $1 ORDER BY updated_at LIMIT $2)",
            "DELETE FROM reviews WHERE workflow_id IN (
                 SELECT id FROM workflows WHERE updated_at < $1 ORDER BY updated_at LIMIT $2)",
            "DELETE FROM checks WHERE (repository, hash, name, suite) IN (
                 SELECT repository, hash, name, suite FROM checks WHERE at < $1 ORDER BY at LIMIT $2)",
            "DELETE FROM workflows WHERE id IN (
                 SELECT w.id FROM workflows w WHERE w.updated_at < $1
                     AND NOT EXISTS (SELECT 1 FROM workflow_commits c WHERE c.workflow_id = w.id)
                 ORDER BY w.updated_at LIMIT $2)",
            "DELETE FROM notices WHERE event_id IN (SELECT event_id FROM notices WHERE at < $1 ORDER BY at LIMIT $2)",
        ] {
            forgotten += self.forget(query, before).await?;
        }
        Ok(forgotten)
    }

    /// Carries out a statement that forgets a part of what is from before then; how many rows that was.
    async fn forget(&self, query: &'static str, before: i64) -> Result<u64, Error> {
        let forgotten = sqlx::query(query)
            .bind(before)
            .bind(BATCH)
            .execute(&self.writer)
            .await?;
        Ok(forgotten.rows_affected())
    }
}
