//! Who may use the API.

use super::{Shared, problem::Problem};
use crate::Config;
use axum::{
    extract::{Request, State},
    http::header::AUTHORIZATION,
    middleware::Next,
    response::{IntoResponse as _, Response},
};
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
        seal::same(seal::digest(token.as_bytes()).as_bytes(), self.digest.as_bytes())
    }
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

/// Lets a request through only with the right bearer token (RFC 6750).
pub(super) async fn guard(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let header = request.headers().get(AUTHORIZATION).and_then(|v| v.to_str().ok());
    let token = header
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    match token {
        Some((_, token)) if shared.0.token.accepts(token.trim()) => next.run(request).await,
        _ => Problem::Unauthorized.into_response(),
    }
}
