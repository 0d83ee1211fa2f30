//! Notifier alone, with a Redis and receivers of several kinds: what is delivered, what is not, and what can be done
//! about it.

use e2e::{Notifier, PATIENCE};
use reqwest::Method;
use serde_json::{Value, json};
use std::{
    collections::HashSet,
    io::Write as _,
    process::{Command, Stdio},
};
use testkit::{Received, Sink, within};
use tokio::net::TcpListener;

/// Waits until a receiver has accepted this event; all that it was sent of it.
async fn accepted(sink: &Sink, id: &str) -> Vec<Received> {
    within(PATIENCE, "it arrives", async || {
        let all = sink.received().into_iter();
        let of_it: Vec<_> = all.filter(|received| received.header("webhook-id") == id).collect();
        of_it.iter().any(|received| received.status == 200).then_some(of_it)
    })
    .await
}

/// Waits until a receiver was sent just these events.
async fn all_arrive(sink: &Sink, ids: &HashSet<String>) {
    within(PATIENCE, "all arrive", async || {
        let received = sink.received();
        let came: HashSet<_> = received.iter().map(|r| r.header("webhook-id").to_owned()).collect();
        (came == *ids).then_some(())
    })
    .await;
}

#[tokio::test]
async fn who_answers_410_is_disabled_the_others_are_told_and_it_can_be_enabled_again() {
    let (gone, other) = (Sink::start(Notifier::SECRET).await, Sink::start(Notifier::SECRET).await);
    let notifier = Notifier::start(&[&gone.url(), &other.url()], &[]).await;
    gone.answer(&[410]);
    let first = notifier.tell("build.succeeded");
    accepted(&other, &first).await;
    let disabled = notifier.endpoint_that_is(0, "disabled").await;
    assert!(disabled["reason"].as_str().unwrap().contains("410"), "{disabled}");
    let id = disabled["id"].as_str().unwrap();
    let told = within(PATIENCE, "the others are told", async || {
        other
            .received()
            .into_iter()
            .find(|r| r.body["eventType"] == "endpoint.disabled")
    })
    .await;
    assert!(told.verified && told.body["resource"]["uid"] == id, "{told:?}");
    assert_eq!(notifier.endpoints().await[1]["state"], "ok");

    let second = notifier.tell("build.succeeded");
    accepted(&other, &second).await;
    assert_eq!(gone.received().len(), 1, "nothing more is sent to it");
    assert_eq!(notifier.post(&format!("/v1/endpoints/{id}/test")).await, 409);

    let dead = notifier.get("/v1/dead").await;
    assert_eq!(
        (&dead["all"], &dead["dead"][0]["event"]),
        (&json!(1), &json!(first)),
        "{dead}"
    );
    assert_eq!(dead["dead"][0]["attempts"][0]["status"], 410, "{dead}");
    assert_eq!(notifier.post(&format!("/v1/endpoints/{id}/enable")).await, 204);
    assert_eq!(notifier.post(&format!("/v1/deliveries/{first}/{id}/resend")).await, 202);
    accepted(&gone, &first).await;
    within(PATIENCE, "it is done", async || {
        let shown = notifier.get(&format!("/v1/deliveries/{first}/{id}")).await;
        (shown["state"] == "done" && shown["attempts"].as_array()?.len() == 2).then_some(())
    })
    .await;
    assert_eq!(notifier.get("/v1/dead").await["all"], 0);
    assert_eq!(notifier.post(&format!("/v1/endpoints/{id}/test")).await, 202);
    within(PATIENCE, "a test arrives", async || {
        gone.received()
            .into_iter()
            .find(|r| r.body["eventType"] == "endpoint.test" && r.verified)
    })
    .await;
}

