//! A row and its intents are one; what is known already changes nothing.

use super::*;
use crate::{notice, service::Concurrency, tracker};
use contract::{
    BuildEvent, BuildQueueMessage, BuildStatus, BuildType, Happening, Message as _, Provider, SourceEvent, Strategy,
    Terminal, Timestamp, WebhookDelivery,
};

struct Lab {
    store: Store,
    folder: tempfile::TempDir,
}

impl Lab {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            store: Store::open(folder.path()).await.unwrap(),
            folder,
        }
    }

    async fn intents(&self) -> (usize, usize) {
        let count = async |route| self.store.intents(route, 100).await.unwrap().len();
        (count(Route::Builds).await, count(Route::Notifications).await)
    }

    async fn queue(&self, delivery: &str) -> Option<Build> {
        let build = build();
        let notice = notice::about(&build, None, None).unwrap();
        let intents = vec![
            Intent::build(&build.message, &build.payload),
            Intent::notification(&notice).unwrap(),
        ];
        self.store
            .record(
                &webhook(delivery),
                "build",
                None,
                vec![(build, Concurrency::Queue, intents)],
            )
            .await
            .unwrap()
            .pop()
    }
}

fn build() -> Build {
    let url = "https://h/o/r.git".parse().unwrap();
    let (id, project, commit) = ("b".parse().unwrap(), "o/r".parse().unwrap(), "abcdef".parse().unwrap());
    let message = BuildQueueMessage::new(id, project, BuildType::Dockerfile, url, commit, Strategy::Local);
    let payload = message.to_json().unwrap();
    Build::queued(message, payload)
}

fn webhook(delivery: &str) -> WebhookDelivery {
    let at = Timestamp::from_millis(1);
    WebhookDelivery::new(
        delivery.parse().unwrap(),
        Provider::Github,
        "push",
        at,
        SourceEvent::Other,
        String::new(),
    )
}

fn ended() -> BuildEvent {
    let event = Happening::Ended {
        status: Terminal::Success,
        failure: None,
        image: None,
        stages: Vec::new(),
    };
    BuildEvent::new("b".parse().unwrap(), 1, 2, Timestamp::from_millis(7), event)
}

#[tokio::test]
async fn a_build_is_recorded_once_with_its_intents_however_often_it_comes() {
    let lab = Lab::new().await;
    assert!(lab.queue("d-1").await.is_some());
    assert!(lab.queue("d-1").await.is_none(), "the same delivery");
    assert!(lab.queue("d-2").await.is_none(), "the same build by another delivery");
    assert_eq!(lab.intents().await, (1, 1));
    let builds = lab
        .store
        .builds(Page {
            limit: 10,
            before: None,
            service: None,
        })
        .await
        .unwrap();
    assert_eq!(builds.len(), 1);
}

#[tokio::test]
async fn intents_stay_until_they_are_carried_out() {
    let lab = Lab::new().await;
    lab.queue("d-1").await;
    let carried = lab.store.intents(Route::Builds, 10).await.unwrap();
    assert_eq!(
        (carried[0].message_id.as_str(), carried[0].payload.as_str()),
        ("b", build().payload.as_str())
    );
    lab.store.sent(&[carried[0].id]).await.unwrap();
    assert_eq!(lab.intents().await, (0, 1));
    // Redis may have lost it, so it is kept for a while and can be sent again.
    assert_eq!(lab.store.send_again().await.unwrap(), 1);
    assert_eq!(lab.intents().await, (1, 1));
    lab.store.sent(&[carried[0].id]).await.unwrap();
    lab.store.forget_sent(bus::clock::now_ms() + 1).await.unwrap();
    assert_eq!(
        (lab.store.send_again().await.unwrap(), lab.intents().await),
        (0, (0, 1))
    );
}

#[tokio::test]
async fn a_change_that_was_overtaken_changes_nothing_and_tells_nobody() {
    let lab = Lab::new().await;
    let queued = lab.queue("d-1").await.unwrap();
    let next = tracker::fold(&queued, &ended()).unwrap();
    let told = [Intent::notification(&notice::about(&next, Some(queued.status), None).unwrap()).unwrap()];
    assert!(lab.store.advance(&next, &told).await.unwrap());
    assert!(
        !lab.store.advance(&next, &told).await.unwrap(),
        "the version has moved on"
    );
    assert_eq!(lab.intents().await, (1, 2));
    let stored = lab.store.build("b").await.unwrap().unwrap();
    assert_eq!(
        (stored.status, stored.finished_at, stored.version),
        (BuildStatus::Ended(Terminal::Success), Some(7), 2)
    );
}

#[tokio::test]
async fn only_builds_that_should_be_in_redis_are_looked_for_there() {
    let lab = Lab::new().await;
    lab.queue("d-1").await;
    let soon = bus::clock::now_ms() + 1_000;
    assert_eq!(
        lab.store.silent_builds(soon, 10).await.unwrap().len(),
        0,
        "it is about to be queued"
    );
    let intents = lab.store.intents(Route::Builds, 10).await.unwrap();
    lab.store.sent(&[intents[0].id]).await.unwrap();
    assert_eq!(lab.store.silent_builds(soon, 10).await.unwrap().len(), 1);
    assert_eq!(
        lab.store.silent_builds(0, 10).await.unwrap().len(),
        0,
        "it was heard of since"
    );
}

#[tokio::test]
async fn what_was_stored_is_there_after_a_restart() {
    let lab = Lab::new().await;
    lab.queue("d-1").await;
    let again = Store::open(lab.folder.path()).await.unwrap();
    assert_eq!(again.build("b").await.unwrap().unwrap().payload, build().payload);
}

#[tokio::test]
async fn webhooks_are_listed_newest_first_page_by_page() {
    let lab = Lab::new().await;
    for n in 1..=5 {
        let mut webhook = webhook(&format!("d{n}"));
        webhook.received_at = Timestamp::from_millis(if n < 3 { 7 } else { n });
        lab.store.record(&webhook, "why", None, Vec::new()).await.unwrap();
    }
    let mut listed = Vec::new();
    let mut before = None;
    loop {
        let page = lab.store.told(before.as_ref(), None, 2).await.unwrap();
        let Some(last) = page.last() else { break };
        before = Some(last.place());
        listed.extend(page.into_iter().map(|told| told.delivery));
    }
    assert_eq!(listed, ["d2", "d1", "d5", "d4", "d3"]);
}
