//! Dead letters: looked at, sent again, thrown away.

use crate::util::{Lab, message, take};
use bus::Replayed;
use contract::Message as _;

#[tokio::test]
async fn a_dead_letter_is_shown_and_sent_again_once_whoever_dies_in_the_middle() {
    let lab = Lab::new().await;
    let (worker, letters) = (lab.worker(1).await, lab.bus.dead_letters(&lab.list));
    let mut slot = worker.slot(0);
    for id in ["a", "b"] {
        lab.send(id).await;
        take(&mut slot).await.bury("dead", "", "no room for it").await.unwrap();
    }
    assert_eq!(letters.count().await.unwrap(), 2);
    let page = letters.page(0, 10).await.unwrap();
    let named: Vec<_> = page
        .iter()
        .map(|l| (l.message_id.as_str(), l.reason.as_str()))
        .collect();
    assert_eq!(named, [("b", "no room for it"), ("a", "no room for it")]);
    assert_eq!(page[1].payload, message("a").to_json().unwrap().as_bytes());
    assert_eq!(letters.page(1, 10).await.unwrap(), [page[1].clone()]);

    let letter = letters.find(&page[1].id).await.unwrap().unwrap();
    assert_eq!(letters.replay(&letter).await.unwrap(), Replayed::Queued);
    // Somebody died after sending it and before taking the letter away; the same again is the same.
    assert_eq!(letters.replay(&letter).await.unwrap(), Replayed::Queued);
    assert_eq!(letters.find(&letter.id).await.unwrap(), None);
    let delivery = take(&mut slot).await;
    assert_eq!((delivery.message().id.as_str(), delivery.failures()), ("a", 0));
    delivery.finish("success", "").await.unwrap();

    assert!(letters.discard(&page[0]).await.unwrap());
    assert!(!letters.discard(&page[0]).await.unwrap(), "it is gone");
    assert_eq!((letters.count().await.unwrap(), lab.left()), (0, 0));
}

#[tokio::test]
async fn what_has_ended_for_good_and_what_is_no_message_stay_letters() {
    let lab = Lab::new().await;
    let (worker, letters) = (lab.worker(1).await, lab.bus.dead_letters(&lab.list));
    let mut slot = worker.slot(0);
    lab.send("a").await;
    take(&mut slot)
        .await
        .bury("lost", "lost a", "it broke too often")
        .await
        .unwrap();
    lab.redis
        .cli(&["LPUSH", "forge:builds", "[]", &message("ok").to_json().unwrap()]);
    take(&mut slot).await.finish("success", "").await.unwrap();
    let page = letters.page(0, 10).await.unwrap();
    assert_eq!(
        letters.replay(&page[1]).await.unwrap(),
        Replayed::Ended("lost".to_owned())
    );
    let Replayed::Unreadable(why) = letters.replay(&page[0]).await.unwrap() else {
        panic!("it was taken for a message")
    };
    assert!(why.contains("expected a JSON object"), "{why}");
    assert_eq!(letters.count().await.unwrap(), 2);
}
