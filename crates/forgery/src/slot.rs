//! One slot: takes a build, carries it out, settles it.

use crate::{
    attempt::{self, Attempt, Origin, Steward},
    bench::Bench,
    end::{End, Grace},
    failure::{BuildFailure, Kind},
    logs::{self, Log},
    report::Report,
    workspace::Workspaces,
};
use bus::{Delivery, Slot, Worker};
use chassis::{Life, trace};
use contract::{BuildEvent, BuildId, BuildQueueMessage, Failure, Happening, Image, Metadata, Stage, StageTime, route};
use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tempfile::TempDir;
use tokio::time::Instant;
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

/// Whoever holds a build tells of it, and knows whether it is still theirs.
struct Tending<'a> {
    delivery: &'a Delivery<BuildQueueMessage>,
    report: Mutex<&'a mut Report<BuildEvent>>,
}

// === impl Tending ===

impl Steward for Tending<'_> {
    fn tell(&self, what: Happening) {
        self.report.lock().unwrap_or_else(PoisonError::into_inner).tell(what);
    }

    async fn is_ours(&self) -> bool {
        self.delivery.is_ours().await
    }
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
        let steward = Tending {
            delivery: &delivery,
            report: Mutex::new(&mut report),
        };
        let workspace = self.bench.tools.workspaces.make();
        let end = match &workspace {
            Ok(workspace) => {
                let attempt = self.attempt(&delivery, workspace.path(), steward, &log, &mut times);
                self.supervise(Box::pin(attempt), &delivery, &log).await
            }
            Err(error) => End::Done(Err(attempt::internal("cannot make a workspace", error))),
        };
        chassis::crash_point("forgery.done");
        self.clean(&delivery).await;
        chassis::crash_point("forgery.cleaned");
        let stage = times.last().map_or(Stage::Cloning, |time| time.stage);
        log.at(stage).say(sentence(&end));
        drop(log);
        let tail = log_task.end().await;
        chassis::crash_point("forgery.logged");
        self.bench.metrics.running.dec();
        self.bench.metrics.count(end.word(), begun.elapsed().as_secs_f64());
        tracing::info!(
            outcome = end.word(),
            duration_ms = begun.elapsed().as_millis(),
            "{}",
            sentence(&end)
        );
        let (id, number) = (delivery.message().id.clone(), delivery.attempt());
        settle(delivery, report, end, times, tail).await;
        self.tidy(&id, number, workspace.ok()).await;
    }

    /// Runs an attempt until it ends or must stop; either way nothing of it goes on.
    async fn supervise(
        &self,
        attempt: impl Future<Output = Result<Vec<Image>, BuildFailure>>,
        delivery: &Delivery<BuildQueueMessage>,
        log: &Log,
    ) -> End<Vec<Image>> {
        let timeout = delivery
            .message()
            .timeout_seconds
            .map_or(self.bench.tools.config.timeout, |s| Duration::from_secs(s.into()));
        tokio::select! {
            result = attempt => End::Done(result),
            end = self.grace.interrupt(timeout, delivery.stop()) => end,
            failure = self.must_end(log) => End::Done(Err(failure)),
        }
    }

    /// Waits until an attempt must end for what it does, or does not.
    async fn must_end(&self, log: &Log) -> BuildFailure {
        let silence = async {
            match self.bench.tools.config.silence {
                Some(limit) => {
                    log.silence(limit).await;
                    limit
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            limit = silence => {
                let text = format!("it printed nothing for {} s (silence_seconds)", limit.as_secs());
                BuildFailure::new(Kind::Timeout, text)
            }
            () = self.bench.room.emergency() => {
                BuildFailure::new(Kind::DiskFull, "the disk was about to be full: everything that ran was ended")
            }
        }
    }

    /// Makes an attempt; what is only rehearsed is made by its play.
    async fn attempt(
        &self,
        delivery: &Delivery<BuildQueueMessage>,
        workspace: &Path,
        steward: Tending<'_>,
        log: &Log,
        times: &mut Vec<StageTime>,
    ) -> Result<Vec<Image>, BuildFailure> {
        #[cfg(feature = "rehearsal")]
        if let Some(play) = crate::rehearsal::Play::of(&self.bench.tools.config, delivery) {
            return play.run(delivery, log, workspace).await.map(|image| vec![image]);
        }
        let attempt = Attempt {
            tools: &self.bench.tools,
            message: delivery.message(),
            number: delivery.attempt(),
            origin: Origin::Repository,
            workspace,
            log: log.clone(),
            steward,
            times,
        };
        attempt.run().await
    }

    /// Ends whatever this attempt and those before it have, and sees that it is gone, before anything is reported.
    async fn clean(&self, delivery: &Delivery<BuildQueueMessage>) {
        let id = &delivery.message().id;
        let tools = &self.bench.tools;
        let swept = async {
            loop {
                let left = tools.engine.sweep(&tools.installation, id.as_str(), delivery.attempt());
                match left.await {
                    Ok(0) => return,
                    Ok(left) => tracing::warn!(left, "something of an ended build is left"),
                    Err(error) => tracing::warn!(%error, "cannot tell whether anything of the build is left"),
                }
                tokio::time::sleep(SWEEP_PAUSE).await;
            }
        };
        if tokio::time::timeout(SWEEP, swept).await.is_err() {
            tracing::error!("it is not certain that nothing of the build is left running");
        }
    }

    /// Removes what nobody waits for, and what does nothing: files, and names of images.
    async fn tidy(&self, id: &BuildId, attempt: u32, workspace: Option<TempDir>) {
        let tools = &self.bench.tools;
        let names = tools.engine.untag_all(&tools.installation, id, attempt);
        tokio::time::timeout(SWEEP, names).await.ok(); // The reconciler looks for what stays.
        if let Some(workspace) = workspace {
            Workspaces::remove(workspace).await;
        }
    }

    fn report(&self, delivery: &Delivery<BuildQueueMessage>) -> Report<BuildEvent> {
        let message = delivery.message();
        let mut metadata = Metadata::default();
        let incoming = message.metadata.as_ref();
        metadata.correlation_id = incoming.and_then(|m| m.correlation_id.clone());
        let traceparent = incoming.and_then(|m| m.traceparent.as_deref());
        metadata.traceparent = trace::carry(&Span::current(), traceparent);
        let producer = self.bench.bus.producer(&self.bench.tools.config.events);
        Report::new(producer, message.id.clone(), delivery.attempt(), &self.worker, metadata)
    }
}

/// Tells how it ended: to Redis and prow in one step.
async fn settle(
    delivery: Delivery<BuildQueueMessage>,
    report: Report<BuildEvent>,
    end: End<Vec<Image>>,
    stages: Vec<StageTime>,
    tail: Vec<String>,
) {
    let ended = |status, outcome: Result<Vec<Image>, Failure>| {
        let (images, failure) = match outcome {
            Ok(images) => (images, None),
            Err(mut failure) => {
                failure.log_tail = tail;
                (Vec::new(), Some(failure))
            }
        };
        Happening::Ended {
            status,
            failure,
            image: images.first().cloned(),
            images: if images.len() > 1 { images } else { Vec::new() },
            stages,
        }
    };
    let pauses = route::builds().limits.pause;
    end.settle(delivery, report, pauses, "while it was running", ended)
        .await;
    chassis::crash_point("forgery.settled");
}

fn sentence(end: &End<Vec<Image>>) -> String {
    end.sentence(|images| done(images))
}

/// What came out, in a sentence.
pub(crate) fn done(images: &[Image]) -> String {
    let one = |image: &Image| format!("{} as {}", image.reference, image.digest);
    match images {
        [] => "done; no image came out".to_owned(),
        several => format!("built {}", several.iter().map(one).collect::<Vec<_>>().join(", ")),
    }
}
