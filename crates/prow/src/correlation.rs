//! Which change of a repository a webhook is about. Pure.
//!
//! A pull request, with the pushes to its branch, is one change, and so is the commit that it becomes; so is any other
//! branch, a tag, and each push to the main branch. Other events are about what they name: a pull request, a commit,
//! a branch.

use contract::{CommitHash, PullRequest, Repository, SourceEvent, WebhookDelivery};
use serde::Deserialize;

/// What a webhook says of a change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    /// `pull/<number>`, a ref, or `commit/<hash>`; without it, only a change that is known already.
    pub(crate) key: Option<String>,
    /// The branch that it is on, of the repository itself.
    pub(crate) branch: Option<String>,
    pub(crate) commit: Option<String>,
    pub(crate) title: Option<String>,
    pub(crate) is_merged: bool,
    /// The commit that it became.
    pub(crate) merged_as: Option<String>,
    /// Whether it goes on or is over; `None` leaves it as it is.
    pub(crate) closed: Option<bool>,
}

/// What the bodies of events name, in the words of GitHub and Gitea; GitLab's `merge_request` has an `iid`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Named {
    pull_request: Option<Pull>,
    merge_request: Option<MergeRequest>,
    /// Of a merge request.
    object_attributes: Option<Attributes>,
    issue: Option<Issue>,
    check_run: Option<Check>,
    check_suite: Option<Check>,
    workflow_run: Option<Check>,
    deployment: Option<Check>,
    /// Of a status.
    sha: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Pull {
    number: Option<u64>,
    merge_commit_sha: Option<String>,
    merged: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Attributes {
    state: Option<String>,
    merge_commit_sha: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct MergeRequest {
    iid: Option<u64>,
}

/// An issue is a pull request where it says so.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Issue {
    number: Option<u64>,
    pull_request: Option<serde_json::Value>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Check {
    #[serde(alias = "sha")]
    head_sha: Option<String>,
    head_branch: Option<String>,
    check_suite: Option<Suite>,
    pull_requests: Vec<Pull>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Suite {
    head_branch: Option<String>,
}

/// The change that a webhook is about, if it is about one.
pub(crate) fn of(webhook: &WebhookDelivery) -> Option<Change> {
    let repository = webhook.repository.as_ref()?;
    match &webhook.source {
        SourceEvent::Push {
            git_ref,
            after,
            deleted,
            ..
        } => push(repository, git_ref, after, *deleted),
        SourceEvent::PullRequest(pull) => Some(pull_request(webhook, repository, pull)),
        SourceEvent::Other => other(&webhook.body),
    }
}

/// The commit that a check is about which somebody asks to run again, if that is what a webhook says.
pub(crate) fn rerequested(webhook: &WebhookDelivery) -> Option<CommitHash> {
    let is_check = matches!(webhook.event.as_str(), "check_run" | "check_suite");
    if !is_check || webhook.action.as_deref() != Some("rerequested") {
        return None;
    }
    let named: Named = serde_json::from_str(&webhook.body).ok()?;
    named.check_run.or(named.check_suite)?.head_sha?.parse().ok()
}

fn push(repository: &Repository, git_ref: &str, after: &str, deleted: bool) -> Option<Change> {
    let is_gone = deleted || after.bytes().all(|byte| byte == b'0');
    let branch = git_ref.strip_prefix("refs/heads/");
    let is_main = match &repository.default_branch {
        Some(main) => branch == Some(main),
        None => matches!(branch, Some("main" | "master")),
    };
    if branch.is_none() && !git_ref.starts_with("refs/tags/") {
        return None;
    }
    let key = match (is_main, is_gone) {
        (true, false) => format!("commit/{after}"),
        _ => git_ref.to_owned(),
    };
    Some(Change {
        key: Some(key),
        branch: branch.filter(|_| !is_main).map(ToOwned::to_owned),
        commit: (!is_gone).then(|| after.to_owned()),
        closed: Some(is_gone),
        ..Change::default()
    })
}

fn pull_request(webhook: &WebhookDelivery, repository: &Repository, pull: &PullRequest) -> Change {
    let is_own = pull.head_repository.as_deref() == Some(repository.full_name.as_str());
    let is_closed = webhook.action.as_deref() == Some("closed");
    let said = || serde_json::from_str::<Named>(&webhook.body).ok();
    let said = is_closed.then(said).flatten().unwrap_or_default();
    let merged = match (said.pull_request, said.object_attributes) {
        (Some(pull), _) => pull.merged.then_some(pull.merge_commit_sha),
        (None, Some(merge)) => (merge.state.as_deref() == Some("merged")).then_some(merge.merge_commit_sha),
        (None, None) => None,
    };
    Change {
        key: Some(format!("pull/{}", pull.number)),
        branch: is_own.then(|| pull.head_ref.clone()),
        commit: Some(pull.head_sha.clone()),
        title: Some(pull.title.clone()),
        is_merged: merged.is_some(),
        merged_as: merged.flatten(),
        closed: Some(is_closed || pull.state == "closed"),
    }
}

fn other(body: &str) -> Option<Change> {
    let named: Named = serde_json::from_str(body).ok()?;
    let is_pull = |issue: &Issue| issue.pull_request.is_some();
    let checks = [named.check_run, named.check_suite, named.workflow_run, named.deployment];
    let check = checks.into_iter().flatten().next().unwrap_or_default();
    let number = named
        .pull_request
        .and_then(|pull| pull.number)
        .or_else(|| named.merge_request?.iid)
        .or_else(|| named.issue.filter(is_pull)?.number)
        .or_else(|| check.pull_requests.first()?.number);
    let change = Change {
        key: number.map(|number| format!("pull/{number}")),
        branch: check.head_branch.or_else(|| check.check_suite?.head_branch),
        commit: check.head_sha.or(named.sha),
        ..Change::default()
    };
    (change != Change::default()).then_some(change)
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::{Provider, Timestamp};
    use serde_json::{Value, json};

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const ZERO: &str = "0000000000000000000000000000000000000000";

    fn webhook(event: &str, action: &str, source: SourceEvent, body: &Value) -> WebhookDelivery {
        let id = "72d3162e-cc78-11e3-81ab-4c9367dc0958".parse().unwrap();
        let at = Timestamp::from_millis(0);
        let mut webhook = WebhookDelivery::new(id, Provider::Github, event, at, source, body.to_string());
        let url = "https://github.com/o/r.git".parse().unwrap();
        webhook.repository = Some(Repository::new("o/r".parse().unwrap(), url, Some("trunk".into())));
        webhook.action = Some(action.into());
        webhook
    }

    /// The change in a line: key, branch, commit's first digit, what it became, whether it is over.
    fn line(webhook: &WebhookDelivery) -> String {
        let Some(change) = of(webhook) else {
            return "-".to_owned();
        };
        let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let digit = |hash: &Option<String>| text(hash).chars().take(1).collect::<String>();
        let (commit, merged) = (digit(&change.commit), digit(&change.merged_as));
        format!(
            "{} {} {commit} {merged} {:?}",
            text(&change.key),
            text(&change.branch),
            change.closed
        )
    }

    fn push(git_ref: &str, after: &str) -> String {
        let source = SourceEvent::Push {
            git_ref: git_ref.into(),
            before: ZERO.into(),
            after: after.into(),
            deleted: false,
            message: None,
        };
        line(&webhook("push", "", source, &json!({})))
    }

    fn pull(action: &str, head_repository: &str, body: &Value) -> String {
        let source = SourceEvent::PullRequest(PullRequest {
            number: 7,
            title: "t".into(),
            state: if action == "closed" { "closed" } else { "open" }.into(),
            draft: false,
            head_ref: "feature".into(),
            head_sha: A.into(),
            head_repository: Some(head_repository.into()),
            base_ref: "trunk".into(),
            base_sha: ZERO.into(),
        });
        line(&webhook("pull_request", action, source, body))
    }

    #[test]
    fn every_event_is_about_the_change_that_it_names() {
        assert_eq!(push("refs/heads/trunk", A), format!("commit/{A} - a - Some(false)"));
        assert_eq!(push("refs/heads/x", A), "refs/heads/x x a - Some(false)");
        assert_eq!(push("refs/heads/x", ZERO), "refs/heads/x x - - Some(true)");
        assert_eq!(push("refs/heads/trunk", ZERO), "refs/heads/trunk - - - Some(true)");
        assert_eq!(push("refs/tags/v1", A), "refs/tags/v1 - a - Some(false)");
        assert_eq!(push("refs/notes/x", A), "-");
        let merged = json!({"pull_request": {"merged": true, "merge_commit_sha": "b"}});
        assert_eq!(pull("opened", "o/r", &merged), "pull/7 feature a - Some(false)");
        assert_eq!(pull("opened", "evil/r", &json!({})), "pull/7 - a - Some(false)");
        assert_eq!(pull("closed", "o/r", &merged), "pull/7 feature a b Some(true)");
        let closed = json!({"pull_request": {"merged": false, "merge_commit_sha": "b"}});
        assert_eq!(pull("closed", "o/r", &closed), "pull/7 feature a - Some(true)");
        for (event, body, expected) in [
            (
                "pull_request_review",
                json!({"pull_request": {"number": 7}}),
                "pull/7 - - - None",
            ),
            ("note", json!({"merge_request": {"iid": 7}}), "pull/7 - - - None"),
            (
                "issue_comment",
                json!({"issue": {"number": 7, "pull_request": {}}}),
                "pull/7 - - - None",
            ),
            ("issue_comment", json!({"issue": {"number": 7}}), "-"),
            (
                "check_run",
                json!({"check_run": {"head_sha": "a", "check_suite": {"head_branch": "x"}, "pull_requests": []}}),
                "- x a - None",
            ),
            (
                "check_suite",
                json!({"check_suite": {"head_sha": "a", "head_branch": "x", "pull_requests": [{"number": 7}]}}),
                "pull/7 x a - None",
            ),
            ("status", json!({"sha": "a"}), "- - a - None"),
            ("ping", json!({"zen": "x"}), "-"),
            ("odd", json!([1]), "-"),
        ] {
            assert_eq!(
                line(&webhook(event, "created", SourceEvent::Other, &body)),
                expected,
                "{event}"
            );
        }
    }

    #[test]
    fn a_check_that_is_asked_for_again_names_its_commit() {
        let body = json!({"check_run": {"head_sha": A}});
        let asked = |event, action| rerequested(&webhook(event, action, SourceEvent::Other, &body));
        assert_eq!(asked("check_run", "rerequested"), Some(A.parse().unwrap()));
        assert_eq!(asked("check_run", "completed"), None);
        assert_eq!(asked("status", "rerequested"), None);
        let body = json!({"check_suite": {"head_sha": "no hash"}});
        assert_eq!(
            rerequested(&webhook("check_suite", "rerequested", SourceEvent::Other, &body)),
            None
        );
    }
}
