//! Deployments: takes one, runs its image beside what runs, and lets it take over once it is healthy.

mod containers;
mod health;
mod switch;

use crate::{
    attempt::Bench,
    failure::{BuildFailure, Kind},
    report::Report,
};
use bus::{Delivery, LastWords, Settled, Slot, Stop, Worker};
use chassis::{Life, trace};
use contract::{
    Deploying, DeploymentEvent, DeploymentQueueMessage, Failure, Message as _, Metadata, Running, Terminal, route,
};
use std::{sync::Arc, time::Duration};
use switch::Switch;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span};

/// Takes deployments, one at a time.
pub(crate) struct Taking {
    slot: Slot<DeploymentQueueMessage>,
    worker: String,
    bench: Arc<Bench>,
    stopping: CancellationToken,
    grace: Duration,
}

/// How an attempt ended.
enum End {
    Done(Result<Running, BuildFailure>),
    TimedOut(Duration),
    Stopped(Stop),
    GraceRanOut,
}

/// The longest that a deployment may take, unless its message says otherwise.
const TIMEOUT: Duration = Duration::from_mins(10);
/// The longest that bringing back what ran before may take.
const BACK: Duration = Duration::from_mins(1);
/// Pause before that is tried again.
const BACK_PAUSE: Duration = Duration::from_secs(2);
/// How long before the end of the grace period a deployment is given back: a quarter of it, at most this.
const GIVE_BACK: Duration = Duration::from_mins(1);

/// The event that tells that a deployment's workers died too often.
pub(crate) fn lost(message: &DeploymentQueueMessage) -> String {
    let failure = Failure::new("worker_lost", "the workers that ran it died too often");
    let event = Deploying::ended(Terminal::Lost, failure);
    DeploymentEvent::new(message.id.clone(), 0, 0, bus::clock::now(), event)
        .to_json()
        .unwrap_or_default()
}

// === impl Taking ===

impl Taking {
    pub(crate) fn new(worker: &Worker<DeploymentQueueMessage>, n: usize, bench: &Arc<Bench>, life: &Life) -> Self {
        Self {
            slot: worker.slot(n),
            worker: worker.name().to_owned(),
            bench: Arc::clone(bench),
            stopping: life.stopping(),
            grace: life.grace(),
        }
    }

    /// Takes deployments until the service stops; the one that runs then is finished.
    pub(crate) async fn run(mut self) {
        while !self.stopping.is_cancelled() {
            let delivery = tokio::select! {
                delivery = self.slot.take() => delivery,
                () = self.stopping.cancelled() => return,
            };
            let message = delivery.message();
            let span = tracing::info_span!(
                "deploy", deployment.id = %message.id, project = %message.project_name, service = %message.service,
                attempt = delivery.attempt(),
            );
            trace::follow(&span, message.metadata.traceparent.as_deref());
            self.work(delivery).instrument(span).await;
        }
    }

    async fn work(&self, delivery: Delivery<DeploymentQueueMessage>) {
        chassis::crash_point("forgery.deploy.claimed");
        let message = delivery.message();
        tracing::info!(image = %message.image, "deployment started");
        let mut report = self.report(&delivery);
        report.tell(Deploying::Started);
        report.tell(Deploying::Progress { percent: 10 });
        let switch = Switch::new(&self.bench, message);
        let end = self.supervise(&switch, &mut report, &delivery).await;
        chassis::crash_point("forgery.deploy.done");
        if !matches!(end, End::Done(Ok(_)) | End::Stopped(Stop::Lost)) {
            self.bring_back(&switch).await;
        }
        tracing::info!(outcome = end.word(), "{}", end.sentence());
        settle(delivery, report, end).await;
    }

    /// Runs an attempt until it ends or must stop. Once it has begun to take over, it is not stopped any more.
    async fn supervise(
        &self,
        switch: &Switch<'_>,
        report: &mut Report<DeploymentEvent>,
        delivery: &Delivery<DeploymentQueueMessage>,
    ) -> End {
        let mut stop = delivery.stop();
        let timeout = delivery.message().timeout_seconds;
        let timeout = timeout.map_or(TIMEOUT, |seconds| Duration::from_secs(seconds.into()));
        let grace_over = async {
            self.stopping.cancelled().await;
            tokio::time::sleep(self.grace.saturating_sub((self.grace / 4).min(GIVE_BACK))).await;
        };
        let stopped = async {
            let why = stop.wait_for(Option::is_some).await.ok().and_then(|why| why.clone());
            why.unwrap_or(Stop::Lost)
        };
        let ready = tokio::select! {
            ready = switch.prepare(report) => ready,
            why = stopped => return End::Stopped(why),
            () = tokio::time::sleep(timeout) => return End::TimedOut(timeout),
            () = grace_over => return End::GraceRanOut,
        };
        match ready {
            Ok(_) if !delivery.is_ours().await => End::Stopped(Stop::Lost),
            Ok(ready) => End::Done(switch.take_over(ready, report).await),
            Err(failure) => End::Done(Err(failure)),
        }
    }

