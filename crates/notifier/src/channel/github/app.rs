//! A GitHub App: it gives a token per repository, good for an hour.
//!
//! <https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app>.

use super::{Place, headers, said};
use crate::{channel::Telling, client::Answer, outcome::Reply};
use bus::clock;
use chassis::Secret;
use reqwest::Method;
use seal::SigningKey;
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use url::Url;

/// An app that may write what is reported; cheap to clone.
#[derive(Clone)]
pub(crate) struct App {
    id: String,
    key: Arc<SigningKey>,
    tokens: Arc<Mutex<HashMap<String, Kept>>>,
}

/// A token, and until when it is used, in milliseconds since the Unix epoch.
struct Kept {
    token: Secret,
    until: i64,
}

/// A token of a repository is good for an hour, and used for a little less.
const USED_MS: i64 = 50 * 60 * 1_000;
/// Tokens of so many repositories are kept.
const MOST: usize = 1_000;

// === impl App ===

impl App {
    pub(crate) fn new(id: String, key: SigningKey) -> Self {
        Self {
            id,
            key: Arc::new(key),
            tokens: Arc::default(),
        }
    }

    /// A token for the repository of a place.
    pub(super) async fn token(&self, telling: &Telling<'_>, api: &Url, place: Place<'_>) -> Result<Secret, Reply> {
        let name = format!("{}/{}", place.owner, place.repo);
        let now = clock::now_ms();
        if let Some(kept) = self.tokens().get(&name).filter(|kept| kept.until > now) {
            return Ok(kept.token.clone());
        }
        let found = self
            .ask(telling, api, Method::GET, &format!("repos/{name}/installation"), None)
            .await?;
        let id = field(&found, 200, "id").and_then(|id| id.as_u64());
        let id = id.ok_or_else(|| refused(&found, &name, "its installation"))?;
        // With all that it may: to ask for what it may not is refused altogether.
        let wanted = json!({"repositories": [place.repo]});
        let path = format!("app/installations/{id}/access_tokens");
        let made = self.ask(telling, api, Method::POST, &path, Some(&wanted)).await?;
        let token = field(&made, 201, "token").and_then(|token| token.as_str()?.parse::<Secret>().ok());
        let token = token.ok_or_else(|| refused(&made, &name, "a token"))?;
        let kept = Kept {
            token: token.clone(),
            until: now + USED_MS,
        };
        let mut tokens = self.tokens();
        if tokens.len() >= MOST {
            tokens.clear();
        }
        tokens.insert(name, kept);
        Ok(token)
    }

    /// The token of a repository is not used again.
    pub(super) fn forget(&self, place: Place<'_>) {
        self.tokens().remove(&format!("{}/{}", place.owner, place.repo));
    }

    async fn ask(
        &self,
        telling: &Telling<'_>,
        api: &Url,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, Reply> {
        let own = self.key.app_token(&self.id, clock::now_ms() / 1_000);
        let own = own.ok_or_else(|| Reply::NotNow("the system has no randomness to give".to_owned()))?;
        let url = api.join(path).map_err(|error| Reply::Unfit(error.to_string()))?;
        telling.ask(method, url, headers(&own), body).await
    }

    fn tokens(&self) -> MutexGuard<'_, HashMap<String, Kept>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").field("id", &self.id).finish_non_exhaustive()
    }
}

fn field(answer: &Answer, status: u16, name: &str) -> Option<Value> {
    let body: Value = serde_json::from_str(&answer.body).ok()?;
    (answer.status == status).then(|| body.get(name).cloned()).flatten()
}

fn refused(answer: &Answer, name: &str, what: &str) -> Reply {
    match answer.status {
        status @ (429 | 500..=599) => Reply::Status(status, answer.retry_after, answer.body.clone()),
        403 if answer.retry_after.or(answer.reset_after).is_some() => {
            Reply::Status(429, answer.retry_after.or(answer.reset_after), answer.body.clone())
        }
        status => Reply::Refused(format!(
            "GitHub answered {status} ({}), asked for {what}: is the app (github.app_id) installed for {name}?",
            said(&answer.body)
        )),
    }
}
