//! Connections end with what holds them.

use bus::{Bus, Settings};
use chassis::Findings;
use testkit::{Redis, eventually};

/// Connections of this test, that of `redis-cli` itself not counted.
fn connections(redis: &Redis) -> usize {
    redis.cli(&["CLIENT", "LIST"]).lines().count() - 1
}

#[tokio::test]
async fn who_only_looked_leaves_no_connection_behind() {
    testkit::crypto();
    let redis = Redis::start();
    let mut findings = Findings::default();
    bus::examine(&Settings::new(redis.url()), &mut findings).await;
    assert!(findings.is_fit(), "{findings}");
    eventually("no connection", async || (connections(&redis) == 0).then_some(())).await;
}

#[tokio::test]
async fn nobody_goes_on_trying_for_a_bus_that_is_no_more() {
    testkit::crypto();
    let mut redis = Redis::start();
    redis.kill();
    let bus = Bus::start(Settings::new(redis.url())).unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    drop(bus);
    redis.restart();
    // Reconnecting pauses for two seconds at most.
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    assert_eq!(connections(&redis), 0);
}

#[tokio::test]
async fn a_bus_that_lives_has_connections() {
    testkit::crypto();
    let redis = Redis::start();
    let bus = Bus::start(Settings::new(redis.url())).unwrap();
    bus.ready().await.unwrap();
    assert_eq!(connections(&redis), 2, "so that the other tests here can fail");
}
