//! The ordinary life of a message.

use crate::util::{Lab, message, take, take_nothing};
use bus::{LastWords, Parcel, Sent, Settled};
use contract::{Message as _, Priority};
use std::time::Duration;
use tokio::time::Instant;

#[tokio::test]
async fn messages_come_in_the_order_in_which_they_were_pushed_and_end_once() {
    let lab = Lab::new().await;
    for id in ["a", "b", "c"] {
        lab.send(id).await;
    }
    let worker = lab.worker(1).await;
    let mut slot = worker.slot(0);
    for id in ["a", "b", "c"] {
        let delivery = take(&mut slot).await;
        assert_eq!((delivery.message().id.as_str(), delivery.attempt()), (id, 1));
        assert_eq!(
            delivery.finish("success", &format!("end {id}")).await.unwrap(),
            Settled::Ended("success".into())
        );
    }
    assert_eq!(lab.events(), ["end a", "end b", "end c"]);
    assert_eq!(lab.left(), 0);
}

#[tokio::test]
async fn a_waiting_worker_gets_a_message_at_once() {
    let lab = Lab::new().await;
    let worker = lab.worker(1).await;
    let mut slot = worker.slot(0);
    let waiting = tokio::spawn(async move {
        let delivery = take(&mut slot).await;
        (Instant::now(), delivery.finish("success", "").await.unwrap())
    });
    tokio::time::sleep(Duration::from_millis(700)).await;
    let sent = Instant::now();
    lab.redis
        .cli(&["LPUSH", "forge:builds", &message("plain").to_json().unwrap()]);
    let (taken, _) = waiting.await.unwrap();
    assert!(
        taken.duration_since(sent) < Duration::from_secs(1),
        "{:?}",
        taken.duration_since(sent)
    );
}

#[tokio::test]
async fn a_message_that_was_sent_before_is_not_sent_again_not_even_after_it_ended() {
    let lab = Lab::new().await;
    let producer = lab.bus.producer(&lab.list);
    assert_eq!(producer.send(&message("a")).await.unwrap(), Sent::Queued);
    assert_eq!(
        producer.send(&message("a")).await.unwrap(),
        Sent::Duplicate("queued".into())
    );
    let worker = lab.worker(1).await;
    take(&mut worker.slot(0)).await.finish("failed", "").await.unwrap();
    assert_eq!(
        producer.send(&message("a")).await.unwrap(),
        Sent::Duplicate("failed".into())
    );
    let parcel = |id| Parcel {
        once: Some(("fingerprint".to_owned(), Duration::from_mins(1))),
        ..Parcel::new(&message(id)).unwrap()
    };
    assert_eq!(producer.send_parcel(parcel("b")).await.unwrap(), Sent::Queued);
    assert_eq!(
        producer.send_parcel(parcel("c")).await.unwrap(),
        Sent::Duplicate("seen".into())
    );
}

#[tokio::test]
async fn copies_of_one_message_are_built_once() {
    let lab = Lab::new().await;
    let text = message("a").to_json().unwrap();
    lab.redis.cli(&["LPUSH", "forge:builds", &text, &text, &text]);
    let worker = lab.worker(2).await;
    let running = take(&mut worker.slot(0)).await;
    take_nothing(&mut worker.slot(1)).await;
    running.finish("success", "end").await.unwrap();
    lab.redis.cli(&["LPUSH", "forge:builds", &text]);
    take_nothing(&mut worker.slot(1)).await;
    assert_eq!((lab.events(), lab.left()), (vec!["end".to_owned()], 0));
}

#[tokio::test]
async fn a_failed_attempt_comes_again_after_its_pause_and_ends_when_attempts_run_out() {
    let lab = Lab::new().await;
    lab.send("a").await;
    let worker = lab.worker(1).await;
    let stop = tokio_util::sync::CancellationToken::new();
    let tended = async {
        for attempt in 1..=3 {
            let delivery = take(&mut worker.slot(0)).await;
            assert_eq!((delivery.attempt(), delivery.failures()), (attempt, attempt - 1));
            let last = LastWords {
                state: "failed",
                event: "out of attempts".into(),
                why: "why".into(),
            };
            let settled = delivery.retry(Duration::from_millis(50), "again", last).await.unwrap();
            let expected = if attempt < 3 {
                Settled::Again
            } else {
                Settled::Ended("failed".into())
            };
            assert_eq!(settled, expected);
        }
        stop.cancel();
    };
    tokio::join!(tended, worker.tend(stop.clone()));
    assert_eq!(lab.events(), ["again", "again", "out of attempts"]);
    let dead = lab.redis.cli(&["--raw", "LRANGE", "{forge:builds}:dead", "0", "-1"]);
    assert_eq!(
        dead,
        format!(
            "{{\"id\":\"a\",\"reason\":\"why\"}}\n{}",
            message("a").to_json().unwrap()
        )
    );
}

