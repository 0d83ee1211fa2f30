use super::*;
use crate::Settings;
use contract::route;
use testkit::Redis;

const PATIENCE: Patience = Patience {
    lease: Duration::from_mins(1),
    failures: 3,
    first: Duration::from_millis(300),
    longest: Duration::from_secs(2),
    give_up: Duration::from_hours(1),
    most_of_one: 50,
};

async fn courier() -> (Redis, Courier) {
    let redis = Redis::start();
    testkit::crypto();
    let bus = Bus::start(Settings::new(redis.url())).unwrap();
    bus.ready().await.unwrap();
    let courier = bus.courier(&route::notifications());
    (redis, courier)
}

async fn send(courier: &Courier, event: &str, to: &[&str]) {
    send_about(courier, event, "", to).await;
}

async fn send_about(courier: &Courier, event: &str, about: &str, to: &[&str]) {
    let to: Vec<_> = to.iter().map(ToString::to_string).collect();
    let payload = Bytes::from(format!("payload of {event}"));
    assert!(courier.send(event, about, &payload, &to).await.unwrap().is_empty());
}

async fn take(courier: &Courier) -> Vec<Taken> {
    courier.round(&[], 100, PATIENCE).await.unwrap().taken
}

fn ids(taken: &[Taken]) -> Vec<&str> {
    taken.iter().map(|taken| taken.id.as_str()).collect()
}

fn report(taken: &Taken, fate: Fate, health: Health) -> Report {
    Report {
        id: taken.id.clone(),
        token: taken.token,
        fate,
        tried: "tried".to_owned(),
        health,
        why: "because".to_owned(),
    }
}

async fn settle(courier: &Courier, taken: &Taken, fate: Fate, health: Health) -> Told {
    let round = courier
        .round(&[report(taken, fate, health)], 0, PATIENCE)
        .await
        .unwrap();
    round.told[0]
}

async fn fails(courier: &Courier, taken: &Taken) -> Told {
    settle(courier, taken, Fate::Again(Duration::ZERO), Health::Ill).await
}

#[tokio::test]
async fn what_is_sent_twice_is_delivered_once_and_to_each() {
    let (_redis, courier) = courier().await;
    for _ in 0..2 {
        send(&courier, "e1", &["a", "b"]).await;
    }
    let taken = take(&courier).await;
    assert_eq!(ids(&taken), ["e1/a", "e1/b"]);
    assert!(
        taken
            .iter()
            .all(|taken| taken.payload == "payload of e1" && taken.failures == 0)
    );
    assert!(take(&courier).await.is_empty(), "it is held");
    for taken in &taken {
        assert_eq!(settle(&courier, taken, Fate::Done, Health::Well).await, Told::Settled);
        assert_eq!(settle(&courier, taken, Fate::Done, Health::Well).await, Told::Stale);
    }
    send(&courier, "e1", &["a", "b"]).await;
    let round = courier.round(&[], 100, PATIENCE).await.unwrap();
    assert!(round.taken.is_empty() && round.wait.is_none(), "{round:?}");
    let record = courier.record("e1/a").await.unwrap().unwrap();
    assert_eq!((record.fields["state"].as_str(), record.tries.len()), ("done", 1));
}

#[tokio::test]
async fn what_failed_comes_again_in_its_time_and_ends_as_dead() {
    let (_redis, courier) = courier().await;
    send(&courier, "e1", &["a"]).await;
    let first = take(&courier).await.remove(0);
    let pause = Duration::from_millis(200);
    settle(&courier, &first, Fate::Again(pause), Health::Unknown).await;
    let round = courier.round(&[], 100, PATIENCE).await.unwrap();
    assert!(round.taken.is_empty() && round.wait.unwrap() <= pause, "{round:?}");
    tokio::time::sleep(pause).await;
    let second = take(&courier).await.remove(0);
    assert_eq!((second.failures, second.sent_ms), (1, first.sent_ms));
    settle(&courier, &second, Fate::Later(Duration::ZERO), Health::Unknown).await;
    let third = take(&courier).await.remove(0);
    assert_eq!(third.failures, 1, "what was put off has not failed");
    settle(&courier, &third, Fate::Dead, Health::Unknown).await;
    assert!(take(&courier).await.is_empty());
    let dead = courier.newest(None, 10).await.unwrap();
    assert_eq!(
        (dead[0].id.as_str(), dead[0].fields["why"].as_str()),
        ("e1/a", "because")
    );
    assert_eq!(
        (
            courier.count(None).await.unwrap(),
            courier.count(Some("a")).await.unwrap()
        ),
        (1, 0)
    );

    assert_eq!(courier.again("e1/a").await.unwrap(), Ok(()));
    assert_eq!(courier.again("e1/a").await.unwrap(), Err("waiting".to_owned()));
    assert_eq!(courier.again("e2/a").await.unwrap(), Err("absent".to_owned()));
    assert_eq!(take(&courier).await[0].failures, 0);
    assert_eq!(courier.count(None).await.unwrap(), 0);
}

