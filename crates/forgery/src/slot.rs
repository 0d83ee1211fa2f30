//! One slot: takes a build, carries it out, settles it.

use crate::{
    attempt::{Attempt, Bench},
    end::{End, Grace},
    failure::BuildFailure,
    logs,
    report::Report,
};
use bus::{Delivery, Slot, Stop, Worker};
use chassis::{Life, trace};
use contract::{BuildEvent, BuildQueueMessage, Failure, Happening, Image, Metadata, Stage, StageTime, route};
use std::{sync::Arc, time::Duration};
use tokio::{sync::watch, time::Instant};
use tracing::{Instrument as _, Span};

/// The longest that cleaning up after a build may take.
const SWEEP: Duration = Duration::from_secs(30);

/// Pause before it is tried again.
const SWEEP_PAUSE: Duration = Duration::from_secs(2);

/// Takes builds into one slot.
pub(crate) struct Taking {
    slot: Slot<BuildQueueMessage>,
    worker: String,
    bench: Arc<Bench>,
    grace: Grace,
}

// === impl Taking ===

impl Taking {
    pub(crate) fn new(worker: &Worker<BuildQueueMessage>, n: usize, bench: &Arc<Bench>, life: &Life) -> Self {
        Self {
            slot: worker.slot(n),
            worker: worker.name().to_owned(),
            bench: Arc::clone(bench),
            grace: Grace::of(life),
        }
    }

    /// Takes builds until the service stops; the one that runs then is finished.
    pub(crate) async fn run(mut self) {
        while !self.grace.stopping.is_cancelled() {
            let taken = async {
                self.bench.room.wait().await;
                tokio::select! {
                    delivery = self.slot.take() => Some(delivery),
                    () = self.bench.room.shortage() => None,
                }
            };
            let taken = tokio::select! {
                taken = taken => taken,
                () = self.grace.stopping.cancelled() => return,
            };
            let Some(delivery) = taken else { continue };
            let message = delivery.message();
            let span = tracing::info_span!(
                "build", build.id = %message.id, project = %message.project_name, commit = message.commit_hash.short(),
                attempt = delivery.attempt(),
            );
            let incoming = message
                .metadata
                .as_ref()
                .and_then(|metadata| metadata.traceparent.as_deref());
            trace::follow(&span, incoming);
            Box::pin(self.work(delivery)).instrument(span).await;
        }
    }

    async fn work(&self, delivery: Delivery<BuildQueueMessage>) {
        chassis::crash_point("forgery.claimed");
        let begun = Instant::now();
        let message = delivery.message();
        let _under_way = self.bench.roster.build(&message.id);
        let mut report = self.report(&delivery);
        report.tell(Happening::Started {
            message: Box::new(message.clone()),
        });
        let (log, log_task) = logs::open(self.bench.bus.log_writer(&message.id), delivery.attempt());
        log.say(format!("attempt {} on {}", delivery.attempt(), self.worker));
        tracing::info!("build started");
        self.bench.metrics.running.inc();

        let mut times = Vec::new();
        let attempt = Attempt {
            bench: &self.bench,
            delivery: &delivery,
            message,
            log: log.clone(),
            report: &mut report,
            times: &mut times,
        };
        let end = self.supervise(Box::pin(attempt.run()), message, delivery.stop()).await;
        chassis::crash_point("forgery.done");
        let lost = matches!(end, End::Stopped(Stop::Lost));
        self.clean(&delivery, lost).await;
        chassis::crash_point("forgery.cleaned");
        let stage = times.last().map_or(Stage::Cloning, |time| time.stage);
        log.at(stage).say(sentence(&end));
        drop(log);
        log_task.end().await;
        chassis::crash_point("forgery.logged");
        self.bench.metrics.running.dec();
        self.bench.metrics.count(end.word(), begun.elapsed().as_secs_f64());
        tracing::info!(
            outcome = end.word(),
            duration_ms = begun.elapsed().as_millis(),
            "{}",
            sentence(&end)
        );
        settle(delivery, report, end, times).await;
    }

    /// Runs an attempt until it ends or must stop; either way nothing of it goes on.
    async fn supervise(
        &self,
        attempt: impl Future<Output = Result<Image, BuildFailure>>,
        message: &BuildQueueMessage,
        stop: watch::Receiver<Option<Stop>>,
    ) -> End<Image> {
        let timeout = message
            .timeout_seconds
            .map_or(self.bench.config.timeout, |s| Duration::from_secs(s.into()));
        tokio::select! {
            result = attempt => End::Done(result),
            end = self.grace.interrupt(timeout, stop) => end,
        }
    }

    /// Ends whatever is labelled with the build and sees that it is gone, before anything is reported.
    async fn clean(&self, delivery: &Delivery<BuildQueueMessage>, lost: bool) {
        let name = self.bench.local(delivery);
        let id = &delivery.message().id;
        tokio::time::timeout(SWEEP, self.bench.engine.untag(&name)).await.ok(); // What stays is only a name.
        if lost {
            return; // What is labelled with the build may be its next attempt's; what is ours is found by the reconciler.
        }
        let swept = async {
            loop {
                match self.bench.engine.sweep(&self.bench.installation, id.as_str()).await {
                    Ok(0) => return,
                    Ok(left) => tracing::warn!(left, "containers of an ended build are left"),
                    Err(error) => tracing::warn!(%error, "cannot tell whether containers of the build are left"),
                }
                tokio::time::sleep(SWEEP_PAUSE).await;
            }
        };
        if tokio::time::timeout(SWEEP, swept).await.is_err() {
            tracing::error!("it is not certain that nothing of the build is left running");
        }
    }

    fn report(&self, delivery: &Delivery<BuildQueueMessage>) -> Report<BuildEvent> {
        let message = delivery.message();
        let mut metadata = Metadata::default();
        let incoming = message.metadata.as_ref();
        metadata.correlation_id = incoming.and_then(|m| m.correlation_id.clone());
        let traceparent = incoming.and_then(|m| m.traceparent.as_deref());
        metadata.traceparent = trace::carry(&Span::current(), traceparent);
        let producer = self.bench.bus.producer(&self.bench.config.events);
        Report::new(producer, message.id.clone(), delivery.attempt(), &self.worker, metadata)
    }
}

/// Tells how it ended: to Redis and prow in one step.
async fn settle(
    delivery: Delivery<BuildQueueMessage>,
    report: Report<BuildEvent>,
    end: End<Image>,
    stages: Vec<StageTime>,
) {
    let ended = |status, outcome: Result<Image, Failure>| {
        let (image, failure) = match outcome {
            Ok(image) => (Some(image), None),
            Err(failure) => (None, Some(failure)),
        };
        Happening::Ended {
            status,
            failure,
            image,
            stages,
        }
    };
    let pauses = route::builds().limits.pause;
    end.settle(delivery, report, pauses, "while it was running", ended)
        .await;
    chassis::crash_point("forgery.settled");
}

fn sentence(end: &End<Image>) -> String {
    end.sentence(|image| format!("built {} as {}", image.reference, image.digest))
}
