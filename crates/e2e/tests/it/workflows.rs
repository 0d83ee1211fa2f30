//! Everything that happens about one change is found together, whatever tells of it and in whatever order.

use crate::planning::{builds_are, commit, pull_request_that, push};
use e2e::{Forge, WEBHOOK_SECRET};
use serde_json::{Value, json};
use std::time::SystemTime;
use testkit::{Hook, eventually};

const X: &str = "refs/heads/feature";

async fn check(forge: &Forge, action: &str, head: char) {
    // Gateway takes the same body twice for the same event.
    let id = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_micros();
    let body = json!({
        "action": action, "sender": {"login": "octocat"},
        "repository": {"full_name": "acme/shop", "clone_url": "https://github.com/acme/shop.git", "default_branch": "main"},
        "check_run": {"id": id.to_string(), "head_sha": commit(head), "check_suite": {"head_branch": "feature"}, "pull_requests": []},
    });
    let hook = Hook::new("check_run", body.to_string(), WEBHOOK_SECRET);
    assert_eq!(hook.send(&forge.gateway_url()).await.0, 202);
}

/// Waits until the changes are these, newest first: key, status, number of events and of builds.
async fn changes_are(forge: &Forge, expected: &[&str]) -> Vec<Value> {
    eventually(&expected.join(", "), async || {
        let listed = forge.get("/v1/workflows?repository=acme/shop").await.unwrap();
        let mut lines = Vec::new();
        let mut changes = Vec::new();
        for one in listed.as_array().unwrap() {
            let change = forge.get(&format!("/v1/workflows/{}", one["id"])).await.unwrap();
            let count = |what: &str| change[what].as_array().unwrap().len();
            let key = change["key"].as_str().unwrap().replace(&commit('3'), "3");
            let status = change["status"].as_str().unwrap();
            lines.push(format!("{key} {status} {} {}", count("events"), count("builds")));
            changes.push(change);
        }
        (lines == expected).then_some(changes)
    })
    .await
}

#[tokio::test]
async fn a_pull_request_is_one_change_from_its_first_push_to_what_it_became() {
    let forge = Forge::start_with(0, &[]).await;
    push(&forge, X, '0', '1', &[]).await;
    changes_are(&forge, &["refs/heads/feature active 1 1"]).await;
    pull_request_that(&forge, "opened", '1', "acme/shop", None).await;
    changes_are(&forge, &["pull/7 active 2 2"]).await;
    push(&forge, X, '1', '2', &[]).await;
    check(&forge, "completed", '1').await;
    changes_are(&forge, &["pull/7 active 4 3"]).await;

    // What it became is pushed before it is told that it was merged.
    push(&forge, "refs/heads/main", '0', '3', &[]).await;
    changes_are(&forge, &["commit/3 active 1 1", "pull/7 active 4 3"]).await;
    pull_request_that(&forge, "closed", '1', "acme/shop", Some('3')).await;
    changes_are(&forge, &["pull/7 active 6 4"]).await;
    push(&forge, X, '2', '0', &[]).await;
    let builds = forge.builds().await;
    let main = builds
        .iter()
        .find(|build| build["commit"] == commit('3').as_str())
        .unwrap();
    assert_eq!(
        forge
            .post(&format!("/v1/cicd/builds/{}/cancel", main["uid"].as_str().unwrap()))
            .await
            .0,
        202
    );
    let changes = changes_are(&forge, &["pull/7 completed 7 4"]).await;
    assert_eq!(
        (&changes[0]["title"], &changes[0]["merged_as"]),
        (&json!("t"), &json!(commit('3')))
    );
    assert_eq!(main["workflow_id"], changes[0]["id"]);
    // Each of the four builds was queued and has ended, the pull request was opened and merged, and others were told so.
    let told = |prefix: &str| {
        let told = changes[0]["notifications"].as_array().unwrap().iter();
        told.filter(|notice| notice["event_type"].as_str().unwrap().starts_with(prefix))
            .count()
    };
    let notices = &changes[0]["notifications"];
    assert_eq!((told("build."), told("workflow.")), (8, 2), "{notices}");

    // The same branch, and a push to the main branch, are other changes now.
    push(&forge, X, '0', '4', &[]).await;
    changes_are(&forge, &["refs/heads/feature active 1 1", "pull/7 completed 7 4"]).await;
    for (wanted, found) in [
        (format!("commit={}", commit('1')), 1),
        ("branch=feature".to_owned(), 2),
        ("user=octocat".to_owned(), 2),
        ("user=nobody".to_owned(), 0),
        ("branch=feature&limit=1".to_owned(), 1),
    ] {
        let listed = forge
            .get(&format!("/v1/workflows?repository=acme/shop&{wanted}"))
            .await
            .unwrap();
        assert_eq!(listed.as_array().unwrap().len(), found, "{wanted}: {listed}");
    }
    assert_eq!(forge.get("/v1/workflows/99").await, None);
}

