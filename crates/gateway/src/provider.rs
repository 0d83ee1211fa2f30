//! Forges, made uniform: which headers they send, how they prove themselves, what their bodies say.
//!
//! The provider is chosen by the route, never guessed from headers: Gitea also sends GitHub's.

mod bitbucket;
mod gitea;
mod github;
mod gitlab;

use crate::{
    json::{self, Wanted},
    proof::Proof,
    reject::Rejection,
};
use axum::http::HeaderMap;
use contract::{DeliveryId, ProjectName, Provider, Repository, SourceEvent, WebhookDelivery};

/// What the headers of a delivery say. Nothing of it is signed, but for the proof.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) event: String,
    pub(crate) delivery: DeliveryId,
    /// Deliveries that differ may have that id.
    pub(crate) is_shared: bool,
    pub(crate) proof: Proof,
}

/// What a body says, as far as Forge is concerned.
#[derive(Debug)]
pub(crate) struct Event {
    /// In GitHub's words, whatever forge it came from.
    pub(crate) action: Option<String>,
    pub(crate) repository: Option<Repository>,
    pub(crate) sender: Option<String>,
    pub(crate) source: SourceEvent,
}

/// What a body of an event that is known tells.
#[derive(Debug)]
enum Found {
    /// More than one where a forge tells several pushes at once.
    Events(Vec<Event>),
    /// What brings nothing new, for this reason.
    Nothing(String),
}

/// What to do with a delivery.
#[derive(Debug)]
pub(crate) enum Reading {
    /// It goes on.
    Relevant(Relevant),
    /// It does not concern Forge, for this reason.
    Ignored(String),
    /// The forge asks whether anybody is there.
    Ping,
}

/// A delivery that goes on.
#[derive(Debug)]
pub(crate) struct Relevant {
    pub(crate) events: Vec<Event>,
    /// The message of the first of them, as far as its body.
    pub(crate) begun: Vec<u8>,
}

/// What is wrong with a body, a sentence per mistake.
pub(crate) type Mistakes = Vec<String>;

/// What a forge's bodies say, and how.
struct Dialect {
    /// Whether an event has a shape that is known.
    is_known: fn(&str) -> bool,
    /// The names of all that [`Self::read`] reads of a body, wherever it is.
    wanted: Wanted,
    /// Reads a body of a known event, or what of it is wanted.
    read: fn(&str, &[u8]) -> Result<Found, Mistakes>,
}

/// The names of the headers that a provider must send.
struct Names {
    event: &'static str,
    delivery: &'static str,
    proof: &'static str,
}

/// GitHub's event for a hook that was just made.
pub(crate) const PING: &str = "ping";
/// Longest name of an event.
const EVENT_BYTES: usize = 64;
/// Longest ref, title, action, name; longer ones are cut, but for refs.
const TEXT_BYTES: usize = 1_024;
/// Longest message of a commit that is looked at; longer ones are cut.
const MESSAGE_BYTES: usize = 64 * 1_024;
/// What forges say where there is no commit.
const NO_COMMIT: &str = "0000000000000000000000000000000000000000";

/// Reads the headers that this provider sends.
pub(crate) fn head(provider: Provider, headers: &HeaderMap) -> Result<Head, Rejection> {
    let names = match provider {
        Provider::Github => &github::NAMES,
        Provider::Gitlab => return gitlab::head(headers),
        Provider::Forgejo if headers.contains_key(gitea::FORGEJO.event) => &gitea::FORGEJO,
        Provider::Gitea | Provider::Forgejo => &gitea::NAMES, // Older Forgejos send Gitea's alone.
        Provider::Bitbucket => &bitbucket::NAMES,
    };
    let proof = |value: &str| match provider {
        Provider::Gitea | Provider::Forgejo => Proof::seal(value),
        Provider::Github | Provider::Gitlab | Provider::Bitbucket => Proof::seal(value.strip_prefix("sha256=")?),
    };
    names.read(headers, proof)
}

