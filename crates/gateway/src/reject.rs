//! Refusing a delivery: a public text for the sender, the reason for the log.

use crate::rate::TooMany;
use axum::{
    Json,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

/// Why a delivery was refused. The public text never says which secret or key failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Rejection {
    #[error("not configured: this endpoint has no secret")]
    NotConfigured,
    #[error(
        "there is nothing here; a hook's address is POST /webhook/ and github, gitlab, gitea, forgejo or bitbucket"
    )]
    NoRoute,
    #[error("this address may not send")]
    Forbidden,
    #[error("too many requests, come again in {} s", .0.after)]
    TooMany(TooMany),
    #[error("the {0} is larger than {1} bytes")]
    TooLarge(&'static str, usize),
    #[error("the body must be application/json, and not compressed; GitHub sends forms unless its hook says otherwise")]
    NotJson,
    #[error("required headers are missing")]
    MissingHeaders(Vec<&'static str>),
    #[error("a header has no valid value: {0}")]
    BadHeader(&'static str),
    #[error("the signature is missing or wrong")]
    BadSignature,
    #[error("the body is not what its event says")]
    BadBody(Vec<String>),
    #[error("the body did not arrive in time")]
    TooSlow,
    #[error("the body could not be read")]
    Unreadable,
    #[error("too much at once, come again")]
    Busy,
    #[error("too many deliveries wait for the queue, come again")]
    QueueBusy,
    #[error("the queue is full, come again")]
    QueueFull,
    #[error("the queue cannot be reached, come again")]
    QueueAway,
}

/// RFC 9457 problem details, with the fields that clients of the older form expect.
#[derive(Serialize)]
struct Problem<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: Option<&'static str>,
    status: u16,
    detail: String,
    error: String,
    correlation_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    required: Option<&'a Vec<&'static str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<&'a Vec<String>>,
}

/// When a forge may come again, in seconds.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

// === impl Rejection ===

impl Rejection {
    pub(crate) const fn status(&self) -> StatusCode {
        match self {
            Self::NotConfigured | Self::Busy | Self::QueueBusy | Self::QueueFull | Self::QueueAway => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::TooLarge(..) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::MissingHeaders(_) | Self::BadHeader(_) | Self::Unreadable => StatusCode::BAD_REQUEST,
            Self::BadSignature => StatusCode::UNAUTHORIZED,
            Self::BadBody(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
        }
    }

    /// A stable word for counters.
    pub(crate) const fn word(&self) -> &'static str {
        match self {
            Self::NotConfigured => "not_configured",
            Self::NoRoute => "no_route",
            Self::Forbidden => "forbidden",
            Self::TooMany(_) => "too_many",
            Self::TooLarge(..) => "too_large",
            Self::NotJson => "not_json",
            Self::MissingHeaders(_) => "missing_headers",
            Self::BadHeader(_) => "bad_header",
            Self::BadSignature => "bad_signature",
            Self::BadBody(_) => "bad_body",
            Self::TooSlow => "too_slow",
            Self::Unreadable => "unreadable",
            Self::Busy => "busy",
            Self::QueueBusy => "queue_busy",
            Self::QueueFull => "queue_full",
            Self::QueueAway => "queue_away",
        }
    }

    /// Whether the sender did something that it must not, rather than we could not.
    pub(crate) const fn is_violation(&self) -> bool {
        !matches!(
            self,
            Self::NotConfigured | Self::Busy | Self::QueueBusy | Self::QueueFull | Self::QueueAway
        )
    }

    /// The reply, as RFC 9457 problem details with the older `error` field.
    pub(crate) fn into_reply(self, correlation_id: &str) -> Response {
        let status = self.status();
        let problem = Problem {
            kind: format!("urn:forge:problem:{}", self.word()),
            title: status.canonical_reason(),
            status: status.as_u16(),
            detail: self.to_string(),
            error: self.to_string(),
            correlation_id,
            required: if let Self::MissingHeaders(names) = &self {
                Some(names)
            } else {
                None
            },
            details: if let Self::BadBody(mistakes) = &self {
                Some(mistakes)
            } else {
                None
            },
        };
        let mut reply = (status, Json(problem)).into_response();
        let headers = reply.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        if let Self::TooMany(many) = &self {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(many.after));
            for (name, text) in [("ratelimit-policy", &many.policy), ("ratelimit", &many.limit)] {
                headers.extend(
                    HeaderValue::from_str(text)
                        .ok()
                        .map(|text| (HeaderName::from_static(name), text)),
                );
            }
        }
        reply
    }
}
