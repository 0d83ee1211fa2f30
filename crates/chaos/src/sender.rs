//! Sends the plan, as forges, foreign producers and people would, and books every answer.

use crate::{
    ledger::{CancelAnswer, Ledger},
    plan::{Again, Item, What},
    receiver::Heard,
    world::{API_TOKEN, Ports, WEBHOOK_SECRET},
};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use testkit::{Hook, push_body};
use tokio::{sync::Semaphore, task::JoinSet, time::Instant};

/// What sending needs; shared by all who send.
pub(crate) struct Sender {
    pub(crate) seed: u64,
    pub(crate) ports: Ports,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) heard: Arc<Mutex<Heard>>,
    /// The repositories that are built for real, by number of the item.
    pub(crate) real: HashMap<usize, Real>,
    /// Where foreign producers push.
    pub(crate) redis: RedisUrl,
    pub(crate) client: reqwest::Client,
    pub(crate) pause: Duration,
    pub(crate) uids: tokio::sync::Mutex<Uids>,
}

/// Names of builds.
#[derive(Debug)]
pub(crate) struct Uids {
    by_commit: HashMap<String, String>,
    looked_at: Instant,
}

/// A repository that is built for real.
#[derive(Clone, Debug)]
pub(crate) struct Real {
    pub(crate) name: String,
    pub(crate) url: String,
    pub(crate) commit: String,
}

/// How foreign producers find Redis.
#[derive(Clone, Debug)]
pub(crate) enum RedisUrl {
    Port(u16),
    /// One of the sentinels knows.
    Sentinel(u16),
}

const AT_ONCE: usize = 16;
/// So many builds may be on their way at once.
const BACKLOG: usize = 3_000;
const PAUSE: Duration = Duration::from_millis(300);
/// So long an answer is tried to get.
const PATIENCE: Duration = Duration::from_mins(2);

/// So long a build is looked for that shall be cancelled; Redis may have forgotten it.
const CANCEL_PATIENCE: Duration = Duration::from_secs(45);

/// Time between two looks at all builds.
const LOOK_APART: Duration = Duration::from_secs(1);

impl Default for Uids {
    fn default() -> Self {
        Self {
            by_commit: HashMap::new(),
            looked_at: Instant::now(),
        }
    }
}

