//! Notifier alone, with a Redis.

use crate::PATIENCE;
use reqwest::Method;
use serde_json::{Value, json};
use std::process::Command;
use tempfile::TempDir;
use testkit::{Process, Redis, binary, free_port, within};
use uuid::Uuid;

/// A notifier and its Redis.
#[derive(Debug)]
pub struct Notifier {
    /// Its Redis.
    pub redis: Redis,
    /// The program.
    pub process: Process,
    /// Its admin port.
    pub port: u16,
    /// A client that is nobody's.
    pub http: reqwest::Client,
    folder: TempDir,
    env: Vec<(String, String)>,
}

impl Notifier {
    /// What signs its webhooks.
    pub const SECRET: &'static str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    /// The token of its API.
    pub const TOKEN: &'static str = "a token of the tests";

    /// Starts one with these webhooks and settings, and waits until it is ready.
    pub async fn start(urls: &[&str], more: &[(&str, &str)]) -> Self {
        testkit::crypto();
        let (redis, folder, port) = (Redis::start(), tempfile::tempdir().unwrap(), free_port());
        let usual = [
            ("REDIS_URL", redis.url()),
            ("ADMIN_LISTEN", format!("127.0.0.1:{port}")),
            ("WEBHOOK_URL", urls.join(",")),
            ("WEBHOOK_HMAC_SECRET", Self::SECRET.to_owned()),
            ("WEBHOOK_SCHEDULE", "short".to_owned()),
            ("WEBHOOK_CIRCUIT_SECONDS", "1".to_owned()),
            ("NOTIFIER_API_TOKEN", Self::TOKEN.to_owned()),
        ];
        let more = more.iter().map(|(name, value)| (*name, (*value).to_owned()));
        let env: Vec<_> = usual.into_iter().chain(more).map(|(n, v)| (n.to_owned(), v)).collect();
        let mut notifier = Self {
            process: launch(&folder, &env),
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            redis,
            folder,
            port,
            env,
        };
        notifier.is_ready().await;
        notifier
    }

    /// Waits until it is ready.
    pub async fn is_ready(&mut self) {
        within(PATIENCE, "ready", async || {
            let answer = self.ask(Method::GET, "/ready").send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
    }

    /// Kills it, and starts it again as it was.
    pub async fn kill_and_start_again(&mut self) {
        self.process.kill();
        self.process = launch(&self.folder, &self.env);
        self.is_ready().await;
    }

    /// Puts a notification on its list as any program may; its id.
    pub fn tell(&self, kind: &str) -> String {
        self.tell_more(kind, 1, &json!({"status": "success"}))
    }

    /// The same about the build `b-1`, or the change `w-1`, in this version, with this data.
    pub fn tell_more(&self, kind: &str, version: u64, data: &Value) -> String {
        let id = Uuid::new_v4().to_string();
        let (resource, uid) = match kind.split_once('.') {
            Some(("workflow", _)) => ("Workflow", "w-1"),
            _ => ("Build", "b-1"),
        };
        let notification = json!({
            "eventId": id, "eventType": kind, "timestamp": "2026-11-22T10:00:00Z", "schemaVersion": "1",
            "version": version, "sequenceHint": version, "data": data, "correlation": {"commit": "c".repeat(40)},
            "resource": {"kind": resource, "apiVersion": "forge/v1", "name": "n", "namespace": "o/r", "uid": uid},
        });
        self.redis
            .cli(&["LPUSH", "forge:notifications", &notification.to_string()]);
        id
    }

    /// Waits until a delivery has ended; what is known of it.
    pub async fn ended(&self, id: &str, endpoint: &str) -> Value {
        within(PATIENCE, "a delivery ends", async || {
            let found = self.get(&format!("/v1/deliveries/{id}/{endpoint}")).await;
            ["done", "dead"].contains(&found["state"].as_str()?).then_some(found)
        })
        .await
    }

    /// A request to its admin port, with the token.
    pub fn ask(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http
            .request(method, format!("http://127.0.0.1:{}{path}", self.port))
            .bearer_auth(Self::TOKEN)
    }

    /// What its API answers.
    pub async fn get(&self, path: &str) -> Value {
        let answer = self.ask(Method::GET, path).send().await.unwrap();
        serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
    }

    /// Posts nothing to its API; the status.
    pub async fn post(&self, path: &str) -> u16 {
        self.ask(Method::POST, path).send().await.unwrap().status().as_u16()
    }

    /// The endpoints there are.
    pub async fn endpoints(&self) -> Vec<Value> {
        self.get("/v1/endpoints").await["endpoints"].as_array().unwrap().clone()
    }

    /// Makes an endpoint by the API; the status and the answer.
    pub async fn make(&self, wanted: Value) -> (u16, Value) {
        let asked = self.ask(Method::POST, "/v1/endpoints").body(wanted.to_string());
        let answer = asked.send().await.unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap())
    }

    /// Waits until an endpoint is in this state.
    pub async fn endpoint_that_is(&self, n: usize, state: &str) -> Value {
        within(PATIENCE, &format!("an endpoint that is {state}"), async || {
            let endpoint = self.endpoints().await[n].clone();
            (endpoint["state"] == state).then_some(endpoint)
        })
        .await
    }
}

fn launch(folder: &TempDir, env: &[(String, String)]) -> Process {
    let mut command = Command::new(binary("notifier"));
    command.env_clear().current_dir(folder.path()).envs(env.iter().cloned());
    Process::start(&mut command, &folder.path().join("log"))
}
