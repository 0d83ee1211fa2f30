//! Whether pull requests may be merged: somebody approves, nobody objects, and everything has passed that checks them.

use super::{Error, Intent, outbox, text};
use crate::{
    notice::change::{self, Ready},
    verdict::{Check, Review, Verdict},
};
use contract::{SourceEvent, WebhookDelivery};
use sqlx::{AnyConnection, Row as _};

/// What a webhook says of a pull request.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) verdict: Option<Verdict>,
    /// Its newest commit, whether it is a draft, and what is passed on of it.
    proposal: Option<(String, bool, String)>,
    /// When gateway took it.
    at: i64,
}

/// An open pull request that may be merged. Of the builds of a service the newest counts.
const READY: &str = "SELECT w.repository, w.key, w.head, w.pull FROM workflows w
     WHERE w.id = $1 AND w.closed_at IS NULL AND w.draft = 0 AND w.head IS NOT NULL AND w.key LIKE 'pull/%'
         AND EXISTS (SELECT 1 FROM reviews r WHERE r.workflow_id = w.id AND r.verdict = 'approved')
         AND NOT EXISTS (SELECT 1 FROM reviews r WHERE r.workflow_id = w.id AND r.verdict = 'rejected')
         AND NOT EXISTS (SELECT 1 FROM checks c WHERE c.repository = w.repository AND c.hash = w.head AND c.state <> 'passed')
         AND NOT EXISTS (SELECT 1 FROM builds b WHERE b.workflow_id = w.id AND b.commit_hash = w.head AND b.status <> 'success'
             AND NOT EXISTS (SELECT 1 FROM builds n WHERE n.workflow_id = w.id AND n.commit_hash = w.head
                 AND n.service_id = b.service_id AND n.id > b.id))
         AND (EXISTS (SELECT 1 FROM builds b WHERE b.workflow_id = w.id AND b.commit_hash = w.head)
             OR EXISTS (SELECT 1 FROM checks c WHERE c.repository = w.repository AND c.hash = w.head))";

// === impl Heard ===

impl Heard {
    pub(super) fn of(webhook: &WebhookDelivery, verdict: Option<Verdict>) -> Self {
        let proposal = match &webhook.source {
            SourceEvent::PullRequest(pull) => {
                let passed_on = change::pull(webhook, pull).to_string();
                Some((pull.head_sha.clone(), pull.draft, passed_on))
            }
            SourceEvent::Push { .. } | SourceEvent::Other => None,
        };
        let at = webhook.received_at.as_millis();
        Self { verdict, proposal, at }
    }

    /// Whether it may decide that something can be merged.
    pub(super) const fn matters(&self) -> bool {
        self.verdict.is_some() || self.proposal.is_some()
    }
}

/// Notes what a webhook says about a change.
pub(super) async fn note(
    connection: &mut AnyConnection,
    repository: &str,
    workflow: Option<i64>,
    heard: &Heard,
    is_late: bool,
) -> Result<(), Error> {
    // What comes late does not bring an older commit back.
    if let (Some((head, draft, pull)), Some(id), false) = (&heard.proposal, workflow, is_late) {
        sqlx::query("UPDATE workflows SET head = $2, draft = $3, pull = $4 WHERE id = $1")
            .bind(id)
            .bind(text(head))
            .bind(i64::from(*draft))
            .bind(text(pull))
            .execute(&mut *connection)
            .await?;
    }
    match (&heard.verdict, workflow) {
        (Some(Verdict::Review { by, word }), Some(id)) => review(connection, id, by, *word, heard.at).await,
        (Some(Verdict::Check(said)), _) => check(connection, repository, said, heard.at).await,
        (Some(Verdict::Review { .. }) | None, _) => Ok(()),
    }
}

/// Tells others that a change may be merged, if it may be and they were not told.
pub(super) async fn tell_if_ready(connection: &mut AnyConnection, workflow: i64) -> Result<(), Error> {
    let Some(row) = sqlx::query(READY)
        .bind(workflow)
        .fetch_optional(&mut *connection)
        .await?
    else {
        return Ok(());
    };
    let pull: Option<&str> = row.get("pull");
    let ready = Ready {
        repository: row.get("repository"),
        key: row.get("key"),
        head: row.get("head"),
        pull: serde_json::from_str(pull.unwrap_or("{}")).unwrap_or_default(),
    };
    outbox::add_once(connection, &Intent::notification(&change::ready(&ready))?).await
}

async fn review(connection: &mut AnyConnection, workflow: i64, by: &str, word: Review, at: i64) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO reviews (workflow_id, reviewer, verdict, at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (workflow_id, reviewer) DO UPDATE SET verdict = excluded.verdict, at = excluded.at
         WHERE reviews.at <= excluded.at",
    )
    .bind(workflow)
    .bind(text(by))
    .bind(word.word())
    .bind(at)
    .execute(connection)
    .await?;
    Ok(())
}

async fn check(connection: &mut AnyConnection, repository: &str, said: &Check, at: i64) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO checks (repository, hash, name, state, at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (repository, hash, name) DO UPDATE SET state = excluded.state, at = excluded.at
         WHERE checks.at <= excluded.at",
    )
    .bind(repository)
    .bind(text(&said.commit))
    .bind(text(&said.name))
    .bind(said.state.word())
    .bind(at)
    .execute(connection)
    .await?;
    Ok(())
}
