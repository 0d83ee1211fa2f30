//! GitHub, as whatever reports to it sees it: whose repositories, by which token, with which limits.
//!
//! Limits: <https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api>.

mod app;
mod check;
mod status;

use super::{Telling, cut};
use crate::{client::Answer, outcome::Reply, wording};
use chassis::Secret;
use contract::Notification;
use reqwest::Method;
use serde_json::Value;
use std::time::Duration;
use url::Url;

pub(crate) use app::App;
pub(crate) use check::GithubCheck;
pub(crate) use status::GithubStatus;

/// A GitHub that is reported to.
#[derive(Clone, Debug)]
pub(crate) struct Github {
    /// Base URL of its API.
    api: Url,
    access: Access,
    /// Where its repositories are cloned from.
    host: String,
}

/// By what it is accessed.
#[derive(Clone, Debug)]
pub(crate) enum Access {
    Token(Secret),
    App(App),
}

/// A commit of a repository of its.
#[derive(Clone, Copy, Debug)]
struct Place<'a> {
    owner: &'a str,
    repo: &'a str,
    commit: &'a str,
}

/// Most characters of what GitHub says that are shown.
const LONGEST: usize = 140;
/// After a secondary limit without a word, so long is to be waited at least.
const SECONDARY: Duration = Duration::from_mins(1);

// === impl Github ===

impl Github {
    /// With the base URL of the API: `https://api.github.com/`, or `https://HOST/api/v3/` of an own one.
    pub(crate) fn new(api: Url, access: Access) -> Self {
        let host = api.host_str().unwrap_or_default();
        let host = if host == "api.github.com" { "github.com" } else { host }.to_owned();
        Self { api, access, host }
    }

    const fn url(&self) -> &Url {
        &self.api
    }

    /// An app's token is good for an hour, and is not sent for longer.
    pub(super) const fn secret(&self) -> Option<&Secret> {
        match &self.access {
            Access::Token(token) => Some(token),
            Access::App(_) => None,
        }
    }

    /// The commit that a notification is about, if it is one of this GitHub's.
    fn place<'a>(&self, notification: &'a Notification) -> Option<Place<'a>> {
        let commit = notification.correlation.commit.as_deref()?;
        let source = wording::text(notification, "repository")?;
        let (scheme, rest) = source.split_once("://").unwrap_or(("", source));
        let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
        let (host, path) = match scheme {
            "" => rest.split_once(':')?, // As scp takes it: git@host:owner/repo.
            "https" | "http" | "ssh" => rest.split_once('/')?,
            _ => return None,
        };
        let host = host.split(':').next().unwrap_or_default();
        let (owner, repo) = path.trim_end_matches('/').split_once('/')?;
        let repo = repo.strip_suffix(".git").unwrap_or(repo);
        let plain = |text: &str| {
            !text.is_empty()
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
                && !text.starts_with('.')
        };
        let fits = host == self.host && plain(owner) && plain(repo);
        let full = commit.len() == 40 && commit.bytes().all(|b| b.is_ascii_hexdigit());
        (fits && full).then_some(Place { owner, repo, commit })
    }

    /// Asks something of a repository: `path` is what comes after `repos/OWNER/REPO/`.
    async fn ask(
        &self,
        telling: &Telling<'_>,
        place: Place<'_>,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, Reply> {
        let token = match &self.access {
            Access::Token(token) => token.clone(),
            Access::App(app) => app.token(telling, &self.api, place).await?,
        };
        let path = format!("repos/{}/{}/{path}", place.owner, place.repo);
        let url = self.api.join(&path).map_err(|error| Reply::Unfit(error.to_string()))?;
        let answer = telling.ask(method, url, headers(token.expose()), body).await?;
        if let (401, Access::App(app)) = (answer.status, &self.access) {
            app.forget(place); // Somebody has taken it back.
        }
        Ok(answer)
    }

    /// What an answer means.
    fn judge(&self, answer: Answer, place: Place<'_>, what: &str) -> Reply {
        let limited = matches!(answer.status, 403 | 429) && answer.body.to_lowercase().contains("rate limit");
        let pause = answer
            .retry_after
            .or(answer.reset_after)
            .or_else(|| limited.then_some(SECONDARY));
        match (answer.status, pause) {
            // Both mean that it was too much, when they say so.
            (403 | 429, Some(pause)) => Reply::Status(429, Some(pause), answer.body),
            (401, _) if matches!(self.access, Access::App(_)) => {
                Reply::Nothing("GitHub takes the app's token no more".to_owned()) // There is another one.
            }
            (401 | 403 | 404, _) => {
                let who = match self.access {
                    Access::Token(_) => "the token (github.token)",
                    Access::App(_) => "the app (github.app_id)",
                };
                let why = format!(
                    "GitHub answered {} ({}): may {who} write {what} of {}/{}?",
                    answer.status,
                    said(&answer.body),
                    place.owner,
                    place.repo
                );
                // One repository that it may not write in says nothing of the others.
                if answer.status == 401 {
                    Reply::Refused(why)
                } else {
                    Reply::Unfit(why)
                }
            }
            _ => answer.into(),
        }
    }
}

fn headers(token: &str) -> Vec<(String, String)> {
    let headers = [
        ("authorization", format!("Bearer {token}")),
        ("accept", "application/vnd.github+json".to_owned()),
        ("x-github-api-version", "2022-11-28".to_owned()),
    ];
    headers.map(|(name, value)| (name.to_owned(), value)).to_vec()
}

/// What GitHub says of a refusal.
fn said(body: &str) -> String {
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    let message = body.get("message").and_then(Value::as_str).unwrap_or_default();
    cut(message, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::Message as _;
    use serde_json::json;

    fn told(source: &str, commit: &str) -> Option<String> {
        let mut notification = Notification::from_bytes(include_bytes!(
            "../../../../contracts/examples/notification/build-succeeded.json"
        ))
        .unwrap();
        notification.data.insert("repository".to_owned(), json!(source));
        notification.correlation.commit = Some(commit.to_owned());
        let access = Access::Token("t".parse().unwrap());
        let github = Github::new("https://api.github.com/".parse().unwrap(), access);
        let place = github.place(&notification)?;
        Some(format!("{} {} {}", place.owner, place.repo, place.commit.len()))
    }

    #[test]
    fn a_commit_is_told_of_where_its_repository_is_and_nowhere_else() {
        let full = "a".repeat(40);
        for source in [
            "https://github.com/acme/app.git",
            "https://github.com/acme/app",
            "git@github.com:acme/app.git",
            "ssh://git@github.com/acme/app.git",
            "ssh://git@github.com:22/acme/app.git",
            "https://github.com:8443/acme/app.git",
        ] {
            assert_eq!(told(source, &full).as_deref(), Some("acme app 40"), "{source}");
        }
        for source in [
            "https://gitlab.com/acme/app.git",
            "https://github.com/acme/../app",
            "https://github.com/acme/sub/app",
            "https://github.com/acme",
            "file:///srv/app",
            "file://github.com/acme/app",
            "github.com/acme/app",
        ] {
            assert_eq!(told(source, &full), None, "{source}");
        }
        assert_eq!(
            told("https://github.com/acme/app", "abc123"),
            None,
            "GitHub takes whole hashes"
        );
    }
}