#[tokio::test]
async fn who_fails_is_left_alone_and_shows_with_one_whether_it_is_back() {
    let (_redis, courier) = courier().await;
    for n in 0..6 {
        send(&courier, &format!("e{n}"), &["dead", "well"]).await;
    }
    let taken = take(&courier).await;
    let (dead, well): (Vec<_>, Vec<_>) = taken.iter().partition(|taken| taken.to == "dead");
    assert_eq!((dead.len(), well.len()), (6, 6));
    let mut told = Vec::new();
    for taken in &dead {
        told.push(fails(&courier, taken).await);
    }
    assert_eq!(told.iter().position(|told| *told == Told::Opened), Some(2), "{told:?}");
    assert_eq!(told.iter().filter(|told| **told == Told::Opened).count(), 1);
    for taken in &well {
        settle(&courier, taken, Fate::Done, Health::Well).await;
    }
    send(&courier, "more", &["dead", "well"]).await;
    assert_eq!(ids(&take(&courier).await), ["more/well"], "the circuit is broken");
    tokio::time::sleep(PATIENCE.first).await;
    let probe = take(&courier).await;
    assert_eq!(probe.len(), 1, "one shows whether it is back");
    assert!(take(&courier).await.is_empty());
    assert_eq!(fails(&courier, &probe[0]).await, Told::Opened);
    tokio::time::sleep(PATIENCE.first).await;
    assert!(take(&courier).await.is_empty(), "twice as long");
    tokio::time::sleep(PATIENCE.first).await;
    let probe = take(&courier).await;
    settle(&courier, &probe[0], Fate::Done, Health::Well).await;
    assert_eq!(take(&courier).await.len(), 6, "it is back");
}

