//! Builds: one row each, changed only by folding events.

use super::{Deployment, Error, Intent, Store, deployments, merging, outbox, services, text, turns};
use crate::service::USUAL;
use bus::clock;
use contract::{BuildId, BuildQueueMessage, BuildStatus, CommitHash, Failure, Message, StageTime, Terminal};
use sqlx::{AnyConnection, AnyPool, AssertSqlSafe, Row as _, any::AnyRow};
use std::{fmt::Write as _, slice};

/// A build as prow knows it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Build {
    pub(crate) id: i64,
    pub(crate) project_id: i64,
    pub(crate) service_id: i64,
    /// Name of the service.
    pub(crate) service: String,
    /// A ref, or `pull/<number>`; unknown for builds that somebody else queued.
    pub(crate) about: Option<String>,
    /// Why it waits for somebody's approval, if it does.
    pub(crate) held: Option<String>,
    /// Why it is to end, once that is decided.
    pub(crate) ending: Option<String>,
    /// Number of the build that took its place.
    pub(crate) superseded_by: Option<i64>,
    /// When it was given to forgery; until then it waits for its turn, or for approval.
    pub(crate) released_at: Option<i64>,
    /// Whether older builds about the same go first.
    pub(crate) in_turn: bool,
    /// Number of the change that it is about.
    pub(crate) workflow_id: Option<i64>,
    /// Number of the build that it repeats, the first of them.
    pub(crate) rerun_of: Option<i64>,
    pub(crate) message: BuildQueueMessage,
    pub(crate) payload: String,
    pub(crate) status: BuildStatus,
    pub(crate) reason: Option<String>,
    pub(crate) failure: Option<Failure>,
    pub(crate) image_tag: String,
    pub(crate) digest: Option<String>,
    pub(crate) stage: Option<String>,
    pub(crate) progress: i64,
    pub(crate) stages: Vec<StageTime>,
    pub(crate) attempt: u32,
    pub(crate) sequence: u32,
    pub(crate) version: i64,
    pub(crate) log_bytes: i64,
    pub(crate) log_done: bool,
    pub(crate) created_at: i64,
    pub(crate) started_at: Option<i64>,
    pub(crate) finished_at: Option<i64>,
    pub(crate) updated_at: i64,
}

/// A page of the list of builds, newest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Page {
    pub(crate) limit: u32,
    /// Only builds older than this one.
    pub(crate) before: Option<i64>,
    /// Only those of this service.
    pub(crate) service: Option<i64>,
    /// Only those of these projects.
    pub(crate) projects: Option<Vec<i64>>,
    /// Only those in this state.
    pub(crate) status: Option<BuildStatus>,
}

/// Every column, and the name of the service.
macro_rules! select {
    ($what:literal) => {
        concat!(
            "SELECT b.*, s.name AS service FROM builds b JOIN services s ON s.id = b.service_id ",
            $what
        )
    };
}

// === impl Build ===

impl Build {
    /// A build that was just asked for.
    pub(crate) fn queued(message: BuildQueueMessage, payload: String) -> Self {
        Self {
            id: 0,
            project_id: 0,
            service_id: 0,
            service: USUAL.to_owned(),
            about: None,
            held: None,
            ending: None,
            superseded_by: None,
            released_at: None,
            in_turn: false,
            workflow_id: None,
            rerun_of: None,
            image_tag: format!(
                "{}:{}",
                message.image.as_ref().unwrap_or(&message.project_name),
                message.commit_hash
            ),
            status: BuildStatus::Queued,
            reason: Some("waits for a free worker".to_owned()),
            failure: None,
            digest: None,
            stage: None,
            progress: 0,
            stages: Vec::new(),
            attempt: 0,
            sequence: 0,
            version: 1,
            log_bytes: 0,
            log_done: false,
            created_at: clock::now_ms(),
            started_at: None,
            finished_at: None,
            updated_at: clock::now_ms(),
            message,
            payload,
        }
    }

