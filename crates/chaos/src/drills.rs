//! What is measured one at a time, while nothing else goes wrong.

use crate::{
    sender::page,
    world::{API_TOKEN, SLOTS, Service, World},
};
use serde_json::{Value, json};
use std::{collections::HashMap, fs, time::Duration};
use tokio::time::Instant;

/// What was measured.
#[derive(Debug, Default)]
pub(crate) struct Drills {
    /// From the death of a worker until another one runs what it held.
    pub(crate) noticed: Vec<Duration>,
    /// From a cancel request until no process of the build is alive, by workers that hear the channel…
    pub(crate) heard: Vec<Duration>,
    /// …and by those that do not.
    pub(crate) deaf: Vec<Duration>,
}

const CANCELLED: u64 = 12;
const PATIENCE: Duration = Duration::from_secs(90);

impl Drills {
    pub(crate) async fn run(&mut self, client: &reqwest::Client, world: &mut World, seed: u64) {
        self.cancels(client, world, seed).await;
        self.deaths(world, seed).await;
    }

    /// Real builds, each a process that can be found among all.
    async fn cancels(&mut self, client: &reqwest::Client, world: &World, seed: u64) {
        let mut builds = HashMap::new();
        for n in 0..CANCELLED {
            let words = format!("sleep {}", 100_000 + (seed % 1_000) * 100 + n);
            let dockerfile = format!("FROM busybox\nENV UNIQUE=drill-{seed}-{n}\nRUN {words}\n");
            let repo = world
                .git
                .repo(&format!("chaos/drill{n}"), &[("Dockerfile", &dockerfile)]);
            let id = format!("drill-{seed}-{n}");
            push(world, &id, &repo.url, &repo.head());
            builds.insert(id, words);
        }
        let deaf = world
            .services
            .iter()
            .find(|s| s.name == "forgery" && s.n == 0)
            .and_then(Service::worker);
        let all_run = || running(&builds.values().collect::<Vec<_>>()) == builds.len();
        until("every drill runs", async || all_run()).await;
        for (id, words) in &builds {
            let worker = world
                .server
                .cli(&["HGET", &format!("{{forge:builds}}:job:{id}"), "worker"]);
            let url = format!("http://127.0.0.1:{}/v1/cicd/builds/{id}/cancel", world.ports.prow);
            until("prow knows the build", async || {
                page(client, world.ports.prow, None)
                    .await
                    .is_some_and(|all| all.iter().any(|b| b["uid"] == id.as_str()))
            })
            .await;
            let begun = Instant::now();
            let answer = client.post(url).bearer_auth(API_TOKEN).send().await.unwrap();
            assert_eq!(answer.status().as_u16(), 202);
            until("the build is gone", async || running(&[words]) == 0).await;
            let times = if Some(&worker) == deaf.as_ref() {
                &mut self.deaf
            } else {
                &mut self.heard
            };
            times.push(begun.elapsed());
        }
        for id in builds.keys() {
            until("the drill has ended", async || state(world, id) == "cancelled").await;
        }
    }

    /// Two of three forgeries die with all they hold.
    async fn deaths(&mut self, world: &mut World, seed: u64) {
        let ids: Vec<_> = (0..SLOTS * 2).map(|n| format!("death-{seed}-{n}")).collect();
        for id in &ids {
            push(
                world,
                id,
                "https://rehearsal.invalid/ok/8000/r.git",
                &format!("{seed:040x}"),
            );
        }
        let worker = |world: &World, id: &str| {
            world
                .server
                .cli(&["HGET", &format!("{{forge:builds}}:job:{id}"), "worker"])
        };
        until("all run", async || ids.iter().all(|id| state(world, id) == "running")).await;
        let victims: Vec<_> = (0..world.services.len())
            .filter(|n| world.services[*n].name == "forgery")
            .take(2)
            .collect();
        let dead: Vec<_> = victims.iter().filter_map(|n| world.services[*n].worker()).collect();
        let mut held: Vec<_> = ids.iter().filter(|id| dead.contains(&worker(world, id))).collect();
        let begun = Instant::now();
        for index in victims {
            world.kill(index);
        }
        while !held.is_empty() && begun.elapsed() < PATIENCE {
            world.supervise();
            held.retain(|id| dead.contains(&worker(world, id)));
            if held.is_empty() {
                self.noticed.push(begun.elapsed());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        for id in &ids {
            until("it ends although its worker died", async || {
                state(world, id) == "success"
            })
            .await;
        }
    }
}

/// How many processes run with these words.
fn running(words: &[&String]) -> usize {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let commands = processes.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    let commands = commands.map(|bytes| {
        String::from_utf8_lossy(&bytes)
            .trim_end_matches('\0')
            .replace('\0', " ")
    });
    commands.filter(|command| words.contains(&command)).count()
}

fn push(world: &World, id: &str, source: &str, commit: &str) {
    let message: Value = json!({
        "id": id, "project_name": "chaos/drill", "type": "dockerfile", "source": source,
        "commit_hash": commit, "strategy": "local", "push_artifact": false,
    });
    world.server.cli(&["LPUSH", "forge:builds", &message.to_string()]);
}

fn state(world: &World, id: &str) -> String {
    world
        .server
        .cli(&["HGET", &format!("{{forge:builds}}:job:{id}"), "state"])
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    testkit::within(PATIENCE, what, async || is_so().await.then_some(())).await;
}
