//! GitLab: a token that is compared, or the newer signing token in the Standard Webhooks form.
//!
//! Source: "Webhooks" and "Webhook events" in GitLab's documentation.

use super::{Dialect, EVENT_BYTES, Event, Found, Head, Mistakes, TEXT_BYTES, cut, is_hash, one, parse, word_for};
use crate::{proof::Proof, reject::Rejection};
use axum::http::HeaderMap;
use contract::{PullRequest, SourceEvent};
use serde::Deserialize;

pub(super) const DIALECT: Dialect = Dialect { is_known, wanted, read };

const EVENT: &str = "X-Gitlab-Event";
const TOKEN: &str = "X-Gitlab-Token";
/// Stays the same when GitLab tries again; the other one is older, and shared by hooks that set off hooks.
const DELIVERY: [&str; 2] = ["Idempotency-Key", "X-Gitlab-Event-UUID"];
const REQUIRED: [&str; 3] = [EVENT, DELIVERY[1], TOKEN];

/// Events that are used: the header, the body's own word, and the word that goes on.
const EVENTS: &[(&str, &str)] = &[
    ("Push Hook", "push"),
    ("Tag Push Hook", "tag_push"),
    ("Merge Request Hook", "merge_request"),
    ("Note Hook", "note"),
    ("Release Hook", "release"),
    ("Pipeline Hook", "pipeline"),
];

#[derive(Deserialize)]
struct Body {
    object_kind: Option<String>,
    #[serde(rename = "ref")]
    git_ref: Option<String>,
    before: Option<String>,
    after: Option<String>,
    user_username: Option<String>,
    user: Option<User>,
    project: Option<Project>,
    #[serde(default)]
    commits: Vec<Commit>,
}

/// What is read besides of a merge request. Other events have attributes of other kinds.
#[derive(Deserialize)]
struct MergeRequest {
    object_attributes: Option<Attributes>,
}

#[derive(Deserialize)]
struct User {
    username: Option<String>,
}

#[derive(Deserialize)]
struct Project {
    path_with_namespace: Option<String>,
    git_http_url: Option<String>,
    default_branch: Option<String>,
}

#[derive(Deserialize)]
struct Commit {
    id: Option<String>,
    message: Option<String>,
}

#[derive(Deserialize)]
struct Attributes {
    iid: Option<u64>,
    title: Option<String>,
    state: Option<String>,
    draft: Option<bool>,
    action: Option<String>,
    oldrev: Option<String>,
    source_branch: Option<String>,
    target_branch: Option<String>,
    source: Option<Project>,
    last_commit: Option<Commit>,
}

pub(super) fn head(headers: &HeaderMap) -> Result<Head, Rejection> {
    let there = |name: &str| headers.contains_key(name);
    let delivery = DELIVERY.into_iter().find(|name| there(name));
    let (Some(delivery), true) = (delivery, there(EVENT)) else {
        return Err(Rejection::MissingHeaders(REQUIRED.to_vec()));
    };
    let event = one(headers, EVENT).filter(|event| event.len() <= EVENT_BYTES);
    let event = event.ok_or(Rejection::BadHeader(EVENT))?.to_owned();
    let id = one(headers, delivery).and_then(|id| id.parse().ok());
    let id = id.ok_or(Rejection::BadHeader(delivery))?;
    // Where there is a seal, a token beside it proves nothing more.
    let proof = if there("webhook-signature") {
        let part = |name| one(headers, name).map(ToOwned::to_owned).ok_or(Rejection::BadSignature);
        Proof::Standard {
            id: part("webhook-id")?,
            at: part("webhook-timestamp")?,
            seals: part("webhook-signature")?,
        }
    } else {
        let token = one(headers, TOKEN).filter(|token| !token.is_empty());
        Proof::Token(token.ok_or(Rejection::BadSignature)?.as_bytes().to_vec())
    };
    Ok(Head {
        event,
        delivery: id,
        is_shared: delivery != DELIVERY[0],
        proof,
    })
}

fn is_known(event: &str) -> bool {
    kind(event).is_some()
}

fn kind(event: &str) -> Option<&'static str> {
    word_for(EVENTS, event)
}