    /// What ran before runs, and nothing of the new is left, before anything is reported.
    async fn bring_back(&self, switch: &Switch<'_>) {
        let back = async {
            while let Err(error) = switch.bring_back().await {
                tracing::warn!(%error, "what ran before is not back yet");
                tokio::time::sleep(BACK_PAUSE).await;
            }
        };
        if tokio::time::timeout(BACK, back).await.is_err() {
            tracing::error!("it is not certain that what ran before runs");
        }
    }

    fn report(&self, delivery: &Delivery<DeploymentQueueMessage>) -> Report<DeploymentEvent> {
        let message = delivery.message();
        let mut metadata = Metadata::default();
        metadata.correlation_id.clone_from(&message.metadata.correlation_id);
        metadata.traceparent = trace::carry(&Span::current(), message.metadata.traceparent.as_deref());
        let producer = self.bench.bus.producer(&self.bench.config.deployment_events);
        Report::new(producer, message.id.clone(), delivery.attempt(), &self.worker, metadata)
    }
}

// === impl End ===

impl End {
    const fn word(&self) -> &'static str {
        match self {
            Self::Done(Ok(_)) => "success",
            Self::Done(Err(_)) => "failed",
            Self::TimedOut(_) => "timed_out",
            Self::Stopped(Stop::Asked(_)) => "cancelled",
            Self::Stopped(Stop::Lost) => "lease_lost",
            Self::GraceRanOut => "given_back",
        }
    }

    fn sentence(&self) -> String {
        match self {
            Self::Done(Ok(running)) => format!("{} runs", running.container),
            Self::Done(Err(failure)) => format!("failed: {failure}"),
            Self::TimedOut(after) => format!("timed out after {} s", after.as_secs()),
            Self::Stopped(Stop::Asked(outcome)) => format!("stopped: {outcome}"),
            Self::Stopped(Stop::Lost) => "stopped: another worker has it, or it has ended".to_owned(),
            Self::GraceRanOut => "given back, because this worker stops".to_owned(),
        }
    }
}

/// Tells how it ended: to Redis and prow in one step.
async fn settle(delivery: Delivery<DeploymentQueueMessage>, report: Report<DeploymentEvent>, end: End) {
    let id = delivery.message().id.clone();
    let settled = match end {
        End::Done(Ok(running)) => {
            let event = Deploying::Ended {
                status: Terminal::Success,
                failure: None,
                running: Some(running),
            };
            let event = report.last(event).await;
            delivery.finish(Terminal::Success.as_str(), &event).await
        }
        End::Done(Err(failure)) if failure.kind.is_infrastructure() => again(delivery, report, &failure).await,
        End::Done(Err(failure)) => ended(delivery, report, Terminal::Failed, failure.to_contract()).await,
        End::TimedOut(after) => {
            let text = format!("it took longer than {} s", after.as_secs());
            ended(
                delivery,
                report,
                Terminal::TimedOut,
                Failure::new(Kind::Timeout.word(), text),
            )
            .await
        }
        End::Stopped(Stop::Asked(outcome)) => {
            let terminal = outcome.parse().unwrap_or(Terminal::Cancelled);
            let failure = Failure::new(terminal.as_str(), format!("{terminal} before it took over"));
            ended(delivery, report, terminal, failure).await
        }
        End::Stopped(Stop::Lost) => return report.abandon(),
        End::GraceRanOut => {
            let event = report.last(Deploying::Released).await;
            delivery.release(&event).await
        }
    };
    chassis::crash_point("forgery.deploy.settled");
    match settled {
        Ok(Settled::Ended(_) | Settled::Again) => {}
        Ok(Settled::Stale(state)) => tracing::warn!(deployment.id = %id, state, "the deployment was not ours any more"),
        Err(error) => {
            tracing::error!(deployment.id = %id, error = %chassis::chain(&error), "cannot settle a deployment");
        }
    }
}

async fn ended(
    delivery: Delivery<DeploymentQueueMessage>,
    report: Report<DeploymentEvent>,
    status: Terminal,
    failure: Failure,
) -> Result<Settled, bus::Error> {
    let event = report.last(Deploying::ended(status, failure)).await;
    delivery.finish(status.as_str(), &event).await
}

/// Puts a deployment aside after a failure of the infrastructure; at the last one it has failed.
async fn again(
    delivery: Delivery<DeploymentQueueMessage>,
    mut report: Report<DeploymentEvent>,
    failure: &BuildFailure,
) -> Result<Settled, bus::Error> {
    let pauses = route::deployments().limits.pause;
    let pause = bus::pause(pauses, delivery.failures() + 1, delivery.message().id.as_str());
    let failure = failure.to_contract();
    let retrying = report.text(Deploying::Retrying {
        failure: failure.clone(),
        after_ms: u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
    });
    let why = failure.message.clone();
    let last = report.last(Deploying::ended(Terminal::Failed, failure)).await;
    let words = LastWords {
        state: Terminal::Failed.as_str(),
        event: last,
        why,
    };
    delivery.retry(pause, &retrying, words).await
}
