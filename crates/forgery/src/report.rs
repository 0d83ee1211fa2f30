//! What prow is told while a build runs.

use bus::Producer;
use contract::{
    BuildEvent, BuildId, Deploying, DeploymentEvent, DeploymentId, Failure, Happening, Message, Metadata, Terminal,
    Timestamp,
};
use std::time::Duration;
use tokio::{sync::mpsc, task::JoinHandle};

/// Events that may wait; progress past it is dropped, it is only progress.
const WAITING: usize = 256;
/// How long events that wait may hold up the end of a build.
const LAST: Duration = Duration::from_secs(20);
/// Pause while Redis is away.
const PAUSE: Duration = Duration::from_millis(500);

/// What is told of an attempt.
pub(crate) trait Event: Message {
    /// What it is an attempt at.
    type Id: Clone;
    /// What happens.
    type What;

    fn new(id: Self::Id, attempt: u32, sequence: u32, at: Timestamp, what: Self::What) -> Self;

    /// Says who tells it.
    fn by(self, worker: &str, metadata: &Metadata) -> Self;

    /// It was given back unfinished.
    const RELEASED: Self::What;

    /// It will be tried again after a pause.
    fn retrying(failure: Failure, after_ms: u64) -> Self::What;

    /// It has failed.
    fn failed(failure: Failure) -> Self::What;
}

/// Makes and sends the events of one attempt, in order.
#[derive(Debug)]
pub(crate) struct Report<E: Event> {
    id: E::Id,
    attempt: u32,
    sequence: u32,
    worker: String,
    metadata: Metadata,
    events: mpsc::Sender<E>,
    task: JoinHandle<()>,
}

// === impl Report ===

impl<E: Event> Report<E> {
    pub(crate) fn new(producer: Producer<E>, id: E::Id, attempt: u32, worker: &str, metadata: Metadata) -> Self {
        let (events, receiver) = mpsc::channel(WAITING);
        let task = spawn(send(producer, receiver));
        Self {
            id,
            attempt,
            sequence: 0,
            worker: worker.to_owned(),
            metadata,
            events,
            task,
        }
    }

    /// Tells an event in the background.
    pub(crate) fn tell(&mut self, what: E::What) {
        let event = self.next(what);
        if self.events.try_send(event).is_err() {
            tracing::debug!("an event was dropped");
        }
    }

    /// Waits until everything was sent, then makes the last event, as the text that the bus sends
    /// together with the end of the build.
    pub(crate) async fn last(mut self, what: E::What) -> String {
        let event = self.text(what);
        drop(self.events);
        match tokio::time::timeout(LAST, &mut self.task).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the report broke"),
            Err(_elapsed) => self.task.abort(),
        }
        chassis::crash_point("forgery.told");
        event
    }

    /// Tells nothing more: whoever has the build now tells what becomes of it.
    pub(crate) fn abandon(self) {
        self.task.abort();
    }

    /// The text of an event that the bus sends together with a change of state.
    pub(crate) fn text(&mut self, what: E::What) -> String {
        self.next(what).to_json().unwrap_or_default()
    }

    fn next(&mut self, what: E::What) -> E {
        self.sequence += 1;
        let event = E::new(self.id.clone(), self.attempt, self.sequence, bus::clock::now(), what);
        event.by(&self.worker, &self.metadata)
    }
}

macro_rules! event {
    ($event:ident, $id:ident, $what:ident) => {
        impl Event for $event {
            type Id = $id;
            type What = $what;

            fn new(id: $id, attempt: u32, sequence: u32, at: Timestamp, what: $what) -> Self {
                Self::new(id, attempt, sequence, at, what)
            }

            fn by(mut self, worker: &str, metadata: &Metadata) -> Self {
                self.worker = Some(worker.to_owned());
                self.metadata = metadata.clone();
                self
            }

            const RELEASED: $what = $what::Released;

            fn retrying(failure: Failure, after_ms: u64) -> $what {
                $what::Retrying { failure, after_ms }
            }

            fn failed(failure: Failure) -> $what {
                $what::ended(Terminal::Failed, failure)
            }
        }
    };
}

event!(BuildEvent, BuildId, Happening);
event!(DeploymentEvent, DeploymentId, Deploying);

#[expect(
    clippy::disallowed_methods,
    reason = "awaited by `Report::last`, which every attempt calls"
)]
fn spawn(future: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(future)
}

async fn send<E: Event>(producer: Producer<E>, mut events: mpsc::Receiver<E>) {
    while let Some(event) = events.recv().await {
        while let Err(error) = producer.send(&event).await {
            if !error.is_transient() {
                tracing::error!(error = %chassis::chain(&error), "an event cannot be sent");
                break;
            }
            tracing::debug!(error = %error, "cannot send an event yet");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bus::{Bus, Settings};
    use contract::route;
    use testkit::Redis;
    use tokio::time::Instant;

    fn report(redis: &Redis) -> Report<BuildEvent> {
        testkit::crypto();
        let mut settings = Settings::new(redis.url());
        settings.patience = Duration::from_secs(1);
        let producer = Bus::start(settings)
            .unwrap()
            .producer(&route::build_events(&route::builds()));
        Report::new(producer, "b".parse().unwrap(), 1, "w", Metadata::default())
    }

    const PROGRESS: Happening = Happening::Progress { percent: 50 };

    #[tokio::test]
    async fn progress_past_256_events_is_dropped_while_redis_is_away() {
        let mut redis = Redis::start();
        let mut report = report(&redis);
        redis.kill();
        report.tell(PROGRESS);
        tokio::time::sleep(Duration::from_millis(1_500)).await; // That one could not be sent, and is kept.
        (0..1_000).for_each(|_| report.tell(PROGRESS));
        redis.restart();
        let last = report.last(PROGRESS).await;
        assert!(last.contains(r#""sequence":1002"#), "{last}");
        let told = redis
            .cli(&["LLEN", "{forge:builds}:events"])
            .trim()
            .parse::<usize>()
            .unwrap();
        assert_eq!(told, 1 + WAITING);
    }

    #[tokio::test]
    async fn events_that_cannot_be_told_hold_up_the_end_for_20_seconds() {
        let mut redis = Redis::start();
        let mut report = report(&redis);
        redis.kill();
        report.tell(PROGRESS);
        let begun = Instant::now();
        report.last(PROGRESS).await;
        assert!((LAST..LAST + Duration::from_secs(5)).contains(&begun.elapsed()));
    }
}