impl Sender {
    /// Sends everything, and waits for the last answer.
    pub(crate) async fn send_all(self: Arc<Self>, items: Vec<Item>) {
        let slots = Arc::new(Semaphore::new(AT_ONCE));
        let mut tasks = JoinSet::new();
        let mut next = Instant::now();
        for item in items {
            while self.ledger.books().builds > self.heard.lock().unwrap().ended + BACKLOG {
                tokio::time::sleep(PAUSE).await;
            }
            next = (next + self.pause).max(Instant::now() - Duration::from_secs(1));
            tokio::time::sleep_until(next).await;
            let slot = Arc::clone(&slots).acquire_owned().await.unwrap();
            let sender = Arc::clone(&self);
            tasks.spawn(async move {
                sender.send(&item).await;
                sender.ledger.books().sent += 1;
                drop(slot);
                if let Some(after) = item.cancel_after {
                    tokio::time::sleep(Duration::from_millis(after)).await;
                    sender.cancel(&item).await;
                }
            });
            while tasks.try_join_next().is_some() {}
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
    }

    /// The commit an item is about.
    pub(crate) fn commit(&self, item: &Item) -> String {
        self.real
            .get(&item.n)
            .map_or_else(|| item.commit(self.seed), |real| real.commit.clone())
    }

    async fn send(&self, item: &Item) {
        let commit = self.commit(item);
        match item.what {
            What::Foreign => {
                let message = json!({
                    "id": format!("foreign-{}-{}", self.seed, item.n), "project_name": "chaos/foreign", "type": "dockerfile",
                    "source": item.source(), "commit_hash": commit, "strategy": "local", "push_artifact": false,
                });
                self.push(&message.to_string()).await;
                if item.again != Again::Never {
                    self.push(&message.to_string()).await;
                }
                self.ledger.accepted(commit, item);
            }
            What::Junk => {
                self.push(&format!("{{\"junk\": {}", item.n)).await;
                self.ledger.books().junk += 1;
            }
            _ => self.deliver(item, commit).await,
        }
    }

    async fn deliver(&self, item: &Item, commit: String) {
        let hook = self.hook(item, &commit);
        let expected: &[u16] = match item.what {
            What::Malformed => &[422],
            What::Forged => &[401],
            _ => &[200, 202],
        };
        self.post(&hook, expected).await;
        self.ledger.accepted(commit, item);
        let accepted = item.what != What::Malformed && item.what != What::Forged;
        let again = match item.again {
            Again::Delivery if accepted => hook,
            Again::Bytes if accepted => Hook {
                delivery: format!("again-{}-{}", self.seed, item.n),
                ..hook
            },
            _ => return,
        };
        // What waits in the spool has not been compared with what is in Redis yet.
        let unsure = !self.ledger.books().losses.is_empty();
        self.post(&again, if unsure { expected } else { &[200] }).await;
    }

    fn hook(&self, item: &Item, commit: &str) -> Hook {
        let (name, url) = match self.real.get(&item.n) {
            Some(real) => (real.name.clone(), real.url.clone()),
            None => (format!("chaos/p{}", item.n % 20), item.source()),
        };
        let mut body = push_body(&name, &url, &item.git_ref(), commit);
        if item.what == What::Deletion {
            let mut value: Value = serde_json::from_str(&body).unwrap();
            value["deleted"] = json!(true);
            value["after"] = json!("0".repeat(40));
            value["before"] = json!(commit);
            body = value.to_string();
        }
        if item.what == What::Malformed {
            body.truncate(body.len() / 2);
        }
        let secret = if item.what == What::Forged {
            "somebody else's"
        } else {
            WEBHOOK_SECRET
        };
        let mut hook = Hook::new("push", body, secret);
        hook.delivery = format!("chaos-{}-{}", self.seed, item.n);
        hook
    }

    /// Sends until there is an answer that is not "come again".
    async fn post(&self, hook: &Hook, expected: &[u16]) {
        let url = format!("http://127.0.0.1:{}/webhook/github", self.ports.gateway);
        let give_up = Instant::now() + PATIENCE;
        loop {
            let status = match hook.request(&self.client, &url).send().await {
                Ok(response) => response.status().as_u16(),
                Err(_) => 0,
            };
            if status != 0 && status != 503 {
                if !expected.contains(&status) {
                    self.ledger
                        .wrong(format!("delivery {}: {status} instead of {expected:?}", hook.delivery));
                }
                return;
            }
            self.ledger.books().resent += 1;
            if Instant::now() > give_up {
                return self
                    .ledger
                    .wrong(format!("delivery {}: no answer within {PATIENCE:?}", hook.delivery));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Pushes as a foreign producer does, until Redis says how long the list is.
    async fn push(&self, text: &str) {
        let give_up = Instant::now() + PATIENCE;
        loop {
            if let Some(port) = self.redis.port().await {
                let output = tokio::process::Command::new("redis-cli")
                    .args(["-p", &port.to_string(), "LPUSH", "forge:builds", text])
                    .output()
                    .await
                    .unwrap();
                if String::from_utf8_lossy(&output.stdout).trim().parse::<u64>().is_ok() {
                    return;
                }
            }
            self.ledger.books().resent += 1;
            if Instant::now() > give_up {
                return self.ledger.wrong("a foreign push was never taken".to_owned());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn cancel(&self, item: &Item) {
        let commit = self.commit(item);
        let give_up = Instant::now() + CANCEL_PATIENCE;
        while Instant::now() < give_up {
            if let Some(uid) = self.uid(&commit).await {
                let url = format!("http://127.0.0.1:{}/v1/cicd/builds/{uid}/cancel", self.ports.prow);
                if let Ok(response) = self.client.post(url).bearer_auth(API_TOKEN).send().await {
                    let status = response.status().as_u16();
                    let text = response.text().await.unwrap_or_default();
                    let answer = match status {
                        202 if text.contains("cancelling") => CancelAnswer::Signalled,
                        202 => CancelAnswer::Ended,
                        409 => CancelAnswer::TooLate,
                        _ => {
                            tokio::time::sleep(PAUSE).await;
                            continue;
                        }
                    };
                    return self.ledger.cancelled(&commit, answer);
                }
                // It may have been cancelled, without us having heard of it.
                self.ledger.cancelled(&commit, CancelAnswer::Unknown);
            }
            tokio::time::sleep(PAUSE).await;
        }
        let mut books = self.ledger.books();
        books.unanswered_cancels += usize::from(books.losses.is_empty());
    }

    /// The name of the build of a commit, once prow has it. One look serves all who wait for one.
    async fn uid(&self, commit: &str) -> Option<String> {
        let mut uids = self.uids.lock().await;
        if uids.by_commit.contains_key(commit) || uids.looked_at.elapsed() < LOOK_APART {
            return uids.by_commit.get(commit).cloned();
        }
        uids.looked_at = Instant::now();
        let mut before = None;
        loop {
            let page = page(&self.client, self.ports.prow, before).await?;
            before = page.last().and_then(|build| build["id"].as_i64());
            let mut news = false;
            for build in &page {
                let text = |name: &str| build[name].as_str().unwrap_or_default().to_owned();
                news |= uids.by_commit.insert(text("commit"), text("uid")).is_none();
            }
            if !news || page.is_empty() {
                return uids.by_commit.get(commit).cloned();
            }
        }
    }
}

impl RedisUrl {
    async fn port(&self) -> Option<u16> {
        match self {
            Self::Port(port) => Some(*port),
            Self::Sentinel(port) => {
                let output = tokio::process::Command::new("redis-cli")
                    .args(["-p", &port.to_string(), "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "forge"])
                    .output()
                    .await
                    .ok()?;
                String::from_utf8_lossy(&output.stdout).lines().nth(1)?.parse().ok()
            }
        }
    }
}

/// A page of builds, newest first.
pub(crate) async fn page(client: &reqwest::Client, prow: u16, before: Option<i64>) -> Option<Vec<Value>> {
    let cursor = before.map(|id| format!("&cursor={id}")).unwrap_or_default();
    let url = format!("http://127.0.0.1:{prow}/v1/cicd/builds?limit=500{cursor}");
    let response = client
        .get(url)
        .bearer_auth(API_TOKEN)
        .send()
        .await
        .ok()?
        .error_for_status()
        .ok()?;
    serde_json::from_str(&response.text().await.ok()?).ok()
}
