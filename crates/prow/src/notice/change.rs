//! What others are told of a change of a repository: that it was pushed, proposed, checked, may be merged, was merged. Pure.

use super::{NOTICES, present};
use crate::{
    correlation::Change,
    ticket,
    verdict::{Check, State, Verdict},
};
use bus::clock;
use contract::{Correlation, Notification, PullRequest, Resource, SourceEvent, WebhookDelivery};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// A pull request that may be merged.
#[derive(Clone, Debug)]
pub(crate) struct Ready {
    pub(crate) repository: String,
    /// `pull/<number>`.
    pub(crate) key: String,
    pub(crate) head: String,
    /// What is passed on of it.
    pub(crate) pull: Map<String, Value>,
}

/// What bodies say besides what gateway makes uniform, in the words of GitHub and Gitea.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Body {
    pull_request: Pull,
    commits: Vec<Commit>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Pull {
    body: Option<String>,
    html_url: Option<String>,
    updated_at: Option<String>,
    user: User,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct User {
    login: Option<String>,
    id: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Commit {
    id: String,
    message: String,
    timestamp: Option<String>,
    url: Option<String>,
    author: Author,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Author {
    name: Option<String>,
    email: Option<String>,
}

/// A notification is to be about 20 KiB at most, as much as every receiver takes: most characters of a text in it …
const LONGEST: usize = 2_000;
/// … and of a short one, and most commits.
const SHORT: usize = 250;
const COMMITS: usize = 10;

/// The tickets that a pull request names: by its branch, its title, its description.
pub(crate) fn tickets(webhook: &WebhookDelivery, pull: &PullRequest) -> Vec<String> {
    named_by(pull, &Body::of(webhook).pull_request)
}

fn named_by(pull: &PullRequest, said: &Pull) -> Vec<String> {
    let description = said.body.as_deref().unwrap_or_default();
    ticket::named_in(Some(&pull.head_ref), &[&pull.title, description])
}

/// What is passed on of a pull request.
pub(crate) fn pull(webhook: &WebhookDelivery, pull: &PullRequest) -> Value {
    let said = Body::of(webhook).pull_request;
    let repository = webhook.repository.as_ref();
    json!({
        "number": pull.number,
        "title": cut(&pull.title, SHORT),
        "body": said.body.as_deref().map(|text| cut(text, LONGEST)),
        "state": pull.state,
        "draft": pull.draft,
        "url": said.html_url.as_deref().map(|text| cut(text, SHORT)),
        "head": {"ref": cut(&pull.head_ref, SHORT), "sha": pull.head_sha, "repo": pull.head_repository},
        "base": {"ref": cut(&pull.base_ref, SHORT), "sha": pull.base_sha, "repo": repository.map(|r| &r.full_name)},
        "user": {"login": cut_all(said.user.login.as_ref()), "id": said.user.id},
        "clone_url": repository.map(|r| &r.clone_url),
        "updated_at": cut_all(said.updated_at.as_ref()),
        "tickets": named_by(pull, &said),
    })
}

/// What others are told because of a webhook, if it is of a change that they care for. Of a pull request `passed_on` is what is
/// passed on of it.
pub(crate) fn of(
    webhook: &WebhookDelivery,
    change: &Change,
    verdict: Option<&Verdict>,
    passed_on: Option<&Value>,
) -> Option<Notification> {
    let repository = webhook.repository.as_ref()?;
    let (name, key) = (repository.full_name.as_str(), change.key.as_deref());
    let (word, key, mark, more) = match (&webhook.source, verdict) {
        (
            SourceEvent::Push {
                git_ref, before, after, ..
            },
            _,
        ) => {
            let key = key.filter(|key| key.starts_with("commit/"))?;
            (
                "pushed",
                key.to_owned(),
                format!("{before}\n{after}"), // The same commit may be pushed again, after another.
                pushed(webhook, git_ref, before, after),
            )
        }
        (SourceEvent::PullRequest(about), None) => {
            let word = match webhook.action.as_deref()? {
                "opened" | "reopened" => "opened",
                "synchronize" | "ready_for_review" => "updated",
                "closed" if change.is_merged => "merged",
                "closed" => "closed",
                _ => return None,
            };
            let pull = passed_on?.clone();
            // Two hooks tell the same with the same time; a pull request may be opened twice with one commit.
            let mark = format!("{}\n{}", about.head_sha, at(&pull, "/updated_at"));
            (word, key?.to_owned(), mark, with_pull(pull))
        }
        (_, Some(Verdict::Check(check))) if check.state == State::Failed => {
            let key = key.map_or_else(|| format!("commit/{}", check.commit), ToOwned::to_owned);
            let mark = format!("{}\n{}\n{}", check.commit, check.name, check.run);
            ("check_failed", key, mark, failed(check))
        }
        _ => return None,
    };
    let mut notice = notice(name, &key, word, &mark);
    notice.version = u64::try_from(webhook.received_at.as_millis()).unwrap_or_default();
    notice.sequence_hint = notice.version;
    notice.correlation = Correlation {
        correlation_id: webhook.metadata.correlation_id.clone(),
        commit: change.commit.clone(),
        ..Correlation::default()
    };
    notice.data.extend(present(json!({
        "repository": repository.clone_url,
        "branch": change.branch,
        "default_branch": repository.default_branch,
        "action": webhook.action,
        "sender": webhook.sender,
    })));
    notice.data.extend(more);
    notice.metadata.traceparent.clone_from(&webhook.metadata.traceparent);
    Some(notice)
}

/// What others are told when a pull request may be merged: once for each commit of it.
pub(crate) fn ready(ready: &Ready) -> Notification {
    let mut notice = notice(&ready.repository, &ready.key, "ready", &ready.head);
    notice.version = u64::try_from(clock::now_ms()).unwrap_or_default();
    notice.sequence_hint = notice.version;
    notice.correlation.commit = Some(ready.head.clone());
    notice.data.extend(with_pull(Value::Object(ready.pull.clone())));
    notice
}

/// What a change is called in notifications.
pub(crate) fn uid(repository: &str, key: &str) -> Uuid {
    Uuid::new_v5(&NOTICES, format!("workflow\n{repository}\n{key}").as_bytes())
}

fn notice(repository: &str, key: &str, word: &str, mark: &str) -> Notification {
    let uid = uid(repository, key);
    let resource = Resource {
        kind: "Workflow".to_owned(),
        api_version: "forge/v1".to_owned(),
        name: format!("{repository} {}", cut(key, SHORT)),
        namespace: repository.to_owned(),
        uid: uid.to_string(),
    };
    let event_id = Uuid::new_v5(&uid, format!("{word}\n{mark}").as_bytes());
    let mut notice = Notification::new(event_id, format!("workflow.{word}"), clock::now(), resource);
    notice.data = present(json!({"status": word, "project": repository, "key": cut(key, SHORT)}));
    notice
}

fn pushed(webhook: &WebhookDelivery, git_ref: &str, before: &str, after: &str) -> contract::Rest {
    let commits = Body::of(webhook).commits;
    let messages: Vec<&str> = commits.iter().map(|commit| commit.message.as_str()).collect();
    let tickets = ticket::named_in(None, &messages);
    let commits: Vec<_> = commits.iter().rev().take(COMMITS).rev().map(Commit::shown).collect();
    present(json!({
        "tickets": tickets,
        "push": {
            "ref": cut(git_ref, SHORT), "before": before, "after": after, "commits": commits, "pusher": webhook.sender,
        },
    }))
}

fn with_pull(mut pull: Value) -> contract::Rest {
    let tickets = pull.as_object_mut().and_then(|pull| pull.remove("tickets"));
    let (title, branch, repository) = (at(&pull, "/title"), at(&pull, "/head/ref"), at(&pull, "/clone_url"));
    present(json!({
        "tickets": tickets, "title": title, "branch": branch, "repository": repository, "pull_request": pull,
    }))
}

fn failed(check: &Check) -> contract::Rest {
    present(json!({
        "reason": format!("{} has failed", cut(&check.name, SHORT)),
        "check": {
            "name": cut(&check.name, SHORT), "conclusion": cut_all(check.conclusion.as_ref()),
            "url": cut_all(check.url.as_ref()), "head_sha": cut(&check.commit, SHORT),
        },
    }))
}

/// A part of a value, or null.
fn at(value: &Value, path: &str) -> Value {
    value.pointer(path).cloned().unwrap_or_default()
}

fn cut_all(text: Option<&String>) -> Option<String> {
    text.map(|text| cut(text, SHORT))
}

fn cut(text: &str, most: usize) -> String {
    // Nothing that a terminal would take for more than text.
    let plain = |c: char| if c.is_control() && c != '\n' { ' ' } else { c };
    text.chars().take(most).map(plain).collect()
}

// === impl Body ===

impl Body {
    /// What is no such body says nothing.
    fn of(webhook: &WebhookDelivery) -> Self {
        serde_json::from_str(&webhook.body).unwrap_or_default()
    }
}

// === impl Commit ===

impl Commit {
    fn shown(&self) -> Value {
        json!({
            "id": cut(&self.id, SHORT), "message": cut(&self.message, SHORT),
            "timestamp": cut_all(self.timestamp.as_ref()), "url": cut_all(self.url.as_ref()),
            "author": {"name": cut_all(self.author.name.as_ref()), "email": cut_all(self.author.email.as_ref())},
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{correlation, verdict};
    use contract::{Message as _, Provider, Repository, Timestamp};

    #[test]
    fn what_is_told_of_a_push_is_short_whatever_is_in_it() {
        let long = "\u{1b}".repeat(50_000);
        let commit = json!({"id": long, "message": long, "timestamp": long, "url": long,
            "author": {"name": long, "email": long}});
        let body = json!({"commits": vec![commit; 100]}).to_string();
        let source = SourceEvent::Push {
            git_ref: "refs/heads/main".to_owned(),
            before: "0".repeat(40),
            after: "a".repeat(40),
            deleted: false,
            message: None,
        };
        let id = "72d3162e-cc78-11e3-81ab-4c9367dc0958".parse().unwrap();
        let mut webhook = WebhookDelivery::new(id, Provider::Github, "push", Timestamp::from_millis(5), source, body);
        let url = "https://github.com/o/r.git".parse().unwrap();
        webhook.repository = Some(Repository::new("o/r".parse().unwrap(), url, Some("main".into())));
        let change = correlation::of(&webhook).unwrap();
        let told = of(&webhook, &change, verdict::of(&webhook).as_ref(), None).unwrap();
        assert_eq!((told.event_type.as_str(), told.version), ("workflow.pushed", 5));
        assert_eq!(told.data["push"]["commits"].as_array().unwrap().len(), COMMITS);
        let text = told.to_json().unwrap();
        assert!(text.len() < 20 * 1_024, "{}", text.len());
        assert!(!text.contains("u001b"), "no control characters");
        // The same push by another hook is the same; the same commit after another one is not.
        let mut other = webhook;
        other.id = "72d3162e-cc78-11e3-81ab-4c9367dc0959".parse().unwrap();
        let id_of = |webhook: &WebhookDelivery| {
            of(webhook, &correlation::of(webhook).unwrap(), None, None)
                .unwrap()
                .event_id
        };
        assert_eq!(id_of(&other), told.event_id);
        if let SourceEvent::Push { before, .. } = &mut other.source {
            *before = "b".repeat(40);
        }
        assert_ne!(id_of(&other), told.event_id);
    }
}
