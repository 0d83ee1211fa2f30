//! What changes is told as it happens, by each prow; and who builds it can be seen.

use crate::planning::push;
use e2e::{API_TOKEN, Forge, Sse};
use serde_json::json;
use testkit::eventually;

#[tokio::test]
async fn every_prow_tells_its_watchers_what_any_prow_changes() {
    let postgres = testkit::Postgres::start();
    let mut forge = Forge::start_with(0, &[("DATABASE_URL", &postgres.url())]).await;
    let (_other, url) = forge.add_prow().await;
    let mut here = Sse::open(&format!("{}/v1/updates", forge.prow_url()), API_TOKEN).await;
    let mut there = Sse::open(&format!("{url}/v1/updates"), API_TOKEN).await;
    here.next_named("ready").await;
    there.next_named("ready").await;
    push(&forge, "refs/heads/x", '0', '1', &[]).await;
    for events in [&mut here, &mut there] {
        let build = events.next_named("build").await;
        assert_eq!(
            (&build["status"], &build["kind"]),
            (&json!("queued"), &json!("build")),
            "{build}"
        );
    }
    let builds = forge.builds().await;
    assert_eq!(
        forge
            .post(&format!("/v1/cicd/builds/{}/cancel", builds[0]["id"]))
            .await
            .0,
        202
    );
    for events in [&mut here, &mut there] {
        while events.next_named("build").await["status"] != "cancelled" {}
    }

    // A connection was lost, and with it perhaps some of what was told.
    forge.redis.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    here.next_named("missed").await;
    there.next_named("missed").await;

    // Redis was away: what nobody was told is said to be missing.
    forge.redis.kill();
    forge.redis.restart();
    let told = eventually("it goes on", async || {
        push(&forge, "refs/heads/y", '0', '2', &[]).await;
        let (name, _) = tokio::time::timeout(std::time::Duration::from_secs(5), here.next())
            .await
            .ok()?;
        Some(name)
    })
    .await;
    assert!(["missed", "build"].contains(&told.as_str()), "{told}");

    // Who is for another project hears nothing of this one.
    let (_, project) = forge
        .post_json("/v1/cicd/projects", &json!({"name": "acme/other"}))
        .await;
    let token = json!({"name": "t", "role": "viewer", "projects": [project["id"]]});
    let (status, token) = forge.post_json("/v1/tokens", &token).await;
    assert_eq!(status, 201, "{token}");
    let mut limited = Sse::open(
        &format!("{}/v1/updates", forge.prow_url()),
        token["token"].as_str().unwrap(),
    )
    .await;
    limited.next_named("ready").await;
    push(&forge, "refs/heads/z", '0', '3', &[]).await;
    while here.next_named("build").await["uid"] != forge.builds().await[0]["uid"] {}
    let heard = tokio::time::timeout(std::time::Duration::from_millis(300), limited.next()).await;
    assert!(heard.is_err(), "{heard:?}");
}

#[tokio::test]
async fn workers_and_what_they_do_are_listed() {
    let forge = Forge::start().await;
    let workers = async || forge.get("/v1/workers").await.unwrap();
    let worker = eventually("it is there", async || {
        let workers = workers().await;
        (workers[0]["status"] == "ready").then(|| workers[0].clone())
    })
    .await;
    assert_eq!((&worker["slots"], &worker["busy"]), (&json!(2), &json!(0)), "{worker}");
    assert!(worker["disk"]["free_bytes"].as_u64().unwrap() > 0, "{worker}");

    let repo = forge.repo("FROM busybox\nRUN sleep 654\n");
    forge.push(&repo).await;
    let build = forge.build_that_is("building").await;
    let worker = eventually("it is busy", async || {
        let workers = workers().await;
        (workers[0]["builds"] == json!([build["uid"]])).then(|| workers[0].clone())
    })
    .await;
    assert_eq!(worker["busy"], 1);
    let (_, project) = forge
        .post_json("/v1/cicd/projects", &json!({"name": "acme/other"}))
        .await;
    let token = json!({"name": "t", "role": "viewer", "projects": [project["id"]]});
    let (_, token) = forge.post_json("/v1/tokens", &token).await;
    let seen = forge
        .get_with(token["token"].as_str().unwrap(), "/v1/workers")
        .await
        .unwrap();
    assert_eq!(
        (&seen[0]["busy"], &seen[0]["builds"]),
        (&json!(1), &json!([])),
        "not theirs"
    );
    assert_eq!(
        forge.post(&format!("/v1/cicd/builds/{}/cancel", build["id"])).await.0,
        202
    );
    eventually("it is idle", async || (workers().await[0]["busy"] == 0).then_some(())).await;
}