/// The names of all that is read of a body, wherever it is.
fn wanted(name: &[u8]) -> bool {
    matches!(
        name,
        b"action"
            | b"after"
            | b"before"
            | b"commits"
            | b"default_branch"
            | b"draft"
            | b"git_http_url"
            | b"id"
            | b"iid"
            | b"last_commit"
            | b"message"
            | b"object_attributes"
            | b"object_kind"
            | b"oldrev"
            | b"path_with_namespace"
            | b"project"
            | b"ref"
            | b"source"
            | b"source_branch"
            | b"state"
            | b"target_branch"
            | b"title"
            | b"user"
            | b"user_username"
            | b"username"
    )
}

fn read(event: &str, fields: &[u8]) -> Result<Found, Mistakes> {
    let kind = kind(event).unwrap_or_default();
    let body: Body = parse(fields)?;
    if body.object_kind.as_deref() != Some(kind) {
        return Err(vec![format!("object_kind: must be {kind} in a {event}")]);
    }
    let project = body.project.ok_or_else(|| vec!["project: is required".to_owned()])?;
    let (Some(name), Some(url)) = (project.path_with_namespace, project.git_http_url) else {
        let text = "project.path_with_namespace, project.git_http_url: are required";
        return Err(vec![text.to_owned()]);
    };
    let repository = super::repository(&name, &url, project.default_branch)?;
    let mut action = None;
    let source = match kind {
        "push" | "tag_push" => {
            let newest = body.commits.into_iter().find(|commit| commit.id == body.after);
            let message = newest.and_then(|commit| commit.message);
            super::push(body.git_ref, body.before, body.after, message)?
        }
        "merge_request" => {
            let attributes = parse::<MergeRequest>(fields)?
                .object_attributes
                .ok_or_else(|| vec!["object_attributes: is required".to_owned()])?;
            let Some(word) = attributes.word() else {
                let own = attributes.action.unwrap_or_default();
                return Ok(Found::Nothing(format!("merge request action {own} is not used")));
            };
            action = Some(word.to_owned());
            merge_request(attributes)?
        }
        _ => SourceEvent::Other,
    };
    Ok(Found::Events(vec![Event {
        action,
        repository: Some(repository),
        sender: body.user_username.or_else(|| body.user?.username),
        source,
    }]))
}

fn merge_request(attributes: Attributes) -> Result<SourceEvent, Mistakes> {
    let head = attributes.last_commit.and_then(|commit| commit.id);
    let (Some(number), Some(head_ref), Some(base_ref), Some(head_sha)) = (
        attributes.iid,
        attributes.source_branch,
        attributes.target_branch,
        head.filter(|hash| is_hash(hash)),
    ) else {
        let text = "object_attributes: iid, source_branch, target_branch and last_commit.id are required";
        return Err(vec![text.to_owned()]);
    };
    let state = match attributes.state.as_deref() {
        Some("opened") | None => "open".to_owned(),
        Some(other) => cut(other.to_owned(), TEXT_BYTES),
    };
    Ok(SourceEvent::PullRequest(PullRequest {
        number,
        title: cut(attributes.title.unwrap_or_default(), TEXT_BYTES),
        state,
        draft: attributes.draft.unwrap_or_default(),
        head_ref: cut(head_ref, TEXT_BYTES),
        head_sha,
        head_repository: attributes.source.and_then(|project| project.path_with_namespace),
        base_ref: cut(base_ref, TEXT_BYTES),
        base_sha: String::new(), // GitLab does not say.
    }))
}

// === impl Attributes ===

