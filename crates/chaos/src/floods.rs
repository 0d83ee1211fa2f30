//! Floods of webhooks, while nothing else goes wrong: whom they keep waiting, and what comes of them.

use crate::{
    ledger::Ledger,
    sender::page,
    world::{WEBHOOK_SECRET, World},
};
use serde_json::json;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use testkit::{Hook, push_body};
use tokio::{sync::Semaphore, task::JoinSet};

/// What was seen.
#[derive(Debug, Default)]
pub(crate) struct Floods {
    /// How many events of a flood still waited when a push that came after all of them was planned.
    pub(crate) overtaken: usize,
    /// Answers to the same delivery, and to the same bytes under many ids, by status.
    pub(crate) answers: BTreeMap<u16, usize>,
    /// How many builds came of these.
    pub(crate) builds: usize,
}

/// Events of a flood.
pub(crate) const FLOOD: usize = 3_000;
/// So many times the same.
pub(crate) const COPIES: usize = 1_000;
const AT_ONCE: usize = 32;
const PATIENCE: Duration = Duration::from_mins(1);
const VALIDATION: &str = "{forge:webhooks}:validation";

impl Floods {
    pub(crate) async fn run(client: &reqwest::Client, world: &mut World, ledger: &Ledger, seed: u64) -> Self {
        let mut floods = Self::default();
        floods.one_lane(client, world, ledger, seed).await;
        floods.the_same(client, world, seed).await;
        floods
    }

    /// While prow sleeps, thousands of events of one lane come, and then a push.
    async fn one_lane(&mut self, client: &reqwest::Client, world: &mut World, ledger: &Ledger, seed: u64) {
        let event = |n: usize| {
            let repository = json!({"full_name": "chaos/drill", "clone_url": "https://rehearsal.invalid/ok/5/r.git"});
            let body = json!({"sha": format!("{n:040x}"), "state": "success", "repository": repository});
            Hook::new("status", body.to_string(), WEBHOOK_SECRET)
        };
        world.pause_all("prow", true);
        let answers = send(client, world, (0..FLOOD).map(event).collect()).await;
        if answers.keys().ne([&202]) {
            ledger.wrong(format!("a flood was answered {answers:?}"));
        }
        let commit = format!("{:016x}{:024x}", seed, u64::MAX);
        send(client, world, vec![push(&commit)]).await;
        world.pause_all("prow", false);
        self.overtaken = testkit::within(PATIENCE, "the push after the flood is planned", async || {
            let builds = page(client, world.ports.prow, None).await?;
            let waiting = world.server.cli(&["LLEN", VALIDATION]).parse().ok()?;
            builds
                .iter()
                .any(|build| build["commit"] == commit.as_str())
                .then_some(waiting)
        })
        .await;
    }

    /// One push, many times, under one id and under many.
    async fn the_same(&mut self, client: &reqwest::Client, world: &World, seed: u64) {
        let commit = format!("{:016x}{:024x}", seed, u64::MAX - 1);
        let one = push(&commit);
        let other = |n: usize| Hook {
            delivery: if n.is_multiple_of(2) {
                one.delivery.clone()
            } else {
                format!("copy-{seed}-{n}")
            },
            ..one.clone()
        };
        self.answers = send(client, world, (0..COPIES).map(other).collect()).await;
        self.builds = testkit::within(PATIENCE, "the push is planned, and the flood is over", async || {
            let builds = page(client, world.ports.prow, None).await?;
            let of_it = builds.iter().filter(|build| build["commit"] == commit.as_str()).count();
            (of_it > 0 && crate::audit::left(world).is_empty()).then_some(of_it)
        })
        .await;
    }
}

fn push(commit: &str) -> Hook {
    let url = "https://rehearsal.invalid/ok/5/r.git";
    Hook::new(
        "push",
        push_body("chaos/drill", url, "refs/heads/main", commit),
        WEBHOOK_SECRET,
    )
}

/// Sends all of them, many at once; how they were answered.
async fn send(client: &reqwest::Client, world: &World, hooks: Vec<Hook>) -> BTreeMap<u16, usize> {
    let url = format!("http://127.0.0.1:{}/webhook/github", world.ports.gateway);
    let (slots, mut tasks) = (Arc::new(Semaphore::new(AT_ONCE)), JoinSet::new());
    for hook in hooks {
        let (request, slot) = (
            hook.request(client, &url),
            Arc::clone(&slots).acquire_owned().await.unwrap(),
        );
        tasks.spawn(async move {
            let status = request.send().await.map_or(0, |answer| answer.status().as_u16());
            drop(slot);
            status
        });
    }
    let mut answers = BTreeMap::new();
    for status in tasks.join_all().await {
        *answers.entry(status).or_default() += 1;
    }
    answers
}
