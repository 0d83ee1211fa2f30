use super::*;
use crate::{Pace, Patience, Settings, Taken};
use contract::{Notification, route};
use testkit::Redis;
use tokio::time::{Instant, timeout};

const LIST: &str = "forge:notifications";
const EXAMPLE: &str = include_str!("../../../../../contracts/examples/notification/build-succeeded.json");

async fn bus() -> (Redis, Bus) {
    let redis = Redis::start();
    testkit::crypto();
    let bus = Bus::start(Settings::new(redis.url())).unwrap();
    bus.ready().await.unwrap();
    (redis, bus)
}

async fn intake(bus: &Bus) -> Intake<Notification> {
    bus.intake(&route::notifications(), "test").await.unwrap()
}

/// A notification, with an id of that number.
fn notification(n: u128) -> String {
    let mut notification: serde_json::Value = serde_json::from_str(EXAMPLE).unwrap();
    notification["eventId"] = serde_json::json!(uuid::Uuid::from_u128(n).to_string());
    notification.to_string()
}

fn push(redis: &Redis, numbers: impl IntoIterator<Item = u128>) {
    for n in numbers {
        redis.cli(&["LPUSH", LIST, &notification(n)]);
    }
}

fn waiting(redis: &Redis) -> String {
    redis.cli(&["LLEN", LIST]).trim().to_owned()
}

fn to(events: Vec<Event<Notification>>, to: &[String]) -> Vec<(Event<Notification>, Vec<String>)> {
    events.into_iter().map(|event| (event, to.to_vec())).collect()
}

async fn taken(courier: &Courier, most: usize) -> Vec<Taken> {
    let patience = Patience {
        lease: Duration::from_mins(1),
        failures: 3,
        first: Duration::from_secs(1),
        longest: Duration::from_secs(1),
        give_up: Duration::from_hours(1),
        most_of_one: 1_000,
    };
    courier.round(&[], most, patience).await.unwrap().taken
}

#[tokio::test]
async fn events_stay_until_their_deliveries_are_made_and_then_leave_at_once() {
    let (redis, bus) = bus().await;
    let mut intake = intake(&bus).await;
    push(&redis, [1, 2, 1]);
    let events = intake.next().await;
    assert_eq!((events.len(), waiting(&redis).as_str()), (3, "3"), "nothing was taken");
    assert_eq!(
        events[0].payload,
        notification(1).as_bytes(),
        "the oldest first, byte for byte"
    );
    let ends = ["a".to_owned(), "b".to_owned()];
    assert!(intake.send(&to(events.clone(), &ends)).await.unwrap().is_empty());
    assert_eq!(waiting(&redis), "0");
    let courier = bus.courier(&route::notifications());
    assert_eq!(
        taken(&courier, 100).await.len(),
        4,
        "two events, two endpoints; one event was sent twice"
    );
    // Whoever looked before and sends late does no harm, nor whoever pushes it again the same day.
    push(&redis, [3]);
    intake.send(&to(events, &ends)).await.unwrap();
    assert_eq!(waiting(&redis), "1", "what came meanwhile stays");
    push(&redis, [2]);
    let events = intake.next().await;
    intake.send(&to(events, &["c".to_owned()])).await.unwrap();
    assert_eq!((taken(&courier, 100).await.len(), waiting(&redis).as_str()), (1, "0"));
    let record = format!("{{{LIST}}}:job:{}", uuid::Uuid::from_u128(1));
    assert_eq!(redis.cli(&["HGET", &record, "state"]).trim(), "done");
    let ttl: u64 = redis.cli(&["TTL", &record]).trim().parse().unwrap();
    assert!((86_000..=86_400).contains(&ttl), "{ttl}");
}

#[tokio::test]
async fn what_comes_while_nothing_waits_is_seen_at_once() {
    let (redis, bus) = bus().await;
    let mut intake = intake(&bus).await;
    let pushed = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        push(&redis, [1]);
        Instant::now()
    };
    let (events, sent) = tokio::join!(intake.next(), pushed);
    assert_eq!((events.len(), waiting(&redis).as_str()), (1, "1"));
    assert!(sent.elapsed() < Duration::from_secs(1), "{:?}", sent.elapsed());
}

