//! What reviewers and others' checks say of a change. Pure.
//!
//! Reviews in the words of GitHub (`pull_request_review`), Gitea (`pull_request_approved`, `pull_request_rejected`) and
//! GitLab (`approved`, `unapproved` of a merge request); checks in those of GitHub and Gitea (`check_run`, `status`).

use contract::WebhookDelivery;
use serde::Deserialize;

/// What one of them says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A reviewer of the pull request that the webhook is about.
    Review {
        by: String,
        word: Review,
    },
    Check(Check),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Review {
    Approved,
    Rejected,
    /// What they said before does not count any more.
    None,
}

/// A check of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Check {
    pub(crate) commit: String,
    pub(crate) name: String,
    pub(crate) state: State,
    /// The forge's word for how it ended.
    pub(crate) conclusion: Option<String>,
    /// Where people can look at it.
    pub(crate) url: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Pending,
    Passed,
    Failed,
}

#[derive(Deserialize)]
struct Reviewed {
    review: Said,
    #[serde(default)]
    sender: Option<User>,
}

#[derive(Deserialize)]
struct Said {
    #[serde(default, alias = "type")]
    state: String,
    #[serde(default)]
    user: Option<User>,
}

#[derive(Deserialize)]
struct User {
    #[serde(alias = "username")]
    login: String,
}

#[derive(Deserialize)]
struct Merge {
    object_attributes: Attributes,
    user: User,
}

#[derive(Deserialize)]
struct Attributes {
    action: String,
}

#[derive(Deserialize)]
struct Run {
    check_run: CheckRun,
}

#[derive(Deserialize)]
struct CheckRun {
    name: String,
    head_sha: String,
    #[serde(default)]
    status: String,
    conclusion: Option<String>,
    html_url: Option<String>,
}

#[derive(Deserialize)]
struct Status {
    sha: String,
    context: String,
    state: String,
    target_url: Option<String>,
}

/// What Forge calls its own checks: what it knows of them, it knows better.
const OWN: &str = "forge";

/// The verdict that a webhook tells, if it tells one.
pub(crate) fn of(webhook: &WebhookDelivery) -> Option<Verdict> {
    let event = webhook.event.as_str();
    match event {
        "pull_request_review" | "pull_request_approved" | "pull_request_rejected" => review(event, webhook),
        "Merge Request Hook" => approval(&webhook.body),
        "check_run" => check_run(&webhook.body).map(Verdict::Check),
        "status" => status(&webhook.body).map(Verdict::Check),
        _ => None,
    }
}

fn review(event: &str, webhook: &WebhookDelivery) -> Option<Verdict> {
    let said: Reviewed = serde_json::from_str(&webhook.body).ok()?;
    let word = match (
        event,
        webhook.action.as_deref(),
        said.review.state.to_lowercase().as_str(),
    ) {
        (_, Some("dismissed"), _) | (_, _, "dismissed") => Review::None,
        ("pull_request_approved", ..) | (_, _, "approved" | "pull_request_review_approved") => Review::Approved,
        ("pull_request_rejected", ..) | (_, _, "changes_requested" | "pull_request_review_rejected") => {
            Review::Rejected
        }
        _ => return None, // A comment changes nothing.
    };
    let by = said.review.user.or(said.sender)?.login;
    Some(Verdict::Review { by, word })
}

fn approval(body: &str) -> Option<Verdict> {
    let merge: Merge = serde_json::from_str(body).ok()?;
    let word = match merge.object_attributes.action.as_str() {
        "approved" | "approval" => Review::Approved,
        "unapproved" | "unapproval" => Review::None,
        _ => return None,
    };
    let by = merge.user.login;
    Some(Verdict::Review { by, word })
}

fn check_run(body: &str) -> Option<Check> {
    let Run { check_run: run } = serde_json::from_str(body).ok()?;
    let state = match (run.status.as_str(), run.conclusion.as_deref()) {
        ("completed", Some("success" | "neutral" | "skipped")) => State::Passed,
        ("completed", Some(_)) => State::Failed,
        _ => State::Pending,
    };
    foreign(Check {
        state,
        commit: run.head_sha,
        name: run.name,
        conclusion: run.conclusion,
        url: run.html_url,
    })
}