    /// The same once more, under a name of its own.
    pub(crate) fn again(&self, id: BuildId, triggered_by: &str) -> Result<Self, Error> {
        let mut message = self.message.clone();
        message.id = id;
        message.created_at = Some(clock::now());
        message.metadata_mut().triggered_by = Some(triggered_by.to_owned());
        let payload = message.to_json().map_err(|error| Error::Corrupt(error.to_string()))?;
        Ok(Self {
            service: self.service.clone(),
            about: self.about.clone(),
            workflow_id: self.workflow_id,
            rerun_of: Some(self.rerun_of.unwrap_or(self.id)),
            ..Self::queued(message, payload)
        })
    }

    /// A message as it was stored.
    pub(super) fn read(payload: &str) -> Result<BuildQueueMessage, Error> {
        BuildQueueMessage::from_bytes(payload.as_bytes()).map_err(|error| Error::Corrupt(error.to_string()))
    }

    /// Whether others may have their turn now: it has ended, or a worker has begun it.
    fn frees_a_turn(&self) -> bool {
        self.status.terminal().is_some() || self.status == BuildStatus::Building && self.stage.is_none()
    }

    fn from_row(row: &AnyRow) -> Result<Self, Error> {
        let corrupt = |error: &dyn std::fmt::Display| Error::Corrupt(error.to_string());
        let payload: String = row.get("message");
        let count = |name: &str| u32::try_from(row.get::<i64, _>(name)).unwrap_or(u32::MAX);
        Ok(Self {
            id: row.get("id"),
            project_id: row.get("project_id"),
            service_id: row.get("service_id"),
            service: row.get("service"),
            about: row.get("about"),
            held: row.get("held"),
            ending: row.get("ending"),
            superseded_by: row.get("superseded_by"),
            released_at: row.get("released_at"),
            in_turn: row.get::<i64, _>("in_turn") != 0,
            workflow_id: row.get("workflow_id"),
            rerun_of: row.get("rerun_of"),
            message: Self::read(&payload)?,
            status: row
                .get::<&str, _>("status")
                .parse()
                .map_err(|e: contract::UnknownWord| corrupt(&e))?,
            reason: row.get("reason"),
            failure: row
                .get::<Option<&str>, _>("failure")
                .and_then(|text| serde_json::from_str(text).ok()),
            image_tag: row.get("image_tag"),
            digest: row.get("digest"),
            stage: row.get("stage"),
            progress: row.get("progress"),
            stages: serde_json::from_str(row.get("stages")).map_err(|e| corrupt(&e))?,
            attempt: count("attempt"),
            sequence: count("sequence"),
            version: row.get("version"),
            log_bytes: row.get("log_bytes"),
            log_done: row.get::<i64, _>("log_done") != 0,
            created_at: row.get("created_at"),
            started_at: row.get("started_at"),
            finished_at: row.get("finished_at"),
            updated_at: row.get("updated_at"),
            payload,
        })
    }
}

// === impl Store ===

impl Store {
    /// Adds a build that somebody else queued; nothing changes when it is known.
    pub(crate) async fn adopt(&self, build: Build, intents: &[Intent]) -> Result<(), Error> {
        let mut transaction = self.writer.begin().await?;
        let released_at = Some(build.created_at);
        let build = Build { released_at, ..build };
        let added = insert(&mut transaction, build, intents).await?;
        transaction.commit().await?;
        self.have_changed(added.as_slice());
        Ok(())
    }

    /// Writes a changed build and its intents, unless somebody else changed it meanwhile.
    pub(crate) async fn advance(&self, build: &Build, intents: &[Intent]) -> Result<bool, Error> {
        self.advance_and_deploy(build, intents, None).await
    }

