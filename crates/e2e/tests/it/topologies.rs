//! The core of the system on every kind of Redis. `scripts/test.sh --topologies` runs far more on each.

use e2e::{Forge, QUICK};
use testkit::Topology;

/// Built, pushed, told; cancelled; and again after the death of the Redis that had the builds.
async fn works_on(topology: Topology) {
    let mut forge = Forge::start_on(topology, 1, &[("REDIS_LEASE_SECONDS", "5")]).await;
    let repo = forge.repo(QUICK);
    forge.push(&repo).await;
    let build = forge.build_that_is("success").await;
    assert!(forge.told("build.succeeded").await.verified);
    forge.log_that_says(&build, "hello from the build").await;

    let slow = forge.git.repo(
        "e2e/slow",
        &[("Dockerfile", "FROM busybox\nRUN echo begun && sleep 600\n")],
    );
    forge.push(&slow).await;
    let build = forge.build_that_is("building").await;
    forge.log_that_says(&build, "begun").await;
    forge.post(&format!("/v1/cicd/builds/{}/cancel", build["id"])).await;
    forge.build_that_is("cancelled").await;
    forge.is_quiet().await;

    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await; // What was acknowledged is on its disk.
    forge.redis.kill();
    forge.redis.restart();
    let other = forge.git.repo("e2e/other", &[("Dockerfile", QUICK)]);
    forge.push_until_answered(&other).await;
    forge.build_that_is("success").await;
    forge.is_quiet().await;
    assert_eq!(forge.builds().await.len(), 3);
}

#[tokio::test]
async fn over_tls() {
    works_on(Topology::Tls).await;
}

#[tokio::test]
async fn as_a_user_who_may_do_only_what_is_needed() {
    works_on(Topology::User).await;
}

#[tokio::test]
async fn over_a_unix_socket() {
    works_on(Topology::Socket).await;
}

#[tokio::test]
async fn with_sentinels_and_a_failover() {
    works_on(Topology::Sentinel).await;
}

#[tokio::test]
async fn in_a_cluster_and_a_failover() {
    works_on(Topology::Cluster).await;
}
