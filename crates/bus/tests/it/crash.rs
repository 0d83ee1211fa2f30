//! Workers that die, at every point where they can.

use crate::util::{Lab, message, take, take_nothing};
use bus::{Settled, Stop};
use contract::Message as _;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A reaper reaps only after a calm lease, and the machine is shared.
const REAPED: Duration = Duration::from_secs(15);

#[tokio::test]
async fn what_a_dead_worker_held_comes_back_first_and_its_late_report_changes_nothing() {
    let lab = Lab::new().await;
    for id in ["a", "b"] {
        lab.send(id).await;
    }
    let dead = lab.worker(1).await;
    let held = take(&mut dead.slot(0)).await;
    lab.let_die(dead.name());
    let living = lab.worker(1).await;
    let stop = CancellationToken::new();
    let again = async {
        testkit::within(REAPED, "reaped", async || {
            (lab.field("a", "crashes") == "1").then_some(())
        })
        .await;
        let delivery = take(&mut living.slot(0)).await;
        assert_eq!(
            (delivery.message().id.as_str(), delivery.attempt(), delivery.crashes()),
            ("a", 2, 1)
        );
        assert_eq!(
            held.finish("success", "too late").await.unwrap(),
            Settled::Stale("running".into())
        );
        delivery.finish("success", "end").await.unwrap();
        stop.cancel();
    };
    tokio::join!(again, living.tend(stop.clone()));
    assert_eq!(lab.events(), ["end"]);
    assert!(
        !lab.redis
            .cli(&["ZRANGE", "{forge:builds}:workers", "0", "-1"])
            .contains(dead.name())
    );
}

#[tokio::test]
async fn at_the_crash_limit_a_message_is_lost_with_an_event_and_a_dead_letter() {
    let lab = Lab::new().await;
    lab.send("a").await;
    let dead = lab.worker(1).await;
    let _held = take(&mut dead.slot(0)).await;
    lab.redis.cli(&["HSET", "{forge:builds}:job:a", "crashes", "2"]);
    lab.let_die(dead.name());
    let living = lab.worker(1).await;
    let stop = CancellationToken::new();
    let ends = async {
        testkit::within(REAPED, "lost", async || {
            (lab.field("a", "state") == "lost").then_some(())
        })
        .await;
        stop.cancel();
    };
    tokio::join!(ends, living.tend(stop.clone()));
    assert_eq!(lab.events(), ["lost a"]);
    assert_ne!(lab.redis.cli(&["TTL", "{forge:builds}:job:a"]), "-1");
    assert!(
        lab.redis
            .cli(&["LRANGE", "{forge:builds}:dead", "0", "-1"])
            .contains("its workers died too often")
    );
}

#[tokio::test]
async fn a_cancelled_message_whose_worker_dies_is_cancelled_and_not_run_again() {
    let lab = Lab::new().await;
    lab.send("a").await;
    let dead = lab.worker(1).await;
    let _held = take(&mut dead.slot(0)).await;
    let canceller = lab.bus.canceller(&lab.list, "forge:cancel");
    canceller
        .cancel(&crate::cancel::request("a"), "cancelled a")
        .await
        .unwrap();
    lab.let_die(dead.name());
    let living = lab.worker(1).await;
    let stop = CancellationToken::new();
    let ends = async {
        testkit::within(REAPED, "cancelled", async || {
            (lab.field("a", "state") == "cancelled").then_some(())
        })
        .await;
        stop.cancel();
    };
    tokio::join!(ends, living.tend(stop.clone()));
    assert_eq!((lab.events(), lab.left()), (vec!["cancelled a".to_owned()], 0));
}

#[tokio::test]
async fn reaping_a_copy_does_not_touch_the_one_that_runs() {
    let lab = Lab::new().await;
    lab.send("a").await;
    let living = lab.worker(1).await;
    let running = take(&mut living.slot(0)).await;
    let dead = lab.worker(1).await;
    let copy = format!("{{forge:builds}}:proc:{}:0", dead.name());
    lab.redis.cli(&["LPUSH", &copy, &message("a").to_json().unwrap()]);
    lab.let_die(dead.name());
    let stop = CancellationToken::new();
    let ends = async {
        testkit::within(REAPED, "dropped", async || {
            (lab.redis.cli(&["EXISTS", &copy]) == "0").then_some(())
        })
        .await;
        stop.cancel();
    };
    tokio::select! {
        () = ends => {}
        () = living.tend(stop.clone()) => panic!("it tends until nothing is held"),
    }
    assert_eq!(
        (
            lab.field("a", "crashes").as_str(),
            lab.redis.cli(&["LLEN", "forge:builds"]).as_str()
        ),
        ("", "0")
    );
    assert_eq!(
        running.finish("success", "end").await.unwrap(),
        Settled::Ended("success".into())
    );
}

#[tokio::test]
async fn a_worker_whose_lease_is_gone_is_told_to_stop_without_reporting() {
    let lab = Lab::new().await;
    lab.send("a").await;
    let worker = lab.worker(1).await;
    let delivery = take(&mut worker.slot(0)).await;
    lab.redis.cli(&["HSET", "{forge:builds}:job:a", "attempt", "2"]);
    let stop = CancellationToken::new();
    let told = async {
        let mut why = delivery.stop();
        assert_eq!(why.wait_for(Option::is_some).await.unwrap().clone(), Some(Stop::Lost));
        stop.cancel();
    };
    tokio::select! {
        () = told => {}
        () = worker.tend(stop.clone()) => panic!("it tends until nothing is held"),
    }
}

