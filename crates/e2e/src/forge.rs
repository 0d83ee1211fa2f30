//! The whole system on real parts, for one test.

use serde_json::Value;
use std::{path::PathBuf, process::Command, time::Duration};
use tempfile::TempDir;
use testkit::{Git, Hook, Process, Registry, Repo, Server, Sink, Topology, binary, free_port, within};

/// The secret of webhooks.
pub const WEBHOOK_SECRET: &str = "webhook-s3cret";
/// The secret of outbound webhooks.
pub const SINK_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const GIT_TOKEN: &str = "git-t0ken";
/// The administrator's token.
pub const API_TOKEN: &str = "an-admin-token-for-tests";

/// A Dockerfile that builds in a moment.
pub const QUICK: &str = "FROM busybox\nRUN echo hello from the build\nCOPY . /app\n";

/// How long anything may take before a test gives up; machines are shared.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Four services and everything around them.
#[derive(Debug)]
pub struct Forge {
    /// The redis.
    pub redis: Server,
    /// The git.
    pub git: Git,
    /// The registry.
    pub registry: Registry,
    /// The sink.
    pub sink: Sink,
    /// The gateway.
    pub gateway: Process,
    /// The prow.
    pub prow: Process,
    /// The forgeries, oldest first.
    pub forgeries: Vec<Process>,
    /// The notifier.
    pub notifier: Process,
    more: Vec<(String, String)>,
    /// A service that is started to die, and where.
    doom: Option<(String, String)>,
    gateway_port: u16,
    prow_port: u16,
    folder: TempDir,
    http: reqwest::Client,
}

impl Forge {
    /// Everything, with one forgery.
    pub async fn start() -> Self {
        Self::start_with(1, &[]).await
    }

    /// Everything, with so many forgeries, and more variables for every service.
    pub async fn start_with(forgeries: usize, more: &[(&str, &str)]) -> Self {
        Self::start_on(Topology::wanted(), forgeries, more).await
    }

    /// The same with a Redis of this topology.
    pub async fn start_on(topology: Topology, forgeries: usize, more: &[(&str, &str)]) -> Self {
        testkit::crypto();
        let redis = Server::start(topology);
        let git = Git::start(GIT_TOKEN).await;
        let registry = Registry::start().await;
        let sink = Sink::start(SINK_SECRET).await;
        let folder = tempfile::tempdir().unwrap();
        let more: Vec<_> = more.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let (gateway_port, prow_port) = (free_port(), free_port());
        let mut forge = Self {
            gateway: idle(&folder),
            prow: idle(&folder),
            notifier: idle(&folder),
            forgeries: Vec::new(),
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            redis,
            git,
            registry,
            sink,
            more,
            doom: None,
            gateway_port,
            prow_port,
            folder,
        };
        forge.start_gateway();
        forge.start_prow();
        forge.start_notifier();
        for _ in 0..forgeries {
            forge.add_forgery();
        }
        forge.wait_until_ready().await;
        forge
    }

    /// What marks the things of this installation on the engine.
    pub fn installation(&self) -> String {
        self.redis
            .cli(&["GET", "{forge:builds}:installation"])
            .trim()
            .to_owned()
    }

    /// Starts gateway (again).
    pub fn start_gateway(&mut self) {
        let listen = format!("127.0.0.1:{}", self.gateway_port);
        self.gateway = self.service(
            "gateway",
            &[("WEBHOOK_LISTEN", &listen), ("GITHUB_WEBHOOK_SECRET", WEBHOOK_SECRET)],
        );
    }

    /// Starts prow (again).
    pub fn start_prow(&mut self) {
        let listen = format!("127.0.0.1:{}", self.prow_port);
        let (data, logs) = (self.path("prow"), self.path("logs"));
        self.prow = self.service(
            "prow",
            &[
                ("PROW_LISTEN", &listen),
                ("PROW_DATA_DIR", &data),
                ("BUILD_LOG_DIR", &logs),
                ("ADMIN_TOKEN", API_TOKEN),
            ],
        );
    }