fn status(body: &str) -> Option<Check> {
    let status: Status = serde_json::from_str(body).ok()?;
    let state = match status.state.as_str() {
        "success" => State::Passed,
        "failure" | "error" => State::Failed,
        _ => State::Pending,
    };
    foreign(Check {
        state,
        commit: status.sha,
        name: status.context,
        conclusion: Some(status.state),
        url: status.target_url,
    })
}

fn foreign(check: Check) -> Option<Check> {
    let own = check.name == OWN || check.name.strip_prefix(OWN).is_some_and(|rest| rest.starts_with('/'));
    (!own).then_some(check)
}

// === impl Review ===

impl Review {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::None => "none",
        }
    }
}

// === impl State ===

impl State {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Passed => "passed",
            Self::Failed => "failed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::{Provider, SourceEvent, Timestamp};
    use serde_json::{Value, json};

    fn verdict(event: &str, action: &str, body: &Value) -> String {
        let id = "72d3162e-cc78-11e3-81ab-4c9367dc0958".parse().unwrap();
        let at = Timestamp::from_millis(0);
        let mut webhook = WebhookDelivery::new(id, Provider::Github, event, at, SourceEvent::Other, body.to_string());
        webhook.action = Some(action.to_owned());
        match of(&webhook) {
            None => "-".to_owned(),
            Some(Verdict::Review { by, word }) => format!("{by} {}", word.word()),
            Some(Verdict::Check(check)) => format!("{} {} {}", check.name, check.commit, check.state.word()),
        }
    }

    #[test]
    fn reviews_say_yes_or_no_or_nothing() {
        let review =
            |state: &str| json!({"review": {"state": state, "user": {"login": "ann"}}, "sender": {"login": "x"}});
        for (event, action, body, expected) in [
            ("pull_request_review", "submitted", review("approved"), "ann approved"),
            ("pull_request_review", "submitted", review("APPROVED"), "ann approved"),
            (
                "pull_request_review",
                "submitted",
                review("changes_requested"),
                "ann rejected",
            ),
            ("pull_request_review", "submitted", review("commented"), "-"),
            ("pull_request_review", "dismissed", review("dismissed"), "ann none"),
            (
                "pull_request_approved",
                "reviewed",
                json!({"review": {"type": "pull_request_review_approved"}, "sender": {"login": "bob"}}),
                "bob approved",
            ),
            (
                "Merge Request Hook",
                "",
                json!({"object_attributes": {"action": "approved"}, "user": {"username": "eve"}}),
                "eve approved",
            ),
            (
                "Merge Request Hook",
                "",
                json!({"object_attributes": {"action": "update"}, "user": {"username": "eve"}}),
                "-",
            ),
            ("pull_request_review", "submitted", json!([1]), "-"),
        ] {
            assert_eq!(verdict(event, action, &body), expected, "{event} {body}");
        }
    }

    #[test]
    fn checks_of_others_pass_or_fail_and_our_own_are_no_news() {
        let run = |name: &str, status: &str, conclusion: Option<&str>| json!({"check_run": {"name": name, "head_sha": "a", "status": status, "conclusion": conclusion}});
        let status = |context: &str, state: &str| json!({"sha": "a", "context": context, "state": state});
        for (event, body, expected) in [
            ("check_run", run("lint", "in_progress", None), "lint a pending"),
            ("check_run", run("lint", "completed", Some("success")), "lint a passed"),
            ("check_run", run("lint", "completed", Some("skipped")), "lint a passed"),
            (
                "check_run",
                run("lint", "completed", Some("timed_out")),
                "lint a failed",
            ),
            ("check_run", run("forge", "completed", Some("failure")), "-"),
            ("check_run", run("forge/api", "completed", Some("failure")), "-"),
            (
                "check_run",
                run("forgery", "completed", Some("failure")),
                "forgery a failed",
            ),
            ("status", status("ci/x", "pending"), "ci/x a pending"),
            ("status", status("ci/x", "error"), "ci/x a failed"),
            ("status", status("forge", "error"), "-"),
            ("push", status("ci/x", "error"), "-"),
        ] {
            assert_eq!(verdict(event, "", &body), expected, "{event} {body}");
        }
    }
}
