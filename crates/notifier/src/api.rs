//! The API, on the admin port: what was delivered and what was not, and what can be done about it.

mod replay;

use crate::{
    announce::Announcer,
    book::{Book, MOST as MOST_ENDPOINTS},
    endpoint::Endpoint,
    wanted::{Kind, Made, Wanted},
};
use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, Query, Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{Next, from_fn_with_state, map_response},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bus::{Record, clock};
use chassis::Secret;
use contract::{Message as _, Notification, Resource};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{collections::HashMap, sync::Arc};
use tokio::sync::Notify;
use uuid::Uuid;

/// What the routes need; cheap to clone.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) book: Arc<Book>,
    pub(crate) kick: Arc<Notify>,
    pub(crate) announcer: Announcer,
}

/// The digest of the token; the token itself is not kept in memory.
#[derive(Clone)]
struct Token(String);

/// What a request failed of.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("a bearer token is required")]
    Unauthorized,
    #[error("there is no such {0}")]
    NotFound(&'static str),
    #[error("{0}")]
    Conflict(&'static str),
    #[error("redis cannot be reached, come again")]
    Bus(#[from] bus::Error),
    #[error("{0}")]
    Unprocessable(String),
    #[error("the system has no randomness to give")]
    NoRandomness,
    #[error("what is to be sent cannot be written: {0}")]
    Encode(#[from] serde_json::Error),
}

/// How many are listed, and after how many.
#[derive(Deserialize)]
struct Limit {
    limit: Option<i64>,
    #[serde(default)]
    skip: usize,
}

/// Why something is done.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Why {
    reason: String,
}

/// An endpoint as it is shown: never its secret, nor its URL, which may hold one.
#[derive(Serialize)]
struct Shown<'a> {
    id: &'a str,
    host: &'a str,
    /// What it is, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    /// `ok`, `left_alone` (its circuit is broken), `disabled` or `degraded` (it cannot be used as it is configured).
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Whether it was made by the API, and not by the configuration.
    made: bool,
    /// Failures in a row.
    failures: u64,
    /// How many deliveries wait for it.
    waiting: u64,
    /// When it is tried again, if it is left alone; ms since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    left_alone_until: Option<i64>,
}

/// So many deliveries are listed unless more are asked for …
const USUAL: i64 = 50;
const LONGEST_REASON: usize = 500;
/// What problems are written in (RFC 9457).
const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");
/// The longest body of a request.
const BODY_BYTES: usize = 64 * 1024;
/// … and never more than these.
const MOST: i64 = 500;

/// The routes, for whoever has the token.
pub(crate) fn routes(api: Api, token: &Secret) -> Router {
    let token = Token(seal::digest(token.expose().as_bytes()));
    Router::new()
        .route("/v1/endpoints", get(endpoints).post(create))
        .route("/v1/endpoints/{id}", get(endpoint).put(replace).delete(remove))
        .route("/v1/endpoints/{id}/rotate", post(rotate))
        .route("/v1/endpoints/{id}/enable", post(enable))
        .route("/v1/endpoints/{id}/disable", post(disable))
        .route("/v1/endpoints/{id}/test", post(test))
        .route("/v1/endpoints/{id}/replay", post(replay::replay))
        .route("/v1/endpoints/{id}/deliveries", get(deliveries))
        .route("/v1/deliveries/{event}/{endpoint}", get(delivery))
        .route("/v1/deliveries/{event}/{endpoint}/resend", post(resend))
        .route("/v1/dead", get(dead))
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .layer(from_fn_with_state(token, authorize))
        .layer(map_response(as_problem))
        .with_state(api)
}

async fn authorize(State(token): State<Token>, request: Request, next: Next) -> Response {
    let given = request.headers().get(header::AUTHORIZATION);
    let given = given.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let same = |given: &str| seal::same(seal::digest(given.as_bytes()).as_bytes(), token.0.as_bytes());
    if given.is_some_and(same) {
        next.run(request).await
    } else {
        Problem::Unauthorized.into_response()
    }
}

/// What is refused before a handler sees it (no such route or method, too long a body, a query that cannot be read) is said
/// in the same form as the rest.
async fn as_problem(response: Response) -> Response {
    let status = response.status();
    let is_problem = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind == PROBLEM);
    if is_problem || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let text = axum::body::to_bytes(body, BODY_BYTES).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let usual = status.canonical_reason().unwrap_or_default();
    let body = problem(status, if text.is_empty() { usual } else { &text });
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(header::CONTENT_TYPE, PROBLEM);
    Response::from_parts(parts, body.into())
}

