//! Every bound has a number, a test and an error message.

use crate::util::{Lab, message, take, take_nothing};
use bus::{Bus, ErrorKind, Settings};
use contract::Message as _;
use testkit::{Redis, eventually};

#[tokio::test]
async fn a_list_refuses_more_items_or_bytes_than_it_may_hold_and_says_so() {
    let mut lab = Lab::new().await;
    lab.list = lab.list.limited(|limits| limits.items = 2);
    for id in ["a", "b"] {
        lab.send(id).await;
    }
    let producer = lab.bus.producer(&lab.list);
    let error = producer.send(&message("c")).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "enqueue on forge:builds: the list is full: 2 messages are waiting"
    );
    assert!(error.is_transient());
    assert_eq!(
        producer.send(&message("a")).await.unwrap(),
        bus::Sent::Duplicate("queued".into()),
        "known ones are not refused"
    );
    let small = lab
        .list
        .clone()
        .limited(|limits| (limits.items, limits.total_bytes) = (10, 300));
    let error = lab.bus.producer(&small).send(&message("d")).await.unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Full(why) if why.ends_with("bytes are waiting")),
        "{error}"
    );
}

#[tokio::test]
async fn a_message_that_is_too_long_is_refused_and_buried_when_somebody_pushed_it() {
    let mut lab = Lab::new().await;
    lab.list = lab.list.limited(|limits| limits.message_bytes = 200);
    let mut long = message("long");
    long.target = Some("x".repeat(200));
    let error = lab.bus.producer(&lab.list).send(&long).await.unwrap_err();
    assert!(error.to_string().contains("the list takes at most 200"), "{error}");
    lab.redis.cli(&[
        "LPUSH",
        "forge:builds",
        &long.to_json().unwrap(),
        "[]",
        &message("ok").to_json().unwrap(),
    ]);
    let worker = lab.worker(1).await;
    let mut slot = worker.slot(0);
    take(&mut slot).await.finish("success", "").await.unwrap();
    lab.send("after").await;
    assert_eq!(take(&mut slot).await.message().id.as_str(), "after");
    let dead = lab.redis.cli(&["--raw", "LRANGE", "{forge:builds}:dead", "0", "-1"]);
    assert!(
        dead.contains("the list takes at most 200") && dead.contains("expected a JSON object\"}\n[]"),
        "{dead}"
    );
}

#[tokio::test]
async fn a_full_redis_refuses_producers_and_lets_consumers_drain() {
    let lab = Lab::new().await;
    lab.send("a").await;
    lab.redis.cli(&["CONFIG", "SET", "maxmemory", "100kb"]); // Less than an empty Redis needs.
    let error = lab.bus.producer(&lab.list).send(&message("b")).await.unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::OutOfMemory);
    assert!(error.is_transient());
    let worker = lab.worker(1).await;
    take(&mut worker.slot(0)).await.finish("success", "end").await.unwrap();
    assert_eq!(lab.events(), ["end"]);
}

#[tokio::test]
async fn a_redis_that_evicts_is_refused_unless_it_is_allowed() {
    testkit::crypto();
    let redis = Redis::start_with(&["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]);
    let mut settings = Settings::new(redis.url());
    let error = Bus::start(settings.clone()).unwrap().ready().await.unwrap_err();
    assert!(error.to_string().contains("maxmemory-policy allkeys-lru"), "{error}");
    settings.allow_eviction = true;
    Bus::start(settings).unwrap().ready().await.unwrap();
}

#[tokio::test]
async fn a_list_of_copies_keeps_the_newest_10_000() {
    let lab = Lab::new().await;
    let fill = "for i = 1, ARGV[1] do redis.call('RPUSH', KEYS[1], 'old') end";
    lab.redis.cli(&["EVAL", fill, "1", "{forge:builds}:copies", "10000"]);
    let parcel = bus::Parcel {
        copy_to: Some("{forge:builds}:copies".to_owned()),
        ..bus::Parcel::new(&message("new")).unwrap()
    };
    lab.bus.producer(&lab.list).send_parcel(parcel).await.unwrap();
    assert_eq!(lab.redis.cli(&["LLEN", "{forge:builds}:copies"]), "10000");
    let newest = lab.redis.cli(&["LINDEX", "{forge:builds}:copies", "0"]);
    assert_eq!(newest, lab.redis.cli(&["LINDEX", "forge:builds", "0"]), "byte for byte");
}

#[tokio::test]
async fn dead_letters_are_bounded_in_number_and_bytes_and_the_oldest_go_first() {
    let lab = Lab::new().await;
    let dead = "{forge:builds}:dead";
    let fill = "for i = 1, ARGV[1] do redis.call('RPUSH', KEYS[1], string.rep('x', ARGV[2])) end";
    let bury_one = async || {
        lab.redis.cli(&["LPUSH", "forge:builds", "not json"]);
        let worker = lab.worker(1).await;
        let mut slot = worker.slot(0);
        eventually("the newest is kept", async || {
            take_nothing(&mut slot).await;
            lab.redis.cli(&["LINDEX", dead, "0"]).contains("not JSON").then_some(())
        })
        .await;
    };
    lab.redis.cli(&["EVAL", fill, "1", dead, "10000", "1"]);
    bury_one().await;
    assert_eq!(lab.redis.cli(&["LLEN", dead]), "10000");
    lab.redis.cli(&["DEL", dead]);
    lab.redis.cli(&["EVAL", fill, "1", dead, "100", "1000000"]);
    bury_one().await;
    let left: usize = lab.redis.cli(&["LLEN", dead]).parse().unwrap();
    assert!(
        (2..99).contains(&left),
        "about 64 MiB are kept, not {left} letters of a megabyte"
    );
}
