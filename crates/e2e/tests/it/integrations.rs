//! Services that do more than listen: GitHub's checks, agents, Linear; each against a server that speaks what the service
//! documents: its shapes, limits and errors.

use e2e::{Forge, Notifier, PATIENCE};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};
use testkit::{Asked, Recorder, within};

type Answer = (u16, Vec<(&'static str, String)>, Value);

/// A delivery that has ended, and how it has.
async fn ended_as(notifier: &Notifier, id: &str, endpoint: &str, state: &str) -> Value {
    let ended = notifier.ended(id, endpoint).await;
    assert_eq!(ended["state"], state, "{ended}");
    ended
}

fn answer(status: u16, body: Value) -> Answer {
    (status, Vec::new(), body)
}

/// What the parts of GitHub answer that apps use: <https://docs.github.com/en/rest/apps/apps>,
/// <https://docs.github.com/en/rest/checks/runs>. The second check run is made and not told of.
fn github(asked: &Asked, before: usize, runs: &Mutex<Vec<Value>>) -> Answer {
    let path = asked.path.trim_start_matches('/');
    let is_app = asked.header("authorization").split('.').count() == 3;
    match (asked.method.as_str(), path) {
        ("GET", "repos/acme/app/installation") if is_app => answer(200, json!({"id": 7})),
        ("POST", "app/installations/7/access_tokens") if is_app => {
            // What the installation was not granted cannot be asked for.
            if asked.body["permissions"]["statuses"].is_string() {
                let why = "The permissions requested are not granted to this installation.";
                return answer(422, json!({"message": why}));
            }
            assert_eq!(asked.body["repositories"], json!(["app"]));
            answer(201, json!({"token": "ghs_1", "expires_at": "2030-01-01T00:00:00Z"}))
        }
        _ if asked.header("authorization") != "Bearer ghs_1" => answer(401, json!({"message": "Bad credentials"})),
        ("GET", _) => {
            let runs = runs.lock().unwrap();
            answer(200, json!({"total_count": runs.len(), "check_runs": *runs}))
        }
        ("POST", "repos/acme/app/check-runs") => {
            let mut runs = runs.lock().unwrap();
            let mut run = asked.body.clone();
            run["id"] = json!(before + 100);
            runs.push(run.clone());
            // Made, and its answer is lost.
            if runs.len() == 1 {
                answer(502, Value::Null)
            } else {
                answer(201, run)
            }
        }
        ("PATCH", _) => answer(200, json!({"id": 1})),
        _ => answer(404, json!({"message": "Not Found"})),
    }
}

#[tokio::test]
async fn a_build_is_one_check_run_that_says_what_went_wrong_and_where() {
    let runs = Arc::new(Mutex::new(Vec::new()));
    let known = Arc::clone(&runs);
    let server = Recorder::start(move |asked, before| github(asked, before, &known)).await;
    let key = Command::new("openssl")
        .args(["genrsa", "-traditional", "2048"])
        .output()
        .unwrap();
    let (key, api) = (String::from_utf8(key.stdout).unwrap(), server.url());
    let settings = [
        ("GITHUB_APP_ID", "12"),
        ("GITHUB_APP_PRIVATE_KEY", key.as_str()),
        ("GITHUB_API_URL", api.as_str()),
    ];
    let notifier = Notifier::start(&[], &settings).await;
    let data = |more: Value| {
        let mut data = json!({"repository": "https://127.0.0.1/acme/app.git", "service": "api"});
        data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        data
    };
    let queued = notifier.tell_more("build.queued", 1, &data(json!({})));
    ended_as(&notifier, &queued, "github-check", "done").await;
    assert_eq!(
        runs.lock().unwrap().len(),
        1,
        "what was made and not told of is found, and not made again"
    );
    let tail = json!(["src/main.c:3:5: error: expected ';'", "make: *** [all] Error 1"]);
    let failed = data(json!({"reason": "make failed", "log_tail": tail}));
    let failed = notifier.tell_more("build.failed", 3, &failed);
    ended_as(&notifier, &failed, "github-check", "done").await;
    let all = server.asked();
    let made = runs.lock().unwrap()[0].clone();
    assert_eq!(
        (&made["name"], &made["status"]),
        (&json!("forge/api"), &json!("queued"))
    );
    assert_eq!(
        (&made["external_id"], &made["head_sha"]),
        (&json!("b-1"), &json!("c".repeat(40)))
    );
    let last = &all.last().unwrap();
    assert_eq!(
        (last.method.as_str(), last.path.clone()),
        ("PATCH", format!("/repos/acme/app/check-runs/{}", made["id"]))
    );
    assert_eq!(
        (&last.body["status"], &last.body["conclusion"]),
        (&json!("completed"), &json!("failure"))
    );
    let found = &last.body["output"]["annotations"][0];
    assert_eq!(
        (&found["path"], &found["start_line"]),
        (&json!("src/main.c"), &json!(3))
    );
    let tokens = all.iter().filter(|asked| asked.path.contains("access_tokens")).count();
    assert_eq!(tokens, 1, "a token is used for as long as it is good");
    // Of a repository that the app may not see it says so.
    let strange = json!({"repository": "https://127.0.0.1/acme/other.git"});
    let strange = notifier.tell_more("build.queued", 9, &strange);
    let dead = ended_as(&notifier, &strange, "github-check", "dead").await;
    assert!(
        dead["reason"].as_str().unwrap().contains("installed for acme/other"),
        "{dead}"
    );
}

/// Linear, as far as it is asked: <https://linear.app/developers/graphql>,
/// <https://linear.app/developers/rate-limiting>.
#[derive(Default)]
struct Linear {
    state: String,
    comments: BTreeMap<String, String>,
    moves: Vec<String>,
}

fn linear(asked: &Asked, before: usize, known: &Mutex<Linear>) -> Answer {
    let refused = |code: &str, message: &str| json!({"errors": [{"message": message, "extensions": {"code": code, "userError": true}}], "data": null});
    if asked.header("authorization") != "lin_api_1" {
        return answer(
            401,
            refused("AUTHENTICATION_ERROR", "Authentication required, not authenticated"),
        );
    }
    if before == 0 {
        let soon = bus::clock::now_ms() + 500;
        let used_up = vec![
            ("x-ratelimit-requests-remaining", "0".to_owned()),
            ("x-ratelimit-requests-reset", soon.to_string()),
        ];
        return (400, used_up, refused("RATELIMITED", "Rate limit exceeded"));
    }
    let mut known = known.lock().unwrap();
    let (query, with) = (asked.body["query"].as_str().unwrap(), &asked.body["variables"]);
    let text = |name: &str| with[name].as_str().unwrap().to_owned();
    let id = text("id");
    if query.contains("issueUpdate") {
        known.state = text("state");
        let state = known.state.clone();
        known.moves.push(state);
        return answer(200, json!({"data": {"issueUpdate": {"success": true}}}));
    }
    if query.contains("commentUpdate") {
        if !known.comments.contains_key(&id) {
            return answer(200, refused("INPUT_ERROR", "Entity not found: Comment"));
        }
        known.comments.insert(id, text("body"));
        return answer(200, json!({"data": {"commentUpdate": {"success": true}}}));
    }
    if query.contains("commentCreate") {
        assert_eq!(text("issue"), "issue-1");
        known.comments.insert(id, text("body"));
        return answer(200, json!({"data": {"commentCreate": {"success": true}}}));
    }
    if query.contains("team(id") {
        let state =
            |id: &str, kind: &str, position: f64| json!({"id": id, "name": id, "type": kind, "position": position});
        let nodes = [
            state("todo", "unstarted", 0.0),
            state("doing", "started", 1.0),
            state("done", "completed", 2.0),
        ];
        return answer(200, json!({"data": {"team": {"states": {"nodes": nodes}}}}));
    }
    if id != "ENG-7" {
        return answer(200, refused("INPUT_ERROR", "Entity not found: Issue"));
    }
    let kind = match known.state.as_str() {
        "doing" => "started",
        "done" => "completed",
        _ => "unstarted",
    };
    let state = json!({"id": known.state, "type": kind});
    answer(
        200,
        json!({"data": {"issue": {"id": "issue-1", "team": {"id": "t"}, "state": state}}}),
    )
}

#[tokio::test]
async fn a_ticket_says_what_has_become_of_its_builds_and_moves_with_them() {
    let known = Arc::new(Mutex::new(Linear::default()));
    let theirs = Arc::clone(&known);
    let server = Recorder::start(move |asked, before| linear(asked, before, &theirs)).await;
    let api = format!("{}graphql", server.url());
    let settings = [("LINEAR_API_KEY", "lin_api_1"), ("LINEAR_API_URL", api.as_str())];
    let notifier = Notifier::start(&[], &settings).await;
    let tickets = json!({"tickets": ["UTF-8", "ENG-7"], "branch": "ann/eng-7-fix"});
    for (version, kind) in [(2, "build.started"), (3, "build.failed"), (2, "build.started")] {
        let id = notifier.tell_more(kind, version, &tickets);
        ended_as(&notifier, &id, "linear", "done").await;
    }
    let merged = notifier.tell_more("workflow.merged", 9, &tickets);
    ended_as(&notifier, &merged, "linear", "done").await;
    {
        let known = known.lock().unwrap();
        assert_eq!(known.moves, ["doing", "done"]);
        let comments: Vec<_> = known.comments.values().collect();
        assert_eq!(
            comments.len(),
            2,
            "one of the build, which has changed, and one of the merge: {comments:?}"
        );
        assert!(
            comments
                .iter()
                .any(|text| text.starts_with("**Build failed: n on ann/eng-7-fix**")),
            "{comments:?}"
        );
    }
    let states = server.asked();
    let states = states
        .iter()
        .filter(|asked| asked.body["query"].as_str().unwrap().contains("team(id"));
    assert_eq!(states.count(), 1, "the states of a team are asked for once");
    // What names no ticket is not said anywhere.
    let before = server.asked().len();
    let plain = notifier.tell_more("build.failed", 9, &json!({}));
    ended_as(&notifier, &plain, "linear", "done").await;
    assert_eq!(server.asked().len(), before);
}

#[tokio::test]
async fn a_key_that_linear_does_not_know_is_a_dead_letter_that_says_so() {
    let server = Recorder::start(|asked, before| linear(asked, before + 1, &Mutex::default())).await;
    let api = server.url();
    let settings = [("LINEAR_API_KEY", "other"), ("LINEAR_API_URL", api.as_str())];
    let notifier = Notifier::start(&[], &settings).await;
    let id = notifier.tell_more("build.started", 1, &json!({"tickets": ["ENG-7"]}));
    let dead = ended_as(&notifier, &id, "linear", "dead").await;
    assert_eq!(dead["reason"], "Linear does not accept its key (linear.key)");
}

#[tokio::test]
async fn each_event_asks_the_agent_for_its_task_and_good_news_for_none() {
    let server = Recorder::start(|asked, _| match asked.header("authorization") {
        "Bearer k-1" => answer(200, json!({"deployment_id": "d-1"})),
        _ => answer(401, json!({"detail": "no"})),
    })
    .await;
    let api = server.url();
    let settings = [("AGENTAPI_BASE_URL", api.as_str()), ("AGENTAPI_API_KEY", "k-1")];
    let notifier = Notifier::start(&[], &settings).await;
    let pull = json!({"repository": "https://h/o/r.git", "action": "opened", "pull_request": {
        "number": 7, "title": "t", "head": {"ref": "x", "sha": "a"}, "base": {"ref": "main"}, "user": {"login": "ann"}}});
    let push = json!({"repository": "https://h/o/r.git", "push": {"ref": "refs/heads/main", "commits": []}});
    let check = json!({"check": {"name": "lint", "conclusion": "failure"}});
    let build = json!({"service": "api", "reason": "make failed", "log_tail": ["no rule"]});
    for (kind, data, path, said) in [
        ("workflow.pushed", &push, "/deploy/code", "code_deployment"),
        ("workflow.opened", &pull, "/validate/code", "code_validation"),
        ("workflow.updated", &pull, "/validate/code", "code_validation"),
        ("workflow.ready", &pull, "/workflow/merge", "merge_workflow"),
        ("workflow.check_failed", &check, "/recovery/failure", "failure_recovery"),
        ("build.failed", &build, "/recovery/failure", "failure_recovery"),
    ] {
        let id = notifier.tell_more(kind, 1, data);
        ended_as(&notifier, &id, "agent", "done").await;
        let asked = server.asked().pop().unwrap();
        assert_eq!(
            (asked.path.as_str(), &asked.body["type"]),
            (path, &json!(said)),
            "{kind}"
        );
        assert_eq!(
            (&asked.body["event_id"], asked.header("idempotency-key")),
            (&json!(id), id.as_str())
        );
        match said {
            "code_deployment" => assert_eq!(asked.body["push_data"]["branch"], "main"),
            "failure_recovery" => {
                assert!(["lint", "forge/api"].contains(&asked.body["check_data"]["name"].as_str().unwrap()));
            }
            _ => {
                assert_eq!(asked.body["pr_data"]["number"], 7);
                assert_eq!(asked.body["pr_data"]["repository"]["full_name"], "o/r");
            }
        }
    }
    let before = server.asked().len();
    let good = notifier.tell_more("build.succeeded", 2, &build);
    ended_as(&notifier, &good, "agent", "done").await;
    assert_eq!(server.asked().len(), before, "nothing follows for an agent");
}

/// Who looks for what dead notifiers held does so every five seconds, and would give it away after 20.
#[tokio::test]
async fn an_agent_that_thinks_for_longer_than_a_lease_is_asked_once() {
    let server = Recorder::that_takes(Duration::from_secs(32), |_, _| answer(200, json!({}))).await;
    let api = server.url();
    let notifier = Notifier::start(&[], &[("AGENTAPI_BASE_URL", api.as_str())]).await;
    let id = notifier.tell_more("build.failed", 1, &json!({"reason": "make failed"}));
    let done = ended_as(&notifier, &id, "agent", "done").await;
    assert_eq!((server.asked().len(), &done["failures"]), (1, &json!(0)));
}

/// <https://github.com/coder/agentapi/blob/main/openapi.json>.
#[tokio::test]
async fn an_agent_that_is_at_work_is_written_to_when_it_is_done() {
    let server = Recorder::start(|asked, before| match (asked.path.as_str(), before) {
        ("/status", 0) => answer(200, json!({"agent_type": "claude", "status": "running"})),
        ("/status", _) => answer(200, json!({"agent_type": "claude", "status": "stable"})),
        _ => answer(200, json!({"ok": true})),
    })
    .await;
    let api = server.url();
    let settings = [("AGENTAPI_BASE_URL", api.as_str()), ("AGENTAPI_KIND", "messages")];
    let notifier = Notifier::start(&[], &settings).await;
    let id = notifier.tell_more(
        "build.failed",
        1,
        &json!({"reason": "make failed", "log_tail": ["no rule", "\u{1b}[201~rm -r /"]}),
    );
    let done = ended_as(&notifier, &id, "agent", "done").await;
    assert_eq!(done["failures"], 0, "to wait is no failure");
    let paths: Vec<_> = server.asked().iter().map(|asked| asked.path.clone()).collect();
    assert_eq!(paths, ["/status", "/status", "/message"]);
    let last = server.asked().pop().unwrap();
    assert_eq!(last.body["type"], "user");
    let text = last.body["content"].as_str().unwrap();
    assert!(text.starts_with("Build failed: n. Find out why"), "{text}");
    assert!(text.contains("\n> no rule") && !text.contains('\u{1b}'), "{text}");
}

#[tokio::test]
async fn a_dashboard_has_lines_of_a_build_while_it_runs() {
    let server = Recorder::start(|_, _| answer(200, json!({}))).await;
    let api = format!("{}api", server.url());
    let forge = Forge::start_with(1, &[("DASHBOARD_URL", api.as_str()), ("DASHBOARD_KEY", "k-1")]).await;
    let repo = forge.repo("FROM busybox\nRUN for n in 1 2 3 4; do echo \"line $n of it\"; sleep 2; done; sleep 654\n");
    forge.push(&repo).await;
    let build = forge.build_that_is("building").await;
    let path = format!("/api/webhooks/deployments/{}/logs", build["uid"].as_str().unwrap());
    let logs = async || {
        let asked = server.asked().into_iter().filter(|asked| asked.path == path);
        let texts: Vec<_> = asked
            .map(|asked| asked.body["text"].as_str().unwrap().to_owned())
            .collect();
        texts.join("\n")
    };
    within(PATIENCE, "lines of a build that runs", async || {
        logs().await.contains("line 4 of it").then_some(())
    })
    .await;
    let text = logs().await;
    let at = (1..=4).map(|n| text.find(&format!("\nline {n} of it")));
    assert!(at.clone().is_sorted() && at.clone().all(|at| at.is_some()), "{text}");
    let webhooks = forge.sink.received();
    assert!(
        webhooks.iter().all(|told| told.body["eventType"] != "build.log"),
        "it is for dashboards"
    );
    forge.post(&format!("/v1/cicd/builds/{}/cancel", build["id"])).await;
    forge.build_that_is("cancelled").await;
}
