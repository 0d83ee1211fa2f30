//! One slot: takes a build, carries it out, settles it.

use crate::{
    attempt::{Attempt, Bench},
    failure::{BuildFailure, Kind},
    logs,
    report::Report,
};
use bus::{Delivery, LastWords, Settled, Slot, Stop, Worker};
use chassis::{Life, trace};
use contract::{BuildEvent, BuildQueueMessage, Failure, Happening, Image, Metadata, Stage, StageTime, Terminal};
use std::{sync::Arc, time::Duration};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span};

/// How long before the end of the grace period a running build is given back: a quarter of it, at most
/// this.
const GIVE_BACK: Duration = Duration::from_mins(1);

/// The longest that cleaning up after a build may take.
const SWEEP: Duration = Duration::from_secs(30);

/// Pause before it is tried again.
const SWEEP_PAUSE: Duration = Duration::from_secs(2);

/// Takes builds into one slot.
pub(crate) struct Taking {
    slot: Slot<BuildQueueMessage>,
    worker: String,
    bench: Arc<Bench>,
    stopping: CancellationToken,
    grace: Duration,
}

/// How an attempt ended.
enum End {
    Done(Result<Image, BuildFailure>),
    TimedOut(Duration),
    Stopped(Stop),
    GraceRanOut,
}

// === impl Taking ===

impl Taking {
    pub(crate) fn new(worker: &Worker<BuildQueueMessage>, n: usize, bench: &Arc<Bench>, life: &Life) -> Self {
        Self {
            slot: worker.slot(n),
            worker: worker.name().to_owned(),
            bench: Arc::clone(bench),
            stopping: life.stopping(),
            grace: life.grace(),
        }
    }

    /// Takes builds until the service stops; the one that runs then is finished.
    pub(crate) async fn run(mut self) {
        while !self.stopping.is_cancelled() {
            let delivery = tokio::select! {
                delivery = self.slot.take() => delivery,
                () = self.stopping.cancelled() => return,
            };
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
            self.work(delivery).instrument(span).await;
        }
    }

    async fn work(&self, delivery: Delivery<BuildQueueMessage>) {
        chassis::crash_point("forgery.claimed");
        let begun = Instant::now();
        let message = delivery.message();
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
        log.at(stage).say(end.sentence());
        drop(log);
        log_task.end().await;
        chassis::crash_point("forgery.logged");
        self.bench.metrics.running.dec();
        self.bench.metrics.count(end.word(), begun.elapsed().as_secs_f64());
        tracing::info!(
            outcome = end.word(),
            duration_ms = begun.elapsed().as_millis(),
            "{}",
            end.sentence()
        );
        settle(delivery, report, end, times).await;
    }

    /// Runs an attempt until it ends or must stop; either way nothing of it goes on.
    async fn supervise(
        &self,
        attempt: impl Future<Output = Result<Image, BuildFailure>>,
        message: &BuildQueueMessage,
        mut stop: watch::Receiver<Option<Stop>>,
    ) -> End {
        let timeout = message
            .timeout_seconds
            .map_or(self.bench.config.timeout, |s| Duration::from_secs(s.into()));
        let grace_over = async {
            self.stopping.cancelled().await;
            tokio::time::sleep(self.grace.saturating_sub((self.grace / 4).min(GIVE_BACK))).await;
        };
        let stopped = async {
            let why = stop.wait_for(Option::is_some).await.ok().and_then(|why| why.clone());
            why.unwrap_or(Stop::Lost)
        };
        tokio::select! {
            result = attempt => End::Done(result),
            why = stopped => End::Stopped(why),
            () = tokio::time::sleep(timeout) => End::TimedOut(timeout),
            () = grace_over => End::GraceRanOut,
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
            Self::Done(Ok(image)) => format!("built {} as {}", image.reference, image.digest),
            Self::Done(Err(failure)) => format!("failed: {failure}"),
            Self::TimedOut(after) => format!("timed out after {} s", after.as_secs()),
            Self::Stopped(Stop::Asked(outcome)) => format!("stopped: {outcome}"),
            Self::Stopped(Stop::Lost) => "stopped: another worker has it, or it has ended".to_owned(),
            Self::GraceRanOut => "given back, because this worker stops".to_owned(),
        }
    }
}

/// Tells how it ended: to Redis and prow in one step.
async fn settle(delivery: Delivery<BuildQueueMessage>, report: Report<BuildEvent>, end: End, stages: Vec<StageTime>) {
    let id = delivery.message().id.clone();
    let settled = match end {
        End::Done(Ok(image)) => {
            let event = Happening::Ended {
                status: Terminal::Success,
                failure: None,
                image: Some(image),
                stages,
            };
            delivery
                .finish(Terminal::Success.as_str(), &report.last(event).await)
                .await
        }
        End::Done(Err(failure)) if failure.kind.is_infrastructure() => again(delivery, report, &failure).await,
        End::Done(Err(failure)) => ended(delivery, report, Terminal::Failed, failure.to_contract(), stages).await,
        End::TimedOut(after) => {
            let text = format!("it took longer than {} s", after.as_secs());
            let failure = Failure::new(Kind::Timeout.word(), text);
            ended(delivery, report, Terminal::TimedOut, failure, stages).await
        }
        End::Stopped(Stop::Asked(outcome)) => {
            let terminal = outcome.parse().unwrap_or(Terminal::Cancelled);
            let failure = Failure::new(terminal.as_str(), format!("{terminal} while it was running"));
            ended(delivery, report, terminal, failure, stages).await
        }
        End::Stopped(Stop::Lost) => return report.abandon(),
        End::GraceRanOut => {
            let event = report.last(Happening::Released).await;
            delivery.release(&event).await
        }
    };
    chassis::crash_point("forgery.settled");
    match settled {
        Ok(Settled::Ended(_) | Settled::Again) => {}
        Ok(Settled::Stale(state)) => tracing::warn!(build.id = %id, state, "the build was not ours any more"),
        Err(error) => tracing::error!(build.id = %id, error = %chassis::chain(&error), "cannot settle a build"),
    }
}

async fn ended(
    delivery: Delivery<BuildQueueMessage>,
    report: Report<BuildEvent>,
    status: Terminal,
    failure: Failure,
    stages: Vec<StageTime>,
) -> Result<Settled, bus::Error> {
    let event = Happening::Ended {
        status,
        failure: Some(failure),
        image: None,
        stages,
    };
    delivery.finish(status.as_str(), &report.last(event).await).await
}

/// Puts a build aside after a failure of the infrastructure; at the last one it has failed.
async fn again(
    delivery: Delivery<BuildQueueMessage>,
    mut report: Report<BuildEvent>,
    failure: &BuildFailure,
) -> Result<Settled, bus::Error> {
    let pause = bus::pause(
        contract::route::builds().limits.pause,
        delivery.failures() + 1,
        delivery.message().id.as_str(),
    );
    let failure = failure.to_contract();
    let after_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
    let retrying = report.text(Happening::Retrying {
        failure: failure.clone(),
        after_ms,
    });
    let why = failure.message.clone();
    let last = report.last(Happening::ended(Terminal::Failed, failure)).await;
    let words = LastWords {
        state: Terminal::Failed.as_str(),
        event: last,
        why,
    };
    delivery.retry(pause, &retrying, words).await
}
