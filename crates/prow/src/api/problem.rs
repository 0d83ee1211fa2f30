//! Errors of the API, as RFC 9457 problem details with the older `error` field.

use crate::{archive, store};
use aide::{
    OperationOutput,
    generate::GenContext,
    openapi::{MediaType, Operation, Response as Described, SchemaObject},
};
use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::Serialize;

/// What a request failed of.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    #[error("a bearer token is required")]
    Unauthorized,
    #[error("this takes the role {0}")]
    Forbidden(&'static str),
    #[error("there is no such thing")]
    NotFound,
    #[error("this cannot be done to it")]
    MethodNotAllowed,
    #[error("{0}")]
    BadRequest(String),
    #[error("the body is larger than 1 MiB")]
    TooLarge,
    #[error("{0}")]
    Unprocessable(String),
    #[error("it is too late: the build is {0}")]
    TooLate(String),
    #[error("{0}")]
    Conflict(String),
    #[error("the log has {0} bytes")]
    RangeNotSatisfiable(u64),
    #[error("the queue cannot be reached, come again")]
    Bus(#[from] bus::Error),
    #[error("the database cannot be reached, come again")]
    Away(#[source] store::Error),
    #[error("the database failed")]
    Store(#[source] store::Error),
    #[error("the log cannot be read")]
    Log(#[source] archive::Error),
}

/// What went wrong: problem details (RFC 9457).
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
struct Shown {
    /// Always `about:blank`: the status says what kind it is.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The status in words.
    title: &'static str,
    /// The status.
    status: u16,
    /// A sentence for people.
    detail: String,
    /// The same, in the older field.
    error: String,
}

const KIND: &str = "application/problem+json";

// === impl Problem ===

impl Problem {
    const fn status(&self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unprocessable(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooLate(_) | Self::Conflict(_) => StatusCode::CONFLICT,
            Self::RangeNotSatisfiable(_) => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::Bus(_) | Self::Away(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Store(_) | Self::Log(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn header(&self) -> Option<(header::HeaderName, HeaderValue)> {
        match self {
            Self::Unauthorized => Some((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
            Self::RangeNotSatisfiable(bytes) => {
                let range = format!("bytes */{bytes}").parse().ok()?;
                Some((header::CONTENT_RANGE, range))
            }
            Self::Forbidden(_)
            | Self::NotFound
            | Self::MethodNotAllowed
            | Self::BadRequest(_)
            | Self::TooLarge
            | Self::Unprocessable(_)
            | Self::TooLate(_)
            | Self::Conflict(_)
            | Self::Bus(_)
            | Self::Away(_)
            | Self::Store(_)
            | Self::Log(_) => None,
        }
    }
}

impl From<store::Error> for Problem {
    fn from(error: store::Error) -> Self {
        if matches!(error, store::Error::Taken) {
            Self::Conflict(error.to_string())
        } else if error.is_away() {
            Self::Away(error)
        } else {
            Self::Store(error)
        }
    }
}

impl From<archive::Error> for Problem {
    fn from(error: archive::Error) -> Self {
        match error {
            archive::Error::Store(error) => error.into(),
            archive::Error::Bus(error) => error.into(),
            error @ (archive::Error::Shelf(_) | archive::Error::Segment(_) | archive::Error::Overtaken) => {
                Self::Log(error)
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status();
        if status.is_server_error() {
            tracing::error!(error = %chassis::chain(&self), "a request failed");
        }
        let shown = Shown {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or_default(),
            status: status.as_u16(),
            detail: self.to_string(),
            error: self.to_string(),
        };
        let mut reply = (status, Json(shown)).into_response();
        let kind = (header::CONTENT_TYPE, HeaderValue::from_static(KIND));
        for (name, value) in [kind].into_iter().chain(self.header()) {
            reply.headers_mut().insert(name, value);
        }
        reply
    }
}

impl OperationOutput for Problem {
    type Inner = Self;

    fn operation_response(context: &mut GenContext, _: &mut Operation) -> Option<Described> {
        let media = MediaType {
            schema: Some(SchemaObject {
                json_schema: context.schema.subschema_for::<Shown>(),
                external_docs: None,
                example: None,
            }),
            ..MediaType::default()
        };
        Some(Described {
            description: "It could not be done.".to_owned(),
            content: [(KIND.to_owned(), media)].into_iter().collect(),
            ..Described::default()
        })
    }
}
