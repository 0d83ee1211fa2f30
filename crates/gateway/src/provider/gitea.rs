//! Gitea and Forgejo: GitHub's shapes, in some words of their own.
//!
//! Source: "Webhooks" in the documentation of Gitea and of Forgejo.

use super::{Dialect, Found, Mistakes, Names, github, parse, word_for};

pub(super) const DIALECT: Dialect = Dialect {
    is_known,
    wanted: github::wanted,
    read,
};

pub(super) const NAMES: Names = Names {
    event: "X-Gitea-Event",
    delivery: "X-Gitea-Delivery",
    proof: "X-Gitea-Signature",
};

pub(super) const FORGEJO: Names = Names {
    event: "X-Forgejo-Event",
    delivery: "X-Forgejo-Delivery",
    proof: "X-Forgejo-Signature",
};

/// Actions of pull requests that go on, and what GitHub calls them.
const PULL_REQUEST_ACTIONS: &[(&str, &str)] = &[
    ("opened", "opened"),
    ("synchronized", "synchronize"),
    ("reopened", "reopened"),
    ("closed", "closed"),
    ("edited", "edited"),
    ("label_updated", "labeled"),
];

/// Their `create` and `delete` have no field that tells one from the other; a push says the same, and more.
fn is_known(event: &str) -> bool {
    github::is_known(event) && !matches!(event, "create" | "delete")
}

fn read(event: &str, fields: &[u8]) -> Result<Found, Mistakes> {
    let mut body: github::Body = parse(fields)?;
    if event == "pull_request" {
        let action = body.action.as_deref().unwrap_or_default();
        let Some(word) = word_for(PULL_REQUEST_ACTIONS, action) else {
            return Ok(Found::Nothing(format!("pull_request action {action} is not used")));
        };
        body.action = Some(word.to_owned());
    }
    body.into_event(event)
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::SourceEvent;

    /// The example in Gitea's documentation, shortened.
    const PUSH: &str = r#"{
        "ref": "refs/heads/develop",
        "before": "28e1879d029cb852e4844d9c718537df08844e03",
        "after": "bffeb74224043ba2feb48d137756c8a9331c449a",
        "compare_url": "http://localhost:3000/gitea/webhooks/compare/28e1879d029c...bffeb7422404",
        "commits": [{"id": "bffeb74224043ba2feb48d137756c8a9331c449a", "message": "Webhooks Yay!",
            "author": {"name": "Gitea", "email": "someone@gitea.io", "username": "gitea"}}],
        "repository": {"id": 140, "full_name": "gitea/webhooks", "private": false,
            "clone_url": "http://localhost:3000/gitea/webhooks.git", "default_branch": "master"},
        "pusher": {"id": 1, "login": "gitea"},
        "sender": {"id": 1, "login": "gitea", "full_name": "Gitea"}
    }"#;

    #[test]
    fn the_documented_push_is_read() {
        let Ok(Found::Events(events)) = read("push", PUSH.as_bytes()) else {
            panic!("refused")
        };
        let [event] = events.as_slice() else { panic!("not one") };
        let SourceEvent::Push {
            git_ref,
            after,
            deleted,
            ..
        } = &event.source
        else {
            panic!("not a push")
        };
        assert_eq!(
            (git_ref.as_str(), after.as_str(), deleted, event.sender.as_deref()),
            (
                "refs/heads/develop",
                "bffeb74224043ba2feb48d137756c8a9331c449a",
                &false,
                Some("gitea")
            )
        );
    }

    #[test]
    fn new_commits_of_a_pull_request_have_githubs_word() {
        let hash = "a".repeat(40);
        let side = |name: &str| format!(r#"{{"ref":"{name}","sha":"{hash}","repo":{{"full_name":"o/r"}}}}"#);
        let body = |action: &str| {
            format!(
                r#"{{"action":"{action}","number":1,"pull_request":{{"number":1,"title":"t","state":"open",
                "head":{},"base":{}}},"repository":{{"full_name":"o/r","clone_url":"http://h/o/r.git"}}}}"#,
                side("topic"),
                side("main"),
            )
        };
        let Ok(Found::Events(events)) = read("pull_request", body("synchronized").as_bytes()) else {
            panic!("refused")
        };
        assert_eq!(events[0].action.as_deref(), Some("synchronize"));
        let ignored = read("pull_request", body("assigned").as_bytes());
        assert!(matches!(ignored, Ok(Found::Nothing(_))));
    }
}