/// Reads a body as the event it claims to be.
///
/// The event's name comes from a header that is not signed, so the body must have its shape.
pub(crate) fn read(provider: Provider, event: &str, body: &str) -> Result<Reading, Mistakes> {
    if provider == Provider::Github && event == PING {
        return Ok(Reading::Ping);
    }
    let dialect = dialect(provider);
    if !(dialect.is_known)(event) {
        return Ok(Reading::Ignored(format!("events of type {event} are not used")));
    }
    let scanned = json::scan(body, WebhookDelivery::BEGINNING, dialect.wanted);
    let document = scanned.map_err(|error| vec![format!("body: {error}")])?;
    Ok(match (dialect.read)(event, &document.fields)? {
        Found::Events(events) => Reading::Relevant(Relevant {
            events: events.into_iter().map(Event::bounded).collect(),
            begun: document.escaped,
        }),
        Found::Nothing(reason) => Reading::Ignored(cut(reason, TEXT_BYTES)),
    })
}

/// Whether any forge has an event of this name that is used.
pub(crate) fn is_known(event: &str) -> bool {
    Provider::ALL
        .iter()
        .any(|provider| (dialect(*provider).is_known)(event))
}

const fn dialect(provider: Provider) -> &'static Dialect {
    match provider {
        Provider::Github => &github::DIALECT,
        Provider::Gitlab => &gitlab::DIALECT,
        Provider::Gitea | Provider::Forgejo => &gitea::DIALECT,
        Provider::Bitbucket => &bitbucket::DIALECT,
    }
}

/// Panics where more is read of a body than is wanted.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn wants_what_it_reads(provider: Provider, event: &str, body: &str) {
    let dialect = dialect(provider);
    let Ok(document) = json::scan(body, "", dialect.wanted) else {
        return;
    };
    let read = |text: &[u8]| (dialect.read)(event, text);
    assert_eq!(
        format!("{:?}", read(&document.fields)),
        format!("{:?}", read(body.as_bytes()))
    );
}

/// Whom a body is about, by the fields from which its events are read: the repository, else the owner. It may come
/// from anybody, so it is `None` unless it is the name of one.
pub(crate) fn owner_or_repository(provider: Provider, body: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct OfGitlab {
        project: Option<Project>,
    }
    #[derive(serde::Deserialize)]
    struct Project {
        path_with_namespace: Option<String>,
    }
    #[derive(serde::Deserialize)]
    struct OfOthers {
        repository: Option<Repo>,
        organization: Option<Owner>,
    }
    #[derive(serde::Deserialize)]
    struct Repo {
        full_name: Option<String>,
    }
    #[derive(serde::Deserialize)]
    struct Owner {
        login: Option<String>,
    }
    match provider {
        Provider::Gitlab => {
            let named: OfGitlab = serde_json::from_slice(body).ok()?;
            repository_name(&named.project?.path_with_namespace?)
        }
        Provider::Github | Provider::Gitea | Provider::Forgejo | Provider::Bitbucket => {
            let named: OfOthers = serde_json::from_slice(body).ok()?;
            let Some(repository) = named.repository.and_then(|repository| repository.full_name) else {
                return named
                    .organization?
                    .login
                    .filter(|login| login.len() <= TEXT_BYTES && !login.contains('/'));
            };
            repository_name(&repository)
        }
    }
}

fn repository_name(text: &str) -> Option<String> {
    text.parse::<ProjectName>().ok().map(String::from)
}

