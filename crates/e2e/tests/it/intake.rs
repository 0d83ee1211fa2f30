//! What gateway lets in, and what it does not.

use e2e::{Forge, QUICK, WEBHOOK_SECRET};
use serde_json::Value;
use testkit::{Hook, Topology, push_body};

#[tokio::test]
async fn a_wrong_signature_is_refused_and_nothing_is_queued() {
    let forge = Forge::start().await;
    let repo = forge.repo(QUICK);
    let (status, answer) = Hook::push(&repo, "not the secret").send(&forge.gateway_url()).await;
    assert_eq!(status, 401);
    assert_eq!(answer["error"], "the signature is missing or wrong");
    assert_eq!(forge.redis.cli(&["EXISTS", "forge:webhooks"]), "0");
    assert_eq!(forge.builds().await, Vec::<Value>::new());
}

#[tokio::test]
async fn the_same_delivery_twice_and_the_same_event_twice_are_one_build() {
    let forge = Forge::start().await;
    let repo = forge.repo(QUICK);
    let hook = Hook::push(&repo, WEBHOOK_SECRET);
    let gateway = forge.gateway_url();
    assert_eq!(hook.send(&gateway).await.0, 202);
    let (status, answer) = hook.send(&gateway).await;
    assert_eq!((status, answer["status"].as_str()), (200, Some("duplicate")));
    // The same bytes under another id: the hook of the organisation beside that of the repository.
    let (status, answer) = Hook::push(&repo, WEBHOOK_SECRET).send(&gateway).await;
    assert_eq!((status, answer["status"].as_str()), (200, Some("duplicate")));
    // The same event in other bytes gets past gateway, and is the same build.
    let body = format!(" {}", hook.body);
    assert_eq!(Hook::new("push", body, WEBHOOK_SECRET).send(&gateway).await.0, 202);
    forge.build_that_is("success").await;
    forge.told("build.succeeded").await;
    forge.is_quiet().await;
    assert_eq!(forge.builds().await.len(), 1);
    assert_eq!(forge.heard(), Forge::OF_A_FIRST_PUSH);
}

#[tokio::test]
async fn pings_and_deleted_branches_lead_to_no_build() {
    let forge = Forge::start().await;
    let gateway = forge.gateway_url();
    let (status, answer) = Hook::new("ping", "{}".into(), WEBHOOK_SECRET).send(&gateway).await;
    assert_eq!((status, answer["status"].as_str()), (200, Some("pong")));
    let (status, answer) = Hook::new("star", "{}".into(), WEBHOOK_SECRET).send(&gateway).await;
    assert_eq!((status, answer["status"].as_str()), (200, Some("ignored")));
    let gone = push_body("o/r", "https://github.com/o/r.git", "refs/heads/x", &"0".repeat(40));
    assert_eq!(Hook::new("push", gone, WEBHOOK_SECRET).send(&gateway).await.0, 202);
    testkit::eventually("prow says why", async || {
        forge.prow.log().contains("refs/heads/x was deleted").then_some(())
    })
    .await;
    assert_eq!(forge.builds().await.len(), 0);
    forge.is_quiet().await;
}

#[tokio::test]
async fn the_api_asks_for_its_token() {
    let forge = Forge::start_with(0, &[]).await;
    assert_eq!(forge.status_with(None).await, 401);
    assert_eq!(forge.status_with(Some("wrong")).await, 401);
    assert_eq!(forge.builds().await, Vec::<Value>::new());
}

#[tokio::test]
async fn without_a_secret_every_webhook_is_refused() {
    let forge = Forge::start_with(0, &[("GITHUB_WEBHOOK_SECRET", "")]).await;
    let (status, answer) = Hook::new("ping", "{}".into(), "").send(&forge.gateway_url()).await;
    assert_eq!(status, 503, "{answer}");
}

#[tokio::test]
async fn without_redis_a_webhook_is_refused_quickly_and_taken_when_it_is_back() {
    let mut forge = Forge::start_with(0, &[]).await;
    let hook = Hook::new(
        "push",
        push_body("o/r", "https://github.com/o/r.git", "refs/heads/x", &"1".repeat(40)),
        WEBHOOK_SECRET,
    );
    forge.redis.kill();
    let begun = tokio::time::Instant::now();
    let (status, answer) = hook.send(&forge.gateway_url()).await;
    let others_took_over = matches!(Topology::wanted(), Topology::Sentinel | Topology::Cluster) && status == 202;
    assert!(status == 503 || others_took_over, "{status} {answer}");
    assert!(
        begun.elapsed() < std::time::Duration::from_secs(4),
        "{:?}",
        begun.elapsed()
    );
    forge.redis.restart();
    testkit::eventually("the same delivery is accepted", async || {
        let (status, _) = hook.send(&forge.gateway_url()).await;
        matches!(status, 202 | 200).then_some(())
    })
    .await;
    forge.build_that_is("queued").await;
}
