//! What requests bring and what is answered, each with its description for OpenAPI and its mistakes as problems.

use super::{problem::Problem, repeat::Seed, reply::NEXT};
use crate::access::Caller;
use aide::{
    OperationInput, OperationOutput,
    generate::GenContext,
    openapi::{Operation, Response as Described, StatusCode as Status},
};
use axum::{
    Json,
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Request, rejection::BytesRejection},
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, Error as _},
};
use serde_json::{Map, Value};
use std::convert::Infallible;
use uuid::Uuid;

/// The part of the path, by name.
pub(super) struct Path<T>(pub(super) T);

/// What comes after the question mark.
pub(super) struct Query<T>(pub(super) T);

/// A body of JSON.
pub(super) struct Body<T>(pub(super) T);

/// An object of JSON. Serde would take an array of the fields' values for the same.
#[derive(JsonSchema)]
#[serde(transparent)]
pub(super) struct Object<T>(pub(super) T);

/// Something new: 201.
pub(super) struct Created<T>(pub(super) T);

/// It is on its way: 202.
pub(super) struct Accepted<T>(pub(super) T);

/// A page of a list, newest first, and where the next begins.
pub(super) struct Listed<T> {
    pub(super) items: Vec<T>,
    pub(super) next: Option<String>,
}

/// Something by its number.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ById {
    /// Its number.
    pub(super) id: i64,
}

/// Something by its number, or its name for ever.
#[derive(Deserialize, JsonSchema)]
pub(super) struct ByName {
    /// Its number, or its name for ever.
    pub(super) id: String,
}

/// Which page of a list.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Paging {
    /// Most that is listed; 50 without it, never more than 500.
    pub(super) limit: Option<u32>,
    /// What the header `X-Next-Cursor` of the page before said.
    #[schemars(regex(pattern = r"^[0-9]{1,18}(\.[ -~]+)?$"))]
    pub(super) cursor: Option<String>,
}

const USUAL_PAGE: u32 = 50;
const LARGEST_PAGE: u32 = 500;

/// A cursor's number, and what comes after it.
pub(super) fn number_of(cursor: &str) -> (&str, &str) {
    cursor.split_once('.').unwrap_or((cursor, ""))
}

pub(super) fn no_cursor() -> Problem {
    Problem::BadRequest("cursor: expected what the page before said".to_owned())
}

// === impl Paging ===

impl Paging {
    pub(super) fn limit(&self) -> u32 {
        self.limit.unwrap_or(USUAL_PAGE).clamp(1, LARGEST_PAGE)
    }

    /// The cursor, where it is a number.
    pub(super) fn before(&self) -> Result<Option<i64>, Problem> {
        let number = self.cursor.as_deref().map(|text| number_of(text).0.parse());
        number.transpose().map_err(|_not_a_number| no_cursor())
    }

    /// Where the next page begins, if this one is full.
    pub(super) fn next<T>(&self, items: &[T], cursor: impl FnOnce(&T) -> String) -> Option<String> {
        let is_full = items.len() == usize::try_from(self.limit()).unwrap_or(usize::MAX);
        items.last().filter(|_| is_full).map(cursor)
    }
}

// === impl Path ===

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let axum::extract::Path(it) = axum::extract::Path::from_request_parts(parts, state)
            .await
            .map_err(|_no_such_number| Problem::NotFound)?;
        Ok(Self(it))
    }
}

impl<T: JsonSchema> OperationInput for Path<T> {
    fn operation_input(context: &mut GenContext, operation: &mut Operation) {
        axum::extract::Path::<T>::operation_input(context, operation);
    }
}

// === impl Query ===

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let axum::extract::Query(it) = axum::extract::Query::from_request_parts(parts, state)
            .await
            .map_err(|rejection| Problem::BadRequest(rejection.body_text()))?;
        Ok(Self(it))
    }
}