async fn endpoints(State(api): State<Api>, Query(limit): Query<Limit>) -> Result<Json<Value>, Problem> {
    let (pages, mut shown) = (api.book.pages(), Vec::new());
    let number = usize::try_from(limit.number()).unwrap_or_default();
    for endpoint in pages.all().iter().skip(limit.skip).take(number) {
        shown.push(api.show(endpoint).await?);
    }
    Ok(Json(json!({ "endpoints": shown, "all": pages.all().len() })))
}

async fn endpoint(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    let endpoint = api.find(&id)?;
    let mut shown = api.show(&endpoint).await?;
    let made = api.made(&id).await.and_then(|(_, made)| made);
    if let (Ok(made), Some(shown)) = (made, shown.as_object_mut()) {
        let mut wanted = made.wanted;
        wanted.tls.key = None; // It is never shown.
        if wanted.kind == Kind::Slack {
            wanted.url.clear(); // Whoever knows it can write there.
        }
        shown.insert("wanted".to_owned(), serde_json::to_value(&wanted)?);
        shown.insert("created_at".to_owned(), json!(made.created_at));
    }
    Ok(Json(shown))
}

/// The secret is shown here and when it is rotated, and never again.
async fn create(State(api): State<Api>, body: Bytes) -> Result<(StatusCode, Json<Value>), Problem> {
    let wanted = api.wanted(&body)?;
    if api.book.pages().all().len() >= MOST_ENDPOINTS {
        return Err(Problem::Conflict("there are 10,000 endpoints: remove one first"));
    }
    let id = format!("ep-{}", Uuid::new_v4().simple());
    let (made, secret) = Made::new(wanted).ok_or(Problem::NoRandomness)?;
    api.book.write(&id, "", &made).await?;
    api.announcer.announce().await;
    tracing::info!(endpoint = id, "an endpoint was made");
    let shown = match made.wanted.kind {
        Kind::Webhook => json!({ "id": id, "secret": secret }),
        Kind::Slack | Kind::Email => json!({ "id": id }),
    };
    Ok((StatusCode::CREATED, Json(shown)))
}

async fn replace(State(api): State<Api>, Path(id): Path<String>, body: Bytes) -> Result<StatusCode, Problem> {
    let wanted = api.wanted(&body)?;
    let (text, made) = api.made(&id).await?;
    let mut made = made?;
    made.wanted = wanted;
    unchanged(api.book.write(&id, &text, &made).await?)?;
    api.announcer.announce().await;
    tracing::info!(endpoint = id, "an endpoint was changed");
    Ok(StatusCode::NO_CONTENT)
}

async fn remove(State(api): State<Api>, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    let (text, _) = api.made(&id).await?;
    let host = api.find(&id)?.host().to_owned();
    unchanged(api.book.strike(&id, &host, &text).await?)?;
    api.announcer.announce().await;
    tracing::info!(endpoint = id, "an endpoint was removed");
    Ok(StatusCode::NO_CONTENT)
}

async fn rotate(State(api): State<Api>, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    let (text, made) = api.made(&id).await?;
    let mut made = made?;
    if made.wanted.kind != Kind::Webhook {
        return Err(Problem::Conflict("only what a webhook gets is signed"));
    }
    if !made.can_rotate() {
        return Err(Problem::Conflict(
            "five secrets sign already: wait until the oldest ends, a day after it was replaced",
        ));
    }
    let secret = made.rotate().ok_or(Problem::NoRandomness)?;
    unchanged(api.book.write(&id, &text, &made).await?)?;
    api.announcer.announce().await;
    tracing::info!(endpoint = id, "the secret of an endpoint was rotated");
    Ok(Json(json!({ "id": id, "secret": secret })))
}

async fn enable(State(api): State<Api>, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    let endpoint = api.find(&id)?;
    api.book.courier.turn_on(endpoint.name()).await?;
    api.announcer.announce().await;
    api.kick.notify_one();
    tracing::info!(endpoint = id, "an endpoint was enabled by hand");
    Ok(StatusCode::NO_CONTENT)
}

