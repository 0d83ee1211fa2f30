//! One delivery: seal, parse, once, send, 202.

use crate::{
    Config,
    github::{self, Event, Reading},
    metrics::Metrics,
    reject::Rejection,
};
use axum::{
    Json,
    body::Body,
    http::{HeaderMap, Request, StatusCode, header},
    response::{IntoResponse, Response},
};
use bus::{Bus, ErrorKind, Producer, Sent};
use chassis::Life;
use contract::{DeliveryId, Metadata, Provider, WebhookDelivery};
use http_body_util::{BodyExt as _, Limited};
use seal::Key;
use serde_json::json;
use std::time::Duration;
use tokio::{sync::Semaphore, time::Instant};
use tracing::Instrument as _;

/// The longest a body may take, drip by drip or at once.
const BODY_WAIT: Duration = Duration::from_secs(8);
/// How long the same bytes under another delivery id count as the same event.
const SAME_BYTES: Duration = Duration::from_mins(10);
/// The same for actions that people repeat on purpose.
const SAME_BYTES_REPEATABLE: Duration = Duration::from_secs(10);
const UNIT: usize = 1024;

/// Takes deliveries of GitHub.
pub(crate) struct Hook {
    keys: Vec<Key>,
    max_payload: usize,
    /// Bodies in memory, in units of 1,024 bytes.
    memory: Semaphore,
    producer: Producer<WebhookDelivery>,
    metrics: Metrics,
}

/// An accepted request, and what became of it.
enum Answer {
    Accepted(DeliveryId),
    Duplicate,
    Ignored(String),
    Pong,
}

struct Head {
    event: String,
    delivery: DeliveryId,
    seal: Vec<u8>,
}

// === impl Hook ===

impl Hook {
    pub(crate) fn new(config: &Config, bus: &Bus, life: &Life) -> Self {
        Self {
            keys: config
                .secrets
                .iter()
                .map(|secret| Key::new(secret.expose().as_bytes()))
                .collect(),
            max_payload: config.max_payload,
            memory: Semaphore::new((config.max_in_flight / UNIT).max(1)),
            producer: bus.producer(&config.list),
            metrics: Metrics::new(life),
        }
    }

    /// Answers one request, and counts and logs it.
    pub(crate) async fn answer(&self, request: Request<Body>) -> Response {
        let begun = Instant::now();
        let correlation_id = correlation_id(request.headers());
        let span = tracing::info_span!("webhook", correlation_id, event = tracing::field::Empty);
        let incoming = request.headers().get("traceparent").and_then(|v| v.to_str().ok());
        chassis::trace::follow(&span, incoming);
        let answer = self.take(request, &correlation_id).instrument(span.clone()).await;
        let spent = begun.elapsed();
        let _entered = span.enter();
        match answer {
            Ok(answer) => {
                self.metrics.count(answer.word(), spent.as_secs_f64());
                tracing::info!(
                    outcome = answer.word(),
                    duration_ms = spent.as_millis(),
                    "took a webhook"
                );
                answer.into_reply(spent)
            }
            Err(rejection) => {
                self.metrics.count(rejection.word(), spent.as_secs_f64());
                tracing::warn!(outcome = rejection.word(), error = %rejection, "refused a webhook");
                rejection.into_reply(&correlation_id)
            }
        }
    }

    async fn take(&self, request: Request<Body>, correlation_id: &str) -> Result<Answer, Rejection> {
        if self.keys.is_empty() {
            return Err(Rejection::NotConfigured);
        }
        let (parts, body) = request.into_parts();
        let head = head(&parts.headers)?;
        let announced = self.announced(&parts.headers)?;
        let units = u32::try_from(announced.div_ceil(UNIT)).unwrap_or(u32::MAX);
        let _held = self.memory.try_acquire_many(units).map_err(|_full| Rejection::Busy)?;
        tracing::Span::current().record("event", &head.event);
        let body = self.body(body).await?;
        if !self.keys.iter().any(|key| key.verify(&[&body], &head.seal)) {
            return Err(Rejection::BadSignature);
        }
        if head.event == "ping" {
            return Ok(Answer::Pong);
        }
        match github::read(&head.event, &body).map_err(Rejection::BadBody)? {
            Reading::Ignored(reason) => Ok(Answer::Ignored(reason)),
            Reading::Relevant(event) => self.send(head, *event, body, correlation_id).await,
        }
    }

    /// The body's length, as announced; without that, the most it may be.
    fn announced(&self, headers: &HeaderMap) -> Result<usize, Rejection> {
        let length = headers
            .get(header::CONTENT_LENGTH)
            .and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
        let length = length.unwrap_or(self.max_payload);
        if length > self.max_payload {
            Err(Rejection::TooLarge(self.max_payload))
        } else {
            Ok(length)
        }
    }

    async fn body(&self, body: Body) -> Result<Vec<u8>, Rejection> {
        let whole = Limited::new(body, self.max_payload).collect();
        let whole = tokio::time::timeout(BODY_WAIT, whole)
            .await
            .map_err(|_elapsed| Rejection::TooSlow)?;
        let whole = whole.map_err(|error| {
            if error.is::<http_body_util::LengthLimitError>() {
                Rejection::TooLarge(self.max_payload)
            } else {
                Rejection::Unreadable
            }
        })?;
        Ok(whole.to_bytes().to_vec())
    }

