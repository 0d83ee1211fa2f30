//! The part of GitHub's REST API that tells of deliveries of webhooks, and makes them again; in the shapes of
//! <https://docs.github.com/en/rest/repos/webhooks#list-deliveries-for-a-repository-webhook> and its page on apps.

use crate::Hook;
use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};
use tokio::{net::TcpListener, task::JoinHandle};

/// A GitHub that has hooks.
#[derive(Debug)]
pub struct GithubApi {
    url: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    /// Where hooks are delivered.
    gateway: String,
    url: String,
    state: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// What is told of each attempt, newest first.
    attempts: Vec<Value>,
    /// By their delivery's id; what is not here is never answered.
    hooks: HashMap<String, Hook>,
    tokens: Vec<String>,
    /// Repositories that an app is installed on, and the token it gets for them.
    installed: HashMap<String, String>,
    /// What tokens were asked for.
    granted: Vec<Value>,
}

/// Attempts of a page; GitHub gives more, but more pages are a better test.
const PAGE: usize = 2;

impl GithubApi {
    /// One that delivers to this gateway.
    pub async fn start(gateway: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            gateway: gateway.to_owned(),
            url: url.clone(),
            state: Mutex::default(),
        });
        let app = Router::new()
            .route("/app/hook/deliveries", get(list))
            .route("/app/hook/deliveries/{id}/attempts", post(again_of_app))
            .route("/repos/{owner}/{repo}/hooks/{hook}/deliveries", get(list_of_hook))
            .route(
                "/repos/{owner}/{repo}/hooks/{hook}/deliveries/{id}/attempts",
                post(again_of_hook),
            )
            .route("/repos/{owner}/{repo}/installation", get(installation))
            .route("/app/installations/{id}/access_tokens", post(grant))
            .with_state(Arc::clone(&shared));
        #[expect(clippy::disallowed_methods, reason = "ends with the server that it belongs to")]
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, shared, task }
    }

    /// Base URL of the API.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// It has tried to deliver this, so many seconds ago, and was answered that; 0 is nothing. Told to, it delivers the
    /// hook again, or, without one, is not answered again. What is called `refused` it will not deliver again.
    pub fn has_delivered(&self, guid: &str, seconds_ago: i64, status: u16, hook: Option<Hook>) {
        let mut state = self.shared.state.lock().unwrap();
        let at = contract::Timestamp::from_millis(now() - seconds_ago * 1_000);
        state.add(guid, &at, false, status);
        state.hooks.extend(hook.map(|hook| (guid.to_owned(), hook)));
    }

    /// How often somebody asked for a delivery to be made again.
    pub fn asked_for(&self, guid: &str) -> usize {
        let state = self.shared.state.lock().unwrap();
        let is_it = |attempt: &&Value| attempt["guid"] == guid && attempt["redelivery"] == true;
        state.attempts.iter().filter(is_it).count()
    }

    /// The tokens that it was asked with.
    pub fn tokens(&self) -> Vec<String> {
        self.shared.state.lock().unwrap().tokens.clone()
    }

    /// An app is installed on a repository, and gets this token for it.
    pub fn installs(&self, repository: &str, token: &str) {
        let mut state = self.shared.state.lock().unwrap();
        state.installed.insert(repository.to_owned(), token.to_owned());
    }

    /// What tokens were asked for, as they were.
    pub fn granted(&self) -> Vec<Value> {
        self.shared.state.lock().unwrap().granted.clone()
    }

    /// All attempts are so many seconds older.
    pub fn goes_on(&self, seconds: i64) {
        for attempt in &mut self.shared.state.lock().unwrap().attempts {
            let at: contract::Timestamp = attempt["delivered_at"].as_str().unwrap().parse().unwrap();
            attempt["delivered_at"] = json!(contract::Timestamp::from_millis(at.as_millis() - seconds * 1_000));
        }
    }
}

