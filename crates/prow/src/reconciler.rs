//! Compares what should be with what is, repairs what Redis lost, ends what passed its deadline.
//!
//! It looks at state, not at events, so it does not matter which crash left things as they are.

mod deployments;

use crate::{
    Config,
    config::Deadlines,
    dispatcher::Kick,
    notice,
    stop::stop,
    store::{Build, Intent, Store},
    tracker,
};
use bus::{Bus, Cancelled, Canceller, Producer, clock};
use contract::{
    BuildEvent, BuildQueueMessage, BuildStatus, CancelOutcome, CancelRequest, Failure, Happening, Terminal,
};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(crate) use deployments::{deployment_canceller, stop as stop_deployment};

/// A build that was silent for so many rounds is looked after.
const SILENT_ROUNDS: u32 = 2;
/// For so many rounds what was sent is kept, to be sent again if Redis comes back as another.
const KEPT_ROUNDS: u32 = 4;
const BATCH: u32 = 200;
/// A worker ends its builds itself; prow does it only this much later.
const SLACK: Duration = Duration::from_mins(10);
/// What was answered to a request with a key is kept for so long.
const REPLIES: Duration = Duration::from_hours(24);
/// The longest pause between two attempts.
const PAUSE: Duration = Duration::from_mins(15);

/// Looks after builds that nothing was heard of, and after what was sent of late.
#[derive(Clone)]
pub(crate) struct Reconciler {
    store: Store,
    bus: Bus,
    builds: Producer<BuildQueueMessage>,
    events: Producer<BuildEvent>,
    canceller: Canceller,
    deadlines: Deadlines,
    every: Duration,
    lost_after: Duration,
    deployments: deployments::Deployments,
    kick: Kick,
    /// Which Redis was there the last time.
    redis: Option<String>,
    /// Another Redis came the last time: what was on its way then is sent again, too.
    changed: bool,
    began: Instant,
}

// === impl Reconciler ===

impl Reconciler {
    pub(crate) fn new(config: &Config, bus: &Bus, store: &Store, kick: &Kick) -> Self {
        Self {
            store: store.clone(),
            bus: bus.clone(),
            builds: bus.producer(&config.builds),
            events: bus.producer(&config.events),
            canceller: bus.canceller(&config.builds, &config.cancel_channel),
            deadlines: config.deadlines,
            every: config.reconcile_every,
            lost_after: config.lost_after(),
            deployments: deployments::Deployments::new(config, bus, store, kick),
            kick: kick.clone(),
            redis: None,
            changed: false,
            began: Instant::now(),
        }
    }

    pub(crate) async fn run(mut self, stopping: CancellationToken) {
        loop {
            let round = async {
                let yesterday = clock::now_ms() - millis(REPLIES);
                self.store.forget_replies(yesterday).await.map_err(text)?;
                self.look_after_sent().await?;
                self.store.release_all().await.map_err(text)?;
                self.kick.now();
                self.look_after_builds().await?;
                self.deployments.look_after().await
            };
            if let Err(error) = round.await {
                tracing::warn!(error, "cannot reconcile");
            }
            tokio::select! {
                () = tokio::time::sleep(self.every) => {}
                () = stopping.cancelled() => return,
            }
        }
    }

    /// A Redis that was restarted or replaced may have lost the last it was given. Sending it again is
    /// harmless. A prow that has just started does not know, and does the same.
    async fn look_after_sent(&mut self) -> Result<(), String> {
        let redis = self.bus.incarnation().await.map_err(text)?;
        let changed = self.redis.as_ref() != Some(&redis);
        if !changed && !std::mem::replace(&mut self.changed, false) {
            let before = clock::now_ms() - millis(self.every * KEPT_ROUNDS);
            return self.store.forget_sent(before).await.map_err(text);
        }
        let again = self.store.send_again().await.map_err(text)?;
        if again > 0 {
            tracing::info!(intents = again, "sending again what this redis may have lost");
            self.kick.now();
        }
        (self.redis, self.changed) = (Some(redis), changed);
        Ok(())
    }

    async fn look_after_builds(&self) -> Result<(), String> {
        // An event that waits on its list is late, not lost.
        // So may one be that a dead prow held; that comes back long before so many rounds have passed.
        let patient = self.began.elapsed() > self.lost_after;
        let all_heard = patient && self.events.depth().await.map_err(text)?.waiting == 0;
        let silent = self.every * SILENT_ROUNDS;
        let silent = self.store.silent_builds(clock::now_ms() - millis(silent), BATCH).await;
        for build in silent.map_err(text)? {
            if let Some(reason) = &build.ending {
                // Redis may have forgotten that; queued again it would run.
                if self.stop(&build, CancelOutcome::Superseded, reason.clone()).await? {
                    self.store.looked_after(build.id).await.map_err(text)?;
                    continue;
                } // Else it has ended, and only its last event is missing.
            } else if build.released_at.is_none() {
                // It waits for a person, or for its turn; it is not in Redis, and must not get there.
                if let Some(reason) = overdue(&build, self.deadlines, clock::now_ms()) {
                    self.stop(&build, CancelOutcome::TimedOut, reason).await?;
                }
                self.store.looked_after(build.id).await.map_err(text)?;
                continue;
            }
            let id = build.message.id.as_str();
            let ended = self.builds.repair(id, &build.payload).await.map_err(text)?;
            chassis::crash_point("prow.repaired");
            if let Some(Ok(terminal)) = ended.as_deref().map(str::parse::<Terminal>) {
                // Its last event says more than the record does, so it is waited for while it may come.
                if all_heard && build.updated_at < clock::now_ms() - millis(self.lost_after) {
                    self.end(&build, terminal).await?;
                }
                continue;
            }
            if let Some(reason) = overdue(&build, self.deadlines, clock::now_ms()) {
                self.stop(&build, CancelOutcome::TimedOut, reason).await?;
            }
            self.store.looked_after(build.id).await.map_err(text)?;
        }
        Ok(())
    }

