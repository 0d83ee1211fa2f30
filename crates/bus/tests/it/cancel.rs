//! Cancelling, at every point of a message's life.

use crate::util::{Lab, message, take, take_nothing};
use bus::{Cancelled, Heard, LastWords, Settled, Stop};
use contract::{CancelOutcome, CancelRequest, Message as _};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

pub(crate) fn request(id: &str) -> CancelRequest {
    CancelRequest::new(id.parse().unwrap(), CancelOutcome::Cancelled, "test")
}

#[tokio::test]
async fn a_message_that_waits_or_was_never_seen_ends_at_once_and_never_runs() {
    let lab = Lab::new().await;
    let canceller = lab.bus.canceller(&lab.list, "forge:cancel");
    lab.send("waits").await;
    for id in ["waits", "unseen"] {
        assert_eq!(
            canceller.cancel(&request(id), &format!("end {id}")).await.unwrap(),
            Cancelled::Ended
        );
        let again = canceller.cancel(&request(id), "again").await.unwrap();
        assert_eq!(again, Cancelled::TooLate("cancelled".into()));
    }
    lab.redis
        .cli(&["LPUSH", "forge:builds", &message("unseen").to_json().unwrap()]);
    let worker = lab.worker(1).await;
    take_nothing(&mut worker.slot(0)).await;
    assert_eq!(
        (lab.events(), lab.left()),
        (vec!["end waits".into(), "end unseen".into()], 0)
    );
}

#[tokio::test]
async fn a_running_message_is_told_at_the_next_beat_even_when_the_channel_is_silent() {
    let lab = Lab::new().await;
    lab.send("a").await;
    let worker = lab.worker(1).await;
    let delivery = take(&mut worker.slot(0)).await;
    let canceller = lab.bus.canceller(&lab.list, "forge:cancel");
    let mut channel = lab.bus.subscribe("forge:cancel").await.unwrap();
    let stop = CancellationToken::new();
    let told = async {
        assert_eq!(
            canceller.cancel(&request("a"), "end").await.unwrap(),
            Cancelled::Signalled
        );
        let mut why = delivery.stop();
        let told = tokio::time::timeout(lab.bus.lease().beat() * 2, why.wait_for(Option::is_some))
            .await
            .unwrap();
        assert_eq!(told.unwrap().clone(), Some(Stop::Asked("cancelled".into())));
        stop.cancel();
    };
    tokio::select! {
        () = told => {}
        () = worker.tend(stop.clone()) => panic!("it tends until nothing is held"),
    }
    let Heard::Message(text) = channel.next().await else {
        panic!("nothing on the channel")
    };
    assert_eq!(
        serde_json::from_slice::<CancelRequest>(&text)
            .unwrap()
            .build_id
            .as_str(),
        "a"
    );
    // Asking again neither tells again nor changes the outcome.
    assert_eq!(
        canceller.cancel(&request("a"), "other").await.unwrap(),
        Cancelled::Signalled
    );
    assert!(
        tokio::time::timeout(Duration::from_millis(300), channel.next())
            .await
            .is_err()
    );
    delivery.finish("cancelled", "mine").await.unwrap();
    assert_eq!(lab.events(), ["mine"]);
}

#[tokio::test]
async fn a_cancelled_message_is_neither_tried_again_nor_given_back() {
    let lab = Lab::new().await;
    let canceller = lab.bus.canceller(&lab.list, "forge:cancel");
    let worker = lab.worker(1).await;
    let mut slot = worker.slot(0);
    for id in ["retried", "released"] {
        lab.send(id).await;
        let delivery = take(&mut slot).await;
        canceller.cancel(&request(id), &format!("end {id}")).await.unwrap();
        let last = LastWords {
            state: "failed",
            event: "no".into(),
            why: String::new(),
        };
        let settled = match id {
            "retried" => delivery.retry(Duration::ZERO, "no", last).await.unwrap(),
            _ => delivery.release("no").await.unwrap(),
        };
        assert_eq!(settled, Settled::Ended("cancelled".into()));
    }
    assert_eq!(
        (lab.events(), lab.left()),
        (vec!["end retried".into(), "end released".into()], 0)
    );
}

#[tokio::test]
async fn a_message_that_was_put_aside_can_be_cancelled() {
    let lab = Lab::new().await;
    lab.send("a").await;
    let worker = lab.worker(1).await;
    let last = LastWords {
        state: "failed",
        event: String::new(),
        why: String::new(),
    };
    take(&mut worker.slot(0))
        .await
        .retry(Duration::from_mins(1), "", last)
        .await
        .unwrap();
    let canceller = lab.bus.canceller(&lab.list, "forge:cancel");
    assert_eq!(canceller.cancel(&request("a"), "end").await.unwrap(), Cancelled::Ended);
    assert_eq!((lab.events(), lab.left()), (vec!["end".to_owned()], 0));
}
