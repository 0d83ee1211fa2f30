//! Tokens of the API.

use super::{
    Shared, auth,
    extract::{Body, ById, Created, Path},
    problem::Problem,
};
use crate::{
    access::{Caller, Role},
    store::Token,
};
use axum::{Json, extract::State, response::NoContent};
use bus::clock;
use contract::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A token to be made.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewToken {
    /// Whose it is, or what for.
    #[schemars(length(min = 1, max = 100))]
    name: String,
    role: Role,
    /// Numbers of the projects that it is for; all without it.
    projects: Option<Vec<i64>>,
    /// Days until it ends; never without it.
    #[schemars(range(min = 1, max = 3_650))]
    days: Option<i64>,
}

/// A token.
#[derive(Serialize, JsonSchema)]
pub(super) struct Shown {
    id: i64,
    name: String,
    /// How it begins, after `forge_`.
    prefix: String,
    role: Role,
    projects: Option<Vec<i64>>,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
    /// To the minute.
    used_at: Option<Timestamp>,
}

/// A token that was just made.
#[derive(Serialize, JsonSchema)]
pub(super) struct Made {
    /// The token itself. It is shown only now.
    token: String,
    #[serde(flatten)]
    shown: Shown,
}

/// Who asks.
#[derive(Serialize, JsonSchema)]
pub(super) struct Me {
    /// Name of the token.
    name: String,
    role: Role,
    /// Numbers of the projects that it is for; all without it.
    projects: Option<Vec<i64>>,
}

const NAME_LENGTH: usize = 100;
const MOST_DAYS: i64 = 3_650;
const DAY: i64 = 86_400_000;

/// What the token of this request may do.
pub(super) async fn me(caller: Caller) -> Json<Me> {
    Json(Me {
        name: caller.name,
        role: caller.role,
        projects: caller.projects,
    })
}

/// Tokens by their names. The administrator's token of the configuration is not among them.
pub(super) async fn list(State(shared): State<Shared>) -> Result<Json<Vec<Shown>>, Problem> {
    let tokens = shared.0.store.tokens().await?;
    Ok(Json(tokens.into_iter().map(Shown::from).collect()))
}

/// Makes a token. It is shown once; only its digest is kept.
pub(super) async fn add(State(shared): State<Shared>, Body(new): Body<NewToken>) -> Result<Created<Made>, Problem> {
    if new.name.trim().is_empty() || new.name.chars().count() > NAME_LENGTH || new.name == "admin" {
        let text = "name: expected 1 to 100 characters, and not admin";
        return Err(Problem::Unprocessable(text.to_owned()));
    }
    if new.days.is_some_and(|days| !(1..=MOST_DAYS).contains(&days)) {
        return Err(Problem::Unprocessable("days: expected 1 to 3650".to_owned()));
    }
    if new.role == Role::Admin && new.projects.is_some() {
        let text = "projects: an administrator's token is for all of them";
        return Err(Problem::Unprocessable(text.to_owned()));
    }
    let no_randomness = || Problem::Conflict("the system has no randomness to give".to_owned());
    let (token, prefix, digest) = auth::make().ok_or_else(no_randomness)?;
    let added = Token {
        id: 0,
        name: new.name,
        prefix,
        digest,
        role: new.role,
        projects: new.projects,
        created_at: 0,
        expires_at: new.days.map(|days| clock::now_ms() + days * DAY),
        used_at: None,
    };
    let shown = shared.0.store.add_token(&added).await?.into();
    Ok(Created(Made { token, shown }))
}

/// Ends a token, at once.
pub(super) async fn remove(State(shared): State<Shared>, Path(ById { id }): Path<ById>) -> Result<NoContent, Problem> {
    let removed = shared.0.store.remove_token(id).await?;
    removed.then_some(NoContent).ok_or(Problem::NotFound)
}

// === impl Shown ===

impl From<Token> for Shown {
    fn from(token: Token) -> Self {
        Self {
            id: token.id,
            name: token.name,
            prefix: token.prefix,
            role: token.role,
            projects: token.projects,
            created_at: Timestamp::from_millis(token.created_at),
            expires_at: token.expires_at.map(Timestamp::from_millis),
            used_at: token.used_at.map(Timestamp::from_millis),
        }
    }
}
