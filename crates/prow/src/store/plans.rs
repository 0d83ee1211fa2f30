//! What follows from a webhook, or from what somebody asked for: all of it or nothing.

use super::{
    Build, Error, Intent, Kind, Store, builds,
    merging::{self, Heard},
    outbox, text, turns, workflows,
};
use crate::{correlation, notice, planner::Ending, service::Concurrency, verdict};
use bus::clock;
use contract::{BuildId, WebhookDelivery};
use sqlx::{AnyConnection, Row as _};
use std::slice;

/// What became of an approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Approved {
    /// It is queued now.
    Queued,
    /// It did not wait for one, or no longer.
    TooLate,
}

/// Builds that a newer one makes pointless: not ended yet, and not superseded yet.
const OLDER: &str = "SELECT id, uid FROM builds WHERE service_id = $1 AND about = $2 AND id < $3
    AND finished_at IS NULL AND ending IS NULL AND ($4 OR status = 'queued' AND attempt = 0)";

// === impl Store ===

impl Store {
    /// Records a webhook with the builds that it leads to and ends. A delivery or a build that is known already
    /// changes nothing. Returns the builds that are new.
    pub(crate) async fn record(
        &self,
        webhook: &WebhookDelivery,
        message: Option<&str>,
        result: &str,
        ends: Option<&Ending>,
        builds: Vec<(Build, Concurrency, Vec<Intent>)>,
    ) -> Result<Vec<Build>, Error> {
        // Before the transaction: a body may be long, and there is one writer.
        let change = correlation::of(webhook);
        let mut heard = Heard::of(webhook, verdict::of(webhook));
        let told = change
            .as_ref()
            .and_then(|change| notice::change::of(webhook, change, heard.verdict.as_ref(), heard.passed_on()));
        let told = told.as_ref().map(Intent::notification).transpose()?;
        let mut transaction = self.writer.begin().await?;
        if let (Kind::Postgres, Some(repository)) = (self.kind, &webhook.repository) {
            hold(&mut transaction, repository.full_name.as_str()).await?;
            if heard.matters() {
                // Nor does a build of it end: of a review and a build's end the one that comes second sees both.
                turns::lock_named(&mut transaction, repository.full_name.as_str()).await?;
            }
        }
        let due_at = due_at(&mut transaction, webhook.id.as_str()).await?;
        heard.at = due_at.unwrap_or(heard.at);
        let uids: Vec<&str> = builds.iter().map(|(build, ..)| build.message.id.as_str()).collect();
        let workflow_id = match (&webhook.repository, &change) {
            (Some(repository), Some(change)) => {
                let (name, is_late) = (repository.full_name.as_str(), due_at.is_some());
                let id = workflows::join(&mut transaction, name, change, is_late).await?;
                merging::note(&mut transaction, name, id, &heard).await?;
                id
            }
            _ => None,
        };
        // Before what follows, as it happened.
        if let Some(told) = &told {
            outbox::add_once(&mut transaction, told).await?;
        }
        sqlx::query(
            "INSERT INTO webhooks (delivery, provider, event, action, repository, received_at, result, build_uid, message,
                 workflow_id, sender)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT DO NOTHING",
        )
        .bind(webhook.id.as_str())
        .bind(webhook.provider.as_str())
        .bind(text(&webhook.event))
        .bind(webhook.action.as_deref().map(text))
        .bind(webhook.repository.as_ref().map(|r| r.full_name.as_str()))
        .bind(webhook.received_at.as_millis())
        .bind(text(result))
        .bind((!uids.is_empty()).then(|| uids.join(",")))
        .bind(message)
        .bind(workflow_id)
        .bind(webhook.sender.as_deref().map(text))
        .execute(&mut *transaction)
        .await?;
        let mut added = Vec::new();
        for (build, concurrency, intents) in builds {
            let build = Build { workflow_id, ..build };
            added.extend(add(&mut transaction, build, concurrency, due_at, &intents).await?);
        }
        if let (Some(ending), Some(repository)) = (ends, &webhook.repository) {
            end_all(&mut transaction, repository.full_name.as_str(), ending).await?;
        }
        if let Some(build) = added.first() {
            turns::release(&mut transaction, build.project_id).await?;
        }
        if let Some(id) = workflow_id {
            Box::pin(merging::tell_if_ready(&mut transaction, id)).await?;
        }
        transaction.commit().await?;
        self.have_changed(added.as_slice());
        Ok(added)
    }

    /// Records what followed when a webhook was planned again.
    pub(crate) async fn replayed(&self, delivery: &str, result: &str, builds: &[Build]) -> Result<(), Error> {
        let uids: Vec<&str> = builds.iter().map(|build| build.message.id.as_str()).collect();
        let query = "UPDATE webhooks SET result = $2, build_uid = CASE WHEN $3 = '' THEN build_uid
             WHEN build_uid IS NULL THEN $3 ELSE build_uid || ',' || $3 END WHERE delivery = $1";
        sqlx::query(query)
            .bind(delivery)
            .bind(text(result))
            .bind(uids.join(","))
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    /// Adds a build that nobody pushed for.
    pub(crate) async fn add_build(&self, build: Build, intents: &[Intent]) -> Result<Option<Build>, Error> {
        let mut transaction = self.writer.begin().await?;
        let (project, commit) = (&build.message.project_name, &build.message.commit_hash);
        let workflow_id = match build.workflow_id {
            Some(known) => Some(known),
            None => workflows::of_commit(&mut transaction, project.as_str(), commit.as_str()).await?,
        };
        let build = Build { workflow_id, ..build };
        let added = builds::insert(&mut transaction, build, intents).await?;
        if let Some(build) = &added {
            turns::release(&mut transaction, build.project_id).await?;
        }
        transaction.commit().await?;
        self.have_changed(added.as_slice());
        Ok(added)
    }

    /// How many builds repeat this one.
    pub(crate) async fn reruns(&self, first: i64) -> Result<i64, Error> {
        let query = "SELECT count(*) FROM builds WHERE rerun_of = $1";
        Ok(sqlx::query_scalar(query).bind(first).fetch_one(&self.readers).await?)
    }

    /// Lets a build go on that waited for approval.
    pub(crate) async fn approve(&self, build: &Build, intents: &[Intent]) -> Result<Approved, Error> {
        let mut transaction = self.writer.begin().await?;
        turns::lock(&mut transaction, build.project_id).await?;
        let changed = sqlx::query(
            "UPDATE builds SET held = NULL, reason = $2, updated_at = $3, version = version + 1
             WHERE id = $1 AND held IS NOT NULL AND finished_at IS NULL AND ending IS NULL",
        )
        .bind(build.id)
        .bind(&build.reason)
        .bind(clock::now_ms())
        .execute(&mut *transaction)
        .await?
        .rows_affected();
        if changed == 1 {
            outbox::add_all(&mut transaction, intents).await?;
            turns::release(&mut transaction, build.project_id).await?;
        }
        transaction.commit().await?;
        self.have_changed(slice::from_ref(build));
        Ok(if changed == 1 {
            Approved::Queued
        } else {
            Approved::TooLate
        })
    }
}