#[tokio::test]
async fn a_receiver_that_hangs_delays_nobody_else() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hanging = format!("http://{}/", silent.local_addr().unwrap());
    let well = Sink::start(Notifier::SECRET).await;
    // As few attempts at once as make it hard: those that hang must not take them all.
    let notifier = Notifier::start(&[&hanging, &well.url()], &[("WEBHOOK_MAX_IN_FLIGHT", "12")]).await;
    let ids: HashSet<_> = (0..100).map(|_| notifier.tell("build.succeeded")).collect();
    all_arrive(&well, &ids).await;
    let endpoints = notifier.endpoints().await;
    assert_eq!(
        endpoints[0]["failures"], 0,
        "its first attempts are under way still: {endpoints:?}"
    );
    assert!(endpoints[0]["waiting"].as_u64().unwrap() >= 92, "{endpoints:?}");
    assert_eq!(endpoints[1]["waiting"], 0);
}

#[tokio::test]
async fn an_endpoint_that_fails_is_left_alone_and_comes_back_without_losing_anything() {
    let sink = Sink::start(Notifier::SECRET).await;
    let mut notifier = Notifier::start(&[&sink.url()], &[]).await;
    sink.answer(&[500; 1_000]);
    let ids: Vec<_> = (0..20).map(|_| notifier.tell("build.failed")).collect();
    notifier.endpoint_that_is(0, "left_alone").await;
    assert!(sink.received().len() < 20, "it was not asked for each of them");
    sink.answer_no_more();
    notifier.kill_and_start_again().await; // What is known of it is in Redis.
    for id in &ids {
        let came = accepted(&sink, id).await;
        assert!(came.iter().all(|received| received.verified));
    }
    notifier.endpoint_that_is(0, "ok").await;
    let shown = notifier.endpoints().await;
    let id = shown[0]["id"].as_str().unwrap();
    let listed = notifier.get(&format!("/v1/endpoints/{id}/deliveries?limit=100")).await;
    let states = listed["deliveries"].as_array().unwrap();
    assert_eq!(states.len(), 20);
    within(PATIENCE, "all are done", async || {
        let listed = notifier.get(&format!("/v1/endpoints/{id}/deliveries?limit=100")).await;
        let done = listed["deliveries"]
            .as_array()?
            .iter()
            .all(|delivery| delivery["state"] == "done");
        done.then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_used_is_degraded_and_the_rest_goes_on() {
    let sink = Sink::start(Notifier::SECRET).await;
    let notifier = Notifier::start(&["no URL at all", &sink.url()], &[]).await;
    let id = notifier.tell("build.succeeded");
    accepted(&sink, &id).await;
    let health = notifier.get("/health").await;
    assert_eq!(health["status"], "degraded", "{health}");
    let endpoints = notifier.endpoints().await;
    assert_eq!(
        (&endpoints[0]["state"], &endpoints[1]["state"]),
        (&json!("degraded"), &json!("ok"))
    );
    within(PATIENCE, "what is for it waits", async || {
        (notifier.endpoints().await[0]["waiting"] == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn how_fast_endpoints_take_what_they_get_is_known_again_when_redis_has_forgotten_it() {
    let sink = Sink::start(Notifier::SECRET).await;
    let notifier = Notifier::start(&[&sink.url()], &[("WEBHOOK_ENDPOINT_IN_FLIGHT", "3")]).await;
    let id = notifier.endpoints().await.remove(0)["id"].as_str().unwrap().to_owned();
    let at_once = || {
        let key = format!("{{forge:notifications}}:deliveries:to:{id}");
        notifier.redis.cli(&["HGET", &key, "cap"])
    };
    assert_eq!(at_once(), "3");
    notifier.redis.cli(&["FLUSHALL"]);
    within(PATIENCE, "it is written again", async || {
        (at_once() == "3").then_some(())
    })
    .await;
    accepted(&sink, &notifier.tell("build.succeeded")).await;
}

#[tokio::test]
async fn whatever_the_api_refuses_is_said_in_one_form() {
    let notifier = Notifier::start(&["http://127.0.0.1:9/"], &[]).await;
    let long = "x".repeat(65 * 1024);
    for (method, path, body, status) in [
        (Method::GET, "/v1/nothing", "", 404),
        (Method::GET, "/v1/endpoints/nobody", "", 404),
        (Method::DELETE, "/v1/dead", "", 405),
        (Method::GET, "/v1/dead?limit=many", "", 400),
        (Method::POST, "/v1/endpoints", long.as_str(), 413),
        (Method::POST, "/v1/endpoints", "{", 422),
    ] {
        let answer = notifier.ask(method, path).body(body.to_owned()).send().await.unwrap();
        assert_eq!(answer.status(), status, "{path}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json", "{path}");
        assert!(status != 405 || answer.headers()["allow"] == "GET,HEAD");
        let said: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        assert_eq!(said["status"], status, "{said}");
        assert!(!said["detail"].as_str().unwrap().is_empty(), "{said}");
    }
}

#[tokio::test]
async fn the_api_is_for_who_has_its_token_and_shows_no_secrets() {
    let sink = Sink::start(Notifier::SECRET).await;
    let url = format!("{}?token=hidden", sink.url());
    let notifier = Notifier::start(&[&url], &[]).await;
    for path in ["/v1/endpoints", "/v1/dead", "/v1/deliveries/a/b"] {
        let url = format!("http://127.0.0.1:{}{path}", notifier.port);
        for token in ["", "wrong"] {
            let answer = notifier.http.get(&url).bearer_auth(token).send().await.unwrap();
            assert_eq!(answer.status(), 401, "{path}");
            assert_eq!(answer.headers()["content-type"], "application/problem+json");
        }
    }
    assert_eq!(notifier.post("/v1/endpoints/unknown/enable").await, 404);
    assert_eq!(notifier.post("/v1/deliveries/unknown/unknown/resend").await, 404);
    accepted(&sink, &notifier.tell("build.succeeded")).await;
    let shown = notifier.get("/v1/endpoints").await.to_string() + &notifier.process.log();
    assert!(
        !shown.contains("hidden") && !shown.contains(Notifier::SECRET),
        "{shown}"
    );
}

/// Whether one of the signatures of a request is by this secret.
fn signed_by(received: &Received, secret: &Value) -> bool {
    let secret: seal::StandardSecret = secret.as_str().unwrap().parse().unwrap();
    let at = received.header("webhook-timestamp").parse().unwrap();
    let expected = secret.sign(received.header("webhook-id"), at, received.text.as_bytes());
    received
        .header("webhook-signature")
        .split(' ')
        .any(|signature| signature == expected)
}

#[tokio::test]
async fn an_endpoint_that_is_made_gets_what_it_wants_signed_by_secrets_that_can_be_rotated() {
    let (all, some) = (Sink::start(Notifier::SECRET).await, Sink::start(Notifier::SECRET).await);
    let notifier = Notifier::start(&[&all.url()], &[("WEBHOOK_ALLOW_NETWORKS", "127.0.0.0/8")]).await;
    let wanted =
        json!({"url": some.url(), "filter": {"events": ["build.f*"]}, "description": "failures", "in_flight": 2});
    let (status, made) = notifier.make(wanted.clone()).await;
    assert_eq!(status, 201, "{made}");
    let id = made["id"].as_str().unwrap();
    let (failed, succeeded) = (notifier.tell("build.failed"), notifier.tell("build.succeeded"));
    accepted(&all, &succeeded).await;
    let came = accepted(&some, &failed).await;
    assert!(signed_by(&came[0], &made["secret"]), "{came:?}");
    assert_eq!(some.received().len(), 1, "what it does not want is not sent");
    let shown = notifier.get(&format!("/v1/endpoints/{id}")).await;
    assert_eq!(
        (&shown["wanted"]["filter"]["events"], &shown["made"]),
        (&json!(["build.f*"]), &json!(true))
    );
    assert!(!shown.to_string().contains(made["secret"].as_str().unwrap()));

    let answer = notifier
        .ask(Method::POST, &format!("/v1/endpoints/{id}/rotate"))
        .send()
        .await
        .unwrap();
    let rotated: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    let again = notifier.tell("build.failed");
    let came = accepted(&some, &again).await;
    assert!(
        signed_by(&came[0], &rotated["secret"]) && signed_by(&came[0], &made["secret"]),
        "{came:?}"
    );

    let mut wanted = wanted;
    wanted["filter"] = json!({"events": ["build.s*"]});
    let path = format!("/v1/endpoints/{id}");
    let replaced = notifier
        .ask(Method::PUT, &path)
        .body(wanted.to_string())
        .send()
        .await
        .unwrap();
    assert_eq!(replaced.status(), 204);
    accepted(&some, &notifier.tell("build.succeeded")).await;
    assert_eq!(notifier.ask(Method::DELETE, &path).send().await.unwrap().status(), 204);
    assert_eq!(notifier.ask(Method::DELETE, &path).send().await.unwrap().status(), 404);
    let last = notifier.tell("build.succeeded");
    accepted(&all, &last).await;
    assert!(
        some.received()
            .iter()
            .all(|received| received.header("webhook-id") != last)
    );
    let configured = notifier.endpoints().await[0]["id"].as_str().unwrap().to_owned();
    let answer = notifier
        .ask(Method::DELETE, &format!("/v1/endpoints/{configured}"))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 409, "it is the configuration's");
}

#[tokio::test]
async fn an_endpoint_that_is_made_reaches_nothing_that_only_we_can_reach() {
    let ours = Sink::start(Notifier::SECRET).await;
    let notifier = Notifier::start(&[], &[]).await;
    let port = ours.url().trim_end_matches('/').rsplit(':').next().unwrap().to_owned();
    for url in [
        ours.url(),
        format!("https://127.0.0.1:{port}/"),
        "https://169.254.169.254/latest/meta-data".to_owned(),
        "https://[::ffff:10.0.0.1]/".to_owned(),
        "http://example.org/".to_owned(),
        "gopher://example.org/".to_owned(),
    ] {
        let (status, answer) = notifier.make(json!({"url": url})).await;
        assert_eq!(status, 422, "{url}: {answer}");
        assert!(
            answer["detail"].as_str().unwrap().starts_with("url: "),
            "{url}: {answer}"
        );
    }
    for odd in [
        json!({}),
        json!({"url": "https://h/", "typo": 1}),
        json!({"url": "https://h/", "in_flight": 0}),
    ] {
        assert_eq!(notifier.make(odd.clone()).await.0, 422, "{odd}");
    }
    // A name says nothing until it is looked up.
    let (status, made) = notifier
        .make(json!({"url": format!("https://localhost:{port}/")}))
        .await;
    assert_eq!(status, 201, "{made}");
    let (id, event) = (made["id"].as_str().unwrap(), notifier.tell("build.succeeded"));
    let shown = within(PATIENCE, "it was tried", async || {
        let shown = notifier.get(&format!("/v1/deliveries/{event}/{id}")).await;
        (!shown["attempts"].as_array()?.is_empty()).then_some(shown)
    })
    .await;
    let error = shown["attempts"][0]["error"].as_str().unwrap();
    assert!(error.contains("not for everybody to reach"), "{error}");
    assert!(ours.received().is_empty());
}

#[tokio::test]
async fn receivers_that_hang_delay_nobody_although_they_are_more_than_there_are_attempts() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hanging: Vec<_> = (0..12)
        .map(|n| format!("http://{}/{n}", silent.local_addr().unwrap()))
        .collect();
    let well = Sink::start(Notifier::SECRET).await;
    let url = well.url();
    let urls: Vec<_> = hanging.iter().map(String::as_str).chain([url.as_str()]).collect();
    let notifier = Notifier::start(&urls, &[("WEBHOOK_MAX_IN_FLIGHT", "4")]).await;
    let ids: HashSet<_> = (0..20).map(|_| notifier.tell("build.succeeded")).collect();
    all_arrive(&well, &ids).await;
    let failed = notifier
        .endpoints()
        .await
        .iter()
        .filter(|endpoint| endpoint["failures"] != 0)
        .count();
    assert_eq!(failed, 0, "none of those that hang has been given up meanwhile");
}

#[tokio::test]
async fn a_receiver_with_all_its_attempts_hanging_leaves_room_for_others() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hanging = format!("http://{}/", silent.local_addr().unwrap());
    let well = Sink::start(Notifier::SECRET).await;
    let greedy = [("WEBHOOK_MAX_IN_FLIGHT", "4"), ("WEBHOOK_ENDPOINT_IN_FLIGHT", "256")];
    let notifier = Notifier::start(&[&hanging, &well.url()], &greedy).await;
    let ids: HashSet<_> = (0..50).map(|_| notifier.tell("build.succeeded")).collect();
    all_arrive(&well, &ids).await;
    assert_eq!(notifier.endpoints().await[0]["failures"], 0, "they hang still");
}

#[tokio::test]
async fn what_a_producer_writes_breaks_no_circuit() {
    let sink = Sink::start(Notifier::SECRET).await;
    let notifier = Notifier::start(&[&sink.url()], &[]).await;
    for _ in 0..6 {
        let id = notifier.tell("build\nfailed");
        assert!(accepted(&sink, &id).await[0].verified);
    }
    assert_eq!(notifier.endpoints().await[0]["state"], "ok");
}

#[tokio::test]
async fn who_rotates_at_once_with_others_is_told_and_what_a_newer_version_wrote_is_kept() {
    let sink = Sink::start(Notifier::SECRET).await;
    let notifier = Notifier::start(&[], &[("WEBHOOK_ALLOW_NETWORKS", "127.0.0.0/8")]).await;
    let (_, made) = notifier.make(json!({"url": sink.url()})).await;
    let id = made["id"].as_str().unwrap();
    let path = format!("/v1/endpoints/{id}/rotate");
    let rotations = futures_util::future::join_all((0..8).map(|_| notifier.post(&path))).await;
    let done = rotations.iter().filter(|status| **status == 200).count();
    assert!((1..=4).contains(&done), "five secrets sign at most: {rotations:?}");
    assert_eq!(
        rotations.iter().filter(|status| **status == 409).count(),
        8 - done,
        "{rotations:?}"
    );
    let received = accepted(&sink, &notifier.tell("build.succeeded")).await.remove(0);
    assert_eq!(
        received.header("webhook-signature").split(' ').count(),
        1 + done,
        "none was lost"
    );

    let book = "{forge:notifications}:deliveries:book";
    let kept = notifier.redis.cli(&["--raw", "HGET", book, id]);
    let mut kept: Value = serde_json::from_str(&kept).unwrap();
    kept["wanted"]["of_a_newer_version"] = json!(true);
    notifier.redis.cli(&["HSET", book, id, &kept.to_string()]);
    notifier.redis.cli(&["HSET", book, "ep-broken", "{"]);
    notifier
        .redis
        .cli(&["INCR", "{forge:notifications}:deliveries:edition"]);
    within(PATIENCE, "what cannot be read is shown", async || {
        let endpoints = notifier.endpoints().await;
        let broken = endpoints.iter().find(|endpoint| endpoint["id"] == "ep-broken")?;
        (broken["state"] == "degraded" && endpoints.len() == 2).then_some(())
    })
    .await;
    accepted(&sink, &notifier.tell("build.succeeded")).await;
    let removed = notifier
        .ask(Method::DELETE, "/v1/endpoints/ep-broken")
        .send()
        .await
        .unwrap();
    assert_eq!(removed.status(), 204, "it can be removed");
}

/// Whether a program that gets secret, id, time and signatures, and the body on standard input, takes it for genuine.
fn takes(program: &[&str], received: &Received, body: &str) -> bool {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let headers = ["webhook-id", "webhook-timestamp", "webhook-signature"].map(|name| received.header(name));
    let mut child = Command::new(program[0])
        .current_dir(root)
        .args(&program[1..])
        .arg(Notifier::SECRET)
        .args(headers)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(body.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    output.status.success() && output.stdout.is_empty()
}

#[tokio::test]
async fn receivers_in_other_languages_take_it_for_genuine_and_nothing_else() {
    let sink = Sink::start(Notifier::SECRET).await;
    let rotated = format!("whsec_bmV3ZXI=,{}", Notifier::SECRET);
    let notifier = Notifier::start(&[&sink.url()], &[("WEBHOOK_HMAC_SECRET", &rotated)]).await;
    let received = accepted(&sink, &notifier.tell("build.succeeded")).await.remove(0);
    assert_eq!(
        received.header("webhook-signature").split(' ').count(),
        2,
        "both secrets sign"
    );
    for program in [
        // What is shown to people …
        &["python3", "contracts/examples/receivers/verify.py"][..],
        &["node", "contracts/examples/receivers/verify.mjs"],
        &["bash", "contracts/examples/receivers/verify.sh"],
        // … and what the specification's authors publish.
        &[".forge/python/bin/python", "crates/testkit/python/verify.py"],
        &["node", ".forge/node/verify.mjs"],
    ] {
        assert!(takes(program, &received, &received.text), "{program:?}");
        assert!(
            !takes(program, &received, &received.text.replace("success", "failure")),
            "{program:?}"
        );
        let mut old = received.clone();
        for (name, value) in &mut old.headers {
            if name == "webhook-timestamp" {
                *value = (value.parse::<i64>().unwrap() - 301).to_string();
            }
        }
        assert!(!takes(program, &old, &received.text), "{program:?}");
    }
    let secret: seal::StandardSecret = Notifier::SECRET.parse().unwrap();
    let [id, at, signatures] =
        ["webhook-id", "webhook-timestamp", "webhook-signature"].map(|name| received.header(name));
    assert!(
        secret.verify(id, at, received.text.as_bytes(), signatures),
        "and in Rust"
    );
}

#[tokio::test]
async fn what_an_endpoint_missed_is_replayed_by_time_and_state_after_it_was_counted() {
    let sink = Sink::start(Notifier::SECRET).await;
    let notifier = Notifier::start(&[&sink.url()], &[]).await;
    let id = notifier.endpoints().await[0]["id"].as_str().unwrap().to_owned();
    let state = async |event: &str, state: &str| {
        let path = format!("/v1/deliveries/{event}/{id}");
        within(PATIENCE, state, async || {
            (notifier.get(&path).await["state"] == state).then_some(())
        })
        .await;
    };
    let before = notifier.tell("build.started");
    accepted(&sink, &before).await;
    state(&before, "done").await;
    sink.answer(&[400, 404]);
    let missed = [notifier.tell("build.failed"), notifier.tell("build.lost")];
    for event in &missed {
        state(event, "dead").await;
    }
    let replay = async |wanted: Value| {
        let asked = notifier.ask(Method::POST, &format!("/v1/endpoints/{id}/replay"));
        let answer = asked.body(wanted.to_string()).send().await.unwrap();
        let status = answer.status().as_u16();
        let body: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        (status, body["matching"].clone(), body["replayed"].clone())
    };
    assert_eq!(replay(json!({"dry_run": true})).await, (200, json!(2), json!(0)));
    assert_eq!(
        replay(json!({"dry_run": true, "state": "any"})).await,
        (200, json!(3), json!(0))
    );
    let old = json!({"until": "2026-01-01T00:00:00Z", "state": "any"});
    assert_eq!(replay(old).await, (200, json!(0), json!(0)));
    assert_eq!(sink.received().len(), 3, "nothing was sent by counting");
    assert_eq!(
        replay(json!({"since": "2026-01-01T00:00:00Z"})).await,
        (200, json!(2), json!(2))
    );
    for event in &missed {
        accepted(&sink, event).await;
        state(event, "done").await;
    }
    assert_eq!(
        replay(json!({})).await,
        (200, json!(0), json!(0)),
        "they are not dead any more"
    );
    for odd in [
        json!({"since": "yesterday"}),
        json!({"state": "waiting"}),
        json!({"form": 1}),
    ] {
        assert_eq!(replay(odd).await.0, 422);
    }
    assert_eq!(notifier.post(&format!("/v1/endpoints/{id}/disable")).await, 204);
    assert_eq!(replay(json!({"state": "any"})).await.0, 409);
    let metrics = notifier.ask(Method::GET, "/metrics").send().await.unwrap();
    let metrics = String::from_utf8(metrics.bytes().await.unwrap().to_vec()).unwrap();
    for name in [
        "deliveries_in_flight",
        "deliveries_dead",
        "endpoints_left_alone",
        "due_lag_seconds",
    ] {
        assert!(metrics.contains(&format!("notifier_{name} ")), "{name}: {metrics}");
    }
}
