//! Redis is away: nobody waits long, and with a spool nobody is turned away.

use e2e::{Gateway, push};
use std::{path::Path, time::Duration};
use testkit::eventually;
use tokio::time::Instant;

/// Which pushes wait, in the order in which prow would take them if there were one lane.
fn pushed(gateway: &Gateway) -> Vec<usize> {
    let number =
        |taken: &serde_json::Value| usize::from_str_radix(taken["source"]["after"].as_str().unwrap(), 16).unwrap();
    gateway.all_taken().iter().map(number).collect()
}

fn spooled(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).unwrap();
    entries
        .filter(|entry| {
            entry
                .as_ref()
                .unwrap()
                .path()
                .extension()
                .is_some_and(|kind| kind == "json")
        })
        .count()
}

#[tokio::test]
async fn without_a_spool_it_says_within_two_seconds_when_to_come_again() {
    let mut gateway = Gateway::start(&[]).await;
    gateway.redis.kill();
    for n in 0..3 {
        let begun = Instant::now();
        let answer = gateway.github("push", &push(n)).await;
        assert_eq!(
            (answer.status, answer.headers["retry-after"].to_str().unwrap()),
            (503, "5")
        );
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    }
    eventually("it is not ready", async || {
        (gateway.admin("/ready").await == 503).then_some(())
    })
    .await;
    let health = gateway.get("/health", "*/*").await;
    assert_eq!(
        (health.status, health.body["status"].as_str()),
        (503, Some("unhealthy"))
    );
    gateway.redis.restart();
    eventually("it is ready", async || {
        (gateway.admin("/ready").await == 200).then_some(())
    })
    .await;
    assert_eq!(gateway.github("push", &push(9)).await.status, 202);
}

#[tokio::test]
async fn health_tells_of_a_redis_that_is_there_and_takes_nothing() {
    let gateway = Gateway::start(&[]).await;
    let health = async || {
        let health = gateway.get("/health", "*/*").await;
        (health.status, health.body["checks"]["queue"].clone())
    };
    assert_eq!(health().await, (200, serde_json::Value::Null));
    gateway.redis.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    assert_eq!(gateway.github("push", &push(1)).await.status, 503);
    assert_eq!(health().await, (503, "queue_full".into()));
    gateway.redis.cli(&["CONFIG", "SET", "maxmemory", "0"]);
    assert_eq!(gateway.github("push", &push(1)).await.status, 202);
    assert_eq!(health().await, (200, serde_json::Value::Null));
    gateway.redis.cli(&["ACL", "SETUSER", "default", "-evalsha", "-eval"]);
    assert_eq!(gateway.github("push", &push(2)).await.status, 503);
    assert_eq!(health().await, (503, "queue_away".into()));
}

#[tokio::test]
async fn with_a_spool_deliveries_wait_on_the_disk_and_go_on_in_their_order_once_each() {
    let folder = tempfile::tempdir().unwrap();
    let spool = folder.path().join("spool");
    let mut gateway = Gateway::start_in(folder, &[("WEBHOOK_SPOOL", &spool.to_string_lossy())]).await;
    eventually("it has found Redis", async || {
        (gateway.get("/health", "*/*").await.body["status"] == "healthy").then_some(())
    })
    .await;
    assert_eq!(gateway.github("push", &push(1)).await.status, 202);
    gateway.redis.kill();
    for n in 2..12 {
        let answer = gateway.github("push", &push(n)).await;
        assert_eq!(
            (answer.status, answer.body["status"].as_str()),
            (202, Some("accepted")),
            "{}",
            answer.text
        );
    }
    assert_eq!(gateway.github("push", &push(5)).await.body["status"], "duplicate");
    assert_eq!(spooled(&spool), 10);
    let health = gateway.get("/health", "*/*").await;
    assert_eq!((health.status, health.body["status"].as_str()), (200, Some("degraded")));
    assert_eq!(gateway.admin("/ready").await, 200, "it takes deliveries");

    // Killed in the middle of it all; what was answered is there.
    gateway.restart(&[]).await;
    assert_eq!(gateway.github("push", &push(12)).await.status, 202);
    gateway.redis.restart();
    eventually("the spool is empty", async || (spooled(&spool) == 0).then_some(())).await;
    assert_eq!(pushed(&gateway), (1..=12).collect::<Vec<_>>());
    assert_eq!(gateway.github("push", &push(5)).await.body["status"], "duplicate");
    eventually("all is well", async || {
        (gateway.get("/health", "*/*").await.body["status"] == "healthy").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_gateway_that_dies_while_it_spools_or_forwards_loses_and_doubles_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let spool = folder.path().join("spool");
    let mut gateway = Gateway::start_in(folder, &[("WEBHOOK_SPOOL", &spool.to_string_lossy())]).await;
    gateway.redis.kill();
    gateway.restart(&[("FAILPOINTS", "gateway.spooled=1*return")]).await;
    let hook = testkit::Hook::new("push", push(1), e2e::WEBHOOK_SECRET);
    let url = format!("http://{}/webhook/github", gateway.address());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    assert!(
        hook.request(&client, &url).send().await.is_err(),
        "it dies before it has answered"
    );
    gateway.restart(&[("FAILPOINTS", "gateway.forwarded=1*return")]).await;
    assert_eq!(
        hook.send(&format!("http://{}", gateway.address())).await.0,
        200,
        "sent again it is known"
    );
    gateway.redis.restart();
    eventually("it has died between forwarding and forgetting", async || {
        (!gateway.process.is_running()).then_some(())
    })
    .await;
    assert_eq!((pushed(&gateway), spooled(&spool)), (vec![1], 1));
    gateway.restart(&[]).await;
    eventually("the spool is empty", async || (spooled(&spool) == 0).then_some(())).await;
    assert_eq!(pushed(&gateway), [1]);
}

#[tokio::test]
async fn a_spool_is_bounded_and_belongs_to_one_gateway() {
    let folder = tempfile::tempdir().unwrap();
    let spool = folder.path().join("spool");
    let vars = [
        ("WEBHOOK_SPOOL", &*spool.to_string_lossy()),
        ("WEBHOOK_SPOOL_MAX_SIZE", "4kb"),
    ];
    let mut gateway = Gateway::start_in(folder, &vars).await;
    gateway.redis.kill();
    let mut statuses = Vec::new();
    for n in 0..4 {
        statuses.push(gateway.github("push", &push(n)).await.status);
    }
    assert_eq!(statuses, [202, 202, 503, 503]);
    let other = std::process::Command::new(testkit::binary("gateway"))
        .env_clear()
        .envs(vars)
        .envs([
            ("WEBHOOK_LISTEN", "127.0.0.1:0"),
            ("ADMIN_LISTEN", "127.0.0.1:0"),
            ("REDIS_URL", &gateway.redis.url()),
        ])
        .output()
        .unwrap();
    assert_eq!(other.status.code(), Some(69));
    assert!(String::from_utf8_lossy(&other.stderr).contains("another gateway uses this folder"));
}
