//! GitHub's headers and bodies, made uniform. Pure.
//!
//! Source: GitHub's "Webhook events and payloads" documentation.

use contract::{ProjectName, PullRequest, Repository, SourceEvent};
use serde::Deserialize;

/// Events that go on; all others are answered and dropped.
const RELEVANT: &[&str] = &[
    "push",
    "pull_request",
    "pull_request_review",
    "pull_request_review_comment",
    "issue_comment",
    "check_run",
    "check_suite",
    "status",
    "create",
    "delete",
    "release",
    "merge_group",
    "installation",
    "installation_repositories",
];

/// Actions of pull requests that go on.
const PULL_REQUEST_ACTIONS: &[&str] = &[
    "opened",
    "synchronize",
    "reopened",
    "closed",
    "ready_for_review",
    "labeled",
];

/// What a body says, as far as Forge is concerned.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) action: Option<String>,
    pub(crate) repository: Option<Repository>,
    pub(crate) sender: Option<String>,
    pub(crate) source: SourceEvent,
}

/// What to do with an event.
#[derive(Debug)]
pub(crate) enum Reading {
    /// It goes on.
    Relevant(Box<Event>),
    /// It does not concern Forge, for this reason.
    Ignored(String),
}

#[derive(Deserialize)]
struct Body {
    action: Option<String>,
    #[serde(rename = "ref")]
    git_ref: Option<String>,
    before: Option<String>,
    after: Option<String>,
    #[serde(default)]
    deleted: bool,
    head_commit: Option<HeadCommit>,
    pull_request: Option<Pull>,
    repository: Option<Repo>,
    sender: Option<User>,
}

#[derive(Deserialize)]
struct HeadCommit {
    message: Option<String>,
}

#[derive(Deserialize)]
struct Pull {
    number: u64,
    title: Option<String>,
    state: Option<String>,
    draft: Option<bool>,
    head: Side,
    base: Side,
}

#[derive(Deserialize)]
struct Side {
    #[serde(rename = "ref")]
    git_ref: String,
    sha: String,
    repo: Option<Repo>,
}

#[derive(Deserialize)]
struct Repo {
    full_name: Option<String>,
    clone_url: Option<String>,
    default_branch: Option<String>,
}

#[derive(Deserialize)]
struct User {
    login: Option<String>,
}

/// Reads a body as the event it claims to be.
///
/// The event's name comes from a header that is not signed, so the body must have its shape.
pub(crate) fn read(event: &str, body: &[u8]) -> Result<Reading, Vec<String>> {
    if !RELEVANT.contains(&event) {
        return Ok(Reading::Ignored(format!("events of type {event} are not used")));
    }
    let body: Body = serde_json::from_slice(body).map_err(|error| vec![error.to_string()])?;
    if event == "pull_request" {
        let action = body.action.as_deref().unwrap_or_default();
        if !PULL_REQUEST_ACTIONS.contains(&action) {
            return Ok(Reading::Ignored(format!("pull_request action {action} is not used")));
        }
    }
    let repository = repository(body.repository)?;
    let source = match event {
        "push" => push(body.git_ref, body.before, body.after, body.deleted, body.head_commit)?,
        "pull_request" => pull_request(body.pull_request)?,
        _ => SourceEvent::Other,
    };
    if repository.is_none() && !matches!(source, SourceEvent::Other) {
        return Err(vec!["repository: is required".to_owned()]);
    }
    let sender = body.sender.and_then(|user| user.login);
    Ok(Reading::Relevant(Box::new(Event {
        action: body.action,
        repository,
        sender,
        source,
    })))
}

fn push(
    git_ref: Option<String>,
    before: Option<String>,
    after: Option<String>,
    deleted: bool,
    head_commit: Option<HeadCommit>,
) -> Result<SourceEvent, Vec<String>> {
    let mut wrong = Vec::new();
    let mut required = |name: &str, value: Option<String>, fits: fn(&str) -> bool| {
        let value = value.filter(|text| fits(text));
        if value.is_none() {
            wrong.push(format!("{name}: is required, in the form that push events have"));
        }
        value.unwrap_or_default()
    };
    let git_ref = required("ref", git_ref, |r| r.starts_with("refs/"));
    let before = required("before", before, is_hash);
    let after = required("after", after, is_hash);
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let message = head_commit.and_then(|commit| commit.message);
    Ok(SourceEvent::Push {
        git_ref,
        before,
        after,
        deleted,
        message,
    })
}

