//! The way of one delivery: who asks, how often, how much, is it proved, what does it say, where does it go.
//!
//! The order matters. Nothing is remembered, and next to nothing computed, for somebody who has proved nothing.

use crate::{
    Config, address,
    body::{Bodies, Whole},
    lane,
    metrics::Metrics,
    outlet::Outlet,
    provider::{self, Event, Head, Reading, Relevant},
    rate::Limit,
    reject::Rejection,
    rules::Rules,
};
use arc_swap::ArcSwap;
use axum::{
    Json,
    body::Body,
    http::{HeaderMap, Request, StatusCode, header},
    response::{IntoResponse, Response},
};
use bus::{Parcel, Sent, clock};
use chassis::Life;
use contract::{DeliveryId, Metadata, Provider, WebhookDelivery};
use serde::Serialize;
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;
use tracing::Instrument as _;

/// Takes deliveries of every forge.
pub(crate) struct Intake {
    rules: Arc<ArcSwap<Rules>>,
    by_address: Option<Limit<IpAddr>>,
    by_repository: Option<Limit<String>>,
    bodies: Bodies,
    outlet: Outlet,
    pub(crate) metrics: Metrics,
}

/// A request that was taken, and what became of it.
enum Answer {
    Accepted(DeliveryId),
    Duplicate,
    Ignored(String),
    Pong,
}

/// The body of a 2xx.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Reply {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<DeliveryId>,
    /// In milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    processing_time: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

const NOBODY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
/// How long the same bytes under another delivery id count as the same event.
const SAME_BYTES: Duration = Duration::from_mins(10);
/// The same for actions that people repeat on purpose.
const SAME_BYTES_REPEATABLE: Duration = Duration::from_secs(10);
/// How often those who were counted are looked through.
const TIDY: Duration = Duration::from_secs(30);
/// The longest a delivery may take in all: GitHub gives up after 10 s, and never comes again.
const DEADLINE: Duration = Duration::from_secs(9);

// === impl Intake ===

impl Intake {
    pub(crate) fn new(config: &Config, rules: Arc<ArcSwap<Rules>>, outlet: Outlet, life: &Life) -> Self {
        Self {
            rules,
            by_address: config.by_address.map(|rate| Limit::new("address", rate, NOBODY)),
            by_repository: config
                .by_repository
                .map(|rate| Limit::new("repository", rate, String::new())),
            bodies: Bodies::new(config.max_payload, config.max_in_flight),
            outlet,
            metrics: Metrics::new(life),
        }
    }

    /// Forgets, from time to time, who came long ago.
    pub(crate) async fn tidy(self: Arc<Self>, life: Life) {
        let stopping = life.stopping();
        while tokio::select! {
            () = tokio::time::sleep(TIDY) => true,
            () = stopping.cancelled() => false,
        } {
            self.by_address.iter().for_each(Limit::tidy);
            self.by_repository.iter().for_each(Limit::tidy);
        }
    }

    /// Answers one request, and counts and logs it.
    pub(crate) async fn answer(&self, provider: Provider, request: Request<Body>) -> Response {
        let begun = Instant::now();
        let rules = self.rules.load_full();
        let peer = request.extensions().get::<SocketAddr>();
        let peer = peer.map_or(NOBODY, SocketAddr::ip);
        let client = address::client(peer, request.headers(), &rules.proxies, rules.proxy_header);
        let correlation_id = correlation_id(request.headers());
        let span = tracing::info_span!(
            "webhook",
            correlation_id,
            %provider,
            event = tracing::field::Empty,
            delivery.id = tracing::field::Empty,
            repository = tracing::field::Empty,
        );
        let incoming = request.headers().get("traceparent").and_then(|v| v.to_str().ok());
        chassis::trace::follow(&span, incoming);
        let delivery = Delivery {
            rules: &rules,
            provider,
            client,
            correlation_id: &correlation_id,
        };
        let taken = tokio::time::timeout(DEADLINE, self.take(&delivery, request));
        let answer = taken.instrument(span.clone()).await.unwrap_or_else(|_late| {
            self.outlet.cannot_take(&Rejection::QueueAway);
            Err(Rejection::QueueAway)
        });
        let spent = begun.elapsed();
        let _entered = span.enter();
        match answer {
            Ok(answer) => {
                self.metrics.count(answer.word(), spent);
                let duration_ms = spent.as_millis();
                tracing::info!(outcome = answer.word(), duration_ms, "took a webhook");
                answer.into_reply(spent)
            }
            Err(rejection) => {
                self.metrics.count(rejection.word(), spent);
                if rejection.is_violation() {
                    tracing::warn!(target: "audit", %client, reason = rejection.word(), error = %rejection, "refused a webhook");
                } else {
                    tracing::warn!(outcome = rejection.word(), error = %rejection, "cannot take a webhook");
                }
                rejection.into_reply(&correlation_id)
            }
        }
    }