/// A check of somebody else's.
async fn check_ended(forge: &Forge, name: &str, head: char, conclusion: &str) {
    let body = json!({
        "action": "completed", "sender": {"login": "octocat"}, "repository": repository(),
        "check_run": {"id": name, "name": name, "head_sha": commit(head), "status": "completed", "conclusion": conclusion,
            "check_suite": {"head_branch": "feature"}, "pull_requests": [{"number": 7}]},
    });
    let hook = Hook::new("check_run", body.to_string(), WEBHOOK_SECRET);
    assert_eq!(hook.send(&forge.gateway_url()).await.0, 202);
}

async fn review(forge: &Forge, by: &str, state: &str) {
    review_of(forge, by, "MEMBER", state).await;
}

async fn review_of(forge: &Forge, by: &str, association: &str, state: &str) {
    let body = json!({
        "action": "submitted", "sender": {"login": by}, "repository": repository(),
        "pull_request": {"number": 7, "title": "t", "state": "open", "draft": false,
            "head": {"ref": "feature", "sha": commit('1'), "repo": {"full_name": "acme/shop"}},
            "base": {"ref": "main", "sha": commit('b')}},
        "review": {"state": state, "user": {"login": by}, "author_association": association},
    });
    let hook = Hook::new("pull_request_review", body.to_string(), WEBHOOK_SECRET);
    assert_eq!(hook.send(&forge.gateway_url()).await.0, 202);
}

fn repository() -> Value {
    json!({"full_name": "acme/shop", "clone_url": "https://github.com/acme/shop.git", "default_branch": "main"})
}

/// What others are told of changes, by what happened, until it is this.
async fn told_of_changes(forge: &Forge, expected: &[&str]) -> Vec<Value> {
    eventually(&expected.join(", "), async || {
        let all = forge.sink.received().into_iter();
        let all = all.map(|received| received.body);
        let mut told: Vec<Value> = all.filter(|notice| notice["resource"]["kind"] == "Workflow").collect();
        told.sort_by_key(|notice| notice["version"].as_u64());
        let kinds: Vec<_> = told
            .iter()
            .map(|notice| notice["eventType"].as_str().unwrap())
            .collect();
        (kinds == expected).then_some(told)
    })
    .await
}

/// A pull request with this newest commit, by the forge's clock.
async fn pull_at(forge: &Forge, head: char, at: &str) {
    let body = json!({
        "action": "synchronize", "number": 8, "sender": {"login": "octocat"}, "repository": repository(),
        "pull_request": {"number": 8, "title": "t", "state": "open", "draft": false, "updated_at": at,
            "head": {"ref": "other", "sha": commit(head), "repo": {"full_name": "acme/shop"}},
            "base": {"ref": "main", "sha": commit('b')}},
    });
    let hook = Hook::new("pull_request", body.to_string(), WEBHOOK_SECRET);
    assert_eq!(hook.send(&forge.gateway_url()).await.0, 202);
}

#[tokio::test]
async fn what_comes_late_brings_no_older_commit_and_no_older_word_back() {
    let forge = Forge::start_with(0, &[("UNREGISTERED", "ignore")]).await;
    let check = async |head: char, conclusion: Option<&str>, at: &str| {
        let status = if conclusion.is_some() {
            "completed"
        } else {
            "in_progress"
        };
        let body = json!({
            "action": "x", "sender": {"login": "octocat"}, "repository": repository(),
            "check_run": {"id": at, "name": "lint", "head_sha": commit(head), "status": status, "conclusion": conclusion,
                "started_at": at, "completed_at": conclusion.map(|_| at), "check_suite": {"id": 1, "head_branch": "other"},
                "pull_requests": [{"number": 8}]},
        });
        let hook = Hook::new("check_run", body.to_string(), WEBHOOK_SECRET);
        assert_eq!(hook.send(&forge.gateway_url()).await.0, 202);
    };
    pull_at(&forge, '2', "2026-11-22T10:00:02Z").await;
    pull_at(&forge, '1', "2026-11-22T10:00:01Z").await;
    // It has ended, and then comes that it began.
    check('2', Some("success"), "2026-11-22T10:00:03Z").await;
    check('2', None, "2026-11-22T10:00:03Z").await;
    let body = json!({
        "action": "submitted", "sender": {"login": "ann"}, "repository": repository(),
        "pull_request": {"number": 8, "title": "t", "state": "open", "draft": false,
            "head": {"ref": "other", "sha": commit('2'), "repo": {"full_name": "acme/shop"}},
            "base": {"ref": "main", "sha": commit('b')}},
        "review": {"state": "approved", "user": {"login": "ann"}, "author_association": "OWNER"},
    });
    let hook = Hook::new("pull_request_review", body.to_string(), WEBHOOK_SECRET);
    assert_eq!(hook.send(&forge.gateway_url()).await.0, 202);
    let told = told_of_changes(&forge, &["workflow.updated", "workflow.updated", "workflow.ready"]).await;
    assert_eq!(told[2]["correlation"]["commit"], commit('2').as_str());
}

