//! Commit statuses of GitHub: what has become of a commit shows at the commit and at its pull request.
//!
//! <https://docs.github.com/en/rest/commits/statuses#create-a-commit-status>; limits:
//! <https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api>.

use super::{Telling, cut, nothing_to_say};
use crate::{
    outcome::Reply,
    wording::{self, Words},
};
use contract::Notification;
use serde_json::{Value, json};
use url::Url;

/// Statuses of all commits of a GitHub that a token may write.
#[derive(Clone, Debug)]
pub(crate) struct GithubStatus {
    api: Url,
    token: String,
    /// Where its repositories are cloned from.
    host: String,
}

/// Most characters of a description.
const LONGEST: usize = 140;
const CONTEXT: &str = "forge";

// === impl GithubStatus ===

impl GithubStatus {
    /// With the base URL of the API: `https://api.github.com/`, or `https://HOST/api/v3/` of an own one.
    pub(crate) fn new(api: Url, token: String) -> Self {
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
            return Ok(nothing_to_say());
        };
        // Statuses are a list, of which the last one counts: what is late is not to be the last.
        if telling.notes.is_late(&notification).await? {
            return Ok(nothing_to_say());
        }
        let path = format!("repos/{owner}/{repo}/statuses/{commit}");
        let url = self.api.join(&path).map_err(|error| Reply::Unfit(error.to_string()))?;
        let body = json!({
            "state": state, "context": CONTEXT, "description": cut(&Words::new(&notification).title, LONGEST),
        });
        let headers = [
            ("authorization", format!("Bearer {}", self.token)),
            ("accept", "application/vnd.github+json".to_owned()),
            ("x-github-api-version", "2022-11-28".to_owned()),
        ];
        let headers = headers.map(|(name, value)| (name.to_owned(), value)).to_vec();
        let answer = telling.post(url, headers, &body).await?;
        if answer.status == 201 {
            telling.notes.told(&notification).await?;
        }
        Ok(match answer.status {
            // Both mean that it was too much, when they say when to come again.
            403 if answer.retry_after.is_some() => Reply::Status(429, answer.retry_after, answer.body),
            401 => Reply::Refused("GitHub answered 401: the token (github.token) is not valid".to_owned()),
            403 | 404 => Reply::Refused(format!(
                "GitHub answered {}: the token (github.token) may not write statuses of {owner}/{repo}",
                answer.status
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
        let github = GithubStatus::new("https://api.github.com/".parse().unwrap(), "t".to_owned());
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
