//! Requests that are sent twice are done once: the header `Idempotency-Key`
//! (draft-ietf-httpapi-idempotency-key-header).

use super::{BODY_BYTES, Shared, problem::Problem};
use crate::{access::Caller, store::Known};
use axum::{
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use uuid::Uuid;

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Says that an answer was given before.
const REPEATED: HeaderName = HeaderName::from_static("idempotent-replayed");
const LONGEST: usize = 255;
/// Namespace of seeds.
const KEYS: Uuid = Uuid::from_u128(0x6f72_6765_2d6b_5579_8c64_732d_7635_0001);

/// From this the names of what a request makes are derived: those of the same request are the same.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seed(pub(super) Uuid);

/// Answers a POST whose key is known with what was answered the first time. Answers are kept for a day, but for tokens:
/// these are kept nowhere, and have names that cannot be taken twice.
pub(super) async fn once(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let has_key = request.method() == Method::POST && request.uri().path() != "/v1/tokens";
    let key = request.headers().get(KEY).filter(|_| has_key);
    let Some(key) = key.map(|key| key.to_str().map(ToOwned::to_owned)) else {
        return next.run(request).await;
    };
    match key {
        Ok(key) if (1..=LONGEST).contains(&key.len()) => {
            // What was begun is answered and kept, even if who asked has left by then.
            #[expect(clippy::disallowed_methods, reason = "it has the bounds of the request")]
            let answered = tokio::spawn(async move { answer(&shared, &key, request, next).await });
            match answered.await {
                Ok(Ok(response)) => response,
                Ok(Err(problem)) => problem.into_response(),
                Err(_panicked) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            }
        }
        _ => Problem::BadRequest(format!("Idempotency-Key: expected 1 to {LONGEST} characters")).into_response(),
    }
}

async fn answer(shared: &Shared, key: &str, request: Request, next: Next) -> Result<Response, Problem> {
    let store = &shared.0.store;
    let token = request.extensions().get::<Caller>().and_then(|caller| caller.token);
    // A token's number is never that of another, unlike its name.
    let who = token.map_or_else(|| "admin".to_owned(), |id| id.to_string());
    let (mut head, body) = request.into_parts();
    let body = to_bytes(body, BODY_BYTES)
        .await
        .map_err(|_too_large| Problem::TooLarge)?;
    let digest = seal::digest(&[head.uri.path().as_bytes(), b"\n", &body].concat());
    match store.begin_reply(&who, key, &digest).await? {
        Known::New => {}
        Known::Begun => return Err(Problem::Conflict("the same request is being done".to_owned())),
        Known::Another => {
            let text = "Idempotency-Key: it was that of another request";
            return Err(Problem::Unprocessable(text.to_owned()));
        }
        Known::Answered { status, body } => return Ok(again(status, body)),
    }
    let seed = Uuid::new_v5(&KEYS, format!("{who}\n{key}\n{digest}").as_bytes());
    head.extensions.insert(Seed(seed));
    let response = next.run(Request::from_parts(head, Body::from(body))).await;
    let (head, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&body);
    // What failed here may succeed the next time.
    let kept = (!head.status.is_server_error()).then_some((head.status.as_u16(), &*text));
    store.end_reply(&who, key, kept).await?;
    Ok(Response::from_parts(head, Body::from(body)))
}

fn again(status: i64, body: String) -> Response {
    let status = u16::try_from(status)
        .ok()
        .and_then(|status| StatusCode::from_u16(status).ok());
    let status = status.unwrap_or(StatusCode::OK);
    let kind = if status.is_client_error() {
        "application/problem+json"
    } else {
        "application/json"
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (REPEATED, HeaderValue::from_static("true")),
    ];
    (status, headers, body).into_response()
}