impl<T: JsonSchema> OperationInput for Query<T> {
    fn operation_input(context: &mut GenContext, operation: &mut Operation) {
        axum::extract::Query::<T>::operation_input(context, operation);
    }
}

// === impl Object ===

impl<'de, T: DeserializeOwned> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = Map::deserialize(deserializer)?;
        serde_json::from_value(Value::Object(fields))
            .map(Self)
            .map_err(D::Error::custom)
    }
}

// === impl Body ===

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let body = Bytes::from_request(request, state).await;
        let body = body.map_err(|rejection: BytesRejection| match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Problem::TooLarge,
            _ => Problem::BadRequest(rejection.body_text()),
        })?;
        let parsed = serde_json::from_slice(&body).map_err(|error| {
            if error.is_data() {
                Problem::Unprocessable(error.to_string())
            } else {
                Problem::BadRequest(format!("the body is not JSON: {error}"))
            }
        });
        parsed.map(|Object(it)| Self(it))
    }
}

impl<T: JsonSchema> OperationInput for Body<T> {
    fn operation_input(context: &mut GenContext, operation: &mut Operation) {
        Json::<T>::operation_input(context, operation);
    }
}

// === impl Caller ===

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or(Problem::Unauthorized)
    }
}

impl OperationInput for Caller {}

// === impl Seed ===

impl<S: Send + Sync> FromRequestParts<S> for Seed {
    type Rejection = Infallible;

    /// That of the request's key; without one, one that never was.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let known = parts.extensions.get::<Self>().copied();
        Ok(known.unwrap_or_else(|| Self(Uuid::now_v7())))
    }
}

impl OperationInput for Seed {}

// === impl Created ===

impl<T: Serialize> IntoResponse for Created<T> {
    fn into_response(self) -> Response {
        (StatusCode::CREATED, Json(self.0)).into_response()
    }
}

impl<T: JsonSchema> OperationOutput for Created<T> {
    type Inner = T;

    fn operation_response(context: &mut GenContext, operation: &mut Operation) -> Option<Described> {
        Json::<T>::operation_response(context, operation)
    }

    fn inferred_responses(context: &mut GenContext, operation: &mut Operation) -> Vec<(Option<Status>, Described)> {
        with_status(201, Self::operation_response(context, operation))
    }
}

// === impl Accepted ===

impl<T: Serialize> IntoResponse for Accepted<T> {
    fn into_response(self) -> Response {
        (StatusCode::ACCEPTED, Json(self.0)).into_response()
    }
}

impl<T: JsonSchema> OperationOutput for Accepted<T> {
    type Inner = T;

    fn operation_response(context: &mut GenContext, operation: &mut Operation) -> Option<Described> {
        Json::<T>::operation_response(context, operation)
    }

    fn inferred_responses(context: &mut GenContext, operation: &mut Operation) -> Vec<(Option<Status>, Described)> {
        with_status(202, Self::operation_response(context, operation))
    }
}

// === impl Listed ===

impl<T: Serialize> IntoResponse for Listed<T> {
    fn into_response(self) -> Response {
        let mut response = Json(self.items).into_response();
        if let Some(Ok(next)) = self.next.map(|next| next.parse()) {
            response.headers_mut().insert(NEXT, next);
        }
        response
    }
}

impl<T: JsonSchema> OperationOutput for Listed<T> {
    type Inner = Vec<T>;

    fn operation_response(context: &mut GenContext, operation: &mut Operation) -> Option<Described> {
        Json::<Vec<T>>::operation_response(context, operation)
    }

    fn inferred_responses(context: &mut GenContext, operation: &mut Operation) -> Vec<(Option<Status>, Described)> {
        with_status(200, Self::operation_response(context, operation))
    }
}

fn with_status(status: u16, described: Option<Described>) -> Vec<(Option<Status>, Described)> {
    described
        .into_iter()
        .map(|described| (Some(Status::Code(status)), described))
        .collect()
}