#[tokio::test]
async fn a_message_that_is_given_back_comes_first_and_costs_no_attempt() {
    let lab = Lab::new().await;
    for id in ["a", "b"] {
        lab.send(id).await;
    }
    let worker = lab.worker(1).await;
    let mut slot = worker.slot(0);
    assert_eq!(
        take(&mut slot).await.release("given back").await.unwrap(),
        Settled::Again
    );
    let delivery = take(&mut slot).await;
    assert_eq!(
        (delivery.message().id.as_str(), delivery.attempt(), delivery.failures()),
        ("a", 2, 0)
    );
}

#[tokio::test]
async fn nobody_idles_beside_a_message_in_another_lane() {
    let lab = Lab::new().await;
    let producer = lab.bus.producer(&lab.list);
    for (id, priority) in [
        ("n1", Priority::Normal),
        ("low", Priority::Low),
        ("n2", Priority::Normal),
        ("high", Priority::High),
    ] {
        let mut message = message(id);
        message.priority = Some(priority);
        producer.send(&message).await.unwrap();
    }
    let worker = lab.worker(1).await;
    let mut slot = worker.slot(0);
    let mut order = Vec::new();
    for _ in 0..4 {
        let delivery = take(&mut slot).await;
        order.push(delivery.message().id.to_string());
        delivery.finish("success", "").await.unwrap();
    }
    order.sort_unstable();
    assert_eq!(order, ["high", "low", "n1", "n2"]);
    // A lane alone, written while everybody already waits on the list itself, feeds that list.
    lab.redis
        .cli(&["LPUSH", "{forge:builds}:high", &message("late").to_json().unwrap()]);
    assert_eq!(take(&mut slot).await.message().id.as_str(), "late");
}

#[tokio::test]
async fn nothing_is_taken_from_a_paused_list() {
    let lab = Lab::new().await;
    lab.redis.cli(&["SET", "{forge:builds}:paused", "1"]);
    lab.send("a").await;
    let worker = lab.worker(1).await;
    take_nothing(&mut worker.slot(0)).await;
    assert_eq!(lab.redis.cli(&["LLEN", "forge:builds"]), "1");
    lab.redis.cli(&["DEL", "{forge:builds}:paused"]);
    assert_eq!(take(&mut worker.slot(0)).await.attempt(), 1);
}

#[tokio::test]
async fn a_message_that_redis_lost_is_put_back_and_one_that_is_there_is_not() {
    let lab = Lab::new().await;
    let producer = lab.bus.producer(&lab.list);
    let text = message("a").to_json().unwrap();
    lab.send("a").await;
    assert_eq!(producer.repair("a", &text).await.unwrap(), None);
    assert_eq!(
        lab.redis.cli(&["LLEN", "forge:builds"]),
        "1",
        "a record and its message: nothing to repair"
    );
    lab.redis.cli(&["DEL", "forge:builds"]);
    assert_eq!(producer.repair("a", &text).await.unwrap(), None);
    assert_eq!(
        lab.redis.cli(&["LLEN", "forge:builds"]),
        "1",
        "a record alone does not count"
    );
    let worker = lab.worker(1).await;
    let delivery = take(&mut worker.slot(0)).await;
    assert_eq!(producer.repair("a", &text).await.unwrap(), None);
    assert_eq!(
        lab.redis.cli(&["LLEN", "forge:builds"]),
        "0",
        "one that runs is not doubled"
    );
    delivery.finish("success", "").await.unwrap();
    assert_eq!(producer.repair("a", &text).await.unwrap(), Some("success".into()));
}
