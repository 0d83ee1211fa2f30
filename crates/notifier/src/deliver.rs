//! One attempt at one delivery.

use crate::{
    book::Book,
    channel::{Channel, LOG, Notes, PATIENCE, Telling},
    client::Clients,
    endpoint::{Endpoint, Head},
    metrics::Metrics,
    outcome::{Outcome, Reply, Schedule},
};
use bus::{Fate, Health, Report, Taken, clock};
use chassis::trace;
use serde::Serialize;
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

/// Sends deliveries to their endpoints; cheap to clone.
#[derive(Clone)]
pub(crate) struct Deliver {
    pub(crate) clients: Clients,
    pub(crate) book: Arc<Book>,
    pub(crate) metrics: Metrics,
    /// How many attempts there are at what is refused.
    pub(crate) refused: u32,
    pub(crate) stopping: CancellationToken,
}

/// What is kept of an attempt, for people.
#[derive(Serialize)]
struct Tried<'a> {
    /// When, in ms since the Unix epoch.
    at: i64,
    ms: u64,
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    /// Why nothing was sent, although that is as it should be.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
}

/// An endpoint that is not configured here may be at another notifier, which has been restarted already.
const STRANGER: Duration = Duration::from_mins(1);
/// How much of a reply is kept for people, in characters.
const MOST_KEPT: usize = 1024;
/// After so long it is at none.
const STRANGER_MS: i64 = 3_600_000;

// === impl Deliver ===

impl Deliver {
    /// Tries a delivery; how it went.
    pub(crate) async fn attempt(&self, taken: &Taken) -> Report {
        let Some(head) = Head::read(&taken.payload) else {
            return report(taken, unreadable(), String::new());
        };
        let span = tracing::info_span!(
            "delivery", notification.id = %head.event_id, notification.kind = head.event_type,
            attempt = taken.failures + 1, endpoint = taken.to,
        );
        trace::follow(&span, head.metadata.traceparent.as_deref());
        self.tried(taken, &head).instrument(span).await
    }

    async fn tried(&self, taken: &Taken, head: &Head) -> Report {
        let pages = self.book.pages();
        let Some(endpoint) = pages.find(&taken.to) else {
            return report(taken, stranger(taken), String::new());
        };
        let traceparent = trace::carry(&tracing::Span::current(), head.metadata.traceparent.as_deref());
        let now = clock::now_ms();
        let Some(channel) = endpoint.channel() else {
            let why = format!(
                "the endpoint cannot be used as it is configured: {}",
                endpoint.broken().unwrap_or_default()
            );
            let (fate, health) = (Fate::Later(STRANGER), Health::Away(STRANGER));
            return report(taken, Outcome { fate, health, why }, String::new());
        };
        let usual = if endpoint.guarded {
            &self.clients.guarded
        } else {
            &self.clients.free
        };
        let telling = Telling {
            head,
            payload: taken.payload.clone(),
            now: now / 1000,
            traceparent,
            client: endpoint.client().unwrap_or(usual),
            patience: channel.patience(),
            notes: Notes {
                courier: &self.book.courier,
                endpoint: endpoint.name(),
            },
        };
        let begun = Instant::now();
        let reply = self.tell(endpoint, channel, telling).await;
        chassis::crash_point("notifier.delivered");
        let spent = begun.elapsed();
        let schedule = if head.event_type == LOG {
            Schedule::Short
        } else {
            endpoint.schedule
        };
        let outcome = schedule.decide(&reply, taken.failures + 1, &taken.id, self.refused);
        if !matches!(reply, Reply::NothingToSay | Reply::NotNow(_)) {
            self.metrics.count(outcome.fate, spent.as_secs_f64());
        }
        let tried = Tried::new(now, spent, &reply, &outcome);
        tracing::info!(
            status = tried.status,
            fate = ?outcome.fate,
            reason = outcome.why,
            host = endpoint.host(),
            duration_ms = spent.as_millis(),
            "tried a delivery"
        );
        let tried = serde_json::to_string(&tried).unwrap_or_default();
        report(taken, outcome, tried)
    }

    async fn tell(&self, endpoint: &Endpoint, channel: &Channel, telling: Telling<'_>) -> Reply {
        // The networks that are allowed may be others than when it was made; names are looked at when they are looked up.
        if endpoint.guarded
            && let Err(why) = self.book.guard.check(channel.url())
        {
            return Reply::Nothing(why);
        }
        let patience = channel.patience();
        let stopped = async {
            self.stopping.cancelled().await;
            tokio::time::sleep(PATIENCE).await;
        };
        tokio::select! {
            told = tokio::time::timeout(patience, channel.tell(&telling)) => {
                told.unwrap_or_else(|_elapsed| Reply::Nothing(format!("it took longer than {} s", patience.as_secs())))
            }
            // Another notifier asks again; nobody waits for five minutes for this one to stop.
            () = stopped => Reply::NotNow("notifier was stopped".to_owned()),
        }
    }
}

// === impl Tried ===

impl<'a> Tried<'a> {
    fn new(at: i64, spent: Duration, reply: &Reply, outcome: &'a Outcome) -> Self {
        let failed = outcome.fate != Fate::Done;
        let (status, body) = match reply {
            Reply::Status(status, _, body) => (Some(*status), Some(body).filter(|body| failed && !body.is_empty())),
            Reply::NothingToSay | Reply::Nothing(_) | Reply::Refused(_) | Reply::Unfit(_) | Reply::NotNow(_) => {
                (None, None)
            }
        };
        Self {
            at,
            ms: u64::try_from(spent.as_millis()).unwrap_or(u64::MAX),
            status,
            error: failed.then_some(outcome.why.as_str()),
            note: (*reply == Reply::NothingToSay).then_some(outcome.why.as_str()),
            body: body.map(|body| body.chars().take(MOST_KEPT).collect()),
        }
    }
}

fn unreadable() -> Outcome {
    Outcome {
        fate: Fate::Dead,
        health: Health::Unknown,
        why: "the notification cannot be read".to_owned(),
    }
}

fn stranger(taken: &Taken) -> Outcome {
    let is_old = clock::now_ms().saturating_sub(taken.sent_ms) > STRANGER_MS;
    Outcome {
        fate: if is_old { Fate::Dead } else { Fate::Later(STRANGER) },
        health: Health::Unknown,
        why: "the endpoint is not configured any more".to_owned(),
    }
}

fn report(taken: &Taken, outcome: Outcome, tried: String) -> Report {
    Report {
        id: taken.id.clone(),
        token: taken.token,
        fate: outcome.fate,
        health: outcome.health,
        why: outcome.why,
        tried,
    }
}
