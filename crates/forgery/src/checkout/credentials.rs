//! Who we are at which git server.

use crate::failure::{BuildFailure, Kind};
use bus::clock;
use chassis::Secret;
use contract::{CloneUrl, Scheme};
use gix::sec::identity::Account;
use reqwest::{
    Client, Method, StatusCode,
    header::{ACCEPT, USER_AGENT},
    redirect,
};
use seal::SigningKey;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// Logins by host, and perhaps an app that makes tokens.
#[derive(Clone, Debug, Default)]
pub(crate) struct Credentials {
    /// By scheme, host and port: what is for `https` is never sent in the clear.
    hosts: Vec<(String, String, Secret)>,
    app: Option<App>,
}

/// A GitHub App: it gives a token per repository, good for an hour.
#[derive(Clone)]
pub(crate) struct App {
    /// Whose repositories these are: `https://github.com`, or an Enterprise Server.
    origin: String,
    /// Base URL of its REST API.
    api: String,
    id: String,
    key: Arc<SigningKey>,
}

/// What is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// What the build is of, or what a trusted commit names.
    Build,
    /// What somebody named whom we do not trust: fetched as anybody could.
    Untrusted,
}

/// A login, or none.
#[derive(Clone, Debug, Default)]
pub(super) struct Login(pub(super) Option<(String, Secret)>);

const PATIENCE: Duration = Duration::from_secs(10);

// === impl Credentials ===

impl Credentials {
    /// Parses lines of `https://user:token@host`.
    pub(crate) fn parse(lines: &str) -> Result<Self, &'static str> {
        let mut credentials = Self::default();
        for line in lines
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            let rest = line
                .split_once("://")
                .filter(|(scheme, _)| ["https", "http"].contains(scheme));
            let parts = rest.and_then(|(scheme, rest)| Some((scheme, rest.trim_end_matches('/').rsplit_once('@')?)));
            let login = parts.and_then(|(scheme, (login, host))| Some((scheme, login.split_once(':')?, host)));
            let (scheme, (user, token), host) = login.ok_or("expected lines of https://user:token@host")?;
            let Ok(token) = token.parse();
            credentials.add(&format!("{scheme}://{host}"), user, token);
        }
        Ok(credentials)
    }

    /// For a server, as `https://host`.
    pub(crate) fn add(&mut self, origin: &str, user: &str, token: Secret) {
        self.hosts.push((origin.to_owned(), user.to_owned(), token));
    }

    pub(crate) fn set_app(&mut self, app: App) {
        self.app = Some(app);
    }

    /// The login for a URL: by scheme, host and port, else a token of the app.
    pub(super) async fn login(&self, source: &CloneUrl, purpose: Purpose) -> Result<Login, BuildFailure> {
        if purpose == Purpose::Untrusted || !matches!(source.scheme(), Scheme::Https | Scheme::Http) {
            return Ok(Login::default());
        }
        let Some((origin, path)) = address(source.as_str()) else {
            return Ok(Login::default());
        };
        if let Some((_, user, token)) = self.hosts.iter().find(|(known, _, _)| known == origin) {
            return Ok(Login(Some((user.clone(), token.clone()))));
        }
        match &self.app {
            Some(app) if app.origin == origin => app.token(path).await.map(Login),
            _ => Ok(Login::default()),
        }
    }
}

// === impl App ===

impl App {
    pub(crate) fn new(api: &str, id: String, key: Arc<SigningKey>) -> Self {
        let api = api.trim_end_matches('/');
        let whole = format!("{api}/");
        let origin = match address(&whole) {
            Some(("https://api.github.com", _)) | None => "https://github.com",
            Some((origin, _)) => origin,
        };
        Self::of(origin, api, id, key)
    }

    /// The app of a server whose API is elsewhere.
    pub(super) fn of(origin: &str, api: &str, id: String, key: Arc<SigningKey>) -> Self {
        Self {
            origin: origin.to_owned(),
            api: api.to_owned(),
            id,
            key,
        }
    }

