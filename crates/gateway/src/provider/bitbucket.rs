//! Bitbucket Cloud. One delivery may tell several pushes.
//!
//! Source: "Event payloads" and "Manage webhooks" in Atlassian's documentation.

use super::{Dialect, Event, Found, Mistakes, NO_COMMIT, Names, TEXT_BYTES, cut, parse, word_for};
use contract::{PullRequest, Repository, SourceEvent};
use serde::Deserialize;

pub(super) const DIALECT: Dialect = Dialect { is_known, wanted, read };

pub(super) const NAMES: Names = Names {
    event: "X-Event-Key",
    delivery: "X-Request-UUID",
    proof: "X-Hub-Signature",
};

/// Events of pull requests, and GitHub's words for what happened.
const PULL_REQUESTS: &[(&str, &str)] = &[
    ("pullrequest:created", "opened"),
    ("pullrequest:updated", "synchronize"),
    ("pullrequest:fulfilled", "closed"),
    ("pullrequest:rejected", "closed"),
];

/// Events that go on as they are.
const OTHERS: &[&str] = &[
    "pullrequest:approved",
    "pullrequest:unapproved",
    "pullrequest:comment_created",
    "repo:commit_status_created",
    "repo:commit_status_updated",
];

/// Most pushes of one delivery; Bitbucket sends fewer.
const CHANGES: usize = 100;

#[derive(Deserialize)]
struct Body {
    repository: Option<Repo>,
    actor: Option<Actor>,
    push: Option<Push>,
    pullrequest: Option<Pull>,
}

#[derive(Deserialize)]
struct Repo {
    full_name: Option<String>,
    links: Option<Links>,
    mainbranch: Option<Branch>,
}

#[derive(Deserialize)]
struct Links {
    html: Option<Link>,
}

#[derive(Deserialize)]
struct Link {
    href: String,
}

#[derive(Deserialize)]
struct Branch {
    name: Option<String>,
}

#[derive(Deserialize)]
struct Actor {
    nickname: Option<String>,
    display_name: Option<String>,
}

#[derive(Deserialize)]
struct Push {
    changes: Vec<Change>,
}

#[derive(Deserialize)]
struct Change {
    old: Option<Ref>,
    new: Option<Ref>,
}

#[derive(Deserialize)]
struct Ref {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    target: Commit,
}

#[derive(Deserialize)]
struct Commit {
    hash: String,
    message: Option<String>,
}

#[derive(Deserialize)]
struct Pull {
    id: u64,
    title: Option<String>,
    state: Option<String>,
    #[serde(default)]
    draft: bool,
    source: Side,
    destination: Side,
}

#[derive(Deserialize)]
struct Side {
    branch: Option<Branch>,
    commit: Option<Commit>,
    repository: Option<Repo>,
}

fn is_known(event: &str) -> bool {
    event == "repo:push" || word(event).is_some() || OTHERS.contains(&event)
}

/// GitHub's word for what happened to a pull request.
fn word(event: &str) -> Option<&'static str> {
    word_for(PULL_REQUESTS, event)
}

/// The names of all that is read of a body, wherever it is.
fn wanted(name: &[u8]) -> bool {
    matches!(
        name,
        b"actor"
            | b"branch"
            | b"changes"
            | b"commit"
            | b"destination"
            | b"display_name"
            | b"draft"
            | b"full_name"
            | b"hash"
            | b"href"
            | b"html"
            | b"id"
            | b"links"
            | b"mainbranch"
            | b"message"
            | b"name"
            | b"new"
            | b"nickname"
            | b"old"
            | b"pullrequest"
            | b"push"
            | b"repository"
            | b"source"
            | b"state"
            | b"target"
            | b"title"
            | b"type"
    )
}

fn read(event: &str, fields: &[u8]) -> Result<Found, Mistakes> {
    let (word, body) = (word(event), parse::<Body>(fields)?);
    let sources = match (event, word) {
        ("repo:push", _) => pushes(body.push)?,
        (_, Some(_)) => vec![pull_request(body.pullrequest)?],
        (_, None) => vec![SourceEvent::Other],
    };
    let repository = repository(body.repository)?;
    let sender = body.actor.and_then(|actor| actor.nickname.or(actor.display_name));
    if sources.is_empty() {
        return Ok(Found::Nothing("it tells of no branch and no tag".to_owned()));
    }
    let one = |source| Event {
        action: word.map(ToOwned::to_owned),
        repository: Some(repository.clone()),
        sender: sender.clone(),
        source,
    };
    Ok(Found::Events(sources.into_iter().map(one).collect()))
}

fn repository(repo: Option<Repo>) -> Result<Repository, Mistakes> {
    let Some(Repo {
        full_name: Some(name),
        links: Some(Links { html: Some(html) }),
        mainbranch,
    }) = repo
    else {
        let text = "repository: full_name and links.html are required";
        return Err(vec![text.to_owned()]);
    };
    // The body has no address to clone from; it is that of the page, as Bitbucket's pages say.
    let url = format!("{}.git", html.href.trim_end_matches('/'));
    super::repository(&name, &url, mainbranch.and_then(|branch| branch.name))
}

fn pushes(push: Option<Push>) -> Result<Vec<SourceEvent>, Mistakes> {
    let changes = push.ok_or_else(|| vec!["push: is required".to_owned()])?.changes;
    if changes.len() > CHANGES {
        return Err(vec![format!("push.changes: at most {CHANGES}")]);
    }
    changes
        .into_iter()
        .filter_map(|change| one_push(change).transpose())
        .collect()
}

