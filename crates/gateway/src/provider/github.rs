//! GitHub and GitHub Enterprise. Gitea's and Forgejo's bodies are read here too: they have the same shape.
//!
//! Source: GitHub's "Webhook events and payloads".

use super::{Dialect, Event, Found, Mistakes, Names, TEXT_BYTES, cut, is_hash, parse};
use contract::{PullRequest, Repository, SourceEvent};
use serde::{Deserialize, Deserializer, de::IgnoredAny};

pub(super) const DIALECT: Dialect = Dialect { is_known, wanted, read };

pub(super) const NAMES: Names = Names {
    event: "X-GitHub-Event",
    delivery: "X-GitHub-Delivery",
    proof: "X-Hub-Signature-256",
};

/// Actions of pull requests that go on.
const PULL_REQUEST_ACTIONS: &[&str] = &[
    "opened",
    "synchronize",
    "reopened",
    "closed",
    "ready_for_review",
    "converted_to_draft",
    "edited",
    "labeled",
];

/// The names of all that is read of a body, wherever it is.
pub(super) fn wanted(name: &[u8]) -> bool {
    matches!(
        name,
        b"action"
            | b"after"
            | b"base"
            | b"before"
            | b"check_run"
            | b"check_suite"
            | b"clone_url"
            | b"comment"
            | b"default_branch"
            | b"draft"
            | b"full_name"
            | b"head"
            | b"head_commit"
            | b"installation"
            | b"issue"
            | b"login"
            | b"master_branch"
            | b"merge_group"
            | b"message"
            | b"number"
            | b"pull_request"
            | b"ref"
            | b"ref_type"
            | b"release"
            | b"repo"
            | b"repositories_added"
            | b"repository"
            | b"review"
            | b"sender"
            | b"sha"
            | b"state"
            | b"title"
    )
}

/// What is read of a body; everything else was seen to be JSON.
#[derive(Deserialize)]
pub(super) struct Body {
    pub(super) action: Option<String>,
    #[serde(rename = "ref")]
    git_ref: Option<String>,
    before: Option<String>,
    after: Option<String>,
    head_commit: Option<HeadCommit>,
    pull_request: Option<Pull>,
    repository: Option<Repo>,
    sender: Option<User>,
    #[serde(default)]
    review: There,
    #[serde(default)]
    comment: There,
    #[serde(default)]
    issue: There,
    #[serde(default)]
    check_run: There,
    #[serde(default)]
    check_suite: There,
    #[serde(default)]
    sha: There,
    #[serde(default)]
    state: There,
    #[serde(default)]
    ref_type: There,
    #[serde(default)]
    master_branch: There,
    #[serde(default)]
    release: There,
    #[serde(default)]
    merge_group: There,
    #[serde(default)]
    installation: There,
    #[serde(default)]
    repositories_added: There,
}

/// Whether a field is there, whatever it says.
#[derive(Default)]
struct There(bool);

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

fn read(event: &str, fields: &[u8]) -> Result<Found, Mistakes> {
    let body: Body = parse(fields)?;
    if event == "pull_request" {
        let action = body.action.as_deref().unwrap_or_default();
        if !PULL_REQUEST_ACTIONS.contains(&action) {
            return Ok(Found::Nothing(format!("pull_request action {action} is not used")));
        }
    }
    body.into_event(event)
}

/// Whether an event has a shape that is known here.
pub(super) fn is_known(event: &str) -> bool {
    shape(event).is_some() || matches!(event, "push" | "pull_request")
}