#[tokio::test]
async fn others_are_told_when_a_pull_request_may_be_merged_and_when_a_check_fails() {
    let forge = Forge::start_with(0, &[("UNREGISTERED", "ignore")]).await;
    pull_request_that(&forge, "opened", '1', "acme/shop", None).await;
    check_ended(&forge, "lint", '1', "failure").await;
    // Anybody may approve what is public, and it means nothing.
    review_of(&forge, "eve", "NONE", "approved").await;
    check_ended(&forge, "lint", '1', "success").await;
    told_of_changes(&forge, &["workflow.opened", "workflow.check_failed"]).await;
    review(&forge, "ann", "approved").await;
    let told = told_of_changes(&forge, &["workflow.opened", "workflow.check_failed", "workflow.ready"]).await;
    assert_eq!(told[0]["data"]["pull_request"]["number"], 7);
    assert_eq!(told[0]["data"]["pull_request"]["head"]["sha"], commit('1').as_str());
    assert_eq!(told[1]["data"]["check"]["name"], "lint");
    assert_eq!(told[2]["data"]["pull_request"]["head"]["sha"], commit('1').as_str());
    assert!(
        told.iter()
            .all(|notice| notice["resource"]["uid"] == told[0]["resource"]["uid"])
    );
    // It is told once for a commit; another commit has to pass, and somebody may object.
    check_ended(&forge, "types", '1', "success").await;
    review(&forge, "bob", "changes_requested").await;
    pull_request_that(&forge, "synchronize", '2', "acme/shop", None).await;
    check_ended(&forge, "lint", '2', "success").await;
    let before = [
        "workflow.opened",
        "workflow.check_failed",
        "workflow.ready",
        "workflow.updated",
    ];
    told_of_changes(&forge, &before).await;
    review(&forge, "bob", "approved").await;
    told_of_changes(&forge, &[before.as_slice(), &["workflow.ready"]].concat()).await;
    pull_request_that(&forge, "closed", '2', "acme/shop", Some('3')).await;
    push(&forge, "refs/heads/main", '0', '3', &[]).await;
    let last = ["workflow.ready", "workflow.merged", "workflow.pushed"];
    let told = told_of_changes(&forge, &[before.as_slice(), &last].concat()).await;
    assert_eq!(told[6]["data"]["push"]["ref"], "refs/heads/main");
}

#[tokio::test]
async fn checks_that_are_asked_for_again_are_builds_again() {
    let forge = Forge::start_with(0, &[]).await;
    let results = async || {
        let events = forge.get("/v1/events").await.unwrap();
        let result = |event: &Value| event["result"].as_str().unwrap().to_owned();
        events.as_array().unwrap().iter().map(result).collect::<Vec<_>>()
    };
    let result_is = async |expected: &str| {
        eventually(expected, async || (results().await.first()? == expected).then_some(())).await;
    };
    check(&forge, "rerequested", '1').await;
    result_is("nothing was built of its commit before").await;
    push(&forge, X, '0', '1', &[]).await;
    let builds = builds_are(&forge, &["default 1 queued"]).await;
    check(&forge, "rerequested", '1').await;
    result_is("default: build 1 has not ended yet").await;
    assert_eq!(
        forge
            .post(&format!("/v1/cicd/builds/{}/cancel", builds[0]["id"]))
            .await
            .0,
        202
    );
    builds_are(&forge, &["default 1 cancelled"]).await;
    check(&forge, "rerequested", '1').await;
    result_is("default: build 1 is repeated").await;
    let builds = builds_are(&forge, &["default 1 queued", "default 1 cancelled"]).await;
    assert_eq!(builds[0]["rerun_of"], builds[1]["id"]);
    assert_eq!(builds[0]["workflow_id"], builds[1]["workflow_id"]);
}
