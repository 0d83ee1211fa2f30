//! Deployments: one row each, changed only by folding events; of each service one at a time is under way.

use super::{Error, Intent, Store, outbox, text};
use bus::clock;
use contract::{DeploymentQueueMessage, Failure, Message as _};
use sqlx::{AnyConnection, AnyPool, Row as _, any::AnyRow};
use std::slice;

/// A deployment as prow knows it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Deployment {
    pub(crate) id: i64,
    pub(crate) project_id: i64,
    pub(crate) service_id: i64,
    /// Number of the build whose image it is, where that is known.
    pub(crate) build_id: Option<i64>,
    pub(crate) message: DeploymentQueueMessage,
    pub(crate) payload: String,
    /// As it was asked for.
    pub(crate) image_tag: String,
    /// What runs, by its digest.
    pub(crate) image: Option<String>,
    pub(crate) container: Option<String>,
    pub(crate) status: Status,
    /// Why somebody asked for it.
    pub(crate) reason: Option<String>,
    /// Why it waits, or why it ended.
    pub(crate) detail: Option<String>,
    pub(crate) failure: Option<Failure>,
    pub(crate) progress: i64,
    pub(crate) attempt: u32,
    pub(crate) sequence: u32,
    pub(crate) version: i64,
    /// Number of the deployment whose image it takes away again.
    pub(crate) rollback_of: Option<i64>,
    /// Number of the deployment whose image it brings back.
    pub(crate) rollback_to: Option<i64>,
    /// Whether it was given to forgery.
    pub(crate) queued: bool,
    pub(crate) created_at: i64,
    pub(crate) started_at: Option<i64>,
    pub(crate) finished_at: Option<i64>,
    pub(crate) updated_at: i64,
}

/// Where a deployment is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Queued,
    Deploying,
    Success,
    Failed,
    Cancelled,
    /// It succeeded, and what came before it was brought back.
    RolledBack,
}

/// What there is to go back to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rollback {
    /// What runs.
    pub(crate) of: Deployment,
    /// What ran before it.
    pub(crate) to: Deployment,
    /// The number of that, or of what it brought back itself.
    pub(crate) origin: i64,
}

// === impl Status ===

impl Status {
    const ALL: [Self; 6] = [
        Self::Queued,
        Self::Deploying,
        Self::Success,
        Self::Failed,
        Self::Cancelled,
        Self::RolledBack,
    ];

    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Deploying => "deploying",
            Self::Success => "success",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::RolledBack => "rolled_back",
        }
    }

    pub(crate) const fn has_ended(self) -> bool {
        !matches!(self, Self::Queued | Self::Deploying)
    }

    fn parse(word: &str) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|status| status.word() == word);
        found.ok_or_else(|| Error::Corrupt(format!("{word:?} is no status of a deployment")))
    }
}

// === impl Deployment ===

impl Deployment {
    /// A deployment that was just asked for.
    pub(crate) fn asked(message: DeploymentQueueMessage, payload: String, image_tag: String) -> Self {
        Self {
            id: 0,
            project_id: 0,
            service_id: 0,
            build_id: None,
            message,
            payload,
            image_tag,
            image: None,
            container: None,
            status: Status::Queued,
            reason: None,
            detail: Some("waits for a free worker".to_owned()),
            failure: None,
            progress: 0,
            attempt: 0,
            sequence: 0,
            version: 1,
            rollback_of: None,
            rollback_to: None,
            queued: true,
            created_at: clock::now_ms(),
            started_at: None,
            finished_at: None,
            updated_at: clock::now_ms(),
        }
    }

