//! From a push to a running image and a notification; and what happens when it fails.

use e2e::{Forge, QUICK};
use serde_json::{Value, json};

#[tokio::test]
async fn a_push_becomes_an_image_in_the_registry_and_a_verified_notification() {
    let forge = Forge::start().await;
    let repo = forge.repo(QUICK);
    forge.push(&repo).await;
    let build = forge.build_that_is("success").await;

    let digest = forge
        .registry
        .digest(&repo.name, &repo.head())
        .await
        .expect("an image by the commit's tag");
    assert_eq!(build["digest"], json!(digest));
    assert_eq!(forge.registry.digest(&repo.name, "main").await, Some(digest.clone()));
    assert_eq!(
        build["image_tag"],
        json!(format!("{}/{}:{}", forge.registry.host(), repo.name, repo.head()))
    );
    assert_eq!(
        (build["progress"].as_i64(), build["attempts"].as_i64()),
        (Some(100), Some(1))
    );
    let stages: Vec<_> = build["stages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["stage"].as_str().unwrap())
        .collect();
    assert_eq!(stages, ["cloning", "preparing", "building", "pushing"]);

    forge.log_that_says(&build, "hello from the build").await;
    for (event, status) in [
        ("build.queued", "queued"),
        ("build.started", "building"),
        ("build.succeeded", "success"),
    ] {
        let told = forge.told(event).await;
        assert!(told.verified, "{event}");
        assert_eq!(told.body["data"]["status"], status);
        assert_eq!(told.body["correlation"]["commit"], json!(repo.head()));
    }
    assert_eq!(
        forge.told("build.succeeded").await.body["data"]["digest"],
        json!(digest)
    );
    assert_eq!(forge.heard(), Forge::OF_A_FIRST_PUSH, "nobody is told twice");
    forge.is_quiet().await;
}

#[tokio::test]
async fn a_failing_dockerfile_is_a_failed_build_with_its_step_and_exit_code() {
    let forge = Forge::start().await;
    let repo = forge.repo("FROM busybox\nRUN echo before && exit 3\n");
    forge.push(&repo).await;
    let build = forge.build_that_is("failed").await;
    assert_eq!(build["failure"]["kind"], "build_failed");
    assert_eq!(build["failure"]["exit_code"], 3);
    assert!(
        build["failure"]["step"]
            .as_str()
            .unwrap()
            .contains("RUN echo before && exit 3"),
        "{build}"
    );
    assert_eq!(build["attempts"], 1, "a failing build is not tried again");
    let told = forge.told("build.failed").await;
    let tail = told.body["data"]["log_tail"].as_array().unwrap();
    assert!(tail.len() <= 20 && tail.contains(&json!("before")), "{tail:?}");
    forge.log_that_says(&build, "before").await;
    let told = forge.told("build.failed").await;
    assert_eq!(told.body["data"]["failure"]["exit_code"], 3);
    assert_eq!(forge.registry.digest(&repo.name, &repo.head()).await, None);
    forge.is_quiet().await;
}

#[tokio::test]
async fn what_cannot_be_built_fails_with_a_sentence() {
    let forge = Forge::start().await;
    let repo = forge.git.repo("e2e/plain", &[("README", "no Dockerfile here")]);
    let missing = format!("http://{}/e2e/missing.git", forge.git.host());
    let unknown = "1234567890123456789012345678901234567890".to_owned();
    for (id, url, commit, kind) in [
        ("no-dockerfile", repo.url.clone(), repo.head(), "dockerfile_missing"),
        ("no-commit", repo.url.clone(), unknown, "commit_not_found"),
        ("no-repository", missing, repo.head(), "clone_not_found"),
        ("no-scheme", "file:///etc".to_owned(), repo.head(), "not_configured"),
    ] {
        forge
            .redis
            .cli(&["LPUSH", "forge:builds", &message(id, &url, &commit).to_string()]);
        let build = testkit::eventually(id, async || {
            let build = forge.get(&format!("/v1/cicd/builds/{id}")).await?;
            (build["status"] == "failed").then_some(build)
        })
        .await;
        assert_eq!(build["failure"]["kind"], kind, "{build}");
    }
}

#[tokio::test]
async fn plain_lpushes_are_built_in_the_order_in_which_they_came() {
    let forge = Forge::start_with(1, &[("FORGERY_SLOTS", "1")]).await;
    let repo = forge.repo(QUICK);
    let head = repo.head();
    for n in 0..4 {
        // The last one by an abbreviated hash, as foreign producers send it.
        let commit = if n == 3 { head.get(..12).unwrap() } else { head.as_str() };
        forge.redis.cli(&[
            "LPUSH",
            "forge:builds",
            &message(&format!("by-hand-{n}"), &repo.url, commit).to_string(),
        ]);
    }
    testkit::within(e2e::PATIENCE, "four builds", async || {
        let builds = forge.builds().await;
        (builds.len() == 4 && builds.iter().all(|b| b["status"] == "success")).then_some(())
    })
    .await;
    let mut builds = forge.builds().await;
    builds.sort_by_key(|build| build["started_at"].as_str().unwrap().to_owned());
    let order: Vec<_> = builds.iter().map(|build| build["uid"].as_str().unwrap()).collect();
    assert_eq!(order, ["by-hand-0", "by-hand-1", "by-hand-2", "by-hand-3"]);
    forge.is_quiet().await;
}

#[tokio::test]
async fn a_log_can_be_followed_while_it_grows_and_resumed() {
    let forge = Forge::start().await;
    let repo = forge.repo("FROM busybox\nRUN for i in 1 2 3 4 5 6; do echo tick $i; sleep 0.3; done\n");
    forge.push(&repo).await;
    let build = forge.build_that_is("building").await;
    let events = forge
        .text(&format!("/v1/cicd/builds/{}/logs?follow=1", build["id"]))
        .await;
    for n in 1..=6 {
        assert_eq!(events.matches(&format!("tick {n}\n")).count(), 1, "{events}");
    }
    assert!(events.trim_end().ends_with("event: end\ndata: success"), "{events}");
    let whole = forge.text(&format!("/v1/cicd/builds/{}/logs", build["id"])).await;
    let followed: Vec<_> = events.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    assert_eq!(
        followed[..followed.len() - 1].join("\n"),
        whole.trim_end(),
        "followed and read are the same"
    );
}

/// A build as a foreign producer would push it.
pub(crate) fn message(id: &str, url: &str, commit: &str) -> Value {
    json!({
        "id": id, "project_name": "e2e/by-hand", "type": "dockerfile", "source": url, "commit_hash": commit,
        "strategy": "local", "push_artifact": false,
    })
}

#[tokio::test]
async fn notifications_say_where_people_see_a_build() {
    let forge = Forge::start_with(1, &[("PROW_BUILD_LINK", "https://ci.example.org/builds/{id}")]).await;
    forge.push(&forge.repo(QUICK)).await;
    let told = forge.told("build.succeeded").await;
    let uid = told.body["resource"]["uid"].as_str().unwrap();
    let link = format!("https://ci.example.org/builds/{uid}");
    assert_eq!(told.body["data"]["links"], serde_json::json!({"build": link}));
}
