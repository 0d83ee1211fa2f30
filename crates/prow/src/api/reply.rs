//! What every answer has: an entity tag where it is JSON (RFC 9110, section 8.8.3), and headers for browsers.

use axum::{
    body::{Body, to_bytes},
    extract::Request,
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

/// Nothing of this API is a page, but for its documentation, which has no scripts.
const HEADERS: &[(HeaderName, &str)] = &[
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-cache"),
];
/// Names the next page of a list, while there is one.
pub(super) const NEXT: HeaderName = HeaderName::from_static("x-next-cursor");
/// So many characters of a digest tell answers apart.
const TAG: usize = 32;

/// Adds the headers; who has the answer already is told so.
pub(super) async fn finish(request: Request, next: Next) -> Response {
    let is_read = request.method() == Method::GET;
    let known = request.headers().get(header::IF_NONE_MATCH).cloned();
    let mut response = next.run(request).await;
    if is_read && response.status() == StatusCode::OK && is_json(&response) {
        response = tagged(response, known.as_ref()).await;
    }
    for (name, value) in HEADERS {
        response
            .headers_mut()
            .entry(name)
            .or_insert_with(|| HeaderValue::from_static(value));
    }
    response
}

fn is_json(response: &Response) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"))
}

async fn tagged(response: Response, known: Option<&HeaderValue>) -> Response {
    let (mut head, body) = response.into_parts();
    let Ok(body) = to_bytes(body, usize::MAX).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response(); // It was in memory.
    };
    let digest = seal::digest(&body);
    let tag = format!("W/\"{}\"", digest.get(..TAG).unwrap_or_default());
    let is_known = known.and_then(|known| known.to_str().ok()).is_some_and(|known| {
        known
            .split(',')
            .any(|known| matches!(known.trim(), "*") || known.trim() == tag)
    });
    if let Ok(tag) = tag.parse() {
        head.headers.insert(header::ETAG, tag);
    }
    if is_known {
        head.status = StatusCode::NOT_MODIFIED;
        head.headers.remove(header::CONTENT_TYPE);
        head.headers.remove(header::CONTENT_LENGTH);
        return Response::from_parts(head, Body::empty());
    }
    Response::from_parts(head, Body::from(body))
}
