//! Which of repositories, each with everything that happened about it.

use super::{Build, Deployment, Error, Store, Told, builds, deployments, text};
use crate::{correlation::Change, notice};
use bus::clock;
use sqlx::{AnyConnection, Row as _, any::AnyRow};

/// A change: a pull request, a branch, a tag, or a commit of the main branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Workflow {
    pub(crate) id: i64,
    pub(crate) repository: String,
    /// `pull/<number>`, a ref, or `commit/<hash>`.
    pub(crate) key: String,
    pub(crate) branch: Option<String>,
    pub(crate) title: Option<String>,
    /// The commit that a pull request became.
    pub(crate) merged_as: Option<String>,
    pub(crate) closed_at: Option<i64>,
    /// Builds and deployments of it that have not ended.
    pub(crate) open: i64,
    pub(crate) created_at: i64,
    pub(crate) updated_at: i64,
}

/// Which changes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Which {
    pub(crate) limit: u32,
    /// Only those that are older than this one.
    pub(crate) before: Option<i64>,
    pub(crate) repository: Option<String>,
    pub(crate) branch: Option<String>,
    pub(crate) commit: Option<String>,
    /// Only those that they had a part in.
    pub(crate) user: Option<String>,
}

/// What others were told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) event_id: String,
    pub(crate) what: String,
    /// The uid of what it is about.
    pub(crate) about: String,
    pub(crate) at: i64,
}

/// Everything about a change, of each the newest.
#[derive(Debug)]
pub(crate) struct About {
    pub(crate) events: Vec<Told>,
    pub(crate) builds: Vec<Build>,
    pub(crate) deployments: Vec<Deployment>,
    pub(crate) notices: Vec<Notice>,
}

/// Most of each kind that is listed with a change.
const MOST: i64 = 200;

/// Every column, and how many of its builds and deployments have not ended.
macro_rules! select {
    ($which:literal) => {
        concat!(
            "SELECT w.*, (SELECT count(*) FROM builds b WHERE b.workflow_id = w.id AND b.finished_at IS NULL)
                 + (SELECT count(*) FROM deployments d JOIN builds b ON b.id = d.build_id
                    WHERE b.workflow_id = w.id AND d.finished_at IS NULL) AS open
             FROM workflows w ",
            $which
        )
    };
}

const LIST: &str = select!(
    "WHERE w.id < $1 AND ($3 IS NULL OR w.repository = $3) AND ($4 IS NULL OR w.branch = $4)
         AND ($5 IS NULL OR EXISTS (SELECT 1 FROM workflow_commits c WHERE c.workflow_id = w.id AND c.hash = $5))
         AND ($6 IS NULL OR EXISTS (SELECT 1 FROM webhooks e WHERE e.workflow_id = w.id AND e.sender = $6))
     ORDER BY w.id DESC LIMIT $2"
);

// === impl Workflow ===

impl Workflow {
    fn from_row(row: &AnyRow) -> Self {
        Self {
            id: row.get("id"),
            repository: row.get("repository"),
            key: row.get("key"),
            branch: row.get("branch"),
            title: row.get("title"),
            merged_as: row.get("merged_as"),
            closed_at: row.get("closed_at"),
            open: row.get("open"),
            created_at: row.get("created_at"),
            updated_at: row.get("updated_at"),
        }
    }

    /// Whether nothing more is expected of it: it was closed, or what was pushed once has been dealt with.
    pub(crate) fn is_completed(&self) -> bool {
        let happens_once = self.key.starts_with("commit/") || self.key.starts_with("refs/tags/");
        self.open == 0 && (happens_once || self.closed_at.is_some())
    }
}

// === impl Store ===

impl Store {
    /// Which, newest first.
    pub(crate) async fn workflows(&self, wanted: &Which) -> Result<Vec<Workflow>, Error> {
        let rows = sqlx::query(LIST)
            .bind(wanted.before.unwrap_or(i64::MAX))
            .bind(i64::from(wanted.limit))
            .bind(wanted.repository.as_deref())
            .bind(wanted.branch.as_deref())
            .bind(wanted.commit.as_deref())
            .bind(wanted.user.as_deref())
            .fetch_all(&self.readers)
            .await?;
        Ok(rows.iter().map(Workflow::from_row).collect())
    }

