//! Which segments of each log are stored, how far that is, and who goes on with it.

use super::{Error, Store};
use bus::clock;
use contract::BuildId;
use sqlx::{Row as _, any::AnyRow};
use std::time::Duration;

/// A stored part of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Bytes of the log before it.
    pub(crate) at: u64,
    /// Its bytes, unpacked.
    pub(crate) bytes: u64,
    /// Its lines; 0 if nobody has counted them.
    pub(crate) lines: u64,
    /// Of the object that it is.
    pub(crate) name: String,
}

/// How far a log is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// Number of the last stored chunk.
    pub(crate) seq: u64,
    pub(crate) bytes: u64,
    /// All of it is stored.
    pub(crate) done: bool,
    /// Its build has ended, so it grows no more than it has.
    pub(crate) ended: bool,
}

/// A log that is not all stored yet.
#[derive(Clone, Debug)]
pub(crate) struct OpenLog {
    /// Number of its build.
    pub(crate) row: i64,
    pub(crate) id: BuildId,
}

/// At most so many logs are gone on with at once.
const BATCH: i64 = 500;

// === impl Segment ===

impl Segment {
    pub(super) fn from_row(row: &AnyRow) -> Self {
        Self {
            at: unsigned(row.get("at")),
            bytes: unsigned(row.get("bytes")),
            lines: unsigned(row.get("lines")),
            name: row.get("name"),
        }
    }
}

// === impl Store ===

impl Store {
    /// How far the log of a build is stored.
    pub(crate) async fn log_cursor(&self, row: i64) -> Result<Option<Cursor>, Error> {
        let query = "SELECT log_seq, log_bytes, log_done, finished_at FROM builds WHERE id = $1";
        let found = sqlx::query(query).bind(row).fetch_optional(&self.readers).await?;
        Ok(found.map(|row| Cursor {
            seq: unsigned(row.get("log_seq")),
            bytes: unsigned(row.get("log_bytes")),
            done: row.get::<i64, _>("log_done") != 0,
            ended: row.get::<Option<i64>, _>("finished_at").is_some(),
        }))
    }

    /// Segments of a log that end after so many bytes, in order.
    pub(crate) async fn segments(&self, row: i64, after: u64) -> Result<Vec<Segment>, Error> {
        let query =
            "SELECT at, bytes, lines, name FROM log_segments WHERE build_id = $1 AND at + bytes > $2 ORDER BY at";
        let rows = sqlx::query(query)
            .bind(row)
            .bind(signed(after))
            .fetch_all(&self.readers)
            .await?;
        Ok(rows.iter().map(Segment::from_row).collect())
    }

    /// Logs that have begun, are not all stored, and that nobody goes on with.
    pub(crate) async fn free_logs(&self) -> Result<Vec<OpenLog>, Error> {
        let query = "SELECT id, uid FROM builds
             WHERE log_done = 0 AND started_at IS NOT NULL AND log_until < $1 ORDER BY id LIMIT $2";
        let rows = sqlx::query(query)
            .bind(clock::now_ms())
            .bind(BATCH)
            .fetch_all(&self.readers)
            .await?;
        let open = |row: &AnyRow| {
            let id = row.get::<&str, _>("uid").parse();
            Ok(OpenLog {
                row: row.get("id"),
                id: id.map_err(|error: contract::InvalidBuildId| Error::Corrupt(error.to_string()))?,
            })
        };
        rows.iter().map(open).collect()
    }

    /// Takes a log for so long, again if it is ours; whether nobody else has it.
    pub(crate) async fn hold_log(&self, row: i64, holder: &str, time: Duration) -> Result<bool, Error> {
        let now = clock::now_ms();
        let query = "UPDATE builds SET log_holder = $2, log_until = $3
             WHERE id = $1 AND log_done = 0 AND (log_until < $4 OR log_holder = $2)";
        let held = sqlx::query(query)
            .bind(row)
            .bind(holder)
            .bind(now.saturating_add(i64::try_from(time.as_millis()).unwrap_or(i64::MAX)))
            .bind(now)
            .execute(&self.writer)
            .await?;
        Ok(held.rows_affected() == 1)
    }

    /// Records a segment that goes on where the log ended, up to this chunk; whether it does.
    pub(crate) async fn add_segment(
        &self,
        row: i64,
        before: Cursor,
        seq: u64,
        segment: &Segment,
    ) -> Result<bool, Error> {
        let mut transaction = self.writer.begin().await?;
        let query = "UPDATE builds SET log_seq = $4, log_bytes = $5
             WHERE id = $1 AND log_seq = $2 AND log_bytes = $3 AND log_done = 0";
        let moved = sqlx::query(query)
            .bind(row)
            .bind(signed(before.seq))
            .bind(signed(before.bytes))
            .bind(signed(seq))
            .bind(signed(before.bytes + segment.bytes))
            .execute(&mut *transaction)
            .await?;
        if moved.rows_affected() == 1 {
            sqlx::query("INSERT INTO log_segments (build_id, at, bytes, lines, name) VALUES ($1, $2, $3, $4, $5)")
                .bind(row)
                .bind(signed(segment.at))
                .bind(signed(segment.bytes))
                .bind(signed(segment.lines))
                .bind(&segment.name)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(moved.rows_affected() == 1)
    }

    /// Says that all of a log is stored, if it is just so long.
    pub(crate) async fn close_log(&self, row: i64, at: Cursor) -> Result<(), Error> {
        sqlx::query("UPDATE builds SET log_done = 1 WHERE id = $1 AND log_seq = $2 AND log_bytes = $3")
            .bind(row)
            .bind(signed(at.seq))
            .bind(signed(at.bytes))
            .execute(&self.writer)
            .await?;
        Ok(())
    }
}

/// As SQL has it; nothing here gets that large.
fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn unsigned(n: i64) -> u64 {
    u64::try_from(n).unwrap_or_default()
}