impl Attributes {
    /// GitHub's word for what happened; `None` for what brings nothing new.
    fn word(&self) -> Option<&'static str> {
        match self.action.as_deref()? {
            "open" => Some("opened"),
            "reopen" => Some("reopened"),
            "close" | "merge" => Some("closed"),
            "update" if self.oldrev.is_some() => Some("synchronize"),
            "update" => Some("edited"),
            // All of those who have to approve have, or somebody has.
            "approved" | "approval" => Some("approved"),
            "unapproved" | "unapproval" => Some("unapproved"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example in GitLab's documentation, shortened.
    const PUSH: &str = r#"{
        "object_kind": "push", "event_name": "push",
        "before": "95790bf891e76fee5e1747ab589903a6a1f80f22",
        "after": "da1560886d4f094c3e6c9ef40349f7d38b5d27d7",
        "ref": "refs/heads/master", "checkout_sha": "da1560886d4f094c3e6c9ef40349f7d38b5d27d7",
        "user_id": 4, "user_name": "John Smith", "user_username": "jsmith",
        "project": {"id": 15, "name": "Diaspora", "git_http_url": "http://example.com/mike/diaspora.git",
            "path_with_namespace": "mike/diaspora", "default_branch": "master"},
        "commits": [
            {"id": "b6568db1bc1dcd7f8b4d5a946b0b91f9dacd7327", "message": "Update Catalan translation"},
            {"id": "da1560886d4f094c3e6c9ef40349f7d38b5d27d7", "message": "fixed readme"}
        ],
        "total_commits_count": 4
    }"#;

    fn merge_request(action: &str, more: &str) -> String {
        format!(
            r#"{{"object_kind": "merge_request", "user": {{"username": "root"}},
            "project": {{"path_with_namespace": "gitlabhq/gitlab-test", "default_branch": "master",
                "git_http_url": "http://example.com/gitlabhq/gitlab-test.git"}},
            "object_attributes": {{"iid": 1, "title": "MS-Viewport", "state": "opened", "action": "{action}",
                "source_branch": "ms-viewport", "target_branch": "master", "draft": true, {more}
                "source": {{"path_with_namespace": "awesome_space/awesome_project"}},
                "last_commit": {{"id": "da1560886d4f094c3e6c9ef40349f7d38b5d27d7", "message": "fixed readme"}}}}}}"#
        )
    }

    fn only(event: &str, body: &str) -> Event {
        let Ok(Found::Events(mut events)) = read(event, body.as_bytes()) else {
            panic!("refused")
        };
        events.remove(0)
    }

    #[test]
    fn the_documented_push_is_read_with_the_message_of_its_newest_commit() {
        let event = only("Push Hook", PUSH);
        let SourceEvent::Push { after, message, .. } = event.source else {
            panic!("not a push")
        };
        assert_eq!(
            (after.as_str(), message.as_deref(), event.sender.as_deref()),
            (
                "da1560886d4f094c3e6c9ef40349f7d38b5d27d7",
                Some("fixed readme"),
                Some("jsmith")
            )
        );
        assert_eq!(event.repository.unwrap().full_name.as_str(), "mike/diaspora");
    }

    #[test]
    fn merge_requests_have_githubs_words() {
        for (action, more, word) in [
            ("open", "", Some("opened")),
            ("update", r#""oldrev": "e","#, Some("synchronize")),
            ("update", "", Some("edited")),
            ("merge", "", Some("closed")),
            ("approved", "", Some("approved")),
            ("unapproval", "", Some("unapproved")),
            ("odd", "", None),
        ] {
            let body = merge_request(action, more);
            let Some(word) = word else {
                let read = read("Merge Request Hook", body.as_bytes());
                assert!(matches!(read, Ok(Found::Nothing(_))), "{action}");
                continue;
            };
            let event = only("Merge Request Hook", &body);
            assert_eq!(event.action.as_deref(), Some(word));
            let SourceEvent::PullRequest(pull) = event.source else {
                panic!("not a pull request")
            };
            assert_eq!(
                (pull.number, pull.state.as_str(), pull.head_repository.as_deref()),
                (1, "open", Some("awesome_space/awesome_project"))
            );
        }
    }

    #[test]
    fn a_body_must_be_what_its_header_says() {
        let refused = read("Tag Push Hook", PUSH.as_bytes());
        assert_eq!(
            refused.unwrap_err(),
            ["object_kind: must be tag_push in a Tag Push Hook"]
        );
        assert!(read("Push Hook", b"[]").is_err());
        assert!(!is_known("Wiki Page Hook"));
    }

    /// Attributes of other events have fields of the same names and other kinds.
    #[test]
    fn a_pipeline_of_a_merge_request_is_read() {
        let body = r#"{"object_kind": "pipeline", "user": {"username": "root"},
            "object_attributes": {"id": 31, "iid": 3, "source": "merge_request_event", "status": "success"},
            "project": {"path_with_namespace": "gitlab-org/gitlab-test", "default_branch": "master",
                "git_http_url": "http://192.168.64.1:3005/gitlab-org/gitlab-test.git"}}"#;
        let event = only("Pipeline Hook", body);
        assert!(matches!(event.source, SourceEvent::Other));
        assert_eq!(event.sender.as_deref(), Some("root"));
    }
}
