//! The same with PostgreSQL instead of SQLite; and while it is away.

use e2e::{Forge, PATIENCE};
use serde_json::Value;
use std::{process::Command, time::Duration};
use testkit::{Postgres, S3, within};
use tokio::time::Instant;

#[tokio::test]
async fn what_happens_while_the_database_is_away_is_recorded_when_it_is_back() {
    let mut postgres = Postgres::start();
    let mut forge = Forge::start_with(1, &[("DATABASE_URL", &postgres.url())]).await;
    let repo = forge.repo("FROM busybox\nRUN echo begun && sleep 3 && echo done\n");
    forge.push(&repo).await;
    let build = forge.build_that_is("building").await;
    forge.log_that_says(&build, "begun").await;
    postgres.kill();
    within(PATIENCE, "the build ends", async || {
        forge.forgeries[0].log().contains("outcome=\"success\"").then_some(())
    })
    .await;
    assert_eq!(forge.get("/v1/cicd/builds").await, None);
    // A push meanwhile is taken, and waits in Redis.
    let other = forge.repo("FROM busybox\nRUN echo another\n");
    forge.push(&other).await;
    postgres.restart();
    forge.build_that_is("success").await;
    within(PATIENCE, "both builds", async || {
        let ended = forge
            .builds()
            .await
            .iter()
            .filter(|build| build["status"] == "success")
            .count();
        (ended == 2).then_some(())
    })
    .await;
    forge.log_that_says(&build, "done").await;
    forge.told("build.succeeded").await;
    forge.is_quiet().await;
    assert_eq!(postgres.query("SELECT count(*) FROM outbox WHERE sent_at IS NULL"), "0");
    let events = forge.sink.received();
    let ends = events
        .iter()
        .filter(|r| r.body["eventType"] == "build.succeeded")
        .count();
    assert_eq!(ends, 2);
    // And after a restart of prow it is all there.
    forge.prow.kill();
    forge.start_prow();
    within(PATIENCE, "both builds again", async || {
        (forge.builds().await.len() == 2).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_database_that_does_not_answer_is_given_up_after_10_seconds() {
    let postgres = Postgres::start();
    let forge = Forge::start_with(0, &[("DATABASE_URL", &postgres.url())]).await;
    assert_eq!(forge.status_with(Some(e2e::API_TOKEN)).await, 200);
    postgres.signal("STOP");
    let begun = Instant::now();
    assert_eq!(forge.status_with(Some(e2e::API_TOKEN)).await, 503);
    assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
    postgres.signal("CONT");
    assert_eq!(forge.status_with(Some(e2e::API_TOKEN)).await, 200);
}

#[tokio::test]
async fn two_prows_share_a_database_and_a_log_store_and_one_may_die() {
    let (postgres, store) = (Postgres::start(), S3::start().await);
    let mut more = vec![
        ("DATABASE_URL", postgres.url()),
        ("BUILD_LOG_URL", "s3://logs/forge".to_owned()),
    ];
    more.extend(store.variables());
    let more: Vec<(&str, &str)> = more.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut forge = Forge::start_with(1, &more).await;
    let (mut other, url) = forge.add_prow().await;
    let repo = forge.repo("FROM busybox\nRUN for i in 1 2 3 4 5 6; do echo line $i; sleep 1; done\n");
    forge.push(&repo).await;
    let build = forge.build_that_is("building").await;
    forge.log_that_says(&build, "line 2").await;

    // Whoever stores the log, both follow it; and one of them dies.
    let logs = format!("/v1/cicd/builds/{}/logs", build["id"]);
    let following = forge.text_of(&format!("{}{logs}?follow=1", forge.prow_url())).await;
    assert!(
        following.contains("line 6") && following.ends_with("event: end\ndata: success\n\n"),
        "{following}"
    );
    let followed = forge.text_of(&format!("{url}{logs}?follow=1")).await;
    assert_eq!(followed, following);
    let some = forge
        .text_of(&format!("{url}{logs}?follow=1&grep=line+%5B56%5D$"))
        .await;
    let told = some.lines().filter(|line| line.starts_with("data: 20"));
    assert_eq!(told.count(), 2, "{some}");
    other.kill();

    for n in 0..5 {
        let other = forge.repo(&format!("FROM busybox\nRUN echo number {n}\n"));
        forge.push(&other).await;
    }
    within(PATIENCE, "all builds", async || {
        let ended = forge
            .builds()
            .await
            .iter()
            .filter(|build| build["status"] == "success")
            .count();
        (ended == 6).then_some(())
    })
    .await;
    forge.is_quiet().await;
    within(PATIENCE, "every log is stored", async || {
        let is_stored = |build: &Value| {
            build["log_path"]
                .as_str()?
                .starts_with("s3://logs/forge/")
                .then_some(())
        };
        forge
            .builds()
            .await
            .iter()
            .all(|build| is_stored(build).is_some())
            .then_some(())
    })
    .await;
    for build in forge.builds().await {
        parts_of_its_log_are_found(&forge, &build).await;
    }
    let events = forge.sink.received();
    let ends: Vec<_> = events
        .iter()
        .filter(|r| r.body["eventType"] == "build.succeeded")
        .collect();
    assert_eq!(ends.len(), 6, "each was told once");
}

async fn parts_of_its_log_are_found(forge: &Forge, build: &Value) {
    let log = forge.text(&format!("/v1/cicd/builds/{}/logs", build["id"])).await;
    let tail = forge
        .text(&format!("/v1/cicd/builds/{}/logs?tail=1", build["id"]))
        .await;
    assert!(
        tail.len() > 10 && log.ends_with(&tail) && tail.lines().count() == 1,
        "{tail}"
    );
    let found = forge
        .text(&format!(
            "/v1/cicd/builds/{}/logs?grep=building.*(line|number)",
            build["id"]
        ))
        .await;
    assert!(
        found.lines().count() >= 1 && found.lines().all(|line| log.contains(line)),
        "{found}"
    );
}

/// `prow backup` or `prow restore`, beside whatever runs: whether it went well, and what it said.
fn errand(args: &[&str], settings: &[(&str, String)]) -> (bool, String) {
    let output = Command::new(testkit::binary("prow"))
        .args(args)
        .env_clear()
        .envs(settings.iter().map(|(name, value)| (*name, value.as_str())))
        .output()
        .unwrap();
    (
        output.status.success(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

#[tokio::test]
async fn a_backup_of_a_running_system_becomes_a_running_system_on_the_other_database() {
    let mut forge = Forge::start().await;
    let repo = forge.repo(e2e::QUICK);
    forge.push(&repo).await;
    let built = forge.build_that_is("success").await;
    // One is under way, and more come, while it is written.
    let slow = forge.repo("FROM busybox\nRUN sleep 5\n");
    forge.push(&slow).await;
    forge.build_that_is("building").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backup").to_string_lossy().into_owned();
    let data = [("PROW_DATA_DIR", forge.path("prow"))];
    let (went_well, said) = errand(&["backup", &file], &data);
    assert!(went_well && said.contains(" rows to "), "{said}");

    // Everything of prow is lost, but for the backup.
    forge.prow.kill();
    let postgres = Postgres::start();
    let settings = [("DATABASE_URL", postgres.url()), ("PROW_DATA_DIR", forge.path("prow"))];
    let (went_well, said) = errand(&["restore", &file], &settings);
    assert!(went_well, "{said}");
    let (went_well, said) = errand(&["restore", &file], &settings);
    assert!(!went_well && said.contains("only an empty one is filled"), "{said}");
    forge.set("DATABASE_URL", &postgres.url());
    forge.start_prow();

    // What was under way ends there, and what was there still is.
    within(PATIENCE, "the build that was under way", async || {
        let builds = forge.builds().await;
        (builds.len() == 2 && builds[0]["status"] == "success" && builds[1]["digest"] == built["digest"]).then_some(())
    })
    .await;
    assert_eq!(forge.builds().await[1]["uid"], built["uid"]);
    forge.push(&forge.repo(e2e::QUICK)).await;
    within(PATIENCE, "a new one", async || {
        (forge.builds().await.len() == 3).then_some(())
    })
    .await;
    forge.build_that_is("success").await;
}
