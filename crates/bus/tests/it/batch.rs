//! Many senders, few round trips.

use crate::util::{Lab, message};
use bus::{ErrorKind, Parcel, Sent};
use futures_util::future::join_all;
use std::time::Duration;
use tokio::time::Instant;

fn parcel(id: &str) -> Parcel {
    Parcel::new(&message(id)).unwrap()
}

#[tokio::test]
async fn many_senders_share_round_trips_and_each_gets_its_own_answer() {
    let mut lab = Lab::new().await;
    lab.list = lab
        .list
        .limited(|limits| (limits.items, limits.message_bytes) = (200, 1_000));
    let (batch, carrying) = lab.bus.batch(&lab.list);
    let carrying = tokio::spawn(carrying);
    lab.redis.cli(&["CONFIG", "RESETSTAT"]);
    let ids: Vec<_> = (0..190).map(|n| format!("m{n}")).collect();
    let answers = join_all(ids.iter().map(|id| batch.send(parcel(id)))).await;
    assert!(answers.into_iter().all(|answer| answer.unwrap() == Sent::Queued));
    let stats = lab.redis.cli(&["INFO", "commandstats"]);
    let calls = stats
        .lines()
        .find_map(|line| line.strip_prefix("cmdstat_evalsha:calls="))
        .unwrap();
    let calls: usize = calls.split(',').next().unwrap().parse().unwrap();
    assert!(calls < 20, "{calls} round trips for 190 messages");

    let mut long = parcel("long");
    long.payload = [&*long.payload, &[b' '; 2_000]].concat().into();
    let twice = Some(("fingerprint".to_owned(), Duration::from_mins(1)));
    let (one, other) = (
        Parcel {
            once: twice.clone(),
            ..parcel("one")
        },
        Parcel {
            once: twice,
            ..parcel("other")
        },
    );
    let [known, long, one, other] = join_all([parcel("m7"), long, one, other].map(|parcel| batch.send(parcel)))
        .await
        .try_into()
        .unwrap();
    assert_eq!(known.unwrap(), Sent::Duplicate("queued".into()));
    assert!(matches!(
        long.unwrap_err().kind(),
        ErrorKind::TooLarge { limit: 1_000, .. }
    ));
    assert_eq!(
        (one.unwrap(), other.unwrap()),
        (Sent::Queued, Sent::Duplicate("seen".into()))
    );

    let answers = join_all((0..20).map(|n| batch.send(parcel(&format!("more{n}"))))).await;
    let (taken, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!(
        (taken.len(), refused.len()),
        (9, 11),
        "the bound holds within a round trip too"
    );
    assert_eq!(lab.redis.cli(&["LLEN", "forge:builds"]), "200");
    drop(batch);
    tokio::time::timeout(Duration::from_secs(5), carrying)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn who_waits_for_a_redis_that_is_away_is_told_in_time() {
    let mut lab = Lab::new().await;
    let (batch, carrying) = lab.bus.batch(&lab.list);
    tokio::spawn(carrying);
    batch.send(parcel("a")).await.unwrap();
    lab.redis.kill();
    let begun = Instant::now();
    let answers = join_all((0..300).map(|n| batch.send(parcel(&format!("b{n}"))))).await;
    assert!(
        answers
            .into_iter()
            .all(|answer| *answer.unwrap_err().kind() == ErrorKind::Unreachable)
    );
    let waited = begun.elapsed();
    assert!(
        waited < Duration::from_secs(8),
        "{waited:?}; the patience of these settings is 5 s"
    );
    lab.redis.restart();
    let back = async || batch.send(parcel("c")).await.ok();
    testkit::eventually("it sends again", back).await;
}
