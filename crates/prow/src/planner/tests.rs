use super::*;
use contract::{Provider, Timestamp};

fn hash(digit: char) -> String {
    digit.to_string().repeat(40)
}

fn webhook(event: &str, action: Option<&str>, source: SourceEvent) -> WebhookDelivery {
    let id = "72d3162e-cc78-11e3-81ab-4c9367dc0958".parse().unwrap();
    let mut webhook = WebhookDelivery::new(
        id,
        Provider::Github,
        event,
        Timestamp::from_millis(0),
        source,
        "{}".into(),
    );
    let url = "https://github.com/o/r.git".parse().unwrap();
    webhook.repository = Some(Repository::new("o/r".parse().unwrap(), url, None));
    webhook.action = action.map(Into::into);
    webhook.metadata = Metadata::correlated("c-1");
    webhook
}

fn push(git_ref: &str, after: char, deleted: bool, message: &str) -> WebhookDelivery {
    let source = SourceEvent::Push {
        git_ref: git_ref.into(),
        before: hash('b'),
        after: hash(after),
        deleted,
        message: Some(message.into()),
    };
    webhook("push", None, source)
}

fn pull(action: &str, head_repository: Option<&str>) -> WebhookDelivery {
    let source = SourceEvent::PullRequest(PullRequest {
        number: 7,
        title: "t".into(),
        state: "open".into(),
        draft: false,
        head_ref: "feature".into(),
        head_sha: hash('a'),
        head_repository: head_repository.map(Into::into),
        base_ref: "main".into(),
        base_sha: hash('b'),
    });
    webhook("pull_request", Some(action), source)
}

/// The decision in one line: what is built, or why nothing is.
fn decide(webhook: &WebhookDelivery) -> String {
    match plan(webhook) {
        Decision::Ignore(reason) => reason,
        Decision::Build(message) => {
            let data = message.webhook_data.as_ref().unwrap();
            let branch = message.branch.as_ref().map_or("-", Branch::as_str);
            format!(
                "{} {branch} {} {}",
                data.event_type.unwrap(),
                data.git_ref.as_ref().unwrap(),
                message.commit_hash.as_str().get(..2).unwrap()
            )
        }
    }
}

#[test]
fn the_table_of_decisions_holds() {
    for (webhook, expected) in [
        (push("refs/heads/main", 'a', false, "m"), "push main refs/heads/main aa"),
        (
            push("refs/heads/feature/x", 'a', false, "m"),
            "push feature/x refs/heads/feature/x aa",
        ),
        (push("refs/tags/v1", 'a', false, "m"), "tag - refs/tags/v1 aa"),
        (push("refs/heads/main", '0', true, "m"), "refs/heads/main was deleted"),
        (push("refs/heads/main", '0', false, "m"), "refs/heads/main was deleted"),
        (push("refs/tags/v1", 'a', true, "m"), "refs/tags/v1 was deleted"),
        (
            push("refs/notes/x", 'a', false, "m"),
            "refs/notes/x is neither a branch nor a tag",
        ),
        (
            push("refs/heads/main", 'a', false, "fix [skip ci]"),
            "the commit's message says [skip ci]",
        ),
        (pull("opened", Some("o/r")), "pull_request feature refs/pull/7/head aa"),
        (
            pull("synchronize", Some("o/r")),
            "pull_request feature refs/pull/7/head aa",
        ),
        (
            pull("reopened", Some("o/r")),
            "pull_request feature refs/pull/7/head aa",
        ),
        (
            pull("ready_for_review", Some("o/r")),
            "pull_request feature refs/pull/7/head aa",
        ),
        (
            pull("closed", Some("o/r")),
            "a pull request that was closed brings nothing new to build",
        ),
        (
            pull("opened", Some("evil/r")),
            "it comes from a fork, whose code is not built without approval",
        ),
        (
            pull("opened", None),
            "it comes from a fork, whose code is not built without approval",
        ),
        (
            webhook("ping", None, SourceEvent::Other),
            "ping events lead to no build",
        ),
        (
            webhook("check_run", None, SourceEvent::Other),
            "check_run events lead to no build",
        ),
    ] {
        assert_eq!(decide(&webhook), expected);
    }
}

#[test]
fn a_pull_request_has_the_ref_that_its_forge_keeps() {
    for (provider, git_ref) in [
        (Provider::Github, "refs/pull/7/head"),
        (Provider::Gitea, "refs/pull/7/head"),
        (Provider::Forgejo, "refs/pull/7/head"),
        (Provider::Gitlab, "refs/merge-requests/7/head"),
        (Provider::Bitbucket, "refs/heads/feature"),
    ] {
        let mut webhook = pull("opened", Some("o/r"));
        webhook.provider = provider;
        assert_eq!(decide(&webhook), format!("pull_request feature {git_ref} aa"));
    }
}

#[test]
fn the_same_event_is_the_same_build_and_another_is_another() {
    let id = |webhook: &WebhookDelivery| match plan(webhook) {
        Decision::Build(message) => message.id,
        Decision::Ignore(reason) => panic!("{reason}"),
    };
    let main = push("refs/heads/main", 'a', false, "m");
    let mut again = main.clone();
    again.id = "other-hook".parse().unwrap();
    assert_eq!(id(&main), id(&again));
    assert_ne!(id(&main), id(&push("refs/heads/other", 'a', false, "m")));
    assert_ne!(id(&main), id(&push("refs/heads/main", 'c', false, "m")));
    assert_ne!(id(&main), id(&pull("opened", Some("o/r"))));
}
