//! How an attempt ends, whatever it is an attempt at; and how that is told, to Redis and prow in one step.

use crate::{
    failure::{BuildFailure, Kind},
    report::{Event, Report},
};
use bus::{Delivery, LastWords, Settled, Stop};
use chassis::Life;
use contract::{Failure, Message, Terminal};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How an attempt ended.
pub(crate) enum End<T> {
    Done(Result<T, BuildFailure>),
    TimedOut(Duration),
    Stopped(Stop),
    GraceRanOut,
}

/// How long an attempt may go on once this worker stops.
#[derive(Clone, Debug)]
pub(crate) struct Grace {
    pub(crate) stopping: CancellationToken,
    time: Duration,
}

/// How long before the end of the grace period an attempt is given back: a quarter of it, at most this.
const GIVE_BACK: Duration = Duration::from_mins(1);

// === impl Grace ===

impl Grace {
    pub(crate) fn of(life: &Life) -> Self {
        Self {
            stopping: life.stopping(),
            time: life.grace(),
        }
    }

    /// Waits until an attempt must stop, and says why.
    pub(crate) async fn interrupt<T>(&self, timeout: Duration, mut stop: watch::Receiver<Option<Stop>>) -> End<T> {
        let grace_over = async {
            self.stopping.cancelled().await;
            tokio::time::sleep(self.time.saturating_sub((self.time / 4).min(GIVE_BACK))).await;
        };
        let stopped = async {
            let why = stop.wait_for(Option::is_some).await.ok().and_then(|why| why.clone());
            why.unwrap_or(Stop::Lost)
        };
        tokio::select! {
            why = stopped => End::Stopped(why),
            () = tokio::time::sleep(timeout) => End::TimedOut(timeout),
            () = grace_over => End::GraceRanOut,
        }
    }
}

// === impl End ===

impl<T> End<T> {
    pub(crate) const fn word(&self) -> &'static str {
        match self {
            Self::Done(Ok(_)) => "success",
            Self::Done(Err(_)) => "failed",
            Self::TimedOut(_) => "timed_out",
            Self::Stopped(Stop::Asked(_)) => "cancelled",
            Self::Stopped(Stop::Lost) => "lease_lost",
            Self::GraceRanOut => "given_back",
        }
    }

    /// In a sentence; `done` says what came out.
    pub(crate) fn sentence(&self, done: impl FnOnce(&T) -> String) -> String {
        match self {
            Self::Done(Ok(it)) => done(it),
            Self::Done(Err(failure)) => format!("failed: {failure}"),
            Self::TimedOut(after) => format!("timed out after {} s", after.as_secs()),
            Self::Stopped(Stop::Asked(outcome)) => format!("stopped: {outcome}"),
            Self::Stopped(Stop::Lost) => "stopped: another worker has it, or it has ended".to_owned(),
            Self::GraceRanOut => "given back, because this worker stops".to_owned(),
        }
    }

    /// Tells how it ended. `stopped` says when it was, if it was; `ended` makes the event that is the last.
    pub(crate) async fn settle<M: Message, E: Event>(
        self,
        delivery: Delivery<M>,
        report: Report<E>,
        pauses: (Duration, Duration),
        stopped: &str,
        ended: impl FnOnce(Terminal, Result<T, Failure>) -> E::What,
    ) {
        let id = delivery.message().id();
        let (status, outcome) = match self {
            Self::Done(Ok(it)) => (Terminal::Success, Ok(it)),
            Self::Done(Err(failure)) if failure.kind.is_infrastructure() => {
                return settled(&id, again(delivery, report, pauses, &failure).await);
            }
            Self::Done(Err(failure)) => (Terminal::Failed, Err(failure.to_contract())),
            Self::TimedOut(after) => {
                let text = format!("it took longer than {} s", after.as_secs());
                (Terminal::TimedOut, Err(Failure::new(Kind::Timeout.word(), text)))
            }
            Self::Stopped(Stop::Asked(outcome)) => {
                let terminal: Terminal = outcome.parse().unwrap_or(Terminal::Cancelled);
                (
                    terminal,
                    Err(Failure::new(terminal.as_str(), format!("{terminal} {stopped}"))),
                )
            }
            Self::Stopped(Stop::Lost) => return report.abandon(),
            Self::GraceRanOut => {
                let event = report.last(E::RELEASED).await;
                return settled(&id, delivery.release(&event).await);
            }
        };
        let event = report.last(ended(status, outcome)).await;
        settled(&id, delivery.finish(status.as_str(), &event).await);
    }
}

/// Puts it aside after a failure of the infrastructure; at the last one it has failed.
async fn again<M: Message, E: Event>(
    delivery: Delivery<M>,
    mut report: Report<E>,
    pauses: (Duration, Duration),
    failure: &BuildFailure,
) -> Result<Settled, bus::Error> {
    let pause = bus::pause(pauses, delivery.failures() + 1, &delivery.message().id());
    let failure = failure.to_contract();
    let after_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
    let retrying = report.text(E::retrying(failure.clone(), after_ms));
    let why = failure.message.clone();
    let words = LastWords {
        state: Terminal::Failed.as_str(),
        event: report.last(E::failed(failure)).await,
        why,
    };
    delivery.retry(pause, &retrying, words).await
}

fn settled(id: &str, settled: Result<Settled, bus::Error>) {
    match settled {
        Ok(Settled::Ended(_) | Settled::Again) => {}
        Ok(Settled::Stale(state)) => tracing::warn!(id, state, "it was not ours any more"),
        Err(error) => tracing::error!(id, error = %chassis::chain(&error), "cannot settle it"),
    }
}