    async fn take(&self, delivery: &Delivery<'_>, request: Request<Body>) -> Result<Answer, Rejection> {
        let (rules, provider) = (delivery.rules, delivery.provider);
        if rules
            .allowed
            .as_ref()
            .is_some_and(|allowed| !allowed.has(delivery.client))
        {
            return Err(Rejection::Forbidden);
        }
        slow(self.by_address.as_ref(), &address::network(delivery.client)).await?;
        if !rules.secrets.knows(provider) {
            return Err(Rejection::NotConfigured);
        }
        let (parts, body) = request.into_parts();
        delivery.check(&parts.headers)?;
        let head = provider::head(provider, &parts.headers)?;
        let span = tracing::Span::current();
        span.record("event", &head.event);
        span.record("delivery.id", head.delivery.as_str());
        let body = self.bodies.read(&parts.headers, body).await?;
        let found = match delivery.prove_and_read(&head, &body)? {
            Reading::Ping => return Ok(Answer::Pong),
            Reading::Ignored(reason) => return Ok(Answer::Ignored(reason)),
            Reading::Relevant(found) => found,
        };
        let mistakes = rules.schemas.mistakes(provider, &head.event, &body.bytes);
        if !mistakes.is_empty() {
            return Err(Rejection::BadBody(mistakes));
        }
        let named = found.events.first().and_then(|event| event.repository.as_ref());
        if let Some(repository) = named {
            span.record("repository", repository.full_name.as_str());
            let name = repository.full_name.as_str().to_ascii_lowercase(); // To forges it is the same.
            slow(self.by_repository.as_ref(), &name).await?;
        }
        self.send(delivery, head, found, body).await
    }

    /// Sends every event of a delivery on. When one of them cannot be sent the forge is asked to come again, and
    /// those that were sent are duplicates then.
    async fn send(
        &self,
        delivery: &Delivery<'_>,
        mut head: Head,
        found: Relevant,
        body: Whole<'_>,
    ) -> Result<Answer, Rejection> {
        if head.is_shared {
            let digest = seal::digest(&body.bytes);
            let own = digest.get(..16).unwrap_or_default();
            let id = format!("{}.{own}", head.delivery).parse();
            head.delivery = id.map_err(|_long| Rejection::BadHeader("the delivery's id"))?;
        }
        let _held = body.into_permit();
        // The body goes with the first: a hundred of them would fill the list.
        let others = std::iter::repeat_with(|| WebhookDelivery::BEGINNING.into());
        let begun = std::iter::once(found.begun).chain(others);
        let parcels = found.events.into_iter().zip(begun).enumerate();
        let parcels = parcels.map(|(n, (event, begun))| delivery.parcel(&head, n, event, begun));
        let mut queued = false;
        for parcel in parcels.collect::<Result<Vec<_>, _>>()? {
            queued |= self.outlet.send(parcel).await? == Sent::Queued;
        }
        chassis::crash_point("gateway.sent");
        Ok(if queued {
            Answer::Accepted(head.delivery)
        } else {
            Answer::Duplicate
        })
    }
}

/// What is known of a delivery before its headers are read.
struct Delivery<'a> {
    rules: &'a Rules,
    provider: Provider,
    client: IpAddr,
    correlation_id: &'a str,
}

// === impl Delivery ===