async fn disable(State(api): State<Api>, Path(id): Path<String>, body: Bytes) -> Result<StatusCode, Problem> {
    let endpoint = api.find(&id)?;
    let why = if body.is_empty() {
        Why::default()
    } else {
        serde_json::from_slice(&body).map_err(|error| Problem::Unprocessable(error.to_string()))?
    };
    if why.reason.len() > LONGEST_REASON {
        return Err(Problem::Unprocessable(format!(
            "reason: at most {LONGEST_REASON} bytes"
        )));
    }
    let reason = if why.reason.is_empty() {
        "disabled by hand".to_owned()
    } else {
        why.reason
    };
    api.book.courier.turn_off(endpoint.name(), &reason).await?;
    api.announcer.announce().await;
    tracing::info!(endpoint = id, reason, "an endpoint was disabled by hand");
    Ok(StatusCode::NO_CONTENT)
}

/// Sends something that means nothing, by the same way as everything else.
async fn test(State(api): State<Api>, Path(id): Path<String>) -> Result<(StatusCode, Json<Value>), Problem> {
    let endpoint = api.find(&id)?;
    if endpoint.broken().is_some() {
        return Err(Problem::Conflict(
            "the endpoint is degraded: put right what its reason says first",
        ));
    }
    let resource = Resource {
        kind: "Endpoint".to_owned(),
        api_version: "forge/v1".to_owned(),
        name: endpoint.host().to_owned(),
        namespace: String::new(),
        uid: id.clone(),
    };
    let mut notice = Notification::new(Uuid::new_v4(), "endpoint.test", clock::now(), resource);
    notice
        .data
        .insert("text".to_owned(), json!("a test, which somebody asked for"));
    let event = notice.event_id.to_string();
    let payload = notice.to_json()?.into();
    api.book
        .courier
        .send(&event, &id, &payload, std::slice::from_ref(&id))
        .await?;
    api.kick.notify_one();
    let shown = api.book.courier.record(&format!("{event}/{id}")).await?;
    let made = shown.ok_or(Problem::Conflict("the endpoint is disabled: nothing is sent to it"))?;
    Ok((StatusCode::ACCEPTED, Json(show(&made))))
}

async fn deliveries(
    State(api): State<Api>,
    Path(id): Path<String>,
    Query(limit): Query<Limit>,
) -> Result<Json<Value>, Problem> {
    let endpoint = api.find(&id)?;
    let found = api.book.courier.newest(Some(endpoint.name()), limit.number()).await?;
    Ok(Json(
        json!({ "deliveries": found.iter().map(show).collect::<Vec<_>>() }),
    ))
}

async fn dead(State(api): State<Api>, Query(limit): Query<Limit>) -> Result<Json<Value>, Problem> {
    let found = api.book.courier.newest(None, limit.number()).await?;
    let all = api.book.courier.count(None).await?;
    Ok(Json(
        json!({ "dead": found.iter().map(show).collect::<Vec<_>>(), "all": all }),
    ))
}

async fn delivery(
    State(api): State<Api>,
    Path((event, endpoint)): Path<(String, String)>,
) -> Result<Json<Value>, Problem> {
    let found = api.book.courier.record(&format!("{event}/{endpoint}")).await?;
    Ok(Json(show(&found.ok_or(Problem::NotFound("delivery"))?)))
}

