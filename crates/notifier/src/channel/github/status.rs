//! Commit statuses of GitHub: what has become of a commit shows at the commit and at its pull request.
//!
//! <https://docs.github.com/en/rest/commits/statuses#create-a-commit-status>; limits:
//! <https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api>.

use super::{Telling, Told, cut};
use crate::{
    outcome::Reply,
    wording::{self, Words},
};
use chassis::Secret;
use contract::Notification;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::time::Duration;
use url::Url;

/// Statuses of all commits of a GitHub that a token may write.
#[derive(Clone, Debug)]
pub(crate) struct GithubStatus {
    api: Url,
    token: Secret,
    /// Where its repositories are cloned from.
    host: String,
}

/// What was told last of a commit.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    /// Of which build.
    uid: String,
    told: Told,
}

/// Most characters of a description.
const LONGEST: usize = 140;
const CONTEXT: &str = "forge";
/// The service that a project has if it names none.
const USUAL: &str = "default";
/// After a secondary limit without a word, so long is to be waited at least.
const SECONDARY: Duration = Duration::from_mins(1);

// === impl GithubStatus ===

impl GithubStatus {
    /// With the base URL of the API: `https://api.github.com/`, or `https://HOST/api/v3/` of an own one.
    pub(crate) fn new(api: Url, token: Secret) -> Self {
        let host = api.host_str().unwrap_or_default();
        let host = if host == "api.github.com" { "github.com" } else { host }.to_owned();
        Self { api, token, host }
    }

    pub(super) const fn url(&self) -> &Url {
        &self.api
    }

    pub(super) async fn tell(&self, telling: Telling<'_>) -> Reply {
        self.told(&telling).await.unwrap_or_else(|reply| reply)
    }

    async fn told(&self, telling: &Telling<'_>) -> Result<Reply, Reply> {
        let notification = telling.notification()?;
        let (Some(state), Some((owner, repo, commit))) = (state(&notification), self.commit(&notification)) else {
            return Ok(Reply::NothingToSay);
        };
        let service = wording::text(&notification, "service").filter(|service| *service != USUAL);
        let context = service.map_or_else(|| CONTEXT.to_owned(), |service| format!("{CONTEXT}/{service}"));
        // Of the statuses of a context the last one counts: what is late, or is about a build that another one has taken the
        // place of, is not to be the last.
        let thing = format!("{owner}/{repo}/{commit}/{context}");
        let before: Option<Note> = telling.notes.read(&thing).await?;
        if before.is_some_and(|note| note.makes_late(&notification)) {
            return Ok(Reply::NothingToSay);
        }
        let path = format!("repos/{owner}/{repo}/statuses/{commit}");
        let url = self.api.join(&path).map_err(|error| Reply::Unfit(error.to_string()))?;
        let body = json!({
            "state": state, "context": context, "description": cut(&Words::new(&notification).title, LONGEST),
        });
        let headers = [
            ("authorization", format!("Bearer {}", self.token.expose())),
            ("accept", "application/vnd.github+json".to_owned()),
            ("x-github-api-version", "2022-11-28".to_owned()),
        ];
        let headers = headers.map(|(name, value)| (name.to_owned(), value)).to_vec();
        let answer = telling.post(url, headers, &body).await?;
        if answer.status == 201 {
            let note = Note {
                uid: notification.resource.uid.clone(),
                told: Told::new(&notification),
            };
            telling.notes.write(&thing, &note).await;
        }
        let limited = matches!(answer.status, 403 | 429) && answer.body.to_lowercase().contains("rate limit");
        let pause = answer
            .retry_after
            .or(answer.reset_after)
            .or_else(|| limited.then_some(SECONDARY));
        Ok(match (answer.status, pause) {
            // Both mean that it was too much, when they say so.
            (403 | 429, Some(pause)) => Reply::Status(429, Some(pause), answer.body),
            (401 | 403 | 404, _) => Reply::Refused(format!(
                "GitHub answered {} ({}): may the token (github.token) write statuses of {owner}/{repo}?",
                answer.status,
                said(&answer.body)
            )),
            _ => answer.into(),
        })
    }

    /// Owner, repository and commit, if it is one of this GitHub's.
    fn commit<'a>(&self, notification: &'a Notification) -> Option<(&'a str, &'a str, &'a str)> {
        let commit = notification.correlation.commit.as_deref()?;
        let source = wording::text(notification, "repository")?;
        let rest = source
            .strip_prefix("https://")
            .or_else(|| source.strip_prefix("http://"))
            .or_else(|| source.strip_prefix("ssh://"))
            .unwrap_or(source);
        let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
        let (host, path) = rest.split_once(['/', ':'])?;
        let (owner, repo) = path.trim_end_matches('/').split_once('/')?;
        let repo = repo.strip_suffix(".git").unwrap_or(repo);
        let plain = |text: &str| {
            !text.is_empty()
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
                && !text.starts_with('.')
        };
        let fits = host == self.host && plain(owner) && plain(repo);
        let full = commit.len() == 40 && commit.bytes().all(|b| b.is_ascii_hexdigit());
        (fits && full).then_some((owner, repo, commit))
    }
}

// === impl Note ===

impl Note {
    fn makes_late(&self, notification: &Notification) -> bool {
        if self.uid == notification.resource.uid {
            return self.told.makes_late(notification);
        }
        ["superseded", "cancelled", "lost"].contains(&wording::change(notification))
    }
}

/// What GitHub says of a refusal.
fn said(body: &str) -> String {
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    let message = body.get("message").and_then(Value::as_str).unwrap_or_default();
    cut(message, LONGEST)
}

fn state(notification: &Notification) -> Option<Value> {
    if notification.resource.kind != "Build" {
        return None;
    }
    Some(json!(match wording::change(notification) {
        "queued" | "started" => "pending",
        "succeeded" => "success",
        "failed" | "timed_out" => "failure",
        "cancelled" | "superseded" | "lost" => "error",
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::Message as _;

    fn told(source: &str, commit: &str) -> Option<String> {
        let mut notification = Notification::from_bytes(include_bytes!(
            "../../../../contracts/examples/notification/build-succeeded.json"
        ))
        .unwrap();
        notification.data.insert("repository".to_owned(), json!(source));
        notification.correlation.commit = Some(commit.to_owned());
        let github = GithubStatus::new("https://api.github.com/".parse().unwrap(), "t".parse().unwrap());
        let (owner, repo, commit) = github.commit(&notification)?;
        Some(format!("{owner} {repo} {}", commit.len()))
    }

    #[test]
    fn a_commit_is_told_of_where_its_repository_is_and_nowhere_else() {
        let full = "a".repeat(40);
        for source in [
            "https://github.com/acme/app.git",
            "https://github.com/acme/app",
            "git@github.com:acme/app.git",
            "ssh://git@github.com/acme/app.git",
        ] {
            assert_eq!(told(source, &full).as_deref(), Some("acme app 40"), "{source}");
        }
        for source in [
            "https://gitlab.com/acme/app.git",
            "https://github.com/acme/../app",
            "https://github.com/acme/sub/app",
            "https://github.com/acme",
            "file:///srv/app",
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
