//! Deployments: takes one, runs its image beside what runs, and lets it take over once it is healthy.

mod containers;
mod health;
mod switch;

use crate::{
    bench::Bench,
    end::{End, Grace},
    report::Report,
};
use bus::{Delivery, Slot, Stop, Worker};
use chassis::{Life, trace};
pub(crate) use containers::Container;
use contract::{
    Deploying, DeploymentEvent, DeploymentQueueMessage, Failure, Message as _, Metadata, Running, Terminal, route,
};
use std::{sync::Arc, time::Duration};
use switch::Switch;
use tracing::{Instrument as _, Span};

/// Takes deployments, one at a time.
pub(crate) struct Taking {
    slot: Slot<DeploymentQueueMessage>,
    worker: String,
    bench: Arc<Bench>,
    grace: Grace,
}

/// The longest that a deployment may take, unless its message says otherwise.
const TIMEOUT: Duration = Duration::from_mins(10);
/// The longest that bringing back what ran before may take.
const BACK: Duration = Duration::from_mins(1);
/// Pause before that is tried again.
const BACK_PAUSE: Duration = Duration::from_secs(2);
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
            grace: Grace::of(life),
        }
    }

    /// Takes deployments until the service stops; the one that runs then is finished.
    pub(crate) async fn run(mut self) {
        while !self.grace.stopping.is_cancelled() {
            let delivery = tokio::select! {
                delivery = self.slot.take() => delivery,
                () = self.grace.stopping.cancelled() => return,
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
        let _under_way = self.bench.roster.deployment(&message.id);
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
        let sentence = end.sentence(|running| format!("{} runs", running.container));
        tracing::info!(outcome = end.word(), "{sentence}");
        settle(delivery, report, end).await;
    }

    /// Runs an attempt until it ends or must stop. Once it has begun to take over, it is not stopped any more.
    async fn supervise(
        &self,
        switch: &Switch<'_>,
        report: &mut Report<DeploymentEvent>,
        delivery: &Delivery<DeploymentQueueMessage>,
    ) -> End<Running> {
        let timeout = delivery.message().timeout_seconds;
        let timeout = timeout.map_or(TIMEOUT, |seconds| Duration::from_secs(seconds.into()));
        let boot = self.bench.tools.engine.boot().await;
        let ready = tokio::select! {
            ready = switch.prepare(report) => ready,
            end = self.grace.interrupt(timeout, delivery.stop()) => return end,
        };
        let done = match ready {
            Ok(_) if !delivery.is_ours().await => return End::Stopped(Stop::Lost),
            Ok(ready) => switch.take_over(ready, report).await,
            Err(failure) => Err(failure),
        };
        End::Done(boot.judge(done).await)
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
        let producer = self.bench.bus.producer(&self.bench.tools.config.deployment_events);
        Report::new(producer, message.id.clone(), delivery.attempt(), &self.worker, metadata)
    }
}

/// Tells how it ended: to Redis and prow in one step.
async fn settle(delivery: Delivery<DeploymentQueueMessage>, report: Report<DeploymentEvent>, end: End<Running>) {
    let ended = |status, outcome: Result<Running, Failure>| {
        let (running, failure) = match outcome {
            Ok(running) => (Some(running), None),
            Err(failure) => (None, Some(failure)),
        };
        Deploying::Ended {
            status,
            failure,
            running,
        }
    };
    let pauses = route::deployments().limits.pause;
    end.settle(delivery, report, pauses, "before it took over", ended).await;
    chassis::crash_point("forgery.deploy.settled");
}
