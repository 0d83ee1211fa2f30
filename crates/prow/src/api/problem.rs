//! Errors of the API, as RFC 9457 problem details with the older `error` field.

use crate::{archive, store};
use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

/// What a request failed of.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    #[error("a bearer token is required")]
    Unauthorized,
    #[error("there is no such thing")]
    NotFound,
    #[error("{0}")]
    BadRequest(String),
    #[error("{0}")]
    Unprocessable(String),
    #[error("it is too late: the build is {0}")]
    TooLate(String),
    #[error("{0}")]
    Conflict(String),
    #[error("the queue cannot be reached, come again")]
    Bus(#[from] bus::Error),
    #[error("the database cannot be reached, come again")]
    Away(#[source] store::Error),
    #[error("the database failed")]
    Store(#[source] store::Error),
    #[error("the log cannot be read")]
    Log(#[source] archive::Error),
    #[error("the log has {0} bytes")]
    RangeNotSatisfiable(u64),
}

impl From<store::Error> for Problem {
    fn from(error: store::Error) -> Self {
        if error.is_away() {
            Self::Away(error)
        } else {
            Self::Store(error)
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::Unprocessable(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::RangeNotSatisfiable(_) => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::TooLate(_) | Self::Conflict(_) => StatusCode::CONFLICT,
            Self::Bus(_) | Self::Away(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Store(_) | Self::Log(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        if status.is_server_error() {
            tracing::error!(error = %chassis::chain(&self), "a request failed");
        }
        let text = self.to_string();
        let body = json!({"type": "about:blank", "title": status.canonical_reason(), "status": status.as_u16(), "detail": text, "error": text});
        let mut reply = (status, Json(body)).into_response();
        let kind = HeaderValue::from_static("application/problem+json");
        reply.headers_mut().insert(header::CONTENT_TYPE, kind);
        if let Self::RangeNotSatisfiable(bytes) = self
            && let Ok(value) = format!("bytes */{bytes}").parse()
        {
            reply.headers_mut().insert(header::CONTENT_RANGE, value);
        }
        if status == StatusCode::UNAUTHORIZED {
            reply
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        reply
    }
}