    async fn send(&self, head: Head, event: Event, body: Vec<u8>, correlation_id: &str) -> Result<Answer, Rejection> {
        let fingerprint = seal::bytes_to_hex(&head.seal);
        let repeatable = matches!(event.action.as_deref(), Some("rerequested" | "requested_action"));
        let within = if repeatable { SAME_BYTES_REPEATABLE } else { SAME_BYTES };
        let body = String::from_utf8(body).map_err(|_invalid| Rejection::BadBody(vec!["not UTF-8".to_owned()]))?;
        let now = bus::clock::now();
        let mut metadata = Metadata::correlated(correlation_id);
        metadata.triggered_by = Some("webhook".to_owned());
        metadata.processed_by = Some("gateway".to_owned());
        metadata.traceparent = chassis::trace::carry(&tracing::Span::current(), None);
        let mut delivery = WebhookDelivery::new(
            head.delivery.clone(),
            Provider::Github,
            &head.event,
            now,
            event.source,
            body,
        );
        delivery.action = event.action;
        delivery.repository = event.repository;
        delivery.sender = event.sender;
        delivery.metadata = metadata;
        match self.producer.send_once(&delivery, &fingerprint, within).await {
            Ok(Sent::Queued) => {
                chassis::crash_point("gateway.sent");
                Ok(Answer::Accepted(head.delivery))
            }
            Ok(Sent::Duplicate(_)) => Ok(Answer::Duplicate),
            Err(error) => {
                tracing::error!(error = %chassis::chain(&error), "cannot queue a webhook");
                Err(if let ErrorKind::TooLarge { limit, .. } = error.kind() {
                    Rejection::TooLarge(*limit)
                } else if matches!(error.kind(), ErrorKind::Full(_) | ErrorKind::OutOfMemory) {
                    Rejection::QueueFull
                } else {
                    Rejection::QueueAway
                })
            }
        }
    }
}

// === impl Answer ===

impl Answer {
    const fn word(&self) -> &'static str {
        match self {
            Self::Accepted(_) => "accepted",
            Self::Duplicate => "duplicate",
            Self::Ignored(_) => "ignored",
            Self::Pong => "pong",
        }
    }

    fn into_reply(self, spent: Duration) -> Response {
        let word = self.word();
        match self {
            Self::Accepted(id) => {
                let spent = u64::try_from(spent.as_millis()).unwrap_or(u64::MAX);
                let body = json!({"status": word, "eventId": id, "processingTime": spent});
                (StatusCode::ACCEPTED, Json(body)).into_response()
            }
            Self::Duplicate => {
                Json(json!({"status": word, "message": "this delivery was taken before"})).into_response()
            }
            Self::Ignored(reason) => Json(json!({"status": word, "message": reason})).into_response(),
            Self::Pong => Json(json!({"status": word})).into_response(),
        }
    }
}

/// Checks type and required headers, all at once.
fn head(headers: &HeaderMap) -> Result<Head, Rejection> {
    let text = |name: &'static str| headers.get(name).and_then(|v| v.to_str().ok());
    let kind = text("content-type").unwrap_or_default();
    if !kind
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .eq_ignore_ascii_case("application/json")
    {
        return Err(Rejection::NotJson);
    }
    let required = ["X-GitHub-Event", "X-GitHub-Delivery", "X-Hub-Signature-256"];
    let missing: Vec<_> = required
        .into_iter()
        .filter(|name| !headers.contains_key(*name))
        .collect();
    if missing.contains(&"X-Hub-Signature-256") && missing.len() == 1 {
        return Err(Rejection::BadSignature);
    }
    if !missing.is_empty() {
        return Err(Rejection::MissingHeaders(required.to_vec()));
    }
    let seals = headers.get_all("X-Hub-Signature-256").iter().count();
    let seal = text("X-Hub-Signature-256").and_then(|v| seal::hex_to_bytes(v.strip_prefix("sha256=")?));
    let seal = seal.filter(|_| seals == 1).ok_or(Rejection::BadSignature)?;
    let event = text("X-GitHub-Event")
        .filter(|e| e.len() <= 64)
        .ok_or(Rejection::BadHeader("X-GitHub-Event"))?;
    let delivery = text("X-GitHub-Delivery").and_then(|v| v.parse().ok());
    let delivery = delivery.ok_or(Rejection::BadHeader("X-GitHub-Delivery"))?;
    Ok(Head {
        event: event.to_owned(),
        delivery,
        seal,
    })
}

/// The delivery id when it is a UUID, else a new one.
fn correlation_id(headers: &HeaderMap) -> String {
    let delivery = headers.get("X-GitHub-Delivery").and_then(|v| v.to_str().ok());
    let id = delivery.and_then(|text| text.parse::<uuid::Uuid>().ok());
    id.unwrap_or_else(uuid::Uuid::now_v7).to_string()
}
