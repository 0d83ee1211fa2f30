//! What reviewers and others' checks say of a change. Pure.
//!
//! Reviews in the words of GitHub (`pull_request_review`) and GitLab (`approved`, `unapproved` of a merge request), of those
//! who have a say in the repository; checks in the words of GitHub and Gitea (`check_run`, `status`). Webhooks of Gitea do not
//! tell who may approve, so nobody's approval counts there.
//!
//! <https://docs.github.com/en/webhooks/webhook-events-and-payloads>,
//! <https://docs.gitlab.com/user/project/integrations/webhook_events/#merge-request-events>.

use contract::{Provider, Timestamp, WebhookDelivery};
use serde::Deserialize;
use serde_json::Value;

/// What one of them says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A reviewer of the pull request that the webhook is about.
    Review {
        by: String,
        word: Review,
        /// When, in milliseconds since the Unix epoch, if the forge says so.
        at: Option<i64>,
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
    /// Tells it from others of its name: two workflows may have a job each that is called the same.
    pub(crate) suite: String,
    /// This run of it, as the forge names it.
    pub(crate) run: String,
    pub(crate) state: State,
    /// The forge's word for how it ended.
    pub(crate) conclusion: Option<String>,
    /// Where people can look at it.
    pub(crate) url: Option<String>,
    /// When, in milliseconds since the Unix epoch, if the forge says so.
    pub(crate) at: Option<i64>,
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
}

#[derive(Deserialize)]
struct Said {
    state: String,
    user: User,
    author_association: Option<String>,
    submitted_at: Option<String>,
}

#[derive(Deserialize)]
struct User {
    login: String,
}

#[derive(Deserialize)]
struct Run {
    check_run: CheckRun,
}

#[derive(Deserialize)]
struct CheckRun {
    #[serde(default)]
    id: Value,
    name: String,
    head_sha: String,
    #[serde(default)]
    status: String,
    conclusion: Option<String>,
    html_url: Option<String>,
    started_at: Option<String>,
    completed_at: Option<String>,
    #[serde(default)]
    check_suite: Suite,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Suite {
    id: Value,
}

#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    id: Value,
    sha: String,
    context: String,
    state: String,
    target_url: Option<String>,
    updated_at: Option<String>,
}

/// What Forge calls its own checks: what it knows of them, it knows better.
const OWN: &str = "forge";
/// Who has a say: <https://docs.github.com/en/graphql/reference/enums#commentauthorassociation>.
const MEMBERS: [&str; 3] = ["OWNER", "MEMBER", "COLLABORATOR"];

/// The verdict that a webhook tells, if it tells one.
pub(crate) fn of(webhook: &WebhookDelivery) -> Option<Verdict> {
    match webhook.event.as_str() {
        "pull_request_review" => review(webhook),
        "check_run" => check_run(&webhook.body).map(Verdict::Check),
        "status" => status(&webhook.body).map(Verdict::Check),
        _ if webhook.provider == Provider::Gitlab => approval(webhook),
        _ => None,
    }
}

/// A time of a body, in milliseconds since the Unix epoch.
pub(crate) fn moment(text: Option<&str>) -> Option<i64> {
    text?.parse::<Timestamp>().ok().map(|at| at.as_millis())
}

fn review(webhook: &WebhookDelivery) -> Option<Verdict> {
    let said = serde_json::from_str::<Reviewed>(&webhook.body).ok()?.review;
    let has_a_say = MEMBERS.contains(&said.author_association.as_deref()?);
    let word = match (webhook.action.as_deref(), said.state.to_lowercase().as_str()) {
        (Some("dismissed"), _) | (_, "dismissed") => Review::None,
        (_, "approved") => Review::Approved,
        (_, "changes_requested") => Review::Rejected,
        _ => return None, // A comment changes nothing.
    };
    // That it was dismissed is newer than that it was submitted, and has no time of its own.
    let at = moment(said.submitted_at.as_deref()).filter(|_| word != Review::None);
    let by = said.user.login;
    has_a_say.then_some(Verdict::Review { by, word, at })
}

/// GitLab tells only of those who may.
fn approval(webhook: &WebhookDelivery) -> Option<Verdict> {
    let word = match webhook.action.as_deref()? {
        "approved" => Review::Approved,
        "unapproved" => Review::None,
        _ => return None,
    };
    let by = webhook.sender.clone()?;
    Some(Verdict::Review { by, word, at: None })
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
        suite: run.check_suite.id.to_string(),
        run: run.id.to_string(),
        conclusion: run.conclusion,
        url: run.html_url,
        at: moment(run.completed_at.as_deref()).or_else(|| moment(run.started_at.as_deref())),
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
        suite: String::new(),
        run: status.id.to_string(),
        conclusion: Some(status.state),
        url: status.target_url,
        at: moment(status.updated_at.as_deref()),
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
    use contract::SourceEvent;
    use serde_json::json;

    fn verdict(provider: Provider, event: &str, action: &str, body: &Value) -> String {
        let id = "72d3162e-cc78-11e3-81ab-4c9367dc0958".parse().unwrap();
        let at = Timestamp::from_millis(0);
        let mut webhook = WebhookDelivery::new(id, provider, event, at, SourceEvent::Other, body.to_string());
        webhook.action = Some(action.to_owned());
        webhook.sender = Some("eve".to_owned());
        match of(&webhook) {
            None => "-".to_owned(),
            Some(Verdict::Review { by, word, at }) => format!("{by} {} {}", word.word(), at.unwrap_or_default()),
            Some(Verdict::Check(check)) => format!("{} {} {}", check.name, check.commit, check.state.word()),
        }
    }

    #[test]
    fn who_has_a_say_says_yes_or_no_or_nothing() {
        let review = |state: &str, association: &str| {
            json!({"review": {"state": state, "user": {"login": "ann", "username": "ann"},
                "author_association": association, "submitted_at": "1970-01-01T00:00:01Z"}})
        };
        for (action, body, expected) in [
            ("submitted", review("approved", "OWNER"), "ann approved 1000"),
            ("submitted", review("APPROVED", "MEMBER"), "ann approved 1000"),
            ("submitted", review("approved", "COLLABORATOR"), "ann approved 1000"),
            ("submitted", review("approved", "CONTRIBUTOR"), "-"),
            ("submitted", review("approved", "NONE"), "-"),
            ("submitted", review("changes_requested", "NONE"), "-"),
            ("submitted", review("changes_requested", "MEMBER"), "ann rejected 1000"),
            ("submitted", review("commented", "MEMBER"), "-"),
            ("dismissed", review("dismissed", "MEMBER"), "ann none 0"),
            ("submitted", json!([1]), "-"),
        ] {
            let found = verdict(Provider::Github, "pull_request_review", action, &body);
            assert_eq!(found, expected, "{body}");
        }
        let gitlab = |action: &str| verdict(Provider::Gitlab, "Merge Request Hook", action, &json!({}));
        assert_eq!(gitlab("approved"), "eve approved 0");
        assert_eq!(gitlab("unapproved"), "eve none 0");
        assert_eq!(gitlab("synchronize"), "-");
    }

    #[test]
    fn checks_of_others_pass_or_fail_and_our_own_are_no_news() {
        let run = |name: &str, status: &str, conclusion: Option<&str>| json!({"check_run": {"id": 1, "name": name, "head_sha": "a", "status": status, "conclusion": conclusion}});
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
            assert_eq!(verdict(Provider::Github, event, "", &body), expected, "{event} {body}");
        }
    }
}