#[tokio::test]
async fn how_things_stand_can_be_asked() {
    let (_redis, courier) = courier().await;
    assert_eq!(courier.stats().await.unwrap(), Stats::default());
    for n in 0..4 {
        send(&courier, &format!("e{n}"), &["a"]).await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    let waited = courier.stats().await.unwrap();
    assert!(
        waited.lag >= Duration::from_millis(50) && waited.held == 0,
        "{waited:?}"
    );
    let taken = take(&courier).await;
    assert_eq!(courier.stats().await.unwrap().held, 4);
    settle(&courier, &taken[0], Fate::Dead, Health::Ill).await;
    fails(&courier, &taken[1]).await;
    fails(&courier, &taken[2]).await;
    let stats = courier.stats().await.unwrap();
    assert_eq!((stats.held, stats.dead, stats.left_alone), (1, 1, 1), "{stats:?}");
    assert_eq!(stats.lag, Duration::ZERO, "who is left alone is not late");
    settle(&courier, &taken[3], Fate::Done, Health::Well).await;
    assert_eq!(courier.stats().await.unwrap().left_alone, 0);
}

#[tokio::test]
async fn everybody_has_a_pace_and_nobody_waits_for_another() {
    let (_redis, courier) = courier().await;
    let pace = Pace::new;
    courier.pace("one", pace(1, 0)).await.unwrap();
    courier.pace("slow", pace(100, 5)).await.unwrap();
    for n in 0..20 {
        send(&courier, &format!("e{n:02}"), &["one", "slow", "usual"]).await;
    }
    let taken = take(&courier).await;
    let of = |to: &str| taken.iter().filter(|taken| taken.to == to).count();
    assert_eq!((of("one"), of("slow"), of("usual")), (1, 5, SHARE));
    assert!(take(&courier).await.is_empty());
    tokio::time::sleep(Duration::from_millis(450)).await;
    let more = take(&courier).await;
    assert!(
        (2..=3).contains(&more.len()) && more.iter().all(|taken| taken.to == "slow"),
        "{more:?}"
    );
    for taken in taken.iter().filter(|taken| taken.to == "one") {
        settle(&courier, taken, Fate::Done, Health::Well).await;
    }
    let next = take(&courier).await;
    assert!(next.iter().any(|taken| taken.id == "e01/one"), "{next:?}");
}

#[tokio::test]
async fn what_a_dead_notifier_held_is_delivered_by_another_without_a_failure() {
    let (_redis, courier) = courier().await;
    send(&courier, "e1", &["a"]).await;
    let short = Patience {
        lease: Duration::from_millis(50),
        ..PATIENCE
    };
    for death in 1..MOST_DEATHS {
        let taken = courier.round(&[], 1, short).await.unwrap().taken.remove(0);
        assert_eq!(taken.failures, 0);
        assert_eq!(courier.reap().await.unwrap(), 0, "{death}: it has its lease");
        tokio::time::sleep(short.lease * 2).await;
        assert_eq!(courier.reap().await.unwrap(), 1, "{death}");
        assert_eq!(settle(&courier, &taken, Fate::Done, Health::Well).await, Told::Stale);
    }
    let taken = courier.round(&[], 1, short).await.unwrap().taken;
    assert_eq!(ids(&taken), ["e1/a"]);
    tokio::time::sleep(short.lease * 2).await;
    courier.reap().await.unwrap();
    assert!(take(&courier).await.is_empty());
    assert_eq!(courier.newest(None, 1).await.unwrap()[0].fields["state"], "dead");
}

#[tokio::test]
async fn what_is_dead_for_its_notifiers_deaths_keeps_nothing_else_waiting() {
    let (_redis, courier) = courier().await;
    let one = Pace::new(1, 0);
    courier.pace("a", one).await.unwrap();
    send(&courier, "e1", &["a"]).await;
    send(&courier, "e2", &["a"]).await;
    let short = Patience {
        lease: Duration::from_millis(10),
        ..PATIENCE
    };
    let mut seen = Vec::new();
    for _ in 0..MOST_DEATHS * 2 {
        let taken = courier.round(&[], 10, short).await.unwrap().taken;
        seen.extend(taken.into_iter().map(|taken| taken.id));
        assert!(
            courier.round(&[], 10, short).await.unwrap().taken.is_empty(),
            "one at a time"
        );
        tokio::time::sleep(short.lease * 2).await;
        courier.reap().await.unwrap();
    }
    assert!(seen.contains(&"e2/a".to_owned()), "{seen:?}");
}

#[tokio::test]
async fn who_is_gone_gets_nothing_until_it_is_turned_on_again() {
    let (_redis, courier) = courier().await;
    send(&courier, "e1", &["a"]).await;
    send(&courier, "e2", &["a"]).await;
    let taken = take(&courier).await;
    assert_eq!(
        settle(&courier, &taken[0], Fate::Dead, Health::Gone).await,
        Told::TurnedOff
    );
    settle(&courier, &taken[1], Fate::Again(Duration::ZERO), Health::Ill).await;
    send(&courier, "e3", &["a"]).await;
    assert!(take(&courier).await.is_empty());
    assert_eq!(courier.addressee("a").await.unwrap()["off"], "because");
    courier.turn_on("a").await.unwrap();
    assert_eq!(
        ids(&take(&courier).await),
        ["e2/a"],
        "what waited, and not what came meanwhile"
    );
    courier.turn_off("a", "by hand").await.unwrap();
    send(&courier, "e4", &["a"]).await;
    assert_eq!(courier.count(Some("a")).await.unwrap(), 0);
}

#[tokio::test]
async fn who_fails_for_too_long_is_given_up() {
    let (_redis, courier) = courier().await;
    send(&courier, "e1", &["a"]).await;
    let hasty = Patience {
        failures: 1_000,
        give_up: Duration::from_secs(1),
        ..PATIENCE
    };
    let begun = tokio::time::Instant::now();
    loop {
        let taken = take(&courier).await.remove(0);
        let report = report(&taken, Fate::Again(Duration::ZERO), Health::Ill);
        match courier.round(&[report], 0, hasty).await.unwrap().told[0] {
            Told::Settled => tokio::time::sleep(Duration::from_millis(20)).await,
            other @ (Told::Stale | Told::Opened | Told::TurnedOff) => break assert_eq!(other, Told::TurnedOff),
        }
    }
    assert!(begun.elapsed() > hasty.give_up);
    assert!(take(&courier).await.is_empty());
}

#[tokio::test]
async fn deliveries_that_are_too_many_are_dead_and_told() {
    let (redis, courier) = courier().await;
    let script = format!(
        "for i = 1, {MOST_WAITING} do redis.call('ZADD', '{{forge:notifications}}:deliveries:due:a', i, i) end return 1"
    );
    redis.cli(&["EVAL", &script, "0"]);
    let to = ["a".to_owned(), "b".to_owned()];
    assert_eq!(courier.send("e1", "", &Bytes::from("x"), &to).await.unwrap(), ["a"]);
    let dead = courier.newest(None, 10).await.unwrap();
    assert!(
        dead.len() == 1 && dead[0].fields["why"].contains("too many"),
        "{dead:?}"
    );
}

#[tokio::test]
async fn a_long_queue_of_one_does_not_come_before_others() {
    let (_redis, courier) = courier().await;
    for n in 0..100 {
        send(&courier, &format!("e{n:03}"), &["long"]).await;
    }
    let mut under_way = courier.round(&[], 4, PATIENCE).await.unwrap().taken;
    tokio::time::sleep(Duration::from_millis(5)).await;
    send(&courier, "late", &["other"]).await;
    // Whenever one ends there is room for one; the other has its turn after one of the long queue's at most.
    let mut turns = 0;
    loop {
        turns += 1;
        let ended = under_way.remove(0);
        settle(&courier, &ended, Fate::Done, Health::Well).await;
        let next = courier.round(&[], 1, PATIENCE).await.unwrap().taken.remove(0);
        if next.to == "other" {
            break;
        }
        under_way.push(next);
        assert!(turns < 3, "the other waits for the long queue");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn nobody_has_all_the_room_whatever_its_pace() {
    let (_redis, courier) = courier().await;
    let greedy = Pace::new(1_000, 0);
    courier.pace("greedy", greedy).await.unwrap();
    for n in 0..100 {
        send(&courier, &format!("e{n}"), &["greedy"]).await;
    }
    let mut taken = 0;
    for _ in 0..20 {
        taken += courier.round(&[], 100, PATIENCE).await.unwrap().taken.len();
    }
    assert_eq!(taken, 50);
}

#[tokio::test]
async fn who_asks_to_be_left_alone_is_with_all_that_is_for_it() {
    let (_redis, courier) = courier().await;
    for n in 0..12 {
        send(&courier, &format!("e{n:02}"), &["a"]).await;
    }
    let taken = take(&courier).await;
    let pause = Duration::from_millis(400);
    settle(&courier, &taken[0], Fate::Again(pause), Health::Busy(pause)).await;
    let round = courier.round(&[], 100, PATIENCE).await.unwrap();
    assert!(round.taken.is_empty(), "{round:?}");
    // What had begun before says nothing of what it asked for.
    settle(&courier, &taken[1], Fate::Done, Health::Well).await;
    assert!(take(&courier).await.is_empty(), "one that answered does not undo it");
    tokio::time::sleep(pause).await;
    assert_eq!(take(&courier).await.len(), 2, "what there was room for");
}

#[tokio::test]
async fn who_answers_503_and_when_to_come_again_breaks_its_circuit_like_others() {
    let (_redis, courier) = courier().await;
    send(&courier, "e", &["a"]).await;
    let moment = Duration::from_millis(1);
    for n in 1..=PATIENCE.failures {
        let taken = testkit::within(Duration::from_secs(5), "it is due", async || take(&courier).await.pop()).await;
        let told = settle(&courier, &taken, Fate::Again(moment), Health::Overloaded(moment)).await;
        assert_eq!(told == Told::Opened, n == PATIENCE.failures, "{n}: {told:?}");
    }
    let open: i64 = courier.addressee("a").await.unwrap()["open"].parse().unwrap();
    let left = open - crate::clock::now_ms();
    assert!(
        left > 10,
        "it is left alone for as long as any other, not for {left} ms"
    );
    // Who says what else it is tells that this was with how it was before.
    assert!(courier.write("a", "h", "", "{}", Pace::new(8, 0)).await.unwrap());
    assert_eq!(take(&courier).await.len(), 1);
}

#[tokio::test]
async fn what_is_put_off_is_kept_for_no_longer_than_since_it_was_sent() {
    let (redis, courier) = courier().await;
    send(&courier, "e", &["a"]).await;
    let prefix = redis.cli(&["KEYS", "*d:e/a"]).trim().replace("d:e/a", "");
    for kind in ["d:e/a", "event:e"] {
        redis.cli(&["EXPIRE", &format!("{prefix}{kind}"), "1000"]);
    }
    let taken = take(&courier).await.remove(0);
    settle(
        &courier,
        &taken,
        Fate::Later(Duration::from_mins(1)),
        Health::Away(Duration::from_mins(1)),
    )
    .await;
    for kind in ["d:e/a", "event:e"] {
        let left: i64 = redis.cli(&["TTL", &format!("{prefix}{kind}")]).trim().parse().unwrap();
        assert!((1..=1_000).contains(&left), "{kind}: {left}");
    }
}

#[tokio::test]
async fn failures_that_are_far_apart_are_not_one() {
    let (_redis, courier) = courier().await;
    let hasty = Patience {
        failures: 100,
        give_up: Duration::from_millis(200),
        ..PATIENCE
    };
    for n in 0..8 {
        send(&courier, &format!("e{n}"), &["a"]).await;
        let taken = take(&courier).await.remove(0);
        let refused = report(&taken, Fate::Dead, Health::Refusing);
        assert_eq!(
            courier.round(&[refused], 0, hasty).await.unwrap().told,
            [Told::Settled],
            "{n}"
        );
        tokio::time::sleep(hasty.give_up / 4).await;
    }
}

#[tokio::test]
async fn what_is_not_kept_any_more_is_a_dead_letter_and_not_nothing() {
    let (redis, courier) = courier().await;
    send(&courier, "e1", &["a"]).await;
    redis.cli(&["DEL", "{forge:notifications}:deliveries:event:e1"]);
    assert!(take(&courier).await.is_empty());
    let dead = courier.newest(None, 1).await.unwrap();
    assert!(dead[0].fields["why"].contains("not kept any more"), "{dead:?}");
}

/// Of what has one delivery, it is not counted how many have not ended.
#[tokio::test]
async fn what_has_one_delivery_more_than_at_first_is_kept_until_both_have_ended() {
    let (redis, courier) = courier().await;
    let ttl = |kind: &str| -> i64 {
        let key = format!("{{forge:notifications}}:deliveries:{kind}");
        redis.cli(&["TTL", &key]).trim().parse().unwrap()
    };
    send(&courier, "e1", &["a"]).await;
    assert_eq!(ttl("open:e1"), -2);
    send(&courier, "e1", &["a", "b"]).await;
    let taken = take(&courier).await;
    assert_eq!(ids(&taken), ["e1/a", "e1/b"]);
    settle(&courier, &taken[0], Fate::Done, Health::Well).await;
    assert!(ttl("event:e1") > 7 * 86_400, "one still waits for it");
    settle(&courier, &taken[1], Fate::Done, Health::Well).await;
    assert!((1..=6 * 3_600).contains(&ttl("event:e1")) && ttl("open:e1") == -2);
    send(&courier, "e2", &["a"]).await;
    let taken = take(&courier).await;
    settle(&courier, &taken[0], Fate::Done, Health::Well).await;
    assert!((1..=6 * 3_600).contains(&ttl("event:e2")));
    send(&courier, "e2", &["a", "b"]).await;
    let taken = take(&courier).await;
    assert_eq!(ids(&taken), ["e2/b"]);
    settle(&courier, &taken[0], Fate::Done, Health::Well).await;
    assert!((1..=6 * 3_600).contains(&ttl("event:e2")) && ttl("open:e2") == -2);
    send(&courier, "e3", &["a"]).await;
    let taken = take(&courier).await;
    settle(&courier, &taken[0], Fate::Dead, Health::Unknown).await;
    assert!((5 * 86_400..=7 * 86_400).contains(&ttl("event:e3")));
}

/// One attempt is kept with its delivery, the newest 20 of them; those that say nothing push out none.
#[tokio::test]
async fn of_what_was_tried_the_newest_20_are_kept_in_their_order() {
    let (_redis, courier) = courier().await;
    send(&courier, "e1", &["a"]).await;
    let tried = async |tried: String, fate: Fate| {
        let taken = take(&courier).await.remove(0);
        let report = Report {
            id: taken.id,
            token: taken.token,
            fate,
            tried,
            health: Health::Unknown,
            why: String::new(),
        };
        courier.round(&[report], 0, PATIENCE).await.unwrap();
    };
    for n in 1..=25 {
        tried(n.to_string(), Fate::Again(Duration::ZERO)).await;
    }
    for _ in 0..30 {
        tried(String::new(), Fate::Later(Duration::ZERO)).await;
    }
    let kept = async || courier.record("e1/a").await.unwrap().unwrap();
    let numbers = |from: u32, to: u32| (from..=to).map(|n| n.to_string()).collect::<Vec<_>>();
    assert_eq!(kept().await.tries, numbers(6, 25));
    for n in 26..=28 {
        tried(n.to_string(), Fate::Done).await;
        courier.again("e1/a").await.unwrap().unwrap();
    }
    let record = kept().await;
    assert_eq!(record.tries, numbers(9, 28));
    let odd = record
        .fields
        .keys()
        .find(|name| name.starts_with('t') && !["to", "token"].contains(&name.as_str()));
    assert_eq!(odd, None);
}

/// Whoever configures an endpoint twice gets everything once, and nothing is kept for longer.
#[tokio::test]
async fn an_addressee_that_is_named_twice_has_one_delivery() {
    let (redis, courier) = courier().await;
    send(&courier, "e1", &["a", "a"]).await;
    let taken = take(&courier).await;
    assert_eq!(ids(&taken), ["e1/a"]);
    settle(&courier, &taken[0], Fate::Done, Health::Well).await;
    let ttl = redis.cli(&["TTL", "{forge:notifications}:deliveries:event:e1"]);
    assert!((1..=6 * 3_600).contains(&ttl.parse::<i64>().unwrap()), "{ttl}");
    assert!(take(&courier).await.is_empty());
}

/// To send one again that arrived shortens nothing for another of the same event that is dead.
#[tokio::test]
async fn a_dead_delivery_can_be_asked_for_after_its_sibling_was_sent_again() {
    let (redis, courier) = courier().await;
    send(&courier, "e1", &["a", "b"]).await;
    let taken = take(&courier).await;
    settle(&courier, &taken[0], Fate::Dead, Health::Unknown).await;
    settle(&courier, &taken[1], Fate::Done, Health::Well).await;
    courier.again("e1/b").await.unwrap().unwrap();
    let taken = take(&courier).await;
    settle(&courier, &taken[0], Fate::Done, Health::Well).await;
    let ttl = redis.cli(&["TTL", "{forge:notifications}:deliveries:event:e1"]);
    assert!(ttl.parse::<i64>().unwrap() > 5 * 86_400, "{ttl}");
    assert_eq!(courier.again("e1/a").await.unwrap(), Ok(()));
}

/// More reports than a script may unpack.
#[tokio::test]
async fn many_thousand_attempts_can_be_settled_at_once() {
    let (_redis, courier) = courier().await;
    let greedy = Pace::new(100, 0);
    let to: Vec<String> = (0..100).map(|n| format!("a{n}")).collect();
    for to in &to {
        courier.pace(to, greedy).await.unwrap();
    }
    for n in 0..90 {
        courier
            .send(&format!("e{n}"), "", &Bytes::from("p"), &to)
            .await
            .unwrap();
    }
    let patient = Patience {
        most_of_one: 100,
        ..PATIENCE
    };
    let mut reports = Vec::new();
    while reports.len() < 9_000 {
        let taken = courier.round(&[], 500, patient).await.unwrap().taken;
        assert!(!taken.is_empty(), "{} were taken", reports.len());
        reports.extend(taken.into_iter().map(|taken| Report {
            id: taken.id,
            token: taken.token,
            fate: Fate::Done,
            tried: String::new(),
            health: Health::Well,
            why: String::new(),
        }));
    }
    let round = courier.round(&reports, 10, patient).await.unwrap();
    assert_eq!(round.told.len(), 9_000);
    assert!(round.told.iter().all(|told| *told == Told::Settled));
    assert_eq!(courier.stats().await.unwrap().held, 0);
}

#[tokio::test]
async fn what_everybody_has_is_kept_for_hours_and_not_for_days() {
    let (redis, courier) = courier().await;
    let ttl = |kind: &str| -> i64 {
        let key = format!("{{forge:notifications}}:deliveries:{kind}");
        redis.cli(&["TTL", &key]).trim().parse().unwrap()
    };
    send(&courier, "e1", &["a", "b"]).await;
    let taken = take(&courier).await;
    settle(&courier, &taken[0], Fate::Done, Health::Well).await;
    assert!(ttl("event:e1") > 7 * 86_400, "one still waits for it");
    settle(&courier, &taken[1], Fate::Done, Health::Well).await;
    assert!((1..=6 * 3_600).contains(&ttl("event:e1")), "{}", ttl("event:e1"));
    assert_eq!(ttl("open:e1"), -2, "nothing is left of it");
    assert_eq!(courier.again("e1/a").await.unwrap(), Ok(()));
    assert!(ttl("event:e1") > 7 * 86_400);
    let taken = take(&courier).await;
    settle(&courier, &taken[0], Fate::Dead, Health::Unknown).await;
    assert!(
        (5 * 86_400..=7 * 86_400).contains(&ttl("event:e1")),
        "a dead one may be asked for"
    );
}

#[tokio::test]
async fn what_somebody_else_has_changed_meanwhile_is_not_written_over() {
    let (_redis, courier) = courier().await;
    let pace = Pace::new(1, 0);
    assert!(courier.write("a", "label", "", "first", pace).await.unwrap());
    assert!(!courier.write("a", "label", "", "another", pace).await.unwrap());
    assert!(courier.write("a", "label", "first", "second", pace).await.unwrap());
    assert!(!courier.strike("a", "label", "first").await.unwrap());
    assert_eq!(
        (
            courier.written("a").await.unwrap().as_deref(),
            courier.edition().await.unwrap()
        ),
        (Some("second"), 2)
    );
    send(&courier, "e1", &["a"]).await;
    assert!(courier.strike("a", "label", "second").await.unwrap());
    assert!(courier.book().await.unwrap().is_empty() && take(&courier).await.is_empty());
}

#[tokio::test]
async fn who_wants_order_gets_what_is_about_one_thing_one_after_another() {
    let (_redis, courier) = courier().await;
    let ordered = Pace {
        ordered: true,
        ..Pace::new(8, 0)
    };
    courier.pace("a", ordered).await.unwrap();
    for (event, about) in [("e1", "x"), ("e2", "x"), ("e3", "y"), ("e4", "x"), ("e5", "x")] {
        send_about(&courier, event, about, &["a", "b"]).await;
    }
    send_about(&courier, "e2", "x", &["a"]).await;
    let taken = take(&courier).await;
    let of = |to: &str, taken: &[Taken]| {
        let of: Vec<_> = taken.iter().filter(|taken| taken.to == to).collect();
        of.iter()
            .map(|taken| taken.id.split('/').next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        of("b", &taken),
        ["e1", "e2", "e3", "e4", "e5"],
        "who does not want it gets all at once"
    );
    assert_eq!(of("a", &taken), ["e1", "e3"]);
    let find = |id: &str, taken: &[Taken]| taken.iter().find(|taken| taken.id == id).unwrap().clone();
    // What has failed keeps its place; what has arrived, and what never will, gives it up.
    settle(
        &courier,
        &find("e1/a", &taken),
        Fate::Again(Duration::ZERO),
        Health::Unknown,
    )
    .await;
    let taken = take(&courier).await;
    assert_eq!(of("a", &taken), ["e1"]);
    settle(&courier, &taken[0], Fate::Done, Health::Well).await;
    let taken = take(&courier).await;
    assert_eq!(of("a", &taken), ["e2"]);
    settle(&courier, &taken[0], Fate::Dead, Health::Unknown).await;
    let taken = take(&courier).await;
    assert_eq!(of("a", &taken), ["e4"]);
    // What is sent again is not in line; what its notifier died over is.
    assert_eq!(courier.again("e2/a").await.unwrap(), Ok(()));
    let again = take(&courier).await;
    assert_eq!(of("a", &again), ["e2"]);
    settle(&courier, &again[0], Fate::Done, Health::Well).await;
    assert!(take(&courier).await.is_empty());
    settle(&courier, &taken[0], Fate::Done, Health::Well).await;
    assert_eq!(of("a", &take(&courier).await), ["e5"]);
}

#[tokio::test]
async fn the_1001st_delivery_of_a_line_is_dead_and_told() {
    let (redis, courier) = courier().await;
    let ordered = Pace {
        ordered: true,
        ..Pace::new(1, 0)
    };
    courier.pace("a", ordered).await.unwrap();
    for n in 0..1_000 {
        send_about(&courier, &format!("e{n}"), "x", &["a"]).await;
    }
    let to = ["a".to_owned()];
    assert_eq!(courier.send("e1000", "x", &Bytes::from("p"), &to).await.unwrap(), ["a"]);
    assert_eq!(courier.newest(None, 1).await.unwrap()[0].id, "e1000/a");
    let length = redis.cli(&["LLEN", "{forge:notifications}:deliveries:line:a/x"]);
    assert_eq!(length, "1000");
}

#[tokio::test]
async fn a_delivery_is_held_for_as_long_as_it_is_tried_and_no_longer() {
    let (_redis, courier) = courier().await;
    send(&courier, "e1", &["a", "b"]).await;
    let short = Patience {
        lease: Duration::from_millis(200),
        ..PATIENCE
    };
    let taken = courier.round(&[], 10, short).await.unwrap().taken;
    let (slow, dead) = (&taken[0], &taken[1]);
    for _ in 0..6 {
        tokio::time::sleep(short.lease / 4).await;
        assert!(courier.hold(&slow.id, slow.token, short.lease).await.unwrap());
    }
    assert_eq!(courier.reap().await.unwrap(), 1, "who tries the other has died");
    assert_eq!(ids(&take(&courier).await), [dead.id.as_str()]);
    assert!(!courier.hold(&dead.id, dead.token, short.lease).await.unwrap());
    assert_eq!(settle(&courier, slow, Fate::Done, Health::Well).await, Told::Settled);
    assert!(!courier.hold(&slow.id, slow.token, short.lease).await.unwrap());
    assert_eq!(
        courier.stats().await.unwrap().held,
        1,
        "what has ended is not held again"
    );
}

#[tokio::test]
async fn what_becomes_of_addressees_is_noted_until_others_were_told() {
    let (_redis, courier) = courier().await;
    let pace = Pace::new(1, 0);
    courier.write("a", "label", "", "first", pace).await.unwrap();
    courier.write("a", "label", "first", "second", pace).await.unwrap();
    send(&courier, "e1", &["a"]).await;
    let taken = take(&courier).await;
    assert_eq!(
        settle(&courier, &taken[0], Fate::Dead, Health::Gone).await,
        Told::TurnedOff
    );
    courier.turn_off("a", "again").await.unwrap();
    courier.turn_on("a").await.unwrap();
    courier.turn_on("a").await.unwrap();
    courier.strike("a", "label", "second").await.unwrap();
    let told = courier.announcements().await.unwrap();
    let words: Vec<_> = told
        .iter()
        .map(|told| (told.what.as_str(), told.why.as_deref(), told.label.as_deref()))
        .collect();
    let expected = [
        ("created", None, Some("label")),
        ("updated", None, Some("label")),
        ("disabled", Some("because"), None),
        ("enabled", None, None),
        ("deleted", None, Some("label")),
    ];
    assert_eq!(words, expected);
    for told in &told[..4] {
        courier.announced(told).await.unwrap();
    }
    assert_eq!(courier.announcements().await.unwrap(), told[4..]);
}

#[tokio::test]
async fn of_what_becomes_of_addressees_the_newest_1000_are_noted() {
    let (redis, courier) = courier().await;
    for n in 0..505 {
        courier.turn_off("a", &format!("{n}")).await.unwrap();
        courier.turn_on("a").await.unwrap();
    }
    assert_eq!(
        redis.cli(&["LLEN", "{forge:notifications}:deliveries:announce"]),
        "1000"
    );
    let told = courier.announcements().await.unwrap();
    assert_eq!((told.len(), told[0].why.as_deref()), (100, Some("5")));
}

#[tokio::test]
async fn a_wish_ends_by_itself() {
    let (_redis, courier) = courier().await;
    assert!(!courier.is_wanted("logs").await.unwrap());
    courier.want("logs", Duration::from_secs(1)).await.unwrap();
    assert!(courier.is_wanted("logs").await.unwrap());
    testkit::eventually("it ends", async || {
        (!courier.is_wanted("logs").await.unwrap()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_line_goes_on_when_its_first_is_forgotten_and_ends_when_its_addressee_is_struck() {
    let (redis, courier) = courier().await;
    let ordered = Pace {
        ordered: true,
        ..Pace::new(8, 0)
    };
    courier.write("a", "label", "", "text", ordered).await.unwrap();
    for event in ["e1", "e2", "e3", "e4", "e5"] {
        send_about(&courier, event, "x", &["a"]).await;
    }
    // As if they had waited for longer than anything is kept.
    let forget = |event: &str| {
        redis.cli(&["DEL", &format!("{{forge:notifications}}:deliveries:d:{event}/a")]);
    };
    forget("e1");
    forget("e2");
    assert!(take(&courier).await.is_empty());
    let taken = take(&courier).await;
    assert_eq!(ids(&taken), ["e3/a"]);
    let dead = courier.newest(None, 10).await.unwrap();
    assert_eq!(dead[0].id, "e2/a", "it is not lost without a word");
    assert_eq!(courier.count(Some("a")).await.unwrap(), 3);
    // What is out when the endpoint is removed brings nothing back.
    assert!(courier.strike("a", "label", "text").await.unwrap());
    settle(&courier, &taken[0], Fate::Again(Duration::ZERO), Health::Ill).await;
    assert!(take(&courier).await.is_empty());
    let left = redis.cli(&["--raw", "KEYS", "{forge:notifications}:deliveries:*"]);
    let left: Vec<_> = left
        .lines()
        .filter(|key| key.contains(":line") || key.contains(":due:") || key.contains(":to:"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn what_is_of_use_for_minutes_is_kept_for_minutes_and_is_no_dead_letter() {
    let (redis, courier) = courier().await;
    let ordered = Pace {
        ordered: true,
        ..Pace::new(8, 0)
    };
    courier.pace("a", ordered).await.unwrap();
    let to = ["a".to_owned()];
    let payload = Bytes::from("lines");
    for n in 0..40 {
        let full = courier
            .send_kept(&format!("e{n}"), "x/log", &payload, &to, true)
            .await
            .unwrap();
        assert!(full.is_empty());
    }
    assert_eq!(courier.count(Some("a")).await.unwrap(), 30, "the others are dropped");
    assert!(courier.newest(None, 10).await.unwrap().is_empty());
    let ttl = |key: &str| -> i64 {
        redis
            .cli(&["TTL", &format!("{{forge:notifications}}:deliveries:{key}")])
            .parse()
            .unwrap()
    };
    assert_eq!(ttl("open:e1"), -2, "it has one delivery only");
    for key in ["event:e1", "d:e1/a"] {
        assert!((500..=600).contains(&ttl(key)), "{key}: {}", ttl(key));
    }
    let taken = take(&courier).await;
    assert_eq!(ids(&taken), ["e0/a"]);
    settle(&courier, &taken[0], Fate::Again(Duration::ZERO), Health::Unknown).await;
    assert!(ttl("d:e0/a") <= 600, "to try it again keeps it for no longer");
    let taken = take(&courier).await;
    settle(&courier, &taken[0], Fate::Done, Health::Well).await;
    assert!(ttl("event:e0") <= 60 && ttl("d:e0/a") <= 60);
    let taken = take(&courier).await;
    assert_eq!(ids(&taken), ["e1/a"]);
    settle(&courier, &taken[0], Fate::Dead, Health::Unknown).await;
    assert!(courier.newest(None, 10).await.unwrap().is_empty());
    assert_eq!(ids(&take(&courier).await), ["e2/a"]);
}

#[tokio::test]
async fn a_line_goes_on_when_its_first_is_forgotten_while_it_is_delivered() {
    let (redis, courier) = courier().await;
    let ordered = Pace {
        ordered: true,
        ..Pace::new(8, 0)
    };
    courier.pace("a", ordered).await.unwrap();
    send_about(&courier, "e1", "x", &["a"]).await;
    send_about(&courier, "e2", "x", &["a"]).await;
    let short = Patience {
        lease: Duration::from_millis(20),
        ..PATIENCE
    };
    let taken = courier.round(&[], 10, short).await.unwrap().taken;
    assert_eq!(ids(&taken), ["e1/a"]);
    redis.cli(&["DEL", "{forge:notifications}:deliveries:d:e1/a"]);
    assert_eq!(settle(&courier, &taken[0], Fate::Done, Health::Well).await, Told::Stale);
    testkit::eventually("its lease ends", async || {
        (courier.reap().await.unwrap() == 1).then_some(())
    })
    .await;
    assert_eq!(ids(&take(&courier).await), ["e2/a"]);
}