    /// The same, with the deployment that follows from it and what others are told of that.
    pub(crate) async fn advance_and_deploy(
        &self,
        build: &Build,
        intents: &[Intent],
        deployment: Option<(Deployment, Vec<Intent>)>,
    ) -> Result<bool, Error> {
        let mut transaction = self.writer.begin().await?;
        if build.frees_a_turn() {
            turns::lock(&mut transaction, build.project_id).await?;
        }
        if let Some((deployment, _)) = &deployment {
            // Before the build, as whoever plans has it: else two may wait for each other.
            deployments::lock_service(&mut transaction, deployment.service_id).await?;
        }
        let changed = sqlx::query(
            "UPDATE builds SET status = $3, reason = $4, failure = $5, image_tag = $6, digest = $7, stage = $8,
                 progress = $9, stages = $10, attempt = $11, sequence = $12, started_at = $13, finished_at = $14,
                 updated_at = $15, version = version + 1
             WHERE id = $1 AND version = $2",
        )
        .bind(build.id)
        .bind(build.version)
        .bind(build.status.as_str())
        .bind(build.reason.as_deref().map(text))
        .bind(
            build
                .failure
                .as_ref()
                .and_then(|failure| serde_json::to_string(failure).ok()),
        )
        .bind(text(&build.image_tag))
        .bind(build.digest.as_deref().map(text))
        .bind(build.stage.as_deref().map(text))
        .bind(build.progress)
        .bind(serde_json::to_string(&build.stages).unwrap_or_else(|_| "[]".to_owned()))
        .bind(i64::from(build.attempt))
        .bind(i64::from(build.sequence))
        .bind(build.started_at)
        .bind(build.finished_at)
        .bind(clock::now_ms())
        .execute(&mut *transaction)
        .await?
        .rows_affected();
        let mut follows = None;
        if changed == 1 {
            outbox::add_all(&mut transaction, intents).await?;
            if let Some((deployment, told)) = deployment {
                follows = deployments::insert_after(&mut transaction, deployment, &told).await?;
            }
            if build.frees_a_turn() {
                turns::release(&mut transaction, build.project_id).await?;
            }
            if let (BuildStatus::Ended(Terminal::Success), Some(workflow)) = (build.status, build.workflow_id) {
                Box::pin(merging::tell_if_ready(&mut transaction, workflow)).await?;
            }
        }
        transaction.commit().await?;
        if changed == 1 {
            self.have_changed(slice::from_ref(build));
        }
        self.deployments_have_changed(follows.as_slice());
        Ok(changed == 1)
    }

    /// A build by its name for ever.
    pub(crate) async fn build(&self, uid: &str) -> Result<Option<Build>, Error> {
        let row = sqlx::query(select!("WHERE b.uid = $1"))
            .bind(uid)
            .fetch_optional(&self.readers)
            .await?;
        row.as_ref().map(Build::from_row).transpose()
    }

    /// A build by its number.
    pub(crate) async fn build_by_number(&self, id: i64) -> Result<Option<Build>, Error> {
        let row = sqlx::query(select!("WHERE b.id = $1"))
            .bind(id)
            .fetch_optional(&self.readers)
            .await?;
        row.as_ref().map(Build::from_row).transpose()
    }

    /// The newest build of a service, about this where it is given.
    pub(crate) async fn newest_of_service(&self, service: i64, about: Option<String>) -> Result<Option<Build>, Error> {
        // A repetition is as old as what it repeats.
        let query = match about {
            None => select!("WHERE b.service_id = $1 AND b.rerun_of IS NULL ORDER BY b.id DESC LIMIT 1"),
            Some(_) => {
                select!("WHERE b.service_id = $1 AND b.about = $2 AND b.rerun_of IS NULL ORDER BY b.id DESC LIMIT 1")
            }
        };
        let query = sqlx::query(query).bind(service);
        let query = match about {
            None => query,
            Some(about) => query.bind(about),
        };
        let row = query.fetch_optional(&self.readers).await?;
        row.as_ref().map(Build::from_row).transpose()
    }