/// Until the transaction has ended no other prow records a webhook of this repository.
async fn hold(connection: &mut AnyConnection, repository: &str) -> Result<(), Error> {
    // sqlx's Any does not know what the function returns, which is nothing.
    sqlx::query("SELECT CASE WHEN pg_advisory_xact_lock(hashtext($1))::text = '' THEN 1 ELSE 0 END")
        .bind(repository)
        .execute(connection)
        .await?;
    Ok(())
}

/// When a delivery should have come, if it never arrived and was asked for again.
async fn due_at(connection: &mut AnyConnection, delivery: &str) -> Result<Option<i64>, Error> {
    let query = sqlx::query_scalar("SELECT due_at FROM redeliveries WHERE delivery = $1");
    Ok(query.bind(delivery).fetch_optional(connection).await?)
}

/// Adds a build, and stops those whose place it takes. One that came late, behind a push that came after it, is
/// itself what is stopped. `due_at` is when it should have come, where that was long ago.
async fn add(
    connection: &mut AnyConnection,
    build: Build,
    concurrency: Concurrency,
    due_at: Option<i64>,
    intents: &[Intent],
) -> Result<Option<Build>, Error> {
    let in_turn = concurrency != Concurrency::Supersede;
    let Some(build) = builds::insert(connection, Build { in_turn, ..build }, intents).await? else {
        return Ok(None);
    };
    let before = builds::newest_about(connection, &build).await?;
    let newer = before.filter(|before| match due_at {
        Some(due_at) => before.created_at > due_at,
        None => concurrency != Concurrency::Queue && came_late(&build, before),
    });
    if let Some(newer) = newer {
        stop(connection, build.id, &build.message.id, &newer).await?;
    } else if concurrency != Concurrency::Queue {
        let running = concurrency == Concurrency::Supersede;
        for (id, uid) in older(connection, &build, running).await? {
            stop(connection, id, &uid, &build).await?;
        }
    }
    Ok(Some(build))
}

