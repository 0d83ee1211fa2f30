//! Cancelling: while it waits, while it runs, and before it was ever seen.

use crate::builds::message;
use e2e::{Forge, QUICK};
use std::process::Command;

/// Something that runs long enough to be stopped, and can be found among all processes.
const SLOW: &str = "FROM busybox\nRUN echo begun && sleep 987\n";

/// How many processes run with these words.
fn running(words: &str) -> usize {
    let output = Command::new("ps").args(["-eo", "args"]).output().unwrap();
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter(|line| *line == words)
        .count()
}

#[tokio::test]
async fn a_running_build_is_stopped_and_nothing_of_it_is_left() {
    let forge = Forge::start().await;
    let repo = forge.repo(SLOW);
    forge.push(&repo).await;
    let build = forge.build_that_is("building").await;
    testkit::within(e2e::PATIENCE, "the step runs", async || {
        (running("sleep 987") > 0).then_some(())
    })
    .await;
    let (status, answer) = forge.post(&format!("/v1/cicd/builds/{}/cancel", build["id"])).await;
    assert_eq!(
        (status, answer["status"].as_str()),
        (202, Some("cancelling")),
        "{answer}"
    );
    let build = forge.build_that_is("cancelled").await;
    testkit::eventually("the step is gone", async || (running("sleep 987") == 0).then_some(())).await;
    assert!(forge.told("build.cancelled").await.verified);
    let (status, answer) = forge.post(&format!("/v1/cicd/builds/{}/cancel", build["id"])).await;
    assert_eq!(status, 409, "{answer}");
    let record = format!("{{forge:builds}}:job:{}", build["uid"].as_str().unwrap());
    assert_eq!(forge.redis.cli(&["DEL", &record]), "1");
    let (status, answer) = forge.post(&format!("/v1/cicd/builds/{}/cancel", build["id"])).await;
    assert_eq!(status, 409, "what Redis forgot has ended all the same: {answer}");
    forge.is_quiet().await;
}

#[tokio::test]
async fn a_waiting_build_is_cancelled_and_never_runs() {
    let mut forge = Forge::start_with(0, &[]).await;
    let repo = forge.repo(QUICK);
    forge.push(&repo).await;
    let build = forge.build_that_is("queued").await;
    let (status, answer) = forge.post(&format!("/v1/cicd/builds/{}/cancel", build["id"])).await;
    assert_eq!(
        (status, answer["status"].as_str()),
        (202, Some("cancelled")),
        "{answer}"
    );
    forge.build_that_is("cancelled").await;
    forge.add_forgery();
    forge.is_quiet().await;
    let build = forge.build_that_is("cancelled").await;
    assert_eq!(
        (build["attempts"].as_i64(), build["started_at"].as_str()),
        (Some(0), None)
    );
    assert!(forge.told("build.cancelled").await.verified);
}

#[tokio::test]
async fn a_foreign_cancel_message_stops_a_build_in_the_older_form_too() {
    let forge = Forge::start().await;
    let repo = forge.repo(&SLOW.replace("987", "986"));
    forge.redis.cli(&[
        "LPUSH",
        "forge:builds",
        &message("foreign-1", &repo.url, &repo.head()).to_string(),
    ]);
    forge.build_that_is("building").await;
    forge
        .redis
        .cli(&["PUBLISH", "forge:cancel", r#"{"deploymentId": "foreign-1"}"#]);
    forge.build_that_is("cancelled").await;
    // And before it was ever seen:
    forge
        .redis
        .cli(&["PUBLISH", "forge:cancel", r#"{"deploymentId": "foreign-2"}"#]);
    testkit::eventually("the flag is kept", async || {
        (forge.redis.cli(&["HGET", "{forge:builds}:job:foreign-2", "state"]) == "cancelled").then_some(())
    })
    .await;
    forge.redis.cli(&[
        "LPUSH",
        "forge:builds",
        &message("foreign-2", &repo.url, &repo.head()).to_string(),
    ]);
    forge.is_quiet().await;
    assert_eq!(forge.builds().await.len(), 1, "it never ran");
}