    /// How the newest build of a project ended, of those that succeeded or failed: of a service, about something, where
    /// these are given; else of what was pushed.
    pub(crate) async fn newest_outcome(
        &self,
        project: i64,
        service: Option<&str>,
        about: Option<&str>,
    ) -> Result<Option<BuildStatus>, Error> {
        // Whoever asks may ask for what there is not: each service is looked at by an index, and not all of its past.
        let (of_ref, of_any) = (
            "SELECT id, status FROM (SELECT id, status FROM builds WHERE service_id = $1 AND about = $2
                 ORDER BY id DESC LIMIT 100) newest WHERE status IN ('success', 'failed', 'timed_out', 'lost')
             ORDER BY id DESC LIMIT 1",
            "SELECT id, status FROM (SELECT id, status, about FROM builds WHERE service_id = $1
                 ORDER BY id DESC LIMIT 1000) newest WHERE status IN ('success', 'failed', 'timed_out', 'lost')
                 AND about LIKE 'refs/%' ORDER BY id DESC LIMIT 1",
        );
        let mut newest: Option<(i64, String)> = None;
        let services = self.services(Some(project)).await?.into_iter();
        for known in services.filter(|known| service.is_none_or(|wanted| known.name == wanted)) {
            let query = sqlx::query(if about.is_some() { of_ref } else { of_any }).bind(known.id);
            let query = match about {
                None => query,
                Some(about) => query.bind(text(about)),
            };
            let row = query.fetch_optional(&self.readers).await?;
            let found = row.map(|row| (row.get("id"), row.get("status")));
            newest = newest.max(found);
        }
        let status = newest.map(|(_, word)| word.parse()).transpose();
        status.map_err(|error: contract::UnknownWord| Error::Corrupt(error.to_string()))
    }

    /// The newest successful build of a service that was called so: its number and its digest.
    pub(crate) async fn build_of_image(
        &self,
        service: i64,
        image_tag: &str,
    ) -> Result<Option<(i64, Option<String>)>, Error> {
        let query = "SELECT id, digest FROM builds
             WHERE service_id = $1 AND image_tag = $2 AND status = 'success' ORDER BY id DESC LIMIT 1";
        let row = sqlx::query(query)
            .bind(service)
            .bind(text(image_tag))
            .fetch_optional(&self.readers)
            .await?;
        Ok(row.map(|row| (row.get("id"), row.get("digest"))))
    }

    /// Builds, newest first.
    pub(crate) async fn builds(&self, page: &Page) -> Result<Vec<Build>, Error> {
        // Only what is asked for is in the query, so that each has its index; all of it is numbers.
        let mut wanted = String::new();
        if let Some(service) = page.service {
            write!(wanted, " AND b.service_id = {service}").ok();
        }
        if let Some(projects) = &page.projects {
            let projects: Vec<String> = projects.iter().map(i64::to_string).collect();
            write!(wanted, " AND b.project_id IN ({})", projects.join(",")).ok();
        }
        if page.status.is_some() {
            wanted.push_str(" AND b.status = $3");
        }
        let query = format!("{}{wanted} ORDER BY b.id DESC LIMIT $2", select!("WHERE b.id < $1"));
        let mut query = sqlx::query(AssertSqlSafe(query))
            .bind(page.before.unwrap_or(i64::MAX))
            .bind(i64::from(page.limit));
        if let Some(status) = page.status {
            query = query.bind(status.as_str());
        }
        let rows = query.fetch_all(&self.readers).await?;
        rows.iter().map(Build::from_row).collect()
    }

    /// Of each service of a project the newest build of a commit.
    pub(crate) async fn builds_of_commit(&self, project: &str, commit: &CommitHash) -> Result<Vec<Build>, Error> {
        let rows = sqlx::query(select!(
            "JOIN projects p ON p.id = b.project_id WHERE p.name = $1 AND b.id IN (
                 SELECT max(o.id) FROM builds o WHERE o.project_id = p.id AND o.commit_hash = $2 GROUP BY o.service_id)
             ORDER BY b.service_id"
        ))
        .bind(project)
        .bind(commit.as_str())
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(Build::from_row).collect()
    }

    /// Builds that have not ended, were not heard of since, and are not about to be queued.
    pub(crate) async fn silent_builds(&self, since: i64, limit: u32) -> Result<Vec<Build>, Error> {
        let rows = sqlx::query(select!(
            "WHERE finished_at IS NULL AND b.updated_at < $1
                 AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.message_id = b.uid AND o.sent_at IS NULL)
             ORDER BY b.updated_at LIMIT $2"
        ))
        .bind(since)
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(Build::from_row).collect()
    }

    /// Says that a silent build was looked after.
    pub(crate) async fn looked_after(&self, id: i64) -> Result<(), Error> {
        sqlx::query("UPDATE builds SET updated_at = $2 WHERE id = $1")
            .bind(id)
            .bind(clock::now_ms())
            .execute(&self.writer)
            .await?;
        Ok(())
    }
}

