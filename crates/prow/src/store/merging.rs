//! Whether pull requests may be merged: somebody approves, nobody objects, and everything has passed that checks them.

use super::{Error, Intent, outbox, text};
use crate::{
    notice::change::{self, Ready},
    verdict::{self, Check, Review, Verdict},
};
use contract::{SourceEvent, WebhookDelivery};
use serde_json::Value;
use sqlx::{AnyConnection, Row as _};

/// What a webhook says of a pull request.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) verdict: Option<Verdict>,
    proposal: Option<Proposal>,
    /// When it was sent first, for what says no time of its own.
    pub(super) at: i64,
}

/// A pull request as it was then.
#[derive(Debug)]
struct Proposal {
    head: String,
    is_draft: bool,
    passed_on: Value,
    at: Option<i64>,
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
                let passed_on = change::pull(webhook, pull);
                let updated_at = passed_on.get("updated_at").and_then(Value::as_str);
                Some(Proposal {
                    head: pull.head_sha.clone(),
                    is_draft: pull.draft,
                    at: verdict::moment(updated_at),
                    passed_on,
                })
            }
            SourceEvent::Push { .. } | SourceEvent::Other => None,
        };
        let at = webhook.received_at.as_millis();
        Self { verdict, proposal, at }
    }

    /// What is passed on of a pull request.
    pub(super) fn passed_on(&self) -> Option<&Value> {
        self.proposal.as_ref().map(|proposal| &proposal.passed_on)
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
) -> Result<(), Error> {
    if let (Some(proposal), Some(id)) = (&heard.proposal, workflow) {
        let query =
            "UPDATE workflows SET head = $2, draft = $3, pull = $4, head_at = $5 WHERE id = $1 AND head_at <= $5";
        sqlx::query(query)
            .bind(id)
            .bind(text(&proposal.head))
            .bind(i64::from(proposal.is_draft))
            .bind(text(&proposal.passed_on.to_string()))
            .bind(proposal.at.unwrap_or(heard.at))
            .execute(&mut *connection)
            .await?;
    }
    match (&heard.verdict, workflow) {
        (Some(Verdict::Review { by, word, at }), Some(id)) => {
            review(connection, id, by, *word, at.unwrap_or(heard.at)).await
        }
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
    // What began and ended within a second, as far as is known, has ended.
    sqlx::query(
        "INSERT INTO checks (repository, hash, name, suite, state, at) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (repository, hash, name, suite) DO UPDATE SET state = excluded.state, at = excluded.at
         WHERE checks.at < excluded.at OR checks.at = excluded.at AND excluded.state <> 'pending'",
    )
    .bind(repository)
    .bind(text(&said.commit))
    .bind(text(&said.name))
    .bind(text(&said.suite))
    .bind(said.state.word())
    .bind(said.at.unwrap_or(at))
    .execute(connection)
    .await?;
    Ok(())
}