    /// A token that reads one repository; none where the app is not installed, which a public one does not need.
    async fn token(&self, path: &str) -> Result<Option<(String, Secret)>, BuildFailure> {
        let path = path.trim_end_matches('/');
        let name = path.strip_suffix(".git").unwrap_or(path);
        let Some((_, repository)) = name.split_once('/') else {
            return Ok(None);
        };
        let (status, found) = self
            .ask(Method::GET, &format!("repos/{name}/installation"), None)
            .await?;
        let (StatusCode::OK, Some(id)) = (status, found.get("id").and_then(Value::as_u64)) else {
            return match status {
                StatusCode::NOT_FOUND => Ok(None),
                _ => Err(self.refused(status, "its installation")),
            };
        };
        let wanted = json!({"repositories": [repository], "permissions": {"contents": "read"}});
        let path = format!("app/installations/{id}/access_tokens");
        let (status, made) = self.ask(Method::POST, &path, Some(wanted)).await?;
        let token = made
            .get("token")
            .and_then(Value::as_str)
            .and_then(|token| token.parse().ok());
        let token = token.ok_or_else(|| self.refused(status, "a token"))?;
        Ok(Some(("x-access-token".to_owned(), token)))
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Result<(StatusCode, Value), BuildFailure> {
        let failed = |text: String| BuildFailure::new(Kind::CloneFailed, format!("the GitHub App: {text}"));
        let own = self.key.app_token(&self.id, clock::now_ms() / 1_000);
        let own = own.ok_or_else(|| failed("the system has no randomness to give".to_owned()))?;
        let asked = async {
            let client = Client::builder()
                .timeout(PATIENCE)
                .redirect(redirect::Policy::none())
                .build()?;
            let mut request = client
                .request(method, format!("{}/{path}", self.api))
                .header(ACCEPT, "application/vnd.github+json")
                .header("x-github-api-version", "2022-11-28")
                .header(USER_AGENT, "forge")
                .bearer_auth(own);
            if let Some(body) = body {
                request = request
                    .header("content-type", "application/json")
                    .body(body.to_string());
            }
            let answer = request.send().await?;
            Ok::<_, reqwest::Error>((answer.status(), answer.bytes().await?))
        };
        let (status, body) = asked.await.map_err(|error| failed(chassis::chain(&error)))?;
        Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
    }

    fn refused(&self, status: StatusCode, what: &str) -> BuildFailure {
        let kind = if status.is_client_error() {
            Kind::CloneAuth
        } else {
            Kind::CloneFailed
        };
        BuildFailure::new(
            kind,
            format!("the GitHub App: {} answered {status}, asked for {what}", self.api),
        )
    }
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App")
            .field("origin", &self.origin)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

// === impl Login ===

impl Login {
    pub(super) fn account(&self) -> Option<Account> {
        let (username, token) = self.0.as_ref()?;
        Some(Account {
            username: username.clone(),
            password: token.expose().to_owned(),
            oauth_refresh_token: None,
        })
    }
}

/// Scheme, host and port of a URL, and the path behind them.
fn address(url: &str) -> Option<(&str, &str)> {
    let host = url.find("://")? + 3;
    let end = host + url.get(host..)?.find('/')?;
    Some((url.get(..end)?, url.get(end + 1..)?))
}

/// Whether two URLs lead to the same server by the same way.
pub(super) fn is_same_server(one: &str, other: &str) -> bool {
    let origin = |url: &str| address(url).map(|(origin, _)| origin.to_owned());
    origin(one).is_some() && origin(one) == origin(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn logins_are_found_by_host_and_port_for_what_we_trust() {
        let credentials =
            Credentials::parse("# c\nhttps://me:t0ken@git.example:8443\n\nhttp://u:p@127.0.0.1:80/\n").unwrap();
        let user = async |url: &str, purpose| {
            let login = credentials.login(&url.parse().unwrap(), purpose).await.unwrap();
            login
                .account()
                .map(|account| format!("{}:{}", account.username, account.password))
        };
        let own = user("https://git.example:8443/o/r.git", Purpose::Build).await;
        assert_eq!(own.as_deref(), Some("me:t0ken"));
        assert_eq!(
            user("http://127.0.0.1:80/o/r.git", Purpose::Build).await.as_deref(),
            Some("u:p")
        );
        assert_eq!(user("http://127.0.0.1:80/o/r.git", Purpose::Untrusted).await, None);
        assert_eq!(user("https://git.example/o/r.git", Purpose::Build).await, None);
        let in_the_clear = user("http://git.example:8443/o/r.git", Purpose::Build).await;
        assert_eq!(in_the_clear, None);
        for bad in ["https://host", "user:token@host", "https://token@host"] {
            assert!(Credentials::parse(bad).is_err(), "{bad}");
        }
    }
}