/// Builds about a change, newest first.
pub(super) async fn of_workflow(pool: &AnyPool, workflow: i64, limit: i64) -> Result<Vec<Build>, Error> {
    let query = select!("WHERE b.workflow_id = $1 ORDER BY b.id DESC LIMIT $2");
    let rows = sqlx::query(query).bind(workflow).bind(limit).fetch_all(pool).await?;
    rows.iter().map(Build::from_row).collect()
}

/// Adds a build, and what others are told of it; `None` when it is known.
pub(super) async fn insert(
    connection: &mut AnyConnection,
    build: Build,
    intents: &[Intent],
) -> Result<Option<Build>, Error> {
    let name = build.message.project_name.as_str();
    let project_id = Box::pin(services::find_or_add_project(connection, name)).await?;
    let service_id = Box::pin(services::find_or_add(connection, project_id, &build.service)).await?;
    let id: Option<i64> = sqlx::query_scalar(
        "INSERT INTO builds (uid, project_id, service_id, message, status, reason, image_tag, correlation_id,
             attempt, sequence, created_at, started_at, updated_at, about, held, rerun_of, released_at, in_turn, lane, workflow_id, commit_hash)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $11, $13, $14, $15, $16, $17, $18, $19, $20)
         ON CONFLICT (uid) DO NOTHING RETURNING id",
    )
    .bind(build.message.id.as_str())
    .bind(project_id)
    .bind(service_id)
    .bind(&build.payload)
    .bind(build.status.as_str())
    .bind(build.reason.as_deref().map(text))
    .bind(text(&build.image_tag))
    .bind(build.message.correlation_id().map(text))
    .bind(i64::from(build.attempt))
    .bind(i64::from(build.sequence))
    .bind(build.created_at)
    .bind(build.started_at)
    .bind(&build.about)
    .bind(&build.held)
    .bind(build.rerun_of)
    .bind(build.released_at)
    .bind(i64::from(build.in_turn))
    .bind(turns::lane(build.message.priority))
    .bind(build.workflow_id)
    .bind(build.message.commit_hash.as_str())
    .fetch_optional(&mut *connection)
    .await?;
    let Some(id) = id else { return Ok(None) };
    outbox::add_all(connection, intents).await?;
    Ok(Some(Build {
        id,
        project_id,
        service_id,
        ..build
    }))
}

/// The newest build of a service about something, but for this one.
pub(super) async fn newest_about(connection: &mut AnyConnection, build: &Build) -> Result<Option<Build>, Error> {
    let query = select!("WHERE b.service_id = $1 AND b.about = $2 AND b.id < $3 ORDER BY b.id DESC LIMIT 1");
    let row = sqlx::query(query)
        .bind(build.service_id)
        .bind(&build.about)
        .bind(build.id)
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(Build::from_row).transpose()
}