/// Whether `build` is of the commit on which `newer` was pushed. A push back to that commit is not late: it says that
/// it came after what `newer` builds.
fn came_late(build: &Build, newer: &Build) -> bool {
    let before = |build: &Build| build.message.webhook_data.as_ref().and_then(|data| data.before.clone());
    let commit = |build: &Build| Some(build.message.commit_hash.to_string());
    before(newer) == commit(build) && before(build) != commit(newer)
}

async fn older(connection: &mut AnyConnection, build: &Build, running: bool) -> Result<Vec<(i64, BuildId)>, Error> {
    let rows = sqlx::query(OLDER)
        .bind(build.service_id)
        .bind(&build.about)
        .bind(build.id)
        .bind(running)
        .fetch_all(connection)
        .await?;
    let one = |row: &sqlx::any::AnyRow| {
        let uid = row.get::<&str, _>("uid").parse();
        Ok((
            row.get("id"),
            uid.map_err(|error: contract::InvalidBuildId| Error::Corrupt(error.to_string()))?,
        ))
    };
    rows.iter().map(one).collect()
}

/// Ends every build of a project about something that is gone.
async fn end_all(connection: &mut AnyConnection, project: &str, ending: &Ending) -> Result<(), Error> {
    let known: Option<i64> = sqlx::query_scalar("SELECT id FROM projects WHERE name = $1")
        .bind(project)
        .fetch_optional(&mut *connection)
        .await?;
    let Some(project) = known else { return Ok(()) };
    turns::lock(connection, project).await?;
    let uids: Vec<String> = sqlx::query_scalar(
        "SELECT uid FROM builds WHERE project_id = $1 AND about = $2 AND finished_at IS NULL AND ending IS NULL",
    )
    .bind(project)
    .bind(&ending.about)
    .fetch_all(&mut *connection)
    .await?;
    for uid in uids {
        let id = uid
            .parse()
            .map_err(|error: contract::InvalidBuildId| Error::Corrupt(error.to_string()))?;
        end(connection, id, &ending.reason).await?;
    }
    Ok(())
}

/// Has a build stopped, because another takes its place.
async fn stop(connection: &mut AnyConnection, id: i64, uid: &BuildId, by: &Build) -> Result<(), Error> {
    let commit = by.message.commit_hash.short();
    let reason = format!("build {} of the newer commit {commit} takes its place", by.id);
    sqlx::query("UPDATE builds SET superseded_by = $2 WHERE id = $1")
        .bind(id)
        .bind(by.id)
        .execute(&mut *connection)
        .await?;
    end(connection, uid.clone(), &reason).await
}

/// Has a build stopped. That is on its row, too: Redis may forget that it was told.
async fn end(connection: &mut AnyConnection, uid: BuildId, reason: &str) -> Result<(), Error> {
    sqlx::query("UPDATE builds SET ending = $2 WHERE uid = $1")
        .bind(uid.as_str())
        .bind(reason)
        .execute(&mut *connection)
        .await?;
    outbox::add(connection, &Intent::end(uid, reason)?).await
}
