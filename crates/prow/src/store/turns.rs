//! Whose turn it is: which builds of a project are given to forgery, and which wait in the database.
//!
//! Forgery takes builds in the order in which they come. So that a project with a thousand of them keeps nobody
//! waiting, only a few of each project wait there at a time.

use super::{Build, Error, Intent, Store, outbox};
use bus::clock;
use contract::Priority;
use sqlx::{AnyConnection, Row as _};
use std::collections::HashMap;

/// So many builds of a project wait for a worker at a time, of each priority; others wait for these to begin.
pub(super) const SHARE: i64 = 8;
/// Every priority, as it is stored, in order.
const LANES: [i64; 3] = [0, 1, 2];
/// So many of each are looked at: more than can get a turn, so that those behind them are told why they wait.
const CANDIDATES: i64 = SHARE * 2;

const ONE_AT_A_TIME: &str = "waits for its turn: an older build of the same branch has not ended";
const OTHERS_FIRST: &str = "waits for its turn: other builds of its project wait for a worker before it";
const FREE: &str = "waits for a free worker";

/// What of a project was given to forgery and has not ended.
#[derive(Debug, Default)]
struct Open {
    all: i64,
    /// Those that no worker has begun, by priority.
    waiting: HashMap<i64, i64>,
}

/// Builds of a priority that wait for their turn, those first that go first, and whether an older one about the same goes before.
const WAITING: &str = "SELECT b.id, b.uid, b.lane, b.reason, b.message, CASE WHEN b.in_turn = 1 AND EXISTS (
         SELECT 1 FROM builds o WHERE o.service_id = b.service_id AND o.about = b.about AND o.id < b.id
             AND o.finished_at IS NULL AND o.held IS NULL) THEN 1 ELSE 0 END AS behind
     FROM builds b WHERE b.project_id = $1 AND b.finished_at IS NULL AND b.released_at IS NULL AND b.held IS NULL
         AND b.ending IS NULL AND b.lane = $3
     ORDER BY behind, b.id LIMIT $2";

// === impl Store ===

impl Store {
    /// Gives every project its turn: what a prow that died, or a changed bound, has left waiting.
    pub(crate) async fn release_all(&self) -> Result<(), Error> {
        let projects: Vec<i64> = sqlx::query_scalar(
            "SELECT DISTINCT project_id FROM builds WHERE finished_at IS NULL AND released_at IS NULL AND held IS NULL",
        )
        .fetch_all(&self.readers)
        .await?;
        for project in projects {
            let mut transaction = self.writer.begin().await?;
            release(&mut transaction, project).await?;
            transaction.commit().await?;
        }
        Ok(())
    }
}

/// Until the transaction has ended nobody else gives builds of the project a turn. It comes before every other lock.
/// The most builds that it may have at a time, if that is bounded.
pub(super) async fn lock(connection: &mut AnyConnection, project: i64) -> Result<Option<i64>, Error> {
    let bound: Option<Option<i64>> =
        sqlx::query_scalar("UPDATE projects SET name = name WHERE id = $1 RETURNING max_builds")
            .bind(project)
            .fetch_optional(connection)
            .await?;
    Ok(bound.flatten())
}

/// The same by the project's name; nothing, if there is none of that name yet.
pub(super) async fn lock_named(connection: &mut AnyConnection, project: &str) -> Result<(), Error> {
    let query = sqlx::query("UPDATE projects SET name = name WHERE name = $1").bind(project);
    query.execute(connection).await?;
    Ok(())
}

/// Gives builds of a project to forgery whose turn it is.
pub(super) async fn release(connection: &mut AnyConnection, project: i64) -> Result<(), Error> {
    let most = lock(connection, project).await?;
    let mut waiting = Vec::new();
    for lane in LANES {
        let query = sqlx::query(WAITING).bind(project).bind(CANDIDATES).bind(lane);
        waiting.extend(query.fetch_all(&mut *connection).await?);
    }
    if waiting.is_empty() {
        return Ok(());
    }
    let mut open = open(connection, project).await?;
    for row in waiting {
        let (id, lane): (i64, i64) = (row.get("id"), row.get("lane"));
        let why = if row.get::<i64, _>("behind") == 1 {
            Some(ONE_AT_A_TIME.to_owned())
        } else {
            open.has_no_room(lane, most)
        };
        match why {
            None => {
                open.add(lane);
                give(connection, id, row.get("message")).await?;
            }
            Some(why) if row.get::<Option<&str>, _>("reason") != Some(&why) => {
                say(connection, id, &why).await?;
            }
            Some(_) => {}
        }
    }
    Ok(())
}

async fn open(connection: &mut AnyConnection, project: i64) -> Result<Open, Error> {
    let rows = sqlx::query(
        "SELECT lane, CASE WHEN attempt = 0 THEN 1 ELSE 0 END AS waits, count(*) AS n FROM builds
         WHERE project_id = $1 AND finished_at IS NULL AND released_at IS NOT NULL GROUP BY 1, 2",
    )
    .bind(project)
    .fetch_all(connection)
    .await?;
    let mut open = Open::default();
    for row in rows {
        let n: i64 = row.get("n");
        open.all += n;
        if row.get::<i64, _>("waits") == 1 {
            open.waiting.insert(row.get("lane"), n);
        }
    }
    Ok(open)
}

async fn give(connection: &mut AnyConnection, id: i64, payload: &str) -> Result<(), Error> {
    let intent = Intent::build(&Build::read(payload)?, payload);
    sqlx::query("UPDATE builds SET released_at = $2, reason = $3, updated_at = $2 WHERE id = $1")
        .bind(id)
        .bind(clock::now_ms())
        .bind(FREE)
        .execute(&mut *connection)
        .await?;
    outbox::add(connection, &intent).await
}

async fn say(connection: &mut AnyConnection, id: i64, why: &str) -> Result<(), Error> {
    sqlx::query("UPDATE builds SET reason = $2 WHERE id = $1")
        .bind(id)
        .bind(why)
        .execute(connection)
        .await?;
    Ok(())
}

/// A priority as it is stored.
pub(super) const fn lane(priority: Option<Priority>) -> i64 {
    match priority {
        Some(Priority::High) => 0,
        Some(Priority::Normal) | None => 1,
        Some(Priority::Low) => 2,
    }
}

// === impl Open ===

impl Open {
    /// Why no more of them may be given to forgery, if so.
    fn has_no_room(&self, lane: i64, most: Option<i64>) -> Option<String> {
        if let Some(most) = most.filter(|most| self.all >= *most) {
            return Some(format!(
                "waits for its turn: its project may have {most} builds at a time"
            ));
        }
        (self.waiting.get(&lane).copied().unwrap_or_default() >= SHARE).then(|| OTHERS_FIRST.to_owned())
    }

    fn add(&mut self, lane: i64) {
        self.all += 1;
        *self.waiting.entry(lane).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_some_of_each_priority_and_for_as_many_as_a_project_may_have() {
        let mut open = Open::default();
        for _ in 0..SHARE {
            assert_eq!(open.has_no_room(1, None), None);
            open.add(1);
        }
        assert_eq!(open.has_no_room(1, None).unwrap(), OTHERS_FIRST);
        assert_eq!(
            open.has_no_room(0, None),
            None,
            "what is urgent does not wait for the rest"
        );
        assert_eq!(open.has_no_room(0, Some(SHARE + 1)), None);
        let why = open.has_no_room(0, Some(SHARE)).unwrap();
        assert_eq!(why, "waits for its turn: its project may have 8 builds at a time");
    }
}