    /// Starts one more prow, which only one on PostgreSQL can have beside it; the base URL of its API.
    pub async fn add_prow(&mut self) -> (Process, String) {
        let first = (free_port(), idle(&self.folder));
        let (port, process) = (
            std::mem::replace(&mut self.prow_port, first.0),
            std::mem::replace(&mut self.prow, first.1),
        );
        self.start_prow();
        self.wait_until_ready().await;
        let url = format!("http://127.0.0.1:{}", self.prow_port);
        self.prow_port = port;
        (std::mem::replace(&mut self.prow, process), url)
    }

    /// One more variable for every service that starts from now on.
    pub fn set(&mut self, name: &str, value: &str) {
        self.more.push((name.to_owned(), value.to_owned()));
    }

    /// Base URL of prow's API.
    pub fn prow_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.prow_port)
    }

    /// The text of something that a prow serves.
    pub async fn text_of(&self, url: &str) -> String {
        let request = self.http.get(url).bearer_auth(API_TOKEN);
        request.send().await.unwrap().text().await.unwrap()
    }

    /// Starts notifier (again).
    pub fn start_notifier(&mut self) {
        let url = self.sink.url();
        self.notifier = self.service(
            "notifier",
            &[
                ("WEBHOOK_URL", &url),
                ("WEBHOOK_HMAC_SECRET", SINK_SECRET),
                ("WEBHOOK_SCHEDULE", "short"),
                ("WEBHOOK_CIRCUIT_SECONDS", "1"),
            ],
        );
    }

    /// Starts one more forgery.
    pub fn add_forgery(&mut self) {
        let (work, credentials, registry) = (self.path("work"), self.git.credentials(), self.registry.host());
        let process = self.service(
            "forgery",
            &[
                ("WORK_DIR", &work),
                ("GIT_CREDENTIALS", &credentials),
                ("GIT_ALLOW_HTTP", "true"),
                ("REGISTRY", &registry),
                ("REGISTRY_USERNAME", Registry::USER),
                ("REGISTRY_PASSWORD", Registry::PASSWORD),
            ],
        );
        self.forgeries.push(process);
    }

    /// Starts a service anew that dies when it gets to a crash point for the first time.
    pub async fn start_doomed(&mut self, service: &str, point: &str) {
        self.doom = Some((service.to_owned(), format!("{point}=1*return")));
        self.start_again(service);
        self.doom = None;
        self.wait_until_ready().await;
    }

    /// Waits until a service has died at its crash point, and starts it anew.
    pub async fn bury_and_revive(&mut self, service: &str) {
        let process = self.process(service);
        within(PATIENCE, &format!("{service} dies"), async || {
            (!process.is_running()).then_some(())
        })
        .await;
        assert!(process.log().contains("as FAILPOINTS says"), "{}", process.log());
        self.start_again(service);
    }

    /// Starts a service again, whether it runs or not.
    pub fn start_again(&mut self, service: &str) {
        self.process(service).kill();
        match service {
            "gateway" => self.start_gateway(),
            "prow" => self.start_prow(),
            "notifier" => self.start_notifier(),
            _ => {
                self.forgeries.clear();
                self.add_forgery();
            }
        }
    }

    fn process(&mut self, service: &str) -> &mut Process {
        match service {
            "gateway" => &mut self.gateway,
            "prow" => &mut self.prow,
            "notifier" => &mut self.notifier,
            _ => &mut self.forgeries[0],
        }
    }

    /// Base URL of the gateway.
    pub fn gateway_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.gateway_port)
    }

    /// A repository whose image is described by this Dockerfile. Names differ between tests that
    /// share one engine.
    pub fn repo(&self, dockerfile: &str) -> Repo {
        let unique = self.folder.path().file_name().unwrap().to_string_lossy().to_lowercase();
        let unique: String = unique.chars().filter(char::is_ascii_alphanumeric).collect();
        // No step of one test may be found in the engine's cache by another, or by the next run.
        let dockerfile = dockerfile.replacen("FROM busybox\n", &format!("FROM busybox\nENV UNIQUE={unique}\n"), 1);
        self.git.repo(&format!("e2e/{unique}"), &[("Dockerfile", &dockerfile)])
    }

    /// Sends the same as often as it takes to get an answer, as git forges do.
    pub async fn push_until_answered(&self, repo: &Repo) {
        let hook = Hook::push(repo, WEBHOOK_SECRET);
        let url = format!("{}/webhook/github", self.gateway_url());
        within(PATIENCE, "an answer", async || {
            let answer = hook.request(&self.http, &url).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
    }

    /// Sends the push webhook of a repository's newest commit, which must be accepted.
    pub async fn push(&self, repo: &Repo) {
        let (status, answer) = Hook::push(repo, WEBHOOK_SECRET).send(&self.gateway_url()).await;
        assert_eq!((status, answer["status"].as_str()), (202, Some("accepted")), "{answer}");
    }

    /// An answer of the API.
    pub async fn get(&self, path: &str) -> Option<Value> {
        self.get_with(API_TOKEN, path).await
    }

    /// The same for whoever has this token.
    pub async fn get_with(&self, token: &str, path: &str) -> Option<Value> {
        let request = self
            .http
            .get(format!("http://127.0.0.1:{}{path}", self.prow_port))
            .bearer_auth(token);
        let response = request.send().await.ok()?.error_for_status().ok()?;
        serde_json::from_str(&response.text().await.ok()?).ok()
    }

    /// Posts to the API; status and answer.
    pub async fn post(&self, path: &str) -> (u16, Value) {
        let request = self
            .http
            .post(format!("http://127.0.0.1:{}{path}", self.prow_port))
            .bearer_auth(API_TOKEN);
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        (
            status,
            serde_json::from_str(&response.text().await.unwrap()).unwrap_or_default(),
        )
    }

    /// Posts JSON to the API; status and answer.
    pub async fn post_json(&self, path: &str, body: &Value) -> (u16, Value) {
        self.send_json(reqwest::Method::POST, path, body).await
    }

    /// The same with PUT.
    pub async fn put_json(&self, path: &str, body: &Value) -> (u16, Value) {
        self.send_json(reqwest::Method::PUT, path, body).await
    }

    async fn send_json(&self, method: reqwest::Method, path: &str, body: &Value) -> (u16, Value) {
        let url = format!("http://127.0.0.1:{}{path}", self.prow_port);
        let request = self.http.request(method, url).bearer_auth(API_TOKEN);
        let request = request
            .header("content-type", "application/json")
            .body(body.to_string());
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or_default())
    }

    /// Deletes through the API; the status.
    pub async fn delete(&self, path: &str) -> u16 {
        let request = self
            .http
            .delete(format!("http://127.0.0.1:{}{path}", self.prow_port))
            .bearer_auth(API_TOKEN);
        request.send().await.unwrap().status().as_u16()
    }

    /// The text of something the API serves.
    pub async fn text(&self, path: &str) -> String {
        let request = self
            .http
            .get(format!("http://127.0.0.1:{}{path}", self.prow_port))
            .bearer_auth(API_TOKEN);
        request.send().await.unwrap().text().await.unwrap()
    }

    /// Status of an API request without, or with a wrong, token.
    pub async fn status_with(&self, token: Option<&str>) -> u16 {
        let mut request = self
            .http
            .get(format!("http://127.0.0.1:{}/v1/cicd/builds", self.prow_port));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        request.send().await.unwrap().status().as_u16()
    }

    /// All builds, newest first.
    pub async fn builds(&self) -> Vec<Value> {
        match self.get("/v1/cicd/builds").await {
            Some(Value::Array(builds)) => builds,
            _ => Vec::new(),
        }
    }

    /// Waits until the newest build has this status.
    pub async fn build_that_is(&self, status: &str) -> Value {
        within(PATIENCE, &format!("a build that is {status}"), async || {
            let newest = self.builds().await.into_iter().next()?;
            (newest["status"] == status).then_some(newest)
        })
        .await
    }

    /// Waits until a line of the newest build's log contains this.
    pub async fn log_that_says(&self, build: &Value, text: &str) {
        let path = format!("/v1/cicd/builds/{}/logs", build["id"]);
        within(PATIENCE, &format!("a log that says {text}"), async || {
            self.text(&path).await.contains(text).then_some(())
        })
        .await;
    }

    /// Waits until the receiver has this many notifications of a type.
    pub async fn told(&self, event_type: &str) -> testkit::Received {
        within(PATIENCE, &format!("a notification {event_type}"), async || {
            self.sink
                .received()
                .into_iter()
                .find(|r| r.body["eventType"] == event_type && r.status == 200)
        })
        .await
    }

    /// The types of all notifications that the receiver has got, sorted.
    pub fn heard(&self) -> Vec<String> {
        let received = self.sink.received().into_iter();
        let mut heard: Vec<_> = received
            .map(|told| told.body["eventType"].as_str().unwrap().to_owned())
            .collect();
        heard.sort();
        heard
    }

    /// What is told of the first push of a repository whose build succeeds.
    pub const OF_A_FIRST_PUSH: [&str; 6] = [
        "build.queued",
        "build.started",
        "build.succeeded",
        "project.created",
        "service.created",
        "workflow.pushed",
    ];

    /// Fails if Redis holds anything that a quiet system should not hold.
    pub async fn is_quiet(&self) {
        within(PATIENCE, "quiet lists", async || {
            let keys = self.redis.cli(&["--raw", "KEYS", "*"]);
            let busy = keys.lines().filter(|key| {
                let waiting = ["forge:webhooks", "forge:builds", "forge:notifications"].contains(key)
                    || key.ends_with(":events")
                    || key.contains(":deliveries:due:")
                    || key.ends_with(":deliveries:held")
                    || key.ends_with(":delayed");
                waiting || key.contains(":proc:")
            });
            (busy.count() == 0).then_some(())
        })
        .await;
    }

    async fn wait_until_ready(&self) {
        within(PATIENCE, "every service is ready", async || {
            let forgeries = self.forgeries.iter();
            let all: Vec<_> = [&self.gateway, &self.prow, &self.notifier]
                .into_iter()
                .chain(forgeries)
                .collect();
            all.iter()
                .all(|process| process.log().contains("chassis::life: ready"))
                .then_some(())
        })
        .await;
        within(PATIENCE, "the gateway reaches redis", async || {
            let health = self
                .http
                .get(format!("{}/health", self.gateway_url()))
                .send()
                .await
                .ok()?;
            health.status().is_success().then_some(())
        })
        .await;
    }

    fn service(&self, name: &str, own: &[(&str, &str)]) -> Process {
        let (mut command, admin) = (Command::new(binary(name)), free_port());
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        command.envs([
            ("REDIS_URL", self.redis.url().to_owned()),
            ("ADMIN_LISTEN", format!("127.0.0.1:{admin}")),
        ]);
        command.envs([("LOG_LEVEL", "info,bus=debug"), ("GRACE_SECONDS", "20")]);
        command
            .envs(self.redis.variables())
            .envs(own.iter().copied())
            .envs(self.more.iter().map(|(k, v)| (k, v)));
        if let Some((_, points)) = self.doom.as_ref().filter(|(doomed, _)| doomed == name) {
            command.env("FAILPOINTS", points);
        }
        let log = PathBuf::from(self.path(&format!("{name}-{admin}.log")));
        Process::start(&mut command, &log)
    }

    /// A path in the folder of this system.
    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_string_lossy().into_owned()
    }
}

impl Drop for Forge {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let all = [&self.gateway, &self.prow, &self.notifier]
                .into_iter()
                .chain(&self.forgeries);
            for process in all {
                eprintln!("---\n{}", process.log());
            }
        }
    }
}

/// A process that does nothing, in the place of one that is started later.
fn idle(folder: &TempDir) -> Process {
    Process::start(Command::new("sleep").arg("0"), &folder.path().join("idle.log"))
}