impl Drop for GithubApi {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Inner {
    fn add(&mut self, guid: &str, at: &contract::Timestamp, redelivery: bool, status: u16) {
        let id = self.attempts.len() + 1;
        let text = if status == 202 {
            "OK".to_owned()
        } else {
            format!("Invalid HTTP Response: {status}")
        };
        let attempt = json!({
            "id": id, "guid": guid, "delivered_at": at, "redelivery": redelivery, "duration": 0.27, "status": text,
            "status_code": status, "event": "push", "action": null, "installation_id": 1, "repository_id": 1,
            "throttled_at": null,
        });
        self.attempts.insert(0, attempt);
        let key = |attempt: &Value| std::cmp::Reverse(attempt["delivered_at"].as_str().unwrap().to_owned());
        self.attempts.sort_by_key(key);
    }
}

fn now() -> i64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

async fn list_of_hook(
    shared: State<Arc<Shared>>,
    query: Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    list(shared, query, headers).await
}

async fn list(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let mut state = shared.state.lock().unwrap();
    let Some(token) = headers
        .get("authorization")
        .and_then(|v| v.to_str().ok()?.strip_prefix("Bearer "))
    else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    state.tokens.push(token.to_owned());
    let from: usize = query.get("cursor").map_or(0, |cursor| cursor.parse().unwrap());
    let page: Vec<Value> = state.attempts.iter().skip(from).take(PAGE).cloned().collect();
    let next = format!(
        "<{}/x?per_page=100&cursor={}>; rel=\"next\", <{0}/x>; rel=\"first\"",
        shared.url,
        from + PAGE
    );
    if from + PAGE < state.attempts.len() {
        ([("link", next)], Json(page)).into_response()
    } else {
        Json(page).into_response()
    }
}

/// <https://docs.github.com/en/rest/apps/apps#get-a-repository-installation-for-the-authenticated-app>
async fn installation(
    State(shared): State<Arc<Shared>>,
    Path((owner, repo)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let mut state = shared.state.lock().unwrap();
    let token = headers
        .get("authorization")
        .and_then(|v| v.to_str().ok()?.strip_prefix("Bearer "));
    state.tokens.extend(token.map(ToOwned::to_owned));
    let mut names: Vec<_> = state.installed.keys().cloned().collect();
    names.sort();
    match names.iter().position(|name| *name == format!("{owner}/{repo}")) {
        Some(id) => Json(json!({"id": id, "account": {"login": owner}})).into_response(),
        None => (StatusCode::NOT_FOUND, Json(json!({"message": "Not Found"}))).into_response(),
    }
}

/// <https://docs.github.com/en/rest/apps/apps#create-an-installation-access-token-for-an-app>
async fn grant(State(shared): State<Arc<Shared>>, Path(id): Path<usize>, Json(wanted): Json<Value>) -> Response {
    let mut state = shared.state.lock().unwrap();
    let mut names: Vec<_> = state.installed.keys().cloned().collect();
    names.sort();
    let Some(token) = names.get(id).and_then(|name| state.installed.get(name)).cloned() else {
        return StatusCode::NOT_FOUND.into_response();
    };
    state.granted.push(wanted);
    let at = contract::Timestamp::from_millis(now() + 3_600_000);
    (StatusCode::CREATED, Json(json!({"token": token, "expires_at": at}))).into_response()
}

async fn again_of_app(State(shared): State<Arc<Shared>>, Path(id): Path<u64>) -> Response {
    again(&shared, id).await
}

async fn again_of_hook(
    State(shared): State<Arc<Shared>>,
    Path((_, _, _, id)): Path<(String, String, u64, u64)>,
) -> Response {
    again(&shared, id).await
}

async fn again(shared: &Shared, id: u64) -> Response {
    let (guid, hook) = {
        let state = shared.state.lock().unwrap();
        let Some(attempt) = state.attempts.iter().find(|attempt| attempt["id"] == id) else {
            return StatusCode::NOT_FOUND.into_response();
        };
        let guid = attempt["guid"].as_str().unwrap().to_owned();
        if guid == "refused" {
            return StatusCode::UNPROCESSABLE_ENTITY.into_response();
        }
        let hook = state.hooks.get(&guid).cloned();
        (guid, hook)
    };
    let status = match hook {
        Some(hook) => hook.send(&shared.gateway).await.0,
        None => 0,
    };
    let at = contract::Timestamp::from_millis(now());
    shared.state.lock().unwrap().add(&guid, &at, true, status);
    (StatusCode::ACCEPTED, Json(json!({}))).into_response()
}
