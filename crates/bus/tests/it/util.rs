//! A list of builds in a Redis of its own.

use bus::{Bus, Delivery, Settings, Slot, Worker};
use contract::{BuildQueueMessage, BuildType, Strategy, route, route::List};
use std::{sync::Arc, time::Duration};
use testkit::Redis;

pub(crate) struct Lab {
    pub(crate) redis: Redis,
    pub(crate) bus: Bus,
    pub(crate) list: List<BuildQueueMessage>,
}

impl Lab {
    pub(crate) async fn new() -> Self {
        Self::on(Redis::start()).await
    }

    pub(crate) async fn on(redis: Redis) -> Self {
        testkit::crypto();
        let mut settings = Settings::new(redis.url());
        settings.lease = "3".parse().unwrap(); // Tests wait for leases to run out.
        let bus = Bus::start(settings).unwrap();
        bus.ready().await.unwrap();
        Self {
            redis,
            bus,
            list: route::builds(),
        }
    }

    pub(crate) async fn worker(&self, slots: usize) -> Arc<Worker<BuildQueueMessage>> {
        self.bus
            .worker(&self.list, "test", slots, |message| format!("lost {}", message.id))
            .await
            .unwrap()
    }

    pub(crate) async fn send(&self, id: &str) {
        self.bus.producer(&self.list).send(&message(id)).await.unwrap();
    }

    pub(crate) fn field(&self, id: &str, field: &str) -> String {
        self.redis.cli(&["HGET", &format!("{{forge:builds}}:job:{id}"), field])
    }

    /// What prow was told, oldest first.
    pub(crate) fn events(&self) -> Vec<String> {
        let lines = self.redis.cli(&["--raw", "LRANGE", "{forge:builds}:events", "0", "-1"]);
        lines.lines().rev().map(ToOwned::to_owned).collect()
    }

    /// Makes a worker look dead for long.
    pub(crate) fn let_die(&self, worker: &str) {
        self.redis.cli(&["ZADD", "{forge:builds}:workers", "XX", "1", worker]);
    }

    /// How many messages are anywhere but in records.
    pub(crate) fn left(&self) -> usize {
        let keys = self.redis.cli(&["--raw", "KEYS", "*"]);
        keys.lines()
            .filter(|key| !key.contains(":job:") && !key.ends_with(":workers") && !key.ends_with(":events"))
            .count()
    }
}

pub(crate) fn message(id: &str) -> BuildQueueMessage {
    let url = "https://h/o/r.git".parse().unwrap();
    let commit = "abcdef".parse().unwrap();
    BuildQueueMessage::new(
        id.parse().unwrap(),
        "o/r".parse().unwrap(),
        BuildType::Dockerfile,
        url,
        commit,
        Strategy::Local,
    )
}

/// The next message, which must come soon.
pub(crate) async fn take(slot: &mut Slot<BuildQueueMessage>) -> Delivery<BuildQueueMessage> {
    tokio::time::timeout(Duration::from_secs(10), slot.take())
        .await
        .expect("a message within ten seconds")
}

/// Nothing must come for a while.
pub(crate) async fn take_nothing(slot: &mut Slot<BuildQueueMessage>) {
    let taken = tokio::time::timeout(Duration::from_millis(2_500), slot.take()).await;
    assert!(taken.is_err(), "took {:?}", taken.map(|d| d.message().id.clone()));
}