/// By which fields an event is told from others: those it must have, and those it must not.
type Shape = (&'static [Field], &'static [Field]);
type Field = (&'static str, fn(&Body) -> bool);

fn shape(event: &str) -> Option<Shape> {
    const REVIEW: Field = ("review", |body| body.review.0);
    const PULL_REQUEST: Field = ("pull_request", |body| body.pull_request.is_some());
    const COMMENT: Field = ("comment", |body| body.comment.0);
    const ISSUE: Field = ("issue", |body| body.issue.0);
    const CHECK_RUN: Field = ("check_run", |body| body.check_run.0);
    const CHECK_SUITE: Field = ("check_suite", |body| body.check_suite.0);
    const SHA: Field = ("sha", |body| body.sha.0);
    const STATE: Field = ("state", |body| body.state.0);
    const REF: Field = ("ref", |body| body.git_ref.is_some());
    const REF_TYPE: Field = ("ref_type", |body| body.ref_type.0);
    const MASTER: Field = ("master_branch", |body| body.master_branch.0);
    const RELEASE: Field = ("release", |body| body.release.0);
    const GROUP: Field = ("merge_group", |body| body.merge_group.0);
    const INSTALLATION: Field = ("installation", |body| body.installation.0);
    const ADDED: Field = ("repositories_added", |body| body.repositories_added.0);
    Some(match event {
        "pull_request_review" => (&[REVIEW, PULL_REQUEST], &[COMMENT]),
        "pull_request_review_comment" => (&[COMMENT, PULL_REQUEST], &[REVIEW]),
        "issue_comment" => (&[COMMENT, ISSUE], &[]),
        "check_run" => (&[CHECK_RUN], &[]),
        "check_suite" => (&[CHECK_SUITE], &[CHECK_RUN]),
        "status" => (&[SHA, STATE], &[]),
        "create" => (&[REF, REF_TYPE, MASTER], &[]),
        "delete" => (&[REF, REF_TYPE], &[MASTER]),
        "release" => (&[RELEASE], &[]),
        "merge_group" => (&[GROUP], &[]),
        "installation" => (&[INSTALLATION], &[ADDED]),
        "installation_repositories" => (&[INSTALLATION, ADDED], &[]),
        _ => return None,
    })
}

// === impl Body ===

impl Body {
    /// The one event of a body that has the shape of what it claims to be.
    pub(super) fn into_event(self, event: &str) -> Result<Found, Mistakes> {
        if let Some((required, foreign)) = shape(event) {
            self.has(event, required, foreign)?;
        }
        let source = match event {
            "push" => {
                let message = self.head_commit.and_then(|commit| commit.message);
                super::push(self.git_ref, self.before, self.after, message)?
            }
            "pull_request" => pull_request(self.pull_request)?,
            _ => SourceEvent::Other,
        };
        let repository = self.repository.map(Repo::read).transpose()?;
        if repository.is_none() && !matches!(source, SourceEvent::Other) {
            return Err(vec!["repository: is required".to_owned()]);
        }
        Ok(Found::Events(vec![Event {
            action: self.action,
            repository,
            sender: self.sender.and_then(|user| user.login),
            source,
        }]))
    }

    fn has(&self, event: &str, required: &[Field], foreign: &[Field]) -> Result<(), Mistakes> {
        let missing = required
            .iter()
            .filter(|(_, is_there)| !is_there(self))
            .map(|(name, _)| format!("{name}: is required in {event} events"));
        let odd = foreign
            .iter()
            .filter(|(_, is_there)| is_there(self))
            .map(|(name, _)| format!("{name}: {event} events have none"));
        let mistakes: Mistakes = missing.chain(odd).collect();
        if mistakes.is_empty() { Ok(()) } else { Err(mistakes) }
    }
}

impl Repo {
    fn read(self) -> Result<Repository, Mistakes> {
        let (Some(name), Some(url)) = (self.full_name, self.clone_url) else {
            let text = "repository.full_name, repository.clone_url: are required";
            return Err(vec![text.to_owned()]);
        };
        super::repository(&name, &url, self.default_branch)
    }
}

impl<'de> Deserialize<'de> for There {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_skipped| Self(true))
    }
}

fn pull_request(pull: Option<Pull>) -> Result<SourceEvent, Mistakes> {
    let pull = pull.ok_or_else(|| vec!["pull_request: is required".to_owned()])?;
    if !is_hash(&pull.head.sha) || !is_hash(&pull.base.sha) {
        let text = "pull_request.head.sha, pull_request.base.sha: expected commit hashes";
        return Err(vec![text.to_owned()]);
    }
    Ok(SourceEvent::PullRequest(PullRequest {
        number: pull.number,
        title: cut(pull.title.unwrap_or_default(), TEXT_BYTES),
        state: cut(pull.state.unwrap_or_default(), TEXT_BYTES),
        draft: pull.draft.unwrap_or_default(),
        head_ref: cut(pull.head.git_ref, TEXT_BYTES),
        head_sha: pull.head.sha,
        head_repository: pull.head.repo.and_then(|repo| repo.full_name),
        base_ref: cut(pull.base.git_ref, TEXT_BYTES),
        base_sha: pull.base.sha,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPOSITORY: &str = r#""repository": {"full_name": "o/r", "clone_url": "https://github.com/o/r.git"}"#;

    /// The one event of a body.
    fn only(event: &str, body: &str) -> Event {
        let Ok(Found::Events(mut events)) = read(event, body.as_bytes()) else {
            panic!("refused")
        };
        assert_eq!(events.len(), 1);
        events.remove(0)
    }

    fn hash(digit: char) -> String {
        digit.to_string().repeat(40)
    }

    #[test]
    fn every_field_that_tells_an_event_from_others_is_wanted() {
        let known = [
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
        for event in known {
            let (required, foreign) = shape(event).unwrap();
            for (name, _) in required.iter().chain(foreign) {
                assert!(wanted(name.as_bytes()), "{event}: {name}");
            }
        }
    }

    #[test]
    fn a_push_without_a_head_commit_is_still_a_push() {
        let (zero, one) = (hash('0'), hash('1'));
        let body = format!(
            r#"{{"ref":"refs/heads/main","before":"{one}","after":"{zero}","deleted":true,"head_commit":null,{REPOSITORY}}}"#
        );
        assert_eq!(
            only("push", &body).source,
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
        let SourceEvent::PullRequest(pull) = only("pull_request", &body).source else {
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
            ("push", r#"{"ref":"refs/heads/a","ref":"refs/heads/b"}"#),
            ("status", r#"{"sha":"x"}"#),
            ("create", r#"{"ref":"a","ref_type":"branch"}"#),
            ("delete", r#"{"ref":"a","ref_type":"branch","master_branch":"main"}"#),
            ("installation", r#"{"installation":{},"repositories_added":[]}"#),
            (
                "status",
                r#"{"sha":"x","state":"y","repository":{"full_name":"../x","clone_url":"ext::sh"}}"#,
            ),
        ] {
            assert!(read(event, body.as_bytes()).is_err(), "{event} {body}");
        }
    }

    #[test]
    fn what_does_not_concern_forge_is_ignored_with_a_reason() {
        assert!(!is_known("star") && is_known("push"));
        let assigned = read("pull_request", br#"{"action":"assigned"}"#);
        assert!(matches!(assigned, Ok(Found::Nothing(_))));
    }
}