    fn from_row(row: &AnyRow) -> Result<Self, Error> {
        let payload: String = row.get("message");
        let message = DeploymentQueueMessage::from_bytes(payload.as_bytes());
        let count = |name: &str| u32::try_from(row.get::<i64, _>(name)).unwrap_or(u32::MAX);
        Ok(Self {
            id: row.get("id"),
            project_id: row.get("project_id"),
            service_id: row.get("service_id"),
            build_id: row.get("build_id"),
            message: message.map_err(|error| Error::Corrupt(error.to_string()))?,
            payload,
            image_tag: row.get("image_tag"),
            image: row.get("image"),
            container: row.get("container"),
            status: Status::parse(row.get("status"))?,
            reason: row.get("reason"),
            detail: row.get("detail"),
            failure: row
                .get::<Option<&str>, _>("failure")
                .and_then(|text| serde_json::from_str(text).ok()),
            progress: row.get("progress"),
            attempt: count("attempt"),
            sequence: count("sequence"),
            version: row.get("version"),
            rollback_of: row.get("rollback_of"),
            rollback_to: row.get("rollback_to"),
            queued: row.get::<i64, _>("queued") != 0,
            created_at: row.get("created_at"),
            started_at: row.get("started_at"),
            finished_at: row.get("finished_at"),
            updated_at: row.get("updated_at"),
        })
    }

    /// What to run to have the same again.
    pub(crate) fn runs(&self) -> &str {
        self.image.as_deref().unwrap_or(self.message.image.as_str())
    }
}

// === impl Store ===

impl Store {
    /// Adds a deployment with what others are told of it; `None` when it is known. It goes to forgery now, or when those
    /// of its service before it have ended.
    pub(crate) async fn add_deployment(
        &self,
        deployment: Deployment,
        intents: &[Intent],
    ) -> Result<Option<Deployment>, Error> {
        let mut transaction = self.writer.begin().await?;
        let added = insert(&mut transaction, deployment, intents).await?;
        transaction.commit().await?;
        self.deployments_have_changed(added.as_slice());
        Ok(added)
    }

    /// Writes a changed deployment and its intents, unless somebody else changed it meanwhile. When it ends, the next
    /// of its service goes to forgery; when it brings an image back, the one it replaces was rolled back.
    pub(crate) async fn advance_deployment(&self, deployment: &Deployment, intents: &[Intent]) -> Result<bool, Error> {
        let mut transaction = self.writer.begin().await?;
        lock_service(&mut transaction, deployment.service_id).await?;
        let failure = deployment.failure.as_ref();
        let changed = sqlx::query(
            "UPDATE deployments SET status = $3, detail = $4, failure = $5, image = $6, container = $7, progress = $8,
                 attempt = $9, sequence = $10, started_at = $11, finished_at = $12, updated_at = $13,
                 version = version + 1
             WHERE id = $1 AND version = $2",
        )
        .bind(deployment.id)
        .bind(deployment.version)
        .bind(deployment.status.word())
        .bind(deployment.detail.as_deref().map(text))
        .bind(failure.and_then(|failure| serde_json::to_string(failure).ok()))
        .bind(&deployment.image)
        .bind(deployment.container.as_deref().map(text))
        .bind(deployment.progress)
        .bind(i64::from(deployment.attempt))
        .bind(i64::from(deployment.sequence))
        .bind(deployment.started_at)
        .bind(deployment.finished_at)
        .bind(clock::now_ms())
        .execute(&mut *transaction)
        .await?
        .rows_affected();
        let mut rolled_back = None;
        if changed == 1 {
            outbox::add_all(&mut transaction, intents).await?;
            if deployment.status == Status::Success
                && let Some(of) = deployment.rollback_of
            {
                let query = "UPDATE deployments SET status = 'rolled_back', version = version + 1 WHERE id = $1
                     RETURNING *";
                let row = sqlx::query(query).bind(of).fetch_optional(&mut *transaction).await?;
                rolled_back = row.as_ref().map(Deployment::from_row).transpose()?;
            }
            if deployment.status.has_ended() {
                queue_next(&mut transaction, deployment.service_id).await?;
            }
        }
        transaction.commit().await?;
        if changed == 1 {
            self.deployments_have_changed(slice::from_ref(deployment));
        }
        self.deployments_have_changed(rolled_back.as_slice());
        Ok(changed == 1)
    }

