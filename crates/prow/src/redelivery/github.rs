//! GitHub's REST API, as far as deliveries of webhooks go (version 2022-11-28).

use super::choose::Attempt;
use crate::config::{Hooks, Identity};
use bus::clock;
use chassis::Secret;
use reqwest::{
    Client, Method, RequestBuilder, Response, StatusCode,
    header::{ACCEPT, LINK, USER_AGENT},
    redirect,
};
use seal::SigningKey;
use std::{sync::Arc, time::Duration};

/// GitHub, or a GitHub Enterprise Server.
#[derive(Clone)]
pub(super) struct Github {
    client: Client,
    api: String,
    identity: Who,
    /// Paths of what has deliveries: an app's hook, or hooks of repositories and organisations.
    sources: Vec<String>,
}

#[derive(Clone)]
enum Who {
    App(String, Arc<SigningKey>),
    Token(Secret),
}

/// GitHub does not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("GitHub cannot be asked")]
    Asking(#[from] reqwest::Error),
    #[error("GitHub answered {0} to {1}")]
    Refused(StatusCode, String),
    #[error("GitHub's answer is too long")]
    TooLong,
    #[error("GitHub's answer cannot be read")]
    Unreadable(#[from] serde_json::Error),
    #[error("the system has no randomness to give")]
    Randomness,
}

const PATIENCE: Duration = Duration::from_secs(30);
const PAGE: usize = 100;
/// Most pages that are read of a source.
const PAGES: usize = 50;
/// Longest page, in bytes: a delivery takes about 400.
const PAGE_BYTES: usize = 1_024 * 1_024;

// === impl Error ===

impl Error {
    /// Whether asking again would be answered the same.
    pub(super) fn is_final(&self) -> bool {
        matches!(
            self,
            Self::Refused(StatusCode::NOT_FOUND | StatusCode::UNPROCESSABLE_ENTITY, _)
        )
    }
}

// === impl Github ===

impl Github {
    pub(super) fn new(hooks: &Hooks) -> Result<Self, reqwest::Error> {
        let client = Client::builder()
            .timeout(PATIENCE)
            .redirect(redirect::Policy::none()) // The token is for nobody else.
            .build()?;
        let (identity, sources) = match &hooks.identity {
            Identity::App { id, key } => (Who::App(id.clone(), Arc::clone(key)), vec!["app/hook".to_owned()]),
            Identity::Token { token, hooks } => (Who::Token(token.clone()), hooks.clone()),
        };
        Ok(Self {
            client,
            identity,
            sources,
            api: hooks.api.trim_end_matches('/').to_owned(),
        })
    }

    pub(super) fn sources(&self) -> Vec<String> {
        self.sources.clone()
    }

    /// Attempts at deliveries since then, newest first.
    pub(super) async fn deliveries(&self, source: &str, since: i64) -> Result<Vec<Attempt>, Error> {
        let mut all = Vec::new();
        let mut cursor = None;
        for _ in 0..PAGES {
            let mut path = format!("{source}/deliveries?per_page={PAGE}");
            if let Some(cursor) = &cursor {
                path = format!("{path}&cursor={cursor}");
            }
            let response = self.ask(Method::GET, &path).await?;
            cursor = next(&response);
            let page: Vec<Attempt> = serde_json::from_slice(&read(response).await?)?;
            let is_new = |attempt: &Attempt| attempt.delivered_at.as_millis() >= since;
            let was_last = page.is_empty() || !page.iter().all(is_new);
            all.extend(page.into_iter().filter(is_new));
            if was_last || cursor.is_none() {
                return Ok(all);
            }
        }
        tracing::warn!(source, "there are more deliveries than are looked at");
        Ok(all)
    }

    /// Asks for a delivery to be made again.
    pub(super) async fn deliver_again(&self, source: &str, id: u64) -> Result<(), Error> {
        self.ask(Method::POST, &format!("{source}/deliveries/{id}/attempts"))
            .await
            .map(drop)
    }

    async fn ask(&self, method: Method, path: &str) -> Result<Response, Error> {
        let request = self.client.request(method, format!("{}/{path}", self.api));
        let request = request
            .header(ACCEPT, "application/vnd.github+json")
            .header("x-github-api-version", "2022-11-28")
            .header(USER_AGENT, "forge");
        let response = self
            .as_who(request)?
            .send()
            .await
            .map_err(reqwest::Error::without_url)?;
        let status = response.status();
        if status.is_success() {
            Ok(response)
        } else {
            let path = path.split('?').next().unwrap_or_default();
            Err(Error::Refused(status, path.to_owned()))
        }
    }

    fn as_who(&self, request: RequestBuilder) -> Result<RequestBuilder, Error> {
        match &self.identity {
            Who::Token(token) => Ok(request.bearer_auth(token.expose())),
            Who::App(id, key) => {
                let token = key.app_token(id, clock::now_ms() / 1_000).ok_or(Error::Randomness)?;
                Ok(request.bearer_auth(token))
            }
        }
    }
}

/// The cursor of the next page (RFC 8288).
fn next(response: &Response) -> Option<String> {
    let links = response.headers().get(LINK)?.to_str().ok()?;
    let link = links.split(',').find(|link| link.contains(r#"rel="next""#))?;
    let url = link.trim().strip_prefix('<')?.split('>').next()?;
    let (_, query) = url.split_once('?')?;
    let cursor = query.split('&').find_map(|part| part.strip_prefix("cursor="))?;
    Some(cursor.to_owned())
}

/// The whole answer, if it is not too long.
async fn read(mut response: Response) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    while let Some(part) = response.chunk().await? {
        bytes.extend_from_slice(&part);
        if bytes.len() > PAGE_BYTES {
            return Err(Error::TooLong);
        }
    }
    Ok(bytes)
}