    /// Ends a build, by the one script that decides such things; false when it had ended before.
    async fn stop(&self, build: &Build, outcome: CancelOutcome, reason: String) -> Result<bool, String> {
        let id = &build.message.id;
        let request = CancelRequest::new(id.clone(), outcome, &*reason);
        let stopped = stop(&self.canceller, &request).await.map_err(text)?;
        match stopped {
            Cancelled::Ended => tracing::warn!(build.id = %id, %outcome, reason, "ended a build"),
            Cancelled::Signalled => {
                tracing::error!(build.id = %id, %outcome, reason, "a worker has not ended its build");
            }
            Cancelled::TooLate(_) => return Ok(false),
        }
        Ok(true)
    }

    /// The record says how it ended, but its last event never came.
    async fn end(&self, build: &Build, status: Terminal) -> Result<(), String> {
        let failure = (status != Terminal::Success).then(|| Failure::new(status.as_str(), "its last event was lost"));
        let event = Happening::Ended {
            status,
            failure,
            image: None,
            images: Vec::new(),
            stages: Vec::new(),
        };
        let id = build.message.id.clone();
        let event = BuildEvent::new(id, build.attempt, build.sequence, clock::now(), event);
        let Some(next) = tracker::fold(build, &event) else {
            return Ok(());
        };
        let notice = notice::about(&next, Some(build.status), None);
        let intents: Result<Vec<_>, _> = notice.iter().map(Intent::notification).collect();
        self.store.advance(&next, &intents.map_err(text)?).await.map_err(text)?;
        self.kick.now();
        tracing::warn!(build.id = %build.message.id, %status, "a build had ended without its last event");
        Ok(())
    }
}

/// Why a build that has not ended must end now, if it must.
fn overdue(build: &Build, deadlines: Deadlines, now: i64) -> Option<String> {
    let (since, within, what) = match build.status {
        BuildStatus::Ended(_) => return None,
        BuildStatus::Queued if build.held.is_some() => {
            (build.created_at, deadlines.waiting, "nobody approved it within")
        }
        BuildStatus::Queued if build.released_at.is_none() => {
            (build.created_at, deadlines.waiting, "it did not get its turn within")
        }
        BuildStatus::Queued if build.attempt == 0 => (build.created_at, deadlines.waiting, "no worker took it within"),
        BuildStatus::Queued | BuildStatus::Building | BuildStatus::Retrying => {
            let asked = build.message.timeout_seconds;
            let once = asked.map_or(deadlines.running, |seconds| Duration::from_secs(seconds.into()));
            (
                build.started_at.unwrap_or(build.created_at),
                in_all(once, build.attempt),
                "it did not end within",
            )
        }
    };
    (now.saturating_sub(since) > millis(within)).then(|| format!("{what} {} s", within.as_secs()))
}

/// The longest until whoever carries something out must have ended it, after so many attempts.
fn in_all(once: Duration, attempts: u32) -> Duration {
    once.saturating_add(PAUSE)
        .saturating_mul(attempts.max(1))
        .saturating_add(SLACK)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn text<E: std::error::Error>(error: E) -> String {
    chassis::chain(&error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::{BuildType, Strategy};

    #[test]
    fn every_state_that_is_not_the_last_has_a_deadline() {
        let deadlines = Deadlines {
            waiting: Duration::from_hours(1),
            running: Duration::from_mins(30),
        };
        let url = "https://h/o/r.git".parse().unwrap();
        let (id, project, commit) = ("b".parse().unwrap(), "o/r".parse().unwrap(), "abcd".parse().unwrap());
        let message = BuildQueueMessage::new(id, project, BuildType::Dockerfile, url, commit, Strategy::Local);
        let mut build = Build::queued(message, String::new());
        (build.created_at, build.released_at) = (0, Some(0));
        let minutes = |n: i64| n * 60_000;
        let mut check = |status, attempt, started, asked: Option<u32>, last_good: i64| {
            build.status = status;
            (build.attempt, build.started_at) = (attempt, started);
            build.message.timeout_seconds = asked;
            assert_eq!(
                overdue(&build, deadlines, minutes(last_good)),
                None,
                "{status} {attempt}"
            );
            overdue(&build, deadlines, minutes(last_good) + 1).unwrap()
        };
        let why = check(BuildStatus::Queued, 0, None, None, 60);
        assert_eq!(why, "no worker took it within 3600 s");
        check(BuildStatus::Building, 1, Some(minutes(5)), None, 5 + 30 + 15 + 10);
        check(BuildStatus::Building, 1, Some(minutes(5)), Some(60), 5 + 1 + 15 + 10);
        check(BuildStatus::Retrying, 2, Some(0), None, 2 * 45 + 10);
        check(BuildStatus::Queued, 1, Some(0), None, 45 + 10);
        (build.status, build.attempt, build.held) = (BuildStatus::Queued, 0, Some("a fork".to_owned()));
        let why = overdue(&build, deadlines, minutes(60) + 1).unwrap();
        assert_eq!(why, "nobody approved it within 3600 s");
        (build.held, build.released_at) = (None, None);
        let why = overdue(&build, deadlines, minutes(60) + 1).unwrap();
        assert_eq!(why, "it did not get its turn within 3600 s");
        build.status = BuildStatus::Ended(Terminal::Lost);
        assert_eq!(overdue(&build, deadlines, i64::MAX), None);
    }
}
