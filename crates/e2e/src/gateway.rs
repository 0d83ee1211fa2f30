//! A gateway alone, with a Redis of its own.

use crate::WEBHOOK_SECRET;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use std::{path::PathBuf, process::Command, time::Duration};
use tempfile::TempDir;
use testkit::{Process, Redis, binary, free_port, within};

/// A gateway as a process; what it takes stays in Redis, for nobody takes it from there.
#[derive(Debug)]
pub struct Gateway {
    /// Its Redis.
    pub redis: Redis,
    /// The program.
    pub process: Process,
    /// Where tests may put files for it.
    pub folder: TempDir,
    port: u16,
    admin: u16,
    more: Vec<(String, String)>,
}

/// An answer of it.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as it came.
    pub text: String,
    /// The body, where it is JSON.
    pub body: Value,
}

/// The body of GitHub's push of commit `n` to this repository.
pub fn push_to(repository: &str, n: usize) -> String {
    let commit = format!("{n:040x}");
    testkit::push_body(repository, "https://github.com/o/r.git", "refs/heads/main", &commit)
}

/// The same to a repository that has no other pushes.
pub fn push(n: usize) -> String {
    push_to("o/r", n)
}

impl Gateway {
    /// Starts one with these variables, and waits until it is ready.
    pub async fn start(more: &[(&str, &str)]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), more).await
    }

    /// The same with a folder in which the test has put files already.
    pub async fn start_in(folder: TempDir, more: &[(&str, &str)]) -> Self {
        testkit::crypto();
        let (redis, port, admin) = (Redis::start(), free_port(), free_port());
        let more: Vec<_> = more.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let process = Process::start(&mut command(&redis, &folder, port, admin, &more), &log(&folder));
        let gateway = Self {
            redis,
            process,
            folder,
            port,
            admin,
            more,
        };
        gateway.is_ready().await;
        gateway
    }

    /// Starts it again, with the same variables and these.
    pub async fn restart(&mut self, more: &[(&str, &str)]) {
        self.process.kill();
        let added = more.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let all: Vec<_> = self.more.iter().cloned().chain(added).collect();
        let mut command = command(&self.redis, &self.folder, self.port, self.admin, &all);
        self.process = Process::start(&mut command, &log(&self.folder));
        self.is_ready().await;
    }

    /// `host:port` of its public side.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Sends a request and reads the answer.
    pub async fn send(&self, path: &str, headers: &[(&str, &str)], body: impl Into<reqwest::Body>) -> Answer {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| {
                (
                    name.parse::<HeaderName>().unwrap(),
                    value.parse::<HeaderValue>().unwrap(),
                )
            })
            .collect();
        let url = format!("http://{}{path}", self.address());
        answer(client().post(url).headers(headers).body(body)).await
    }

    /// Sends a body as GitHub would, under a new delivery id.
    pub async fn github(&self, event: &str, body: &str) -> Answer {
        self.github_with(event, body, WEBHOOK_SECRET, &[]).await
    }

    /// The same with another secret, and more headers.
    pub async fn github_with(&self, event: &str, body: &str, secret: &str, more: &[(&str, &str)]) -> Answer {
        let hook = testkit::Hook::new(event, body.to_owned(), secret);
        let url = format!("http://{}/webhook/github", self.address());
        let mut request = hook.request(&client(), &url);
        for (name, value) in more {
            request = request.header(*name, *value);
        }
        answer(request).await
    }

    /// Asks for a page.
    pub async fn get(&self, path: &str, accept: &str) -> Answer {
        answer(
            client()
                .get(format!("http://{}{path}", self.address()))
                .header("accept", accept),
        )
        .await
    }

    /// Status of a page of its admin side.
    pub async fn admin(&self, path: &str) -> u16 {
        let url = format!("http://127.0.0.1:{}{path}", self.admin);
        client()
            .get(url)
            .send()
            .await
            .map_or(0, |response| response.status().as_u16())
    }

    /// Every delivery that waits, oldest first, in a lane (the list itself has no name).
    pub fn taken(&self, lane: &str) -> Vec<Value> {
        let key = if lane.is_empty() {
            "forge:webhooks".to_owned()
        } else {
            format!("{{forge:webhooks}}:{lane}")
        };
        let lines = self.redis.cli(&["--raw", "LRANGE", &key, "0", "-1"]);
        lines
            .lines()
            .rev()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Every delivery that waits, in any lane.
    pub fn all_taken(&self) -> Vec<Value> {
        let lanes = ["", "deployment", "validation", "workflow", "recovery"];
        lanes.iter().flat_map(|lane| self.taken(lane)).collect()
    }

    async fn is_ready(&self) {
        within(Duration::from_secs(20), "gateway is ready", async || {
            (self.admin("/ready").await == 200).then_some(())
        })
        .await;
    }
}

fn command(redis: &Redis, folder: &TempDir, port: u16, admin: u16, more: &[(String, String)]) -> Command {
    let mut command = Command::new(binary("gateway"));
    command.env_clear().current_dir(folder.path());
    command.envs([
        ("REDIS_URL", redis.url()),
        ("WEBHOOK_LISTEN", format!("127.0.0.1:{port}")),
        ("ADMIN_LISTEN", format!("127.0.0.1:{admin}")),
        ("WEBHOOK_SECRET", WEBHOOK_SECRET.to_owned()),
    ]);
    command.envs(more.iter().map(|(k, v)| (k, v)));
    command
}

fn log(folder: &TempDir) -> PathBuf {
    folder.path().join("gateway.log")
}

fn client() -> reqwest::Client {
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(20));
    client.build().unwrap()
}

async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await.unwrap();
    Answer {
        status,
        headers,
        body: serde_json::from_str(&text).unwrap_or_default(),
        text,
    }
}