    pub(crate) async fn deployment(&self, id: i64) -> Result<Option<Deployment>, Error> {
        let row = sqlx::query("SELECT * FROM deployments WHERE id = $1")
            .bind(id)
            .fetch_optional(&self.readers)
            .await?;
        row.as_ref().map(Deployment::from_row).transpose()
    }

    /// A deployment by its name for ever.
    pub(crate) async fn deployment_named(&self, uid: &str) -> Result<Option<Deployment>, Error> {
        let row = sqlx::query("SELECT * FROM deployments WHERE uid = $1")
            .bind(uid)
            .fetch_optional(&self.readers)
            .await?;
        row.as_ref().map(Deployment::from_row).transpose()
    }

    /// Deployments of a service, newest first.
    pub(crate) async fn deployments(
        &self,
        service: i64,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Deployment>, Error> {
        let query = "SELECT * FROM deployments WHERE service_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3";
        let rows = sqlx::query(query)
            .bind(service)
            .bind(before.unwrap_or(i64::MAX))
            .bind(i64::from(limit))
            .fetch_all(&self.readers)
            .await?;
        rows.iter().map(Deployment::from_row).collect()
    }

    /// What runs, and what ran before it: the newest that succeeded, is older than what runs now was at first, and is
    /// another image. What was rolled back is never gone back to.
    pub(crate) async fn rollback(&self, service: i64) -> Result<Option<Rollback>, Error> {
        let query = "SELECT * FROM deployments WHERE service_id = $1 AND status = 'success' ORDER BY id DESC LIMIT 1";
        let row = sqlx::query(query).bind(service).fetch_optional(&self.readers).await?;
        let Some(of) = row.as_ref().map(Deployment::from_row).transpose()? else {
            return Ok(None);
        };
        let query = "SELECT * FROM deployments WHERE service_id = $1 AND status = 'success' AND id < $2
                 AND coalesce(image, image_tag) <> $3 ORDER BY id DESC LIMIT 1";
        let row = sqlx::query(query)
            .bind(service)
            .bind(of.rollback_to.unwrap_or(of.id))
            .bind(of.image.as_ref().unwrap_or(&of.image_tag))
            .fetch_optional(&self.readers)
            .await?;
        let to = row.as_ref().map(Deployment::from_row).transpose()?;
        Ok(to.map(|to| Rollback {
            origin: to.rollback_to.unwrap_or(to.id),
            of,
            to,
        }))
    }

    /// Deployments that forgery should have, were not heard of since, and are not about to be queued.
    pub(crate) async fn silent_deployments(&self, since: i64, limit: u32) -> Result<Vec<Deployment>, Error> {
        let rows = sqlx::query(
            "SELECT d.* FROM deployments d WHERE d.finished_at IS NULL AND d.queued = 1 AND d.updated_at < $1
                 AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.message_id = d.uid AND o.sent_at IS NULL)
             ORDER BY d.updated_at LIMIT $2",
        )
        .bind(since)
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(Deployment::from_row).collect()
    }

    /// Says that a silent deployment was looked after.
    pub(crate) async fn looked_after_deployment(&self, id: i64) -> Result<(), Error> {
        sqlx::query("UPDATE deployments SET updated_at = $2 WHERE id = $1")
            .bind(id)
            .bind(clock::now_ms())
            .execute(&self.writer)
            .await?;
        Ok(())
    }
}

/// Deployments of builds about a change, newest first.
pub(super) async fn of_workflow(pool: &AnyPool, workflow: i64, limit: i64) -> Result<Vec<Deployment>, Error> {
    let query = "SELECT d.* FROM deployments d JOIN builds b ON b.id = d.build_id WHERE b.workflow_id = $1
         ORDER BY d.id DESC LIMIT $2";
    let rows = sqlx::query(query).bind(workflow).bind(limit).fetch_all(pool).await?;
    rows.iter().map(Deployment::from_row).collect()
}