#[tokio::test]
async fn what_an_ambiguous_error_left_in_a_slot_is_adopted() {
    let lab = Lab::new().await;
    let worker = lab.worker(1).await;
    let slot_key = format!("{{forge:builds}}:proc:{}:0", worker.name());
    lab.redis.cli(&["LPUSH", &slot_key, &message("a").to_json().unwrap()]);
    assert_eq!(take(&mut worker.slot(0)).await.message().id.as_str(), "a");
    // A slot task that died while it held something finds it again, as another attempt.
    assert_eq!(take(&mut worker.slot(0)).await.attempt(), 2);
}

#[tokio::test]
async fn a_message_that_breaks_its_slot_again_and_again_is_lost_with_an_event_and_a_dead_letter() {
    let lab = Lab::new().await;
    lab.send("a").await;
    let worker = lab.worker(1).await;
    for attempt in 1..=11 {
        assert_eq!(take(&mut worker.slot(0)).await.attempt(), attempt);
    }
    take_nothing(&mut worker.slot(0)).await;
    assert_eq!(
        (lab.field("a", "state").as_str(), lab.events()),
        ("lost", vec!["lost a".to_owned()])
    );
    let dead = lab.redis.cli(&["LRANGE", "{forge:builds}:dead", "0", "-1"]);
    assert!(dead.contains("the worker that ran it broke too often"), "{dead}");
}

#[tokio::test]
async fn a_worker_that_slept_through_its_own_lease_does_not_take_others_for_dead() {
    let lab = Lab::new().await;
    lab.send("a").await;
    let other = lab.worker(1).await;
    let _held = take(&mut other.slot(0)).await;
    let sleeper = lab.worker(1).await;
    let stop = CancellationToken::new();
    // The whole machine sleeps: every lease has run out when it wakes, and the other beats a little later.
    let wakes = async {
        tokio::select! {
            () = tokio::time::sleep(lab.bus.lease().length()) => {}
            () = other.tend(stop.clone()) => panic!("nobody stops it"),
        }
        let workers = "{forge:builds}:workers";
        lab.redis
            .cli(&["ZADD", workers, "XX", "1", other.name(), "1", sleeper.name()]);
        tokio::time::sleep(lab.bus.lease().length() / 2).await;
    };
    tokio::select! {
        () = wakes => {}
        () = sleeper.tend(stop.clone()) => panic!("nobody stops it"),
    }
    assert_eq!(lab.field("a", "crashes"), "", "the other had no chance to beat yet");
}

#[tokio::test]
async fn a_slot_survives_killed_connections_and_a_killed_redis() {
    let mut lab = Lab::new().await;
    let worker = lab.worker(1).await;
    let mut slot = worker.slot(0);
    let waiting = tokio::spawn(async move { take(&mut slot).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    lab.redis.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
    lab.redis.kill();
    lab.redis.restart();
    lab.redis
        .cli(&["LPUSH", "forge:builds", &message("a").to_json().unwrap()]);
    let delivery = waiting.await.unwrap();
    lab.redis.cli(&["SCRIPT", "FLUSH"]);
    assert_eq!(
        delivery.finish("success", "end").await.unwrap(),
        Settled::Ended("success".into())
    );
}

#[tokio::test]
async fn a_result_waits_for_redis_to_come_back() {
    let mut lab = Lab::new().await;
    lab.send("a").await;
    let worker = lab.worker(1).await;
    let delivery = take(&mut worker.slot(0)).await;
    tokio::time::sleep(Duration::from_millis(1_200)).await; // Until the append-only file is flushed.
    lab.redis.kill();
    let settled = tokio::spawn(async move { delivery.finish("success", "end").await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    lab.redis.restart();
    assert_eq!(settled.await.unwrap().unwrap(), Settled::Ended("success".into()));
    take_nothing(&mut worker.slot(0)).await;
}

#[tokio::test]
async fn a_dead_letter_that_is_sent_again_gets_another_chance() {
    let lab = Lab::new().await;
    lab.send("a").await;
    let worker = lab.worker(1).await;
    take(&mut worker.slot(0)).await.bury("dead", "", "why").await.unwrap();
    assert_eq!(
        lab.bus.producer(&lab.list).send(&message("a")).await.unwrap(),
        bus::Sent::Queued
    );
    assert_eq!(take(&mut worker.slot(0)).await.attempt(), 1);
}

#[tokio::test]
async fn connections_end_with_what_they_were_made_for() {
    let lab = Lab::new().await;
    let count = || lab.redis.cli(&["CLIENT", "LIST"]).lines().count();
    let before = count();
    for n in 0..10 {
        let subscribed = lab.bus.subscribe("forge:cancel").await.unwrap();
        assert!(count() > before, "there is one more while it lasts");
        drop(subscribed);
        // All logs share one connection, however many are read.
        let mut reader = lab.bus.log_reader(&format!("b{n}").parse().unwrap(), 0).await.unwrap();
        reader.ready().await.unwrap();
    }
    testkit::eventually("one connection is left", async || (count() <= before + 1).then_some(())).await;
}