fn one_push(change: Change) -> Result<Option<SourceEvent>, Mistakes> {
    let Some(named) = change.new.as_ref().or(change.old.as_ref()) else {
        return Ok(None);
    };
    let folder = match named.kind.as_str() {
        "branch" | "named_branch" => "heads",
        "tag" | "annotated_tag" => "tags",
        _ => return Ok(None),
    };
    let git_ref = format!("refs/{folder}/{}", named.name);
    let hash = |side: &Option<Ref>| side.as_ref().map_or(NO_COMMIT, |side| &side.target.hash).to_owned();
    let (before, after) = (hash(&change.old), hash(&change.new));
    let message = change.new.and_then(|new| new.target.message);
    super::push(Some(git_ref), Some(before), Some(after), message).map(Some)
}

fn pull_request(pull: Option<Pull>) -> Result<SourceEvent, Mistakes> {
    let pull = pull.ok_or_else(|| vec!["pullrequest: is required".to_owned()])?;
    let side = |side: Side| {
        let branch = side.branch.and_then(|branch| branch.name);
        // Twelve digits of it, as Bitbucket sends them.
        let commit = side.commit.map(|commit| commit.hash).filter(|hash| is_short_hash(hash));
        let repository = side.repository.and_then(|repo| repo.full_name);
        branch
            .zip(commit)
            .map(|(branch, commit)| (cut(branch, TEXT_BYTES), commit, repository))
    };
    let (Some(head), Some(base)) = (side(pull.source), side(pull.destination)) else {
        let text = "pullrequest: source and destination need a branch and a commit";
        return Err(vec![text.to_owned()]);
    };
    let state = match pull.state.as_deref() {
        Some("OPEN") | None => "open",
        Some(_) => "closed",
    };
    Ok(SourceEvent::PullRequest(PullRequest {
        number: pull.id,
        title: cut(pull.title.unwrap_or_default(), TEXT_BYTES),
        state: state.to_owned(),
        draft: pull.draft,
        head_ref: head.0,
        head_sha: head.1,
        head_repository: head.2,
        base_ref: base.0,
        base_sha: base.1,
    }))
}

fn is_short_hash(text: &str) -> bool {
    (12..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPOSITORY: &str = r#""repository": {"type": "repository", "full_name": "team_name/repo_name",
        "links": {"html": {"href": "https://bitbucket.org/team_name/repo_name"}}},
        "actor": {"nickname": "emmap1", "display_name": "Emma"}"#;

    fn events(event: &str, body: &str) -> Vec<Event> {
        match read(event, body.as_bytes()) {
            Ok(Found::Events(events)) => events,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_change_of_a_push_is_an_event_of_its_own() {
        let (a, b) = ("a".repeat(40), "b".repeat(40));
        let side = |kind: &str, name: &str, hash: &str| {
            format!(r#"{{"type":"{kind}","name":"{name}","target":{{"hash":"{hash}","message":"new\n"}}}}"#)
        };
        let body = format!(
            r#"{{"push": {{"changes": [{{"old":{},"new":{}}},{{"old":null,"new":{}}},{{"old":{},"new":null}}]}},{REPOSITORY}}}"#,
            side("branch", "main", &a),
            side("branch", "main", &b),
            side("tag", "v1", &a),
            side("branch", "gone", &a),
        );
        let told: Vec<_> = events("repo:push", &body)
            .into_iter()
            .map(|event| {
                let url = event.repository.unwrap().clone_url;
                assert_eq!(url.as_str(), "https://bitbucket.org/team_name/repo_name.git");
                let SourceEvent::Push {
                    git_ref,
                    before,
                    after,
                    deleted,
                    ..
                } = event.source
                else {
                    panic!("not a push")
                };
                (git_ref, before, after, deleted)
            })
            .collect();
        let of = |name: &str, before: &str, after: &str, deleted| {
            (name.to_owned(), before.repeat(40), after.repeat(40), deleted)
        };
        assert_eq!(
            told,
            [
                of("refs/heads/main", "a", "b", false),
                of("refs/tags/v1", "0", "a", false),
                of("refs/heads/gone", "a", "0", true)
            ]
        );
    }

    #[test]
    fn a_pull_request_has_short_hashes_and_githubs_words() {
        let side = |name: &str| {
            format!(
                r#"{{"branch":{{"name":"{name}"}},"commit":{{"hash":"d3022fc0ca3d"}},"repository":{{"full_name":"o/fork"}}}}"#
            )
        };
        let body = format!(
            r#"{{"pullrequest":{{"id":7,"title":"t","state":"OPEN","source":{},"destination":{}}},{REPOSITORY}}}"#,
            side("topic"),
            side("main")
        );
        let event = events("pullrequest:updated", &body).remove(0);
        let SourceEvent::PullRequest(pull) = event.source else {
            panic!("not a pull request")
        };
        assert_eq!(
            (
                event.action.as_deref(),
                pull.number,
                pull.head_sha.as_str(),
                pull.head_repository.as_deref()
            ),
            (Some("synchronize"), 7, "d3022fc0ca3d", Some("o/fork"))
        );
    }

    #[test]
    fn a_body_must_have_the_shape_of_its_event() {
        for (event, body) in [
            ("repo:push", format!("{{{REPOSITORY}}}")),
            ("pullrequest:created", "{}".to_owned()),
        ] {
            assert!(read(event, body.as_bytes()).is_err(), "{event}");
        }
        assert!(!is_known("repo:fork"));
    }
}