#[tokio::test]
async fn what_cannot_be_read_is_buried_and_keeps_nothing_back() {
    let (redis, bus) = bus().await;
    let mut intake = intake(&bus).await;
    redis.cli(&["LPUSH", LIST, "nonsense"]);
    push(&redis, [1]);
    redis.cli(&["LPUSH", LIST, &format!("\"{}\"", "x".repeat(70_000))]);
    let events = intake.next().await;
    assert_eq!((events.len(), waiting(&redis).as_str()), (1, "1"));
    intake.bury(&events[0], "for some reason").await.unwrap();
    assert_eq!(waiting(&redis), "0");
    let record = format!("{{{LIST}}}:job:{}", uuid::Uuid::from_u128(1));
    assert_eq!(
        redis.cli(&["HGET", &record, "state"]).trim(),
        "dead",
        "so that it can be sent again"
    );
    let dead = redis.cli(&["--raw", "LRANGE", &format!("{{{LIST}}}:dead"), "0", "-1"]);
    for why in ["nonsense", "takes at most 65536", "for some reason"] {
        assert!(dead.contains(why), "{why}");
    }
}

#[tokio::test]
async fn one_looks_at_a_time_and_nobody_waits_long_for_one_who_died_over_it() {
    let (redis, bus) = bus().await;
    let (mut one, mut other) = (intake(&bus).await, intake(&bus).await);
    push(&redis, [1]);
    let _seen = one.next().await;
    assert!(timeout(LOOK / 2, other.next()).await.is_err(), "the first one has it");
    let events = timeout(LOOK * 2, other.next()).await.expect("but not for ever");
    other.send(&to(events, &["a".to_owned()])).await.unwrap();
    push(&redis, [2]);
    let at_once = timeout(LOOK / 2, one.next())
        .await
        .expect("who is done lets others look");
    assert_eq!(at_once.len(), 1);
}

#[tokio::test]
async fn what_was_first_on_the_list_is_first_for_each_addressee_whatever_its_id() {
    let (redis, bus) = bus().await;
    let mut intake = intake(&bus).await;
    let numbers = [7, 3, 9, 1, 5];
    push(&redis, numbers);
    let events = intake.next().await;
    intake.send(&to(events, &["a".to_owned()])).await.unwrap();
    let courier = bus.courier(&route::notifications());
    let came: Vec<_> = taken(&courier, 100).await.into_iter().map(|taken| taken.id).collect();
    assert_eq!(came, numbers.map(|n| format!("{}/a", uuid::Uuid::from_u128(n))));
}

#[tokio::test]
async fn a_list_that_is_paused_is_not_looked_at() {
    let (redis, bus) = bus().await;
    let mut intake = intake(&bus).await;
    push(&redis, [1]);
    let paused = format!("{{{LIST}}}:paused");
    redis.cli(&["SET", &paused, "1"]);
    assert!(timeout(Duration::from_millis(500), intake.next()).await.is_err());
    redis.cli(&["DEL", &paused]);
    assert_eq!(intake.next().await.len(), 1);
}

#[tokio::test]
async fn of_many_events_with_many_addressees_only_so_many_deliveries_are_made_at_once() {
    let (redis, bus) = bus().await;
    let mut intake = intake(&bus).await;
    push(&redis, 1..=MOST_EVENTS as u128 + 1);
    let events = intake.next().await;
    assert_eq!(events.len(), MOST_EVENTS);
    let ends: Vec<_> = (0..MOST_DELIVERIES + 10).map(|n| format!("e{n}")).collect();
    let courier = bus.courier(&route::notifications());
    for end in &ends {
        courier.pace(end, Pace::new(100, 0)).await.unwrap();
    }
    redis.cli(&["CONFIG", "RESETSTAT"]);
    let mut wanted = to(events, &[]);
    wanted[0].1.clone_from(&ends);
    for few in &mut wanted[1..] {
        few.1 = ends[..20].to_vec();
    }
    intake.send(&wanted).await.unwrap();
    assert_eq!(waiting(&redis), "1");
    // 510 are 10 and 500; 63 events of 20 are 25 events, 25, and 13: five, and perhaps one to load the script and a beat.
    let stats = redis.cli(&["INFO", "commandstats"]);
    let scripts = stats
        .lines()
        .find_map(|line| line.strip_prefix("cmdstat_evalsha:calls="));
    let scripts: u32 = scripts.unwrap().split(',').next().unwrap().parse().unwrap();
    assert!((5..=8).contains(&scripts), "{scripts}");
    let mut made = 0;
    loop {
        let some = taken(&courier, 500).await.len();
        made += some;
        if some == 0 {
            break;
        }
    }
    assert_eq!(made, MOST_DELIVERIES + 10 + 63 * 20);
}