async fn resend(
    State(api): State<Api>,
    Path((event, endpoint)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    api.find(&endpoint)?;
    let again = api.book.courier.again(&format!("{event}/{endpoint}")).await?;
    again.map_err(|why| match why.as_str() {
        "waiting" => Problem::Conflict("it has not ended yet: it is tried again by itself"),
        "off" => Problem::Conflict("the endpoint is disabled: enable it first"),
        "forgotten" => Problem::Conflict("what was to be delivered is not kept any more"),
        _ => Problem::NotFound("delivery"),
    })?;
    api.kick.notify_one();
    Ok(StatusCode::ACCEPTED)
}

/// A delivery, with what was tried.
fn show(record: &Record) -> Value {
    let field = |name: &str| record.fields.get(name).map(String::as_str).unwrap_or_default();
    let number = |name: &str| field(name).parse::<i64>().ok();
    let (event, endpoint) = record.id.split_once('/').unwrap_or_default();
    let attempts: Vec<Value> = record
        .tries
        .iter()
        .filter_map(|text| serde_json::from_str(text).ok())
        .collect();
    let (waiting, done) = (field("state") == "waiting", field("state") == "done");
    json!({
        "event": event, "endpoint": endpoint, "state": field("state"), "failures": number("failures"),
        "sent_at": number("sent"), "due_at": number("due").filter(|_| waiting), "ended_at": number("ended"),
        "reason": record.fields.get("why").filter(|why| !done && !why.is_empty()), "attempts": attempts,
    })
}

/// Somebody else may have changed it since it was read.
const fn unchanged(written: bool) -> Result<(), Problem> {
    if written {
        Ok(())
    } else {
        Err(Problem::Conflict(
            "somebody else has just changed the endpoint: look at it, and ask again",
        ))
    }
}

/// Problem details (RFC 9457).
fn problem(status: StatusCode, detail: &str) -> String {
    json!({"type": "about:blank", "title": status.canonical_reason(), "status": status.as_u16(), "detail": detail})
        .to_string()
}

// === impl Api ===

impl Api {
    fn find(&self, id: &str) -> Result<Arc<Endpoint>, Problem> {
        let found = self.book.pages().find(id).map(Arc::clone);
        found.ok_or(Problem::NotFound("endpoint"))
    }

    /// What is kept of one that was made here, as it is and as it reads: those of the configuration are changed there.
    async fn made(&self, id: &str) -> Result<(String, Result<Made, Problem>), Problem> {
        let Some(text) = self.book.courier.written(id).await? else {
            self.find(id)?;
            return Err(Problem::Conflict(
                "the endpoint is the configuration's: change it there",
            ));
        };
        let unreadable = |_| Problem::Conflict("what is kept of the endpoint cannot be read by this version");
        let made = serde_json::from_str(&text).map_err(unreadable);
        Ok((text, made))
    }

    fn wanted(&self, body: &[u8]) -> Result<Wanted, Problem> {
        let wanted = Wanted::read(body).map_err(Problem::Unprocessable)?;
        wanted
            .check(&self.book.guard, &self.book.usual)
            .map_err(Problem::Unprocessable)?;
        Ok(wanted)
    }

    async fn show(&self, endpoint: &Endpoint) -> Result<Value, Problem> {
        let health = self.book.courier.addressee(endpoint.name()).await?;
        let waiting = self.book.courier.count(Some(endpoint.name())).await?;
        Ok(serde_json::to_value(Shown::new(endpoint, &health, waiting))?)
    }
}

// === impl Limit ===

impl Limit {
    fn number(&self) -> i64 {
        self.limit.unwrap_or(USUAL).clamp(1, MOST)
    }
}

// === impl Shown ===

impl<'a> Shown<'a> {
    fn new(endpoint: &'a Endpoint, health: &HashMap<String, String>, waiting: u64) -> Self {
        let number = |name: &str| health.get(name).and_then(|text| text.parse::<i64>().ok());
        let open = number("open").filter(|until| *until > clock::now_ms());
        let (state, reason) = match (endpoint.broken(), health.get("off"), open) {
            (Some(why), ..) => ("degraded", Some(why.to_owned())),
            (None, Some(why), _) => ("disabled", Some(why.clone())),
            (None, None, Some(_)) => ("left_alone", None),
            (None, None, None) => ("ok", None),
        };
        Self {
            id: endpoint.name(),
            host: endpoint.host(),
            kind: endpoint.kind(),
            made: endpoint.made,
            state,
            reason,
            failures: number("failures")
                .and_then(|n| u64::try_from(n).ok())
                .unwrap_or_default(),
            waiting,
            left_alone_until: open,
        }
    }
}

// === impl Problem ===

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::Bus(error) => {
                tracing::warn!(error = %chassis::chain(error), "a request could not be answered");
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Unprocessable(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Encode(_) | Self::NoRandomness => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let kind = [(header::CONTENT_TYPE, PROBLEM)];
        let mut response = (status, kind, problem(status, &self.to_string())).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let way = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, way);
        }
        response
    }
}