    /// A change by its number.
    pub(crate) async fn workflow(&self, id: i64) -> Result<Option<Workflow>, Error> {
        let row = sqlx::query(select!("WHERE w.id = $1"))
            .bind(id)
            .fetch_optional(&self.readers)
            .await?;
        Ok(row.as_ref().map(Workflow::from_row))
    }

    /// Everything about a change.
    pub(crate) async fn about(&self, change: &Workflow) -> Result<About, Error> {
        let workflow = change.id;
        let events = sqlx::query("SELECT * FROM webhooks WHERE workflow_id = $1 ORDER BY received_at DESC LIMIT $2");
        let events = events.bind(workflow).bind(MOST).fetch_all(&self.readers).await?;
        let builds = builds::of_workflow(&self.readers, workflow, MOST).await?;
        let deployments = deployments::of_workflow(&self.readers, workflow, MOST).await?;
        let notices = sqlx::query(
            "SELECT n.event_id, n.what, n.about, n.at FROM notices n WHERE n.about = $3 OR n.about IN (
                 SELECT b.uid FROM builds b WHERE b.workflow_id = $1
                 UNION ALL SELECT d.uid FROM deployments d JOIN builds b ON b.id = d.build_id WHERE b.workflow_id = $1)
             ORDER BY n.at DESC, n.event_id LIMIT $2",
        );
        let uid = notice::change::uid(&change.repository, &change.key).to_string();
        let notices = notices.bind(workflow).bind(MOST).bind(uid);
        let notices = notices.fetch_all(&self.readers).await?;
        let notice = |row: &AnyRow| Notice {
            event_id: row.get("event_id"),
            what: row.get("what"),
            about: row.get("about"),
            at: row.get("at"),
        };
        Ok(About {
            events: events.iter().map(Told::from_row).collect(),
            builds,
            deployments,
            notices: notices.iter().map(notice).collect(),
        })
    }
}

/// The number of the change that this is about, made if need be.
pub(super) async fn join(
    connection: &mut AnyConnection,
    repository: &str,
    change: &Change,
    is_late: bool,
) -> Result<Option<i64>, Error> {
    let known = known(connection, repository, change).await?;
    let id = match (known, &change.key) {
        (Some(id), _) => id,
        (None, Some(key)) if change.closed.is_some() => add(connection, repository, key).await?,
        (None, _) => return Ok(None), // Nobody told what it is about.
    };
    let now = clock::now_ms();
    // What comes late does not open what was closed since; what is only named by an event is not where it is.
    let closed = change.closed.filter(|closed| *closed || !is_late || known.is_none());
    let branch = change.branch.as_deref().filter(|_| change.closed.is_some());
    sqlx::query(
        "UPDATE workflows SET branch = coalesce($2, branch), title = coalesce($3, title), updated_at = $4,
             merged_as = coalesce($5, merged_as),
             closed_at = CASE WHEN $6 = 1 THEN coalesce(closed_at, $4) WHEN $6 = 0 THEN NULL ELSE closed_at END
         WHERE id = $1",
    )
    .bind(id)
    .bind(branch.map(text))
    .bind(change.title.as_deref().map(text))
    .bind(now)
    .bind(change.merged_as.as_deref().map(text))
    .bind(closed.map_or(-1, i64::from))
    .execute(&mut *connection)
    .await?;
    if let Some(hash) = change.commit.as_deref().filter(|_| change.closed.is_some()) {
        sqlx::query("INSERT INTO workflow_commits (workflow_id, hash) VALUES ($1, $2) ON CONFLICT DO NOTHING")
            .bind(id)
            .bind(text(hash))
            .execute(&mut *connection)
            .await?;
    }
    if let Some(hash) = &change.merged_as {
        take_over(connection, repository, &format!("commit/{hash}"), id).await?;
    }
    Ok(Some(id))
}

/// The change of a repository that brought a commit.
pub(super) async fn of_commit(
    connection: &mut AnyConnection,
    repository: &str,
    hash: &str,
) -> Result<Option<i64>, Error> {
    let query = "SELECT w.id FROM workflow_commits c JOIN workflows w ON w.id = c.workflow_id
         WHERE c.hash = $2 AND w.repository = $1 ORDER BY w.id DESC LIMIT 1";
    first(connection, query, repository, hash).await
}