impl Delivery<'_> {
    /// Who sends what, as far as it matters to everybody.
    fn check(&self, headers: &HeaderMap) -> Result<(), Rejection> {
        let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
        let kind = text(header::CONTENT_TYPE).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        let coding = text(header::CONTENT_ENCODING).unwrap_or("identity");
        if !kind.eq_ignore_ascii_case("application/json") || !coding.eq_ignore_ascii_case("identity") {
            return Err(Rejection::NotJson);
        }
        let agent = text(header::USER_AGENT).unwrap_or_default();
        let agents = &self.rules.agents;
        if !agents.is_empty() && !agents.iter().any(|known| agent.starts_with(known.as_str())) {
            return Err(Rejection::BadHeader("User-Agent"));
        }
        Ok(())
    }

    /// Proves the body, then reads it. Where the secret depends on the repository the body is asked for its name
    /// first, and for nothing else.
    fn prove_and_read(&self, head: &Head, body: &Whole<'_>) -> Result<Reading, Rejection> {
        let (secrets, body) = (&self.rules.secrets, body.bytes.as_slice());
        let scoped = secrets.depend_on_the_repository(self.provider);
        let named = scoped
            .then(|| provider::owner_or_repository(self.provider, body))
            .flatten();
        let mut known = secrets.of(self.provider, named.as_deref()).iter();
        if !known.any(|known| head.proof.is_by(known, body, clock::now_ms())) {
            return Err(Rejection::BadSignature);
        }
        let wanted = &self.rules.events;
        if !wanted.is_empty() && !wanted.contains(&head.event) && head.event != provider::PING {
            return Ok(Reading::Ignored(format!(
                "events of type {} are not wanted",
                head.event
            )));
        }
        let body = str::from_utf8(body).map_err(|_invalid| Rejection::BadBody(vec!["body: not UTF-8".to_owned()]))?;
        let reading = provider::read(self.provider, &head.event, body).map_err(Rejection::BadBody)?;
        let is_named = |event: &Event| {
            let repository = event.repository.as_ref();
            repository.is_none_or(|repository| named.as_deref() == Some(repository.full_name.as_str()))
        };
        match &reading {
            // Proved with the secret of another one than it turned out to be about.
            Reading::Relevant(found) if scoped && !found.events.iter().all(is_named) => Err(Rejection::BadSignature),
            Reading::Relevant(_) | Reading::Ignored(_) | Reading::Ping => Ok(reading),
        }
    }

    /// One event of a delivery, as it goes onto the list; its message is begun.
    fn parcel(&self, head: &Head, n: usize, event: Event, begun: Vec<u8>) -> Result<Parcel, Rejection> {
        let within = if lane::is_asked_for_again(event.action.as_deref()) {
            SAME_BYTES_REPEATABLE
        } else {
            SAME_BYTES
        };
        let mut metadata = Metadata::correlated(self.correlation_id);
        metadata.triggered_by = Some("webhook".to_owned());
        metadata.processed_by = Some("gateway".to_owned());
        metadata.traceparent = chassis::trace::carry(&tracing::Span::current(), None);
        let of_several = |name: &str| if n == 0 { name.to_owned() } else { format!("{name}.{n}") };
        let id = of_several(head.delivery.as_str()).parse();
        let id = id.map_err(|_long| Rejection::BadHeader("the delivery's id"))?;
        let seal = head.proof.fingerprint().map(|seal| of_several(&seal));
        let queue = self.rules.queues.get(&head.event).copied();
        let queue = queue.unwrap_or_else(|| lane::of(&head.event, &event));
        let mut webhook = WebhookDelivery::new(
            id,
            self.provider,
            &head.event,
            clock::now(),
            event.source,
            String::new(),
        );
        webhook.queue = queue;
        webhook.action = event.action;
        webhook.repository = event.repository;
        webhook.sender = event.sender;
        webhook.metadata = metadata;
        let text = webhook.finish(begun).map_err(|_never| Rejection::QueueAway)?;
        Ok(Parcel {
            once: seal.map(|seal| (seal, within)),
            copy_to: self.rules.copies.get(&head.event).cloned(),
            ..Parcel::encoded(&webhook, text.into())
        })
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
        let mut reply = Reply {
            status: self.word(),
            ..Reply::default()
        };
        let status = if let Self::Accepted(_) = self {
            StatusCode::ACCEPTED
        } else {
            StatusCode::OK
        };
        match self {
            Self::Accepted(id) => {
                reply.event_id = Some(id);
                reply.processing_time = u64::try_from(spent.as_millis()).ok();
            }
            Self::Duplicate => reply.message = Some("this delivery was taken before".to_owned()),
            Self::Ignored(reason) => reply.message = Some(reason),
            Self::Pong => {}
        }
        (status, Json(reply)).into_response()
    }
}

/// Counts one, and waits if it comes too often, but not yet far too often.
async fn slow<K: std::hash::Hash + Eq + Clone>(limit: Option<&Limit<K>>, key: &K) -> Result<(), Rejection> {
    let Some(limit) = limit else { return Ok(()) };
    let wait = limit.count(key).map_err(Rejection::TooMany)?;
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
    Ok(())
}

/// The delivery id when it is a UUID, else a new one.
fn correlation_id(headers: &HeaderMap) -> String {
    const NAMES: [&str; 6] = [
        "x-github-delivery",
        "idempotency-key",
        "x-gitlab-event-uuid",
        "x-forgejo-delivery",
        "x-gitea-delivery",
        "x-request-uuid",
    ];
    let named = NAMES.iter().find_map(|name| headers.get(*name)?.to_str().ok());
    let id = named.and_then(|text| text.parse::<uuid::Uuid>().ok());
    id.unwrap_or_else(uuid::Uuid::now_v7).to_string()
}
