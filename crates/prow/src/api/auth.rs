//! Who may use the API.

use super::{Shared, problem::Problem};
use crate::{
    Config,
    access::{Caller, Role},
    store::Token,
};
use axum::{
    extract::{Request, State},
    http::{HeaderMap, header::AUTHORIZATION},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use bus::clock;
use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

/// The digest of the administrator's token; the token itself is not kept in memory.
#[derive(Clone, Debug)]
pub(crate) struct AdminToken {
    digest: String,
}

/// What tokens begin with, so that scanners for leaked secrets know them.
const MARK: &str = "forge_";
/// So many characters after the mark find the token; the rest proves it.
const PREFIX: usize = 12;
/// When a token was last used is known to so many ms.
const USED: i64 = 60_000;

// === impl AdminToken ===

impl AdminToken {
    /// The configured token; else that of the data folder, which is made at the first start.
    pub(crate) fn settle(config: &Config) -> io::Result<Self> {
        let token = match &config.admin_token {
            Some(token) => token.expose().to_owned(),
            None => from_folder(&config.data_dir.join("admin-token"))?,
        };
        Ok(Self {
            digest: seal::digest(token.as_bytes()),
        })
    }

    fn accepts(&self, token: &str) -> bool {
        is_digest(token, &self.digest)
    }
}

fn is_digest(token: &str, digest: &str) -> bool {
    seal::same(seal::digest(token.as_bytes()).as_bytes(), digest.as_bytes())
}

/// Reads a token, or makes one that only its owner can read.
fn from_folder(path: &Path) -> io::Result<String> {
    match fs::read_to_string(path) {
        Ok(token) if !token.trim().is_empty() => return Ok(token.trim().to_owned()),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let token = seal::token().ok_or_else(|| io::Error::other("the system has no randomness to give"))?;
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(token.as_bytes())?;
    file.sync_all()?;
    tracing::warn!(file = %path.display(), "made an admin token for the API");
    Ok(token)
}

/// A new token, by what it is found, and its digest; `None` when the system has no randomness to give.
pub(super) fn make() -> Option<(String, String, String)> {
    let token = format!("{MARK}{}", seal::token()?);
    Some((
        token.clone(),
        prefix(&token)?.to_owned(),
        seal::digest(token.as_bytes()),
    ))
}

fn prefix(token: &str) -> Option<&str> {
    token.strip_prefix(MARK)?.get(..PREFIX)
}

/// Lets a request through only with the right bearer token (RFC 6750), and says who asks.
pub(super) async fn guard(State(shared): State<Shared>, mut request: Request, next: Next) -> Response {
    match who(&shared, request.headers()).await {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

/// Who asks.
pub(super) async fn who(shared: &Shared, headers: &HeaderMap) -> Result<Caller, Problem> {
    let header = headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok());
    let token = header
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    match token {
        Some((_, token)) => caller(shared, token.trim()).await,
        None => Err(Problem::Unauthorized),
    }
}

async fn caller(shared: &Shared, token: &str) -> Result<Caller, Problem> {
    if shared.0.token.accepts(token) {
        return Ok(Caller {
            name: "admin".to_owned(),
            token: None,
            role: Role::Admin,
            projects: None,
        });
    }
    let prefix = prefix(token).ok_or(Problem::Unauthorized)?;
    let found: Option<Token> = shared.0.store.token(prefix).await?;
    let now = clock::now_ms();
    let found = found
        .filter(|found| is_digest(token, &found.digest))
        .filter(|found| found.expires_at.is_none_or(|end| now < end))
        .ok_or(Problem::Unauthorized)?;
    if found.used_at.is_none_or(|used| used < now - USED) {
        shared.0.store.token_used(found.id).await?;
    }
    Ok(Caller {
        name: found.name,
        token: Some(found.id),
        role: found.role,
        projects: found.projects,
    })
}

/// Lets a request through only if who asks has this role, or a higher one.
pub(super) async fn takes(State(role): State<Role>, request: Request, next: Next) -> Response {
    match request.extensions().get::<Caller>() {
        Some(caller) if caller.role >= role => next.run(request).await,
        Some(_) => Problem::Forbidden(role.word()).into_response(),
        None => Problem::Unauthorized.into_response(),
    }
}