/// A change that is known already: by its key, by the pull request of its branch, by what it became, by its commit.
async fn known(connection: &mut AnyConnection, repository: &str, change: &Change) -> Result<Option<i64>, Error> {
    const BY_KEY: &str = "SELECT id FROM workflows WHERE repository = $1 AND key = $2";
    const MERGED: &str = "SELECT id FROM workflows WHERE repository = $1 AND merged_as = $2 ORDER BY id DESC LIMIT 1";
    const PULL: &str = "SELECT id FROM workflows WHERE repository = $1 AND branch = $2 AND key LIKE 'pull/%'
         AND closed_at IS NULL ORDER BY id DESC LIMIT 1";
    const LAST_PULL: &str = "SELECT id FROM workflows WHERE repository = $1 AND branch = $2 AND key LIKE 'pull/%'
         ORDER BY id DESC LIMIT 1";
    const BRANCH: &str = "SELECT id FROM workflows WHERE repository = $1 AND branch = $2 ORDER BY id DESC LIMIT 1";
    let key = change.key.as_deref().unwrap_or_default();
    let branch = change.branch.as_deref().unwrap_or_default();
    if let Some(hash) = key.strip_prefix("commit/")
        && let Some(id) = first(connection, MERGED, repository, hash).await?
    {
        return Ok(Some(id));
    }
    if key.starts_with("refs/heads/") {
        let pull = if change.closed == Some(true) { LAST_PULL } else { PULL };
        if let Some(id) = first(connection, pull, repository, branch).await? {
            return Ok(Some(id));
        }
    }
    if let Some(id) = first(connection, BY_KEY, repository, key).await? {
        return Ok(Some(id));
    }
    if key.starts_with("pull/") && !branch.is_empty() && change.closed.is_some() {
        // A branch that becomes a pull request takes its past along.
        let past = format!("refs/heads/{branch}");
        let query =
            "UPDATE workflows SET key = $3 WHERE repository = $1 AND key = $2 AND closed_at IS NULL RETURNING id";
        let renamed = sqlx::query_scalar(query).bind(repository).bind(past).bind(key);
        return Ok(renamed.fetch_optional(connection).await?);
    }
    if change.closed.is_some() {
        return Ok(None);
    }
    let by_commit = match &change.commit {
        Some(hash) => of_commit(connection, repository, hash).await?,
        None => None,
    };
    match by_commit {
        Some(id) => Ok(Some(id)),
        None => first(connection, BRANCH, repository, branch).await,
    }
}

async fn first(
    connection: &mut AnyConnection,
    query: &'static str,
    repository: &str,
    by: &str,
) -> Result<Option<i64>, Error> {
    let query = sqlx::query_scalar(query).bind(repository).bind(text(by));
    Ok(query.fetch_optional(connection).await?)
}

async fn add(connection: &mut AnyConnection, repository: &str, key: &str) -> Result<i64, Error> {
    let query = "INSERT INTO workflows (repository, key, created_at, updated_at) VALUES ($1, $2, $3, $3)
         ON CONFLICT (repository, key) DO UPDATE SET key = excluded.key RETURNING id";
    let added = sqlx::query_scalar(query).bind(repository).bind(text(key));
    Ok(added.bind(clock::now_ms()).fetch_one(connection).await?)
}

/// The push of a merged pull request may have come before it was told that it was merged.
async fn take_over(connection: &mut AnyConnection, repository: &str, key: &str, by: i64) -> Result<(), Error> {
    const FIND: &str = "SELECT id FROM workflows WHERE repository = $1 AND key = $2";
    let Some(other) = first(connection, FIND, repository, key)
        .await?
        .filter(|other| *other != by)
    else {
        return Ok(());
    };
    for query in [
        "UPDATE webhooks SET workflow_id = $1 WHERE workflow_id = $2",
        "UPDATE builds SET workflow_id = $1 WHERE workflow_id = $2",
        "INSERT INTO workflow_commits (workflow_id, hash)
             SELECT $1, hash FROM workflow_commits WHERE workflow_id = $2 ON CONFLICT DO NOTHING",
    ] {
        sqlx::query(query)
            .bind(by)
            .bind(other)
            .execute(&mut *connection)
            .await?;
    }
    for query in [
        "DELETE FROM workflow_commits WHERE workflow_id = $1",
        "DELETE FROM workflows WHERE id = $1",
    ] {
        sqlx::query(query).bind(other).execute(&mut *connection).await?;
    }
    Ok(())
}
