//! Endpoints that are no webhooks, each against a server that speaks what the service documents: its shapes, limits
//! and errors.

use e2e::{Notifier, PATIENCE};
use serde_json::{Value, json};
use testkit::{Asked, Certificate, Mail, Recorder, within};

/// Waits until that many requests came; all of them.
async fn asked(server: &Recorder, number: usize) -> Vec<Asked> {
    within(PATIENCE, &format!("{number} requests"), async || {
        let asked = server.asked();
        (asked.len() >= number).then_some(asked)
    })
    .await
}

/// The error that Slack answers with: <https://api.slack.com/web#responses>.
fn refusal(error: &str) -> (u16, Vec<(&'static str, String)>, Value) {
    (200, Vec::new(), json!({"ok": false, "error": error}))
}

#[tokio::test]
async fn a_message_in_slack_changes_with_its_build() {
    let slack = Recorder::start(|asked, before| match (asked.path.as_str(), before) {
        // The limit of a channel: <https://api.slack.com/apis/rate-limits>.
        (_, 0) => (
            429,
            vec![("retry-after", "1".to_owned())],
            json!({"ok": false, "error": "ratelimited"}),
        ),
        ("/api/chat.postMessage", _) => (
            200,
            Vec::new(),
            json!({"ok": true, "channel": "C0123", "ts": format!("1700000000.{before}")}),
        ),
        ("/api/chat.update", 2) => (
            200,
            Vec::new(),
            json!({"ok": true, "channel": "C0123", "ts": asked.body["ts"]}),
        ),
        _ => refusal("message_not_found"),
    })
    .await;
    let api = format!("{}api", slack.url());
    let settings = [
        ("SLACK_TOKEN", "xoxb-1"),
        ("SLACK_CHANNEL", "#builds"),
        ("SLACK_API_URL", api.as_str()),
    ];
    let notifier = Notifier::start(&[], &settings).await;
    let started = notifier.tell_more("build.started", 1, &json!({"status": "building", "branch": "main"}));
    asked(&slack, 2).await;
    notifier.ended(&started, "slack-bot").await;
    let succeeded = notifier.tell_more("build.succeeded", 3, &json!({"status": "success", "branch": "main"}));
    let all = asked(&slack, 3).await;
    notifier.ended(&succeeded, "slack-bot").await;
    assert!(all.iter().all(|asked| asked.header("authorization") == "Bearer xoxb-1"));
    assert_eq!(all[1].body["channel"], "#builds");
    assert_eq!(all[1].body["text"], "Build started: n on main");
    assert_eq!(all[2].path, "/api/chat.update");
    assert_eq!(
        (&all[2].body["ts"], &all[2].body["channel"]),
        (&json!("1700000000.1"), &json!("C0123"))
    );
    // A test is a message of its own, as often as somebody wants one.
    for n in 4..6 {
        assert_eq!(notifier.post("/v1/endpoints/slack-bot/test").await, 202);
        assert_eq!(asked(&slack, n).await[n - 1].path, "/api/chat.postMessage");
    }
    // What comes late changes nothing; what somebody has removed is made anew.
    let late = notifier.tell_more("build.started", 2, &json!({"status": "building"}));
    assert_eq!(notifier.ended(&late, "slack-bot").await["state"], "done");
    assert_eq!(slack.asked().len(), 5, "nothing was said");
    notifier.tell_more("build.failed", 4, &json!({"status": "failed"}));
    let all = asked(&slack, 7).await;
    assert_eq!(
        (all[5].path.as_str(), all[6].path.as_str()),
        ("/api/chat.update", "/api/chat.postMessage")
    );
    assert_eq!(all[6].body["ts"], Value::Null);
}

#[tokio::test]
async fn what_slack_refuses_is_a_dead_letter_that_says_why() {
    let slack = Recorder::start(|_, _| refusal("channel_not_found")).await;
    let hook = Recorder::start(|_, _| (200, Vec::new(), json!("ok"))).await;
    let (api, url) = (slack.url(), format!("{}services/T/B/X", hook.url()));
    let settings = [
        ("SLACK_TOKEN", "xoxb-1"),
        ("SLACK_CHANNEL", "#none"),
        ("SLACK_API_URL", api.as_str()),
        ("SLACK_WEBHOOK_URL", url.as_str()),
    ];
    let notifier = Notifier::start(&[], &settings).await;
    let id = notifier.tell("build.failed");
    let dead = notifier.ended(&id, "slack-bot").await;
    assert_eq!(
        (&dead["state"], &dead["reason"]),
        (&json!("dead"), &json!("Slack says channel_not_found"))
    );
    assert_eq!(notifier.ended(&id, "slack").await["state"], "done");
    assert_eq!(hook.asked()[0].path, "/services/T/B/X");
    assert_eq!(hook.asked()[0].body["text"], "Build failed: n");
}

#[tokio::test]
async fn a_commit_in_github_shows_what_has_become_of_it() {
    let github = Recorder::start(|asked, before| match before {
        // Its primary limit: <https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api>.
        0 => {
            let soon = bus::clock::now_ms() / 1_000 + 1;
            let used_up = vec![
                ("x-ratelimit-remaining", "0".to_owned()),
                ("x-ratelimit-reset", soon.to_string()),
            ];
            (403, used_up, json!({"message": "API rate limit exceeded"}))
        }
        _ if asked.body["state"] == "failure" => (422, Vec::new(), json!({"message": "Validation Failed"})),
        _ => (201, Vec::new(), json!({"id": 1, "state": asked.body["state"]})),
    })
    .await;
    let api = format!("{}api/v3", github.url());
    let settings = [("GITHUB_STATUS_TOKEN", "ghp_1"), ("GITHUB_API_URL", api.as_str())];
    let notifier = Notifier::start(&[], &settings).await;
    let data = |status: &str| {
        json!({"status": status, "repository": "https://127.0.0.1/acme/app.git", "branch": "main",
            "links": {"build": "https://ci.example.org/7"}})
    };
    let started = notifier.tell_more("build.started", 1, &data("building"));
    assert_eq!(notifier.ended(&started, "github-status").await["state"], "done");
    let succeeded = notifier.tell_more("build.succeeded", 2, &data("success"));
    assert_eq!(notifier.ended(&succeeded, "github-status").await["state"], "done");
    let all = github.asked();
    assert_eq!(all.len(), 3, "one was too much, and came again");
    let path = format!("/api/v3/repos/acme/app/statuses/{}", "c".repeat(40));
    for (asked, state) in all.iter().zip(["pending", "pending", "success"]) {
        assert_eq!(
            (asked.path.as_str(), &asked.body["state"]),
            (path.as_str(), &json!(state))
        );
        assert_eq!(asked.body["context"], "forge");
        assert_eq!(asked.body["target_url"], "https://ci.example.org/7");
        assert_eq!(asked.header("authorization"), "Bearer ghp_1");
        assert_eq!(asked.header("x-github-api-version"), "2022-11-28");
    }
    // What is late, or of another forge, is not told at all; what GitHub cannot take is a dead letter.
    let late = notifier.tell_more("build.started", 1, &data("building"));
    let other = notifier.tell_more(
        "build.started",
        9,
        &json!({"repository": "https://gitlab.com/acme/app.git"}),
    );
    for id in [late, other] {
        assert_eq!(notifier.ended(&id, "github-status").await["state"], "done");
    }
    assert_eq!(github.asked().len(), 3);
    let failed = notifier.tell_more("build.failed", 3, &data("failed"));
    assert_eq!(notifier.ended(&failed, "github-status").await["state"], "dead");
}

#[tokio::test]
async fn the_dashboard_hears_in_its_own_words() {
    let dashboard = Recorder::start(|asked, _| {
        let status = if asked.header("x-api-key") == "k-1" { 200 } else { 401 };
        (status, Vec::new(), json!({}))
    })
    .await;
    let api = format!("{}api", dashboard.url());
    let notifier = Notifier::start(&[], &[("API_URL", api.as_str()), ("API_KEY", "k-1")]).await;
    for (version, kind) in [(1, "build.queued"), (2, "build.started"), (3, "build.succeeded")] {
        let id = notifier.tell_more(kind, version, &json!({"image": "r/i:t"}));
        assert_eq!(notifier.ended(&id, "dashboard").await["state"], "done");
    }
    let lines = json!({"skipped": 2, "lines": [{"t": 1, "stream": "stdout", "text": "one"}, {"t": 2, "stream": "stderr", "text": "two"}]});
    let log = notifier.tell_more("build.log", 4, &lines);
    assert_eq!(notifier.ended(&log, "dashboard").await["state"], "done");
    let mut all = dashboard.asked();
    let log = all.pop().unwrap();
    assert_eq!(log.path, "/api/webhooks/deployments/b-1/logs");
    assert_eq!(
        log.body,
        json!({"text": "one\ntwo\n[2 lines are not shown here]", "type": "STDOUT"})
    );
    assert_eq!(all[2].body["data"]["containerImageUri"], "r/i:t");
    let words: Vec<_> = all.iter().map(|asked| asked.body["status"].as_str().unwrap()).collect();
    assert_eq!(words, ["PENDING", "BUILDING", "BUILDED"]);
    assert!(
        all.iter()
            .all(|asked| asked.path == "/api/webhooks/deployments/b-1/status")
    );
}

#[tokio::test]
async fn what_a_receiver_says_back_of_us_is_not_kept() {
    let echo = Recorder::start(|asked, _| (400, Vec::new(), json!({"you said": asked.header("x-api-key")}))).await;
    let api = echo.url();
    let notifier = Notifier::start(&[], &[("API_URL", api.as_str()), ("API_KEY", "k-secret")]).await;
    let dead = notifier.ended(&notifier.tell("build.failed"), "dashboard").await;
    let body = dead["attempts"][0]["body"].as_str().unwrap();
    assert!(body.contains("you said") && !body.contains("k-secret"), "{dead}");
    assert_eq!(echo.asked()[0].header("x-api-key"), "k-secret");
}

#[tokio::test]
async fn who_wants_mail_gets_one_for_what_has_ended() {
    let certificate = Certificate::of_localhost();
    let mail = Mail::start(Some((certificate.path(), certificate.key()))).await;
    let (user, password) = Mail::USER;
    let url = format!("smtp://{user}:{password}@{}?tls=required", mail.host());
    let trusted = certificate.path().to_string_lossy().into_owned();
    let settings = [
        ("SMTP_URL", url.as_str()),
        ("EMAIL_FROM", "Forge <forge@example.org>"),
        ("EMAIL_TO", "Ann <ann@example.org>, bob@example.org"),
        ("SSL_CERT_FILE", trusted.as_str()),
    ];
    let notifier = Notifier::start(&[], &settings).await;
    let started = notifier.tell_more("build.started", 1, &json!({}));
    let failed = notifier.tell_more(
        "build.failed",
        2,
        &json!({"branch": "main", "reason": "1 < 2 & more: ä"}),
    );
    for id in [&started, &failed] {
        let ended = notifier.ended(id, "email").await;
        assert_eq!(ended["state"], "done", "{ended}");
    }
    let taken = mail.taken();
    assert_eq!(taken.len(), 1, "what has only begun is no reason to write");
    assert_eq!(
        (&taken[0]["tls"], &taken[0]["authenticated"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(taken[0]["to"], json!(["ann@example.org", "bob@example.org"]));
    let text = taken[0]["text"].as_str().unwrap();
    for part in [
        "Subject: Build failed: n on main",
        &format!("Message-ID: <{failed}@example.org>"),
        "multipart/alternative",
        "1 &lt; 2 &amp; more",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[tokio::test]
async fn a_mailbox_that_is_unknown_ends_a_delivery_and_one_that_is_busy_delays_it() {
    let mail = Mail::start(None).await;
    let (user, password) = Mail::USER;
    let url = format!("smtp://{user}:{password}@{}", mail.host());
    for (to, state, why) in [
        ("refused@example.org", "dead", "550"),
        ("later@example.org", "done", ""),
    ] {
        let notifier = Notifier::start(&[], &[("SMTP_URL", url.as_str()), ("EMAIL_TO", to)]).await;
        let id = notifier.tell("build.failed");
        let ended = notifier.ended(&id, "email").await;
        assert_eq!(ended["state"], state, "{ended}");
        assert!(ended["reason"].as_str().unwrap_or_default().contains(why), "{ended}");
    }
    assert_eq!(mail.taken().len(), 1);
    let both = [
        ("SMTP_URL", url.as_str()),
        ("EMAIL_TO", "refused@example.org, ann@example.org"),
    ];
    let notifier = Notifier::start(&[], &both).await;
    let id = notifier.tell("build.failed");
    assert_eq!(notifier.ended(&id, "email").await["state"], "done");
    assert_eq!(mail.taken()[1]["to"], json!(["ann@example.org"]), "who is known has it");
    // Whoever trusts nobody writes to nobody: the server's certificate is signed by itself.
    let certificate = Certificate::of_localhost();
    let mail = Mail::start(Some((certificate.path(), certificate.key()))).await;
    let url = format!("smtp://{user}:{password}@{}?tls=required", mail.host());
    let notifier = Notifier::start(&[], &[("SMTP_URL", url.as_str()), ("EMAIL_TO", "ann@example.org")]).await;
    let id = notifier.tell("build.failed");
    let dead = notifier.ended(&id, "email").await;
    assert!(
        dead["state"] == "dead" && dead["attempts"].as_array().unwrap().len() == 6,
        "{dead}"
    );
    assert!(mail.taken().is_empty());
}

#[tokio::test]
async fn everybody_who_can_be_written_to_has_one_mail_whatever_becomes_of_the_others() {
    let mail = Mail::start(None).await;
    let (user, password) = Mail::USER;
    let url = format!("smtp://{user}:{password}@{}", mail.host());
    let readers = "refused@example.org, ann@example.org, later@example.org, bob@example.org";
    let notifier = Notifier::start(&[], &[("SMTP_URL", url.as_str()), ("EMAIL_TO", readers)]).await;
    let id = notifier.tell("build.failed");
    let ended = notifier.ended(&id, "email").await;
    assert_eq!(ended["state"], "done", "{ended}");
    let mut readers: Vec<_> = mail.taken().iter().map(|mail| mail["to"][0].clone()).collect();
    readers.sort_by_key(ToString::to_string);
    assert_eq!(readers, ["ann@example.org", "bob@example.org", "later@example.org"]);

    let wrong = format!("smtp://{user}:wrong@{}", mail.host());
    let readers = "ann@example.org, bob@example.org";
    let notifier = Notifier::start(&[], &[("SMTP_URL", wrong.as_str()), ("EMAIL_TO", readers)]).await;
    let id = notifier.tell("build.failed");
    let dead = notifier.ended(&id, "email").await;
    let reason = dead["reason"].as_str().unwrap();
    assert!(reason.contains("the login") && reason.contains("6 attempts"), "{dead}");
}

#[tokio::test]
async fn a_channel_that_is_half_configured_is_degraded_and_stops_nothing() {
    let hook = Recorder::start(|_, _| (200, Vec::new(), json!("ok"))).await;
    let url = hook.url();
    let settings = [
        ("SLACK_WEBHOOK_URL", url.as_str()),
        ("SLACK_TOKEN", "xoxb-1"),
        ("SLACK_API_URL", "ftp://example.org"),
        ("SMTP_URL", "nonsense"),
        ("EMAIL_TO", "ann@example.org"),
        ("GITHUB_STATUS_TOKEN", "t"),
        ("GITHUB_API_URL", "ftp://example.org"),
        ("API_URL", "http://example.org"),
    ];
    let notifier = Notifier::start(&[], &settings).await;
    let id = notifier.tell("build.failed");
    assert_eq!(notifier.ended(&id, "slack").await["state"], "done");
    let endpoints = notifier.endpoints().await;
    for (name, why) in [
        ("slack-bot", "slack.api_url"),
        ("email", "email.url"),
        ("github-status", "github.api_url"),
        ("dashboard", "dashboard.key"),
    ] {
        let endpoint = endpoints.iter().find(|endpoint| endpoint["id"] == name).unwrap();
        assert_eq!(endpoint["state"], "degraded", "{name}");
        assert!(endpoint["reason"].as_str().unwrap().contains(why), "{endpoint}");
    }
    // A bot and a mail server alone say nothing, unless there is an API where somebody can say what and to whom.
    let (user, password) = Mail::USER;
    let smtp = format!("smtp://{user}:{password}@localhost");
    let settings = [
        ("SLACK_TOKEN", "xoxb-1"),
        ("SMTP_URL", smtp.as_str()),
        ("NOTIFIER_API_TOKEN", ""),
    ];
    let notifier = Notifier::start(&[], &settings).await;
    let health = notifier.get("/health").await.to_string();
    assert!(
        health.contains("slack.channel") && health.contains("email.to"),
        "{health}"
    );
}

#[tokio::test]
async fn people_are_told_of_their_part_by_endpoints_that_the_api_has_made() {
    let slack = Recorder::start(|_, before| {
        let said = json!({"ok": true, "channel": "C0123", "ts": format!("1700000000.{before}")});
        (200, Vec::new(), said)
    })
    .await;
    let hook = Recorder::start(|_, _| (200, Vec::new(), json!("ok"))).await;
    let mail = Mail::start(None).await;
    let (user, password) = Mail::USER;
    let (api, smtp) = (slack.url(), format!("smtp://{user}:{password}@{}", mail.host()));
    let settings = [
        ("SLACK_TOKEN", "xoxb-1"),
        ("SLACK_API_URL", api.as_str()),
        ("SMTP_URL", smtp.as_str()),
        ("WEBHOOK_ALLOW_NETWORKS", "127.0.0.0/8"),
    ];
    let notifier = Notifier::start(&[], &settings).await;
    assert!(notifier.endpoints().await.is_empty(), "nobody is told everything");
    let failures = json!({"statuses": ["failed"]});
    let url = format!("{}services/T/B/X", hook.url());
    let mut ids = Vec::new();
    for wanted in [
        json!({"kind": "slack", "channel": "#failures", "filter": failures}),
        json!({"kind": "slack", "url": url, "filter": {"projects": ["elsewhere/*"]}}),
        json!({"kind": "email", "to": ["Ann <ann@example.org>"], "filter": failures}),
        json!({"kind": "slack", "url": url}),
    ] {
        let (status, made) = notifier.make(wanted).await;
        assert_eq!((status, &made["secret"]), (201, &Value::Null), "{made}");
        ids.push(made["id"].as_str().unwrap().to_owned());
    }
    let id = notifier.tell_more("build.failed", 1, &json!({"status": "failed", "project": "o/r"}));
    for endpoint in [&ids[0], &ids[2], &ids[3]] {
        let ended = notifier.ended(&id, endpoint).await;
        assert_eq!(ended["state"], "done", "{ended}");
    }
    assert_eq!(slack.asked()[0].body["channel"], "#failures");
    assert_eq!(mail.taken()[0]["to"], json!(["ann@example.org"]));
    assert_eq!(hook.asked().len(), 1, "the other project's channel has not been told");
    let other = notifier.tell_more("build.succeeded", 2, &json!({"status": "success", "project": "o/r"}));
    assert_eq!(notifier.ended(&other, &ids[3]).await["state"], "done");
    assert_eq!(
        (slack.asked().len(), mail.taken().len()),
        (1, 1),
        "those hear of failures"
    );
    // They are not told of each other.
    assert!(
        slack
            .asked()
            .iter()
            .all(|asked| !asked.body.to_string().contains("Endpoint"))
    );
    // Whoever knows the URL can write there; and nothing signs it.
    let shown = notifier.get(&format!("/v1/endpoints/{}", ids[3])).await;
    assert!(!shown.to_string().contains("services"), "{shown}");
    assert_eq!((&shown["kind"], &shown["made"]), (&json!("slack"), &json!(true)));
    assert_eq!(notifier.post(&format!("/v1/endpoints/{}/rotate", ids[3])).await, 409);
}

#[tokio::test]
async fn an_endpoint_that_the_operator_has_no_means_for_is_refused_with_a_reason() {
    let notifier = Notifier::start(&[], &[]).await;
    for (wanted, why) in [
        (json!({"kind": "slack", "channel": "#a"}), "slack.token"),
        (json!({"kind": "email", "to": ["ann@example.org"]}), "email.url"),
        (json!({"kind": "email", "url": "https://example.org"}), "to"),
        (json!({"kind": "slack"}), "either the url"),
        (
            json!({"kind": "slack", "url": "https://example.org", "channel": "#a"}),
            "either the url",
        ),
        (json!({"kind": "slack", "url": "https://127.0.0.1/"}), "127.0.0.1"),
        (
            json!({"kind": "slack", "url": "https://example.org", "in_flight": 2}),
            "one thing at a time",
        ),
        (
            json!({"kind": "email", "to": vec!["ann@example.org"; 21]}),
            "at most 20",
        ),
        (
            json!({"kind": "email", "to": ["ann@example.org"], "tls": {"ca": "x"}}),
            "no url",
        ),
        (
            json!({"url": "https://example.org", "to": ["ann@example.org"]}),
            "neither channel nor to",
        ),
        (
            json!({"url": "https://example.org", "filter": {"project": ["acme/*"]}}),
            "filter.project",
        ),
        (json!({"kind": "pigeon", "url": "https://example.org"}), "pigeon"),
    ] {
        let (status, answer) = notifier.make(wanted.clone()).await;
        let said = answer["detail"].as_str().unwrap_or_default();
        assert!(status == 422 && said.contains(why), "{wanted}: {status} {answer}");
    }
    assert!(notifier.endpoints().await.is_empty());
}
