//! The same with PostgreSQL instead of SQLite; and while it is away.

use e2e::{Forge, PATIENCE};
use std::time::Duration;
use testkit::{Postgres, within};
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
