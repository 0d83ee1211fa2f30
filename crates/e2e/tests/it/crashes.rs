//! What dies does not take anything with it.

use e2e::{Forge, PATIENCE, QUICK};
use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

#[tokio::test]
async fn a_worker_killed_in_the_middle_of_a_build_costs_only_time() {
    let mut forge = Forge::start_with(1, &[]).await;
    let repo = forge.repo("FROM busybox\nRUN echo begun && sleep 6 && echo done\n");
    forge.push(&repo).await;
    let build = forge.build_that_is("building").await;
    forge.log_that_says(&build, "begun").await;
    let begun = tokio::time::Instant::now();
    forge.forgeries[0].kill();
    forge.add_forgery();
    let build = forge.build_that_is("success").await;
    assert!(begun.elapsed() < Duration::from_mins(1), "{:?}", begun.elapsed());
    assert_eq!(build["attempts"], 2);
    assert!(forge.registry.digest(&repo.name, &repo.head()).await.is_some());
    forge.told("build.succeeded").await;
    forge.is_quiet().await;
    let ends = forge
        .sink
        .received()
        .iter()
        .filter(|r| r.body["eventType"] == "build.succeeded")
        .count();
    assert_eq!(ends, 1);
}

#[tokio::test]
async fn redis_killed_in_the_middle_of_a_build_loses_nothing() {
    let mut forge = Forge::start_with(1, &[]).await;
    let repo = forge.repo("FROM busybox\nRUN echo begun && sleep 4 && echo done\n");
    forge.push(&repo).await;
    let build = forge.build_that_is("building").await;
    forge.log_that_says(&build, "begun").await;
    // Append-only files are flushed every second; what is older survives the kill.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    forge.redis.kill();
    tokio::time::sleep(Duration::from_secs(2)).await;
    forge.redis.restart();
    let build = forge.build_that_is("success").await;
    assert_eq!(build["attempts"], 1);
    forge.log_that_says(&build, "done").await;
    forge.told("build.succeeded").await;
    forge.is_quiet().await;
}

#[tokio::test]
async fn prow_and_notifier_killed_before_a_build_ends_catch_up() {
    let mut forge = Forge::start_with(1, &[]).await;
    let repo = forge.repo("FROM busybox\nRUN echo begun && sleep 3 && echo done\n");
    forge.push(&repo).await;
    forge.build_that_is("building").await;
    forge.prow.kill();
    forge.notifier.kill();
    testkit::within(PATIENCE, "the build ends", async || {
        forge.forgeries[0].log().contains("outcome=\"success\"").then_some(())
    })
    .await;
    // The receiver fails at first; the retry is kept in Redis, and survives another death.
    forge.sink.answer(&[500]);
    forge.start_prow();
    forge.start_notifier();
    let build = forge.build_that_is("success").await;
    forge.log_that_says(&build, "done").await;
    forge.told("build.succeeded").await;
    forge.is_quiet().await;
    let whole = forge.text(&format!("/v1/cicd/builds/{}/logs", build["id"])).await;
    assert_eq!(whole.matches(" begun\n").count(), 1, "{whole}");
}

#[tokio::test]
async fn a_delivery_that_failed_waits_in_redis_and_survives_a_restart() {
    let mut forge = Forge::start_with(0, &[]).await;
    forge.sink.answer(&[503, 500, 429]);
    let repo = forge.repo(QUICK);
    forge.push(&repo).await;
    testkit::eventually("a first attempt", async || {
        (!forge.sink.received().is_empty()).then_some(())
    })
    .await;
    forge.notifier.kill();
    forge.start_notifier();
    let told = forge.told("build.queued").await;
    assert!(told.verified);
    // More than one is told of, and each of their attempts carries the same id.
    let mut ids: BTreeMap<String, HashSet<String>> = BTreeMap::new();
    for told in forge.sink.received() {
        let kind = told.body["eventType"].to_string();
        ids.entry(kind)
            .or_default()
            .insert(told.header("webhook-id").to_owned());
    }
    assert!(ids.values().all(|ids| ids.len() == 1), "{ids:?}");
    assert!(forge.sink.received().iter().any(|told| told.status == 503));
}

#[tokio::test]
async fn a_message_that_is_not_json_becomes_a_dead_letter_and_the_worker_goes_on() {
    let forge = Forge::start().await;
    let repo = forge.repo(QUICK);
    forge.redis.cli(&["LPUSH", "forge:builds", "this is \"not\" json"]);
    forge.push(&repo).await;
    forge.build_that_is("success").await;
    let dead = forge.redis.cli(&["--raw", "LRANGE", "{forge:builds}:dead", "0", "-1"]);
    let (why, payload) = dead.split_once('\n').unwrap();
    assert!(why.contains("not JSON"), "{why}");
    assert_eq!(payload, "this is \"not\" json", "byte for byte");
    forge.is_quiet().await;
}

#[tokio::test]
async fn a_worker_that_is_asked_to_stop_finishes_what_it_runs_and_takes_nothing_new() {
    let mut forge = Forge::start_with(1, &[("FORGERY_SLOTS", "1")]).await;
    let repo = forge.repo("FROM busybox\nRUN echo begun && sleep 3\n");
    forge.push(&repo).await;
    let build = forge.build_that_is("building").await;
    forge.log_that_says(&build, "begun").await;
    let second = forge.git.repo("e2e/second", &[("Dockerfile", QUICK)]);
    forge.push(&second).await;
    let status = forge.forgeries[0]
        .terminate(Duration::from_secs(20))
        .expect("it stops in time");
    assert!(status.success(), "{status}");
    testkit::within(PATIENCE, "the first is built, the second waits", async || {
        let builds = forge.builds().await;
        (builds.len() == 2 && builds[0]["status"] == "queued" && builds[1]["status"] == "success").then_some(())
    })
    .await;
    forge.add_forgery();
    forge.build_that_is("success").await;
    forge.is_quiet().await;
}
