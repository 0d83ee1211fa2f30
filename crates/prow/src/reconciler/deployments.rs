//! Looks after deployments that nothing was heard of.

use super::{BATCH, SILENT_ROUNDS, SLACK, in_all, millis, text};
use crate::{
    Config, deployment,
    dispatcher::Kick,
    intake::record,
    store::{Deployment, Status, Store},
};
use bus::{Bus, Canceller, Producer, clock};
use contract::{CancelOutcome, CancelRequest, DeploymentQueueMessage, Message as _, Terminal};
use std::time::Duration;

/// As the builds' reconciler, for deployments.
#[derive(Clone)]
pub(super) struct Deployments {
    store: Store,
    queue: Producer<DeploymentQueueMessage>,
    canceller: Canceller,
    kick: Kick,
    waiting: Duration,
    every: Duration,
}

/// The longest that a deployment may take, unless its message says otherwise; as forgery has it.
const RUNNING: Duration = Duration::from_mins(10);

// === impl Deployments ===

impl Deployments {
    pub(super) fn new(config: &Config, bus: &Bus, store: &Store, kick: &Kick) -> Self {
        Self {
            store: store.clone(),
            queue: bus.producer(&config.deployments),
            canceller: deployment_canceller(config, bus),
            kick: kick.clone(),
            waiting: config.deadlines.waiting,
            every: config.reconcile_every,
        }
    }

    /// Puts back what Redis lost; ends what ended without its last event, and what is overdue.
    pub(super) async fn look_after(&self) -> Result<(), String> {
        let since = clock::now_ms() - millis(self.every * SILENT_ROUNDS);
        let silent = self.store.silent_deployments(since, BATCH).await;
        for silent in silent.map_err(text)? {
            let ended = self.queue.repair(silent.message.id.as_str(), &silent.payload).await;
            if let Some(state) = ended.map_err(text)? {
                self.end(&silent, &state).await?;
                continue; // How long it has been silent counts.
            }
            if let Some(reason) = overdue(&silent, self.waiting, clock::now_ms()) {
                tracing::warn!(deployment.id = %silent.message.id, reason, "ended a deployment");
                stop(&self.canceller, &silent, CancelOutcome::TimedOut, &reason)
                    .await
                    .map_err(text)?;
            }
            self.store.looked_after_deployment(silent.id).await.map_err(text)?;
        }
        Ok(())
    }

    /// The record says how it ended, but its last event has not come for long.
    async fn end(&self, silent: &Deployment, state: &str) -> Result<(), String> {
        if silent.updated_at > clock::now_ms() - millis(SLACK) {
            return Ok(());
        }
        let status = state.parse().unwrap_or(Terminal::Lost);
        let event = deployment::ended(silent, status, "its last event was lost");
        record(&self.store, &self.kick, &event, None).await.map_err(text)
    }
}

/// What stops deployments. Forgery sees it with its next beat, so nobody listens to this channel.
pub(crate) fn deployment_canceller(config: &Config, bus: &Bus) -> Canceller {
    bus.canceller(&config.deployments, &config.deployments.side_key("cancel"))
}

/// Stops a deployment wherever it is, unless it has begun to take over. Repeating is harmless.
pub(crate) async fn stop(
    canceller: &Canceller,
    known: &Deployment,
    outcome: CancelOutcome,
    reason: &str,
) -> Result<bus::Cancelled, bus::Error> {
    let event = deployment::ended(known, outcome.terminal(), reason);
    #[expect(clippy::expect_used, reason = "both ids have one alphabet")]
    let id = known
        .message
        .id
        .as_str()
        .parse()
        .expect("a deployment's id is a build's");
    let request = CancelRequest::new(id, outcome, reason);
    canceller.cancel(&request, &event.to_json().unwrap_or_default()).await // Events are always JSON.
}

/// Why a deployment that has not ended must end now, if it must.
fn overdue(known: &Deployment, waiting: Duration, now: i64) -> Option<String> {
    let (since, within, what) = if known.status == Status::Queued && known.attempt == 0 {
        (known.created_at, waiting, "no worker took it within")
    } else {
        let asked = known.message.timeout_seconds;
        let once = asked.map_or(RUNNING, |seconds| Duration::from_secs(seconds.into()));
        let since = known.started_at.unwrap_or(known.created_at);
        (since, in_all(once, known.attempt), "it did not end within")
    };
    (now.saturating_sub(since) > millis(within)).then(|| format!("{what} {} s", within.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{deployment::Wanted, service::Service};
    use contract::Metadata;

    #[test]
    fn every_deployment_has_a_deadline() {
        let wanted = Wanted {
            project: "o/r".parse().unwrap(),
            service: &Service::usual(),
            image_tag: "i".to_owned(),
            image: "i".parse().unwrap(),
            reason: None,
            metadata: Metadata::default(),
        };
        let mut known = deployment::by_hand(wanted, uuid::Uuid::now_v7()).unwrap();
        known.created_at = 0;
        let minutes = |n: i64| n * 60_000;
        let mut check = |status, attempt, asked: Option<u32>, last_good: i64| {
            (known.status, known.attempt) = (status, attempt);
            known.started_at = (attempt > 0).then_some(minutes(5));
            known.message.timeout_seconds = asked;
            let waiting = Duration::from_hours(1);
            assert_eq!(overdue(&known, waiting, minutes(last_good)), None);
            overdue(&known, waiting, minutes(last_good) + 1).unwrap()
        };
        assert_eq!(check(Status::Queued, 0, None, 60), "no worker took it within 3600 s");
        check(Status::Deploying, 1, None, 5 + 10 + 15 + 10);
        check(Status::Deploying, 1, Some(60), 5 + 1 + 15 + 10);
        check(Status::Queued, 2, None, 5 + 2 * 25 + 10);
    }
}