/// Adds a deployment within a transaction.
pub(super) async fn insert(
    connection: &mut AnyConnection,
    deployment: Deployment,
    intents: &[Intent],
) -> Result<Option<Deployment>, Error> {
    lock_service(connection, deployment.service_id).await?;
    let under_way: Option<i64> = sqlx::query_scalar(
        "SELECT id FROM deployments WHERE service_id = $1 AND finished_at IS NULL ORDER BY id LIMIT 1",
    )
    .bind(deployment.service_id)
    .fetch_optional(&mut *connection)
    .await?;
    let detail = match under_way {
        Some(id) => Some(format!("waits for deployment {id} of this service to end")),
        None => deployment.detail.clone(),
    };
    let id: Option<i64> = sqlx::query_scalar(
        "INSERT INTO deployments (uid, project_id, service_id, build_id, message, image_tag, status, reason, detail,
             rollback_of, rollback_to, queued, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $13)
         ON CONFLICT (uid) DO NOTHING RETURNING id",
    )
    .bind(deployment.message.id.as_str())
    .bind(deployment.project_id)
    .bind(deployment.service_id)
    .bind(deployment.build_id)
    .bind(&deployment.payload)
    .bind(text(&deployment.image_tag))
    .bind(deployment.status.word())
    .bind(deployment.reason.as_deref().map(text))
    .bind(detail.as_deref().map(text))
    .bind(deployment.rollback_of)
    .bind(deployment.rollback_to)
    .bind(i64::from(under_way.is_none()))
    .bind(deployment.created_at)
    .fetch_optional(&mut *connection)
    .await?;
    let Some(id) = id else { return Ok(None) };
    outbox::add_all(connection, intents).await?;
    if under_way.is_none() {
        outbox::add(
            connection,
            &Intent::deployment(&deployment.message, &deployment.payload),
        )
        .await?;
    }
    Ok(Some(Deployment {
        id,
        detail,
        queued: under_way.is_none(),
        ..deployment
    }))
}

/// Adds the deployment that follows from a build, unless something newer was deployed or is about to be.
pub(super) async fn insert_after(
    connection: &mut AnyConnection,
    deployment: Deployment,
    intents: &[Intent],
) -> Result<Option<Deployment>, Error> {
    lock_service(connection, deployment.service_id).await?;
    // A repetition is as new as what it repeats.
    let query = "SELECT count(*) FROM deployments d JOIN builds b ON b.id = d.build_id
         WHERE d.service_id = $1 AND coalesce(b.rerun_of, b.id)
             > (SELECT coalesce(o.rerun_of, o.id) FROM builds o WHERE o.id = $2)";
    let newer: i64 = sqlx::query_scalar(query)
        .bind(deployment.service_id)
        .bind(deployment.build_id)
        .fetch_one(&mut *connection)
        .await?;
    if newer > 0 {
        return Ok(None);
    }
    insert(connection, deployment, intents).await
}

/// Gives the oldest waiting deployment of a service to forgery.
async fn queue_next(connection: &mut AnyConnection, service: i64) -> Result<(), Error> {
    let query = "SELECT * FROM deployments WHERE service_id = $1 AND finished_at IS NULL ORDER BY id LIMIT 1";
    let row = sqlx::query(query)
        .bind(service)
        .fetch_optional(&mut *connection)
        .await?;
    let Some(next) = row.as_ref().map(Deployment::from_row).transpose()? else {
        return Ok(());
    };
    if next.queued {
        return Ok(());
    }
    sqlx::query("UPDATE deployments SET queued = 1, detail = $2, updated_at = $3, version = version + 1 WHERE id = $1")
        .bind(next.id)
        .bind("waits for a free worker")
        .bind(clock::now_ms())
        .execute(&mut *connection)
        .await?;
    outbox::add(connection, &Intent::deployment(&next.message, &next.payload)).await
}

/// Until the transaction has ended nobody else adds or ends deployments of the service.
pub(super) async fn lock_service(connection: &mut AnyConnection, service: i64) -> Result<(), Error> {
    sqlx::query("UPDATE services SET name = name WHERE id = $1")
        .bind(service)
        .execute(connection)
        .await?;
    Ok(())
}