/// The word that goes with a forge's own.
fn word_for(words: &[(&str, &'static str)], own: &str) -> Option<&'static str> {
    words.iter().find(|(theirs, _)| *theirs == own).map(|(_, word)| *word)
}

/// Reads the fields of a body.
fn parse<'a, T: serde::Deserialize<'a>>(fields: &'a [u8]) -> Result<T, Mistakes> {
    serde_json::from_slice(fields).map_err(|error| {
        // The body had other lines and columns.
        let (place, text) = (
            format!(" at line {} column {}", error.line(), error.column()),
            error.to_string(),
        );
        vec![format!("body: {}", text.strip_suffix(&place).unwrap_or(&text))]
    })
}

fn repository(name: &str, url: &str, default_branch: Option<String>) -> Result<Repository, Mistakes> {
    let wrong = |field: &str, error: &dyn std::fmt::Display| vec![format!("{field}: {error}")];
    let name = name.parse().map_err(|error| wrong("the repository's name", &error))?;
    let url = url.parse().map_err(|error| wrong("the repository's address", &error))?;
    Ok(Repository::new(
        name,
        url,
        default_branch.map(|branch| cut(branch, TEXT_BYTES)),
    ))
}

/// A push, if every part has the form that pushes have.
fn push(
    git_ref: Option<String>,
    before: Option<String>,
    after: Option<String>,
    message: Option<String>,
) -> Result<SourceEvent, Mistakes> {
    let mut wrong = Vec::new();
    let mut required = |name: &str, value: Option<String>, fits: fn(&str) -> bool| {
        let value = value.filter(|text| fits(text));
        if value.is_none() {
            wrong.push(format!("{name}: is required, in the form that push events have"));
        }
        value.unwrap_or_default()
    };
    let git_ref = required("ref", git_ref, is_ref);
    let before = required("before", before, is_hash);
    let after = required("after", after, is_hash);
    if !wrong.is_empty() {
        return Err(wrong);
    }
    Ok(SourceEvent::Push {
        git_ref,
        before,
        deleted: after.bytes().all(|b| b == b'0'),
        after,
        message: message.map(|text| cut(text, MESSAGE_BYTES)),
    })
}

/// A whole commit hash: SHA-1 or SHA-256.
fn is_hash(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn is_ref(text: &str) -> bool {
    text.starts_with("refs/") && text.len() <= TEXT_BYTES
}

/// The beginning of a text, whole characters of it.
fn cut(mut text: String, most: usize) -> String {
    text.truncate(text.floor_char_boundary(most));
    text
}

// === impl Event ===

impl Event {
    /// What others may have made long is cut.
    fn bounded(mut self) -> Self {
        let short = |text: Option<String>| text.map(|text| cut(text, TEXT_BYTES));
        (self.action, self.sender) = (short(self.action), short(self.sender));
        if let SourceEvent::PullRequest(pull) = &mut self.source {
            pull.head_repository = short(pull.head_repository.take());
        }
        self
    }
}

// === impl Names ===

impl Names {
    /// The three headers, each exactly once. Only the proof missing is a missing proof; anything else is a
    /// request that no forge makes.
    fn read(&self, headers: &HeaderMap, proof: impl FnOnce(&str) -> Option<Proof>) -> Result<Head, Rejection> {
        let required = [self.event, self.delivery, self.proof];
        let missing: Vec<_> = required
            .into_iter()
            .filter(|name| !headers.contains_key(*name))
            .collect();
        if missing == [self.proof] {
            return Err(Rejection::BadSignature);
        }
        if !missing.is_empty() {
            return Err(Rejection::MissingHeaders(required.to_vec()));
        }
        let proof = one(headers, self.proof)
            .and_then(proof)
            .ok_or(Rejection::BadSignature)?;
        let event = one(headers, self.event).filter(|event| event.len() <= EVENT_BYTES);
        let event = event.ok_or(Rejection::BadHeader(self.event))?.to_owned();
        let delivery = one(headers, self.delivery).and_then(|id| id.trim_matches(['{', '}']).parse().ok());
        Ok(Head {
            event,
            delivery: delivery.ok_or(Rejection::BadHeader(self.delivery))?,
            is_shared: false,
            proof,
        })
    }
}

/// The value of a header that came exactly once.
fn one<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then(|| value.to_str().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pushes and pull requests with every field that is read of them, and others beside each.
    const BODIES: &[(Provider, &str, &str)] = &[
        (
            Provider::Github,
            "push",
            r#"{"x": 0, "ref": "refs/heads/a", "before": "HASH", "after": "HASH", "head_commit": {"x": 1, "message": "m"},
            "sender": {"x": 2, "login": "l"}, "repository": {"x": 3, "full_name": "o/r",
            "clone_url": "https://h/o/r.git", "default_branch": "d"}, "commits": [{"ref": "x"}]}"#,
        ),
        (
            Provider::Forgejo,
            "pull_request",
            r#"{"action": "opened", "pull_request": {"number": 7, "title": "t", "state": "open", "draft": true,
            "head": {"ref": "a", "sha": "HASH", "repo": {"full_name": "f/r", "clone_url": "x"}, "x": [1, {"sha": 2}]},
            "base": {"ref": "b", "sha": "HASH"}}, "repository": {"full_name": "o/r", "clone_url": "https://h/o/r.git"}}"#,
        ),
        (
            Provider::Gitlab,
            "Push Hook",
            r#"{"object_kind": "push", "ref": "refs/heads/a", "before": "HASH", "after": "HASH", "user_username": "u",
            "user": {"username": "v"}, "project": {"path_with_namespace": "o/r", "git_http_url": "https://h/o/r.git",
            "default_branch": "d"}, "commits": [{"id": "x"}, {"id": "HASH", "message": "m", "title": "x"}]}"#,
        ),
        (
            Provider::Gitlab,
            "Merge Request Hook",
            r#"{"object_kind": "merge_request", "user": {"username": "v"}, "project": {"path_with_namespace": "o/r",
            "git_http_url": "https://h/o/r.git"}, "object_attributes": {"iid": 7, "title": "t", "state": "merged",
            "draft": true, "action": "update", "oldrev": "x", "source_branch": "a", "target_branch": "b",
            "source": {"path_with_namespace": "f/r"}, "last_commit": {"id": "HASH", "message": "m"}}}"#,
        ),
        (
            Provider::Bitbucket,
            "repo:push",
            r#"{"actor": {"display_name": "d", "nickname": "n"}, "repository": {"full_name": "o/r", "mainbranch":
            {"name": "m"}, "links": {"self": {"href": "x"}, "html": {"href": "https://h/o/r"}}}, "push": {"changes":
            [{"old": {"type": "branch", "name": "a", "target": {"hash": "HASH"}}, "new": {"type": "branch",
            "name": "a", "target": {"hash": "HASH", "message": "m", "type": "commit"}}, "closed": false}]}}"#,
        ),
        (
            Provider::Bitbucket,
            "pullrequest:updated",
            r#"{"actor": {"display_name": "d"}, "repository": {"full_name": "o/r", "links": {"html": {"href":
            "https://h/o/r"}}}, "pullrequest": {"id": 7, "title": "t", "state": "OPEN", "draft": true,
            "source": {"branch": {"name": "a"}, "commit": {"hash": "HASH"}, "repository": {"full_name": "f/r"}},
            "destination": {"branch": {"name": "b"}, "commit": {"hash": "HASH"}}}}"#,
        ),
    ];

    #[test]
    fn only_the_name_of_a_repository_or_an_owner_chooses_a_secret() {
        let named = |body: &str| owner_or_repository(Provider::Github, body.as_bytes());
        let repository = |name: &str| named(&format!(r#"{{"repository": {{"full_name": "{name}"}}}}"#));
        assert_eq!(repository("acme/shop").as_deref(), Some("acme/shop"));
        assert_eq!(named(r#"{"organization": {"login": "acme"}}"#).as_deref(), Some("acme"));
        for bad in [
            "",
            "acme",
            "../x",
            &"/".repeat(1 << 20),
            &"a/".repeat(1 << 20),
            &format!("o/{}", "x".repeat(300)),
        ] {
            assert_eq!(repository(bad), None, "{bad:.20}");
        }
        assert_eq!(named(r#"{"organization": {"login": "a/b"}}"#), None);
        let gitlab = r#"{"project": {"path_with_namespace": "a//b"}}"#;
        assert_eq!(owner_or_repository(Provider::Gitlab, gitlab.as_bytes()), None);
    }

    #[test]
    fn what_is_wanted_of_a_body_is_all_that_is_read() {
        for (provider, event, body) in BODIES {
            let body = body.replace("HASH", &"a".repeat(40));
            wants_what_it_reads(*provider, event, &body);
            let found = format!("{:?}", read(*provider, event, &body));
            assert!(
                found.starts_with("Ok(Relevant(Relevant { events: [Event"),
                "{event}: {found}"
            );
        }
    }

    #[test]
    fn what_others_have_made_long_is_cut() {
        let long = "é".repeat(10_000);
        let body = format!(
            r#"{{"action": "{long}", "comment": {{}}, "issue": {{}}, "sender": {{"login": "{long}"}},
            "repository": {{"full_name": "o/r", "clone_url": "https://h/o/r.git"}}}}"#
        );
        let Ok(Reading::Relevant(found)) = read(Provider::Github, "issue_comment", &body) else {
            panic!("refused")
        };
        let lengths = found
            .events
            .iter()
            .map(|event| (event.action.as_ref(), event.sender.as_ref()));
        let lengths: Vec<_> = lengths.map(|(a, s)| (a.map(String::len), s.map(String::len))).collect();
        assert_eq!(lengths, [(Some(TEXT_BYTES), Some(TEXT_BYTES))]);
        let Ok(Reading::Ignored(reason)) = read(Provider::Github, "pull_request", &body) else {
            panic!("relevant")
        };
        assert!(reason.len() <= TEXT_BYTES);
    }
}