fn pull_request(pull: Option<Pull>) -> Result<SourceEvent, Vec<String>> {
    let pull = pull.ok_or_else(|| vec!["pull_request: is required".to_owned()])?;
    if !is_hash(&pull.head.sha) || !is_hash(&pull.base.sha) {
        return Err(vec![
            "pull_request.head.sha, pull_request.base.sha: expected commit hashes".to_owned(),
        ]);
    }
    Ok(SourceEvent::PullRequest(PullRequest {
        number: pull.number,
        title: pull.title.unwrap_or_default(),
        state: pull.state.unwrap_or_default(),
        draft: pull.draft.unwrap_or_default(),
        head_ref: pull.head.git_ref,
        head_sha: pull.head.sha,
        head_repository: pull.head.repo.and_then(|repo| repo.full_name),
        base_ref: pull.base.git_ref,
        base_sha: pull.base.sha,
    }))
}

fn repository(repo: Option<Repo>) -> Result<Option<Repository>, Vec<String>> {
    let Some(repo) = repo else { return Ok(None) };
    let (Some(name), Some(url)) = (repo.full_name, repo.clone_url) else {
        return Err(vec![
            "repository.full_name, repository.clone_url: are required".to_owned(),
        ]);
    };
    let name: ProjectName = name
        .parse()
        .map_err(|error| vec![format!("repository.full_name: {error}")])?;
    let url = url
        .parse()
        .map_err(|error| vec![format!("repository.clone_url: {error}")])?;
    Ok(Some(Repository::new(name, url, repo.default_branch)))
}

fn is_hash(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPOSITORY: &str = r#""repository": {"full_name": "o/r", "clone_url": "https://github.com/o/r.git"}"#;

    fn hash(digit: char) -> String {
        digit.to_string().repeat(40)
    }

    #[test]
    fn a_push_without_a_head_commit_is_still_a_push() {
        let (zero, one) = (hash('0'), hash('1'));
        let body = format!(
            r#"{{"ref":"refs/heads/main","before":"{one}","after":"{zero}","deleted":true,"head_commit":null,{REPOSITORY}}}"#
        );
        let Ok(Reading::Relevant(event)) = read("push", body.as_bytes()) else {
            panic!("refused")
        };
        assert_eq!(
            event.source,
            SourceEvent::Push {
                git_ref: "refs/heads/main".into(),
                before: one,
                after: zero,
                deleted: true,
                message: None
            }
        );
    }

    #[test]
    fn a_pull_request_of_a_deleted_fork_has_no_head_repository() {
        let (a, b) = (hash('a'), hash('b'));
        let body = format!(
            r#"{{"action":"opened","pull_request":{{"number":1,"title":"t","state":"open","head":{{"ref":"f","sha":"{a}","repo":null}},"base":{{"ref":"main","sha":"{b}"}}}},{REPOSITORY}}}"#
        );
        let Ok(Reading::Relevant(event)) = read("pull_request", body.as_bytes()) else {
            panic!("refused")
        };
        let SourceEvent::PullRequest(pull) = event.source else {
            panic!("not a pull request")
        };
        assert_eq!((pull.head_repository, pull.head_sha), (None, a));
    }

    #[test]
    fn a_body_must_have_the_shape_of_its_event() {
        for (event, body) in [
            ("push", "[]"),
            ("push", "{"),
            ("push", r#"{"ref":"refs/heads/main"}"#),
            ("push", r#"{"ref":"main","before":"x","after":"y"}"#),
            ("pull_request", r#"{"action":"opened"}"#),
            ("status", r#"{"repository":{"full_name":"../x","clone_url":"ext::sh"}}"#),
        ] {
            assert!(read(event, body.as_bytes()).is_err(), "{event} {body}");
        }
    }

    #[test]
    fn what_does_not_concern_forge_is_ignored_with_a_reason() {
        for (event, body) in [("star", "not even json"), ("pull_request", r#"{"action":"assigned"}"#)] {
            assert!(
                matches!(read(event, body.as_bytes()), Ok(Reading::Ignored(_))),
                "{event}"
            );
        }
    }
}
