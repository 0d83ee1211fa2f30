//! What Redis loses, and what crashes leave behind, is repaired by looking at how things are.

use crate::deaths::SOON;
use e2e::{Forge, QUICK};
use std::process::Command;

fn docker(args: &[&str]) -> String {
    let output = Command::new("docker").args(args).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Forgets the build: list, record, everything.
fn forget_builds(forge: &Forge) {
    let id = forge.redis.cli(&["--raw", "KEYS", "{forge:builds}:job:*"]);
    assert!(!id.is_empty(), "there is a record to lose");
    forge.redis.cli(&["DEL", "forge:builds", &id]);
}

#[tokio::test]
async fn a_build_that_redis_has_lost_is_queued_again() {
    let mut forge = Forge::start_with(0, SOON).await;
    forge.push(&forge.repo(QUICK)).await;
    forge.build_that_is("queued").await;
    testkit::eventually("it is on the list", async || {
        (forge.redis.cli(&["LLEN", "forge:builds"]) == "1").then_some(())
    })
    .await;
    forget_builds(&forge);
    forge.add_forgery();
    forge.build_that_is("success").await;
    forge.is_quiet().await;
}

#[tokio::test]
async fn prow_dies_between_repairing_and_noting_it() {
    let mut forge = Forge::start_with(0, SOON).await;
    forge.start_doomed("prow", "prow.repaired").await;
    forge.push(&forge.repo(QUICK)).await;
    forge.bury_and_revive("prow").await;
    forge.add_forgery();
    let build = forge.build_that_is("success").await;
    assert_eq!(build["attempts"], 1);
    forge.is_quiet().await;
}

#[tokio::test]
async fn a_redis_that_comes_back_empty_is_told_again_what_it_was_told_of_late() {
    let mut forge = Forge::start_with(0, SOON).await;
    forge.sink.answer(&[500; 8]);
    forge.push(&forge.repo(QUICK)).await;
    forge.build_that_is("queued").await;
    testkit::eventually("the notification is on its way", async || {
        (!forge.sink.received().is_empty()).then_some(())
    })
    .await;
    forge.redis.kill();
    forge.redis.wipe();
    forge.redis.restart();
    forge.sink.answer_no_more();
    forge.told("build.queued").await;
    forge.add_forgery();
    forge.build_that_is("success").await;
    forge.told("build.succeeded").await;
    forge.is_quiet().await;
}

#[tokio::test]
async fn a_build_whose_last_event_was_lost_ends_as_its_record_says() {
    let forge = Forge::start_with(0, SOON).await;
    forge.push(&forge.repo(QUICK)).await;
    let build = forge.build_that_is("queued").await;
    let record = format!("{{forge:builds}}:job:{}", build["uid"].as_str().unwrap());
    testkit::eventually("it is on the list", async || {
        (forge.redis.cli(&["LLEN", "forge:builds"]) == "1").then_some(())
    })
    .await;
    forge.redis.cli(&["DEL", "forge:builds"]);
    forge.redis.cli(&["HSET", &record, "state", "lost"]);
    let build = forge.build_that_is("lost").await;
    assert_eq!(build["reason"], "its last event was lost");
    forge.told("build.lost").await;
}

#[tokio::test]
async fn an_event_whose_build_redis_has_forgotten_does_not_wait_for_ever() {
    let forge = Forge::start_with(0, SOON).await;
    let event = include_str!("../../../../contracts/examples/build-event/ended-success.json");
    let event: serde_json::Value = serde_json::from_str(event).unwrap();
    forge.redis.cli(&["LPUSH", "{forge:builds}:events", &event.to_string()]);
    // It may be early: the worker's first event may be in the hands of a prow that died.
    testkit::eventually("it waits", async || {
        (forge.redis.cli(&["ZCARD", "{forge:builds}:events:delayed"]) == "1").then_some(())
    })
    .await;
    let letter = testkit::within(e2e::PATIENCE, "it is given up", async || {
        let letter = forge
            .redis
            .cli(&["--raw", "LRANGE", "{forge:builds}:events:dead", "0", "-1"]);
        (!letter.is_empty()).then_some(letter)
    })
    .await;
    assert!(letter.contains("nothing told that it began"), "{letter}");
    forge.is_quiet().await;
}

#[tokio::test]
async fn a_build_that_no_worker_takes_times_out_and_says_so() {
    let forge = Forge::start_with(0, &[SOON, &[("BUILD_WAIT_SECONDS", "3")]].concat()).await;
    forge.push(&forge.repo(QUICK)).await;
    let build = forge.build_that_is("timed_out").await;
    assert_eq!(build["reason"], "no worker took it within 3 s");
    forge.told("build.timed_out").await;
    assert_eq!(
        forge.redis.cli(&["LLEN", "forge:builds"]),
        "1",
        "claim drops it when it comes to it"
    );
}

#[tokio::test]
async fn what_a_dead_forgery_left_on_the_engine_is_removed_and_what_belongs_to_others_is_not() {
    let mut forge = Forge::start_with(1, SOON).await;
    let installation = forge.installation();
    let run = |installation: &str| {
        let labels = [
            format!("forge.installation={installation}"),
            "forge.build=ghost".to_owned(),
        ];
        docker(&[
            "run", "--detach", "--label", &labels[0], "--label", &labels[1], "busybox", "sleep", "300",
        ])
    };
    let (orphan, alien) = (run(&installation), run("somebody-else"));
    let (ours, others) = (
        format!("forge-build/{installation}:1-ghost"),
        "forge-build/somebody-else:1-ghost",
    );
    docker(&["tag", "busybox", &ours]);
    docker(&["tag", "busybox", others]);
    forge.forgeries[0].kill();
    forge.add_forgery();
    let there = |id: &str| !docker(&["ps", "--quiet", "--no-trunc", "--filter", &format!("id={id}")]).is_empty();
    testkit::eventually("the orphan is gone", async || (!there(&orphan)).then_some(())).await;
    testkit::eventually("its image too", async || {
        docker(&["images", "--quiet", &ours]).is_empty().then_some(())
    })
    .await;
    let spared = there(&alien) && !docker(&["images", "--quiet", others]).is_empty();
    docker(&["rm", "--force", &alien]);
    docker(&["rmi", others]);
    assert!(spared, "what belongs to others is left alone");
}
