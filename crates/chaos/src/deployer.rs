//! Deploys and rolls back, as people would, while everything else goes on; and looks in the end at what runs.

use crate::{
    audit::Check,
    receiver::Heard,
    world::{API_TOKEN, World},
};
use fastrand::Rng;
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Who deploys.
#[derive(Debug)]
pub(crate) struct Deployer {
    client: reqwest::Client,
    prow: u16,
    seed: u64,
    /// Numbers of the services.
    services: Vec<i64>,
    asked: Mutex<Asked>,
}

#[derive(Debug, Default)]
struct Asked {
    /// Numbers of deployments that prow has accepted.
    accepted: Vec<i64>,
    rollbacks: usize,
    wrong: Vec<String>,
}

const PROJECT: &str = "chaos/deploys";
const SERVICES: usize = 3;
/// Images that run, and one that ends at once.
const IMAGES: &[(&str, &str)] = &[
    ("rehearsal/app1", r#"["sleep", "1000000"]"#),
    ("rehearsal/app2", r#"["sleep", "1000001"]"#),
    ("rehearsal/app3", r#"["sleep", "1000002"]"#),
    ("rehearsal/sick", r#"["false"]"#),
];
/// The types of events by which a deployment ends.
const LAST: &[&str] = &["deployment.succeeded", "deployment.failed", "deployment.cancelled"];
/// So long an answer is tried to get.
const PATIENCE: Duration = Duration::from_mins(3);
/// So long a deployment may take to end once everything is well.
const STUCK: Duration = Duration::from_mins(4);
const PAUSE: Duration = Duration::from_millis(500);

impl Deployer {
    /// Makes the images and the services.
    pub(crate) async fn start(client: &reqwest::Client, world: &World, seed: u64) -> Self {
        for (image, command) in IMAGES {
            build(&world.engine.host(), image, command);
        }
        let mut deployer = Self {
            client: client.clone(),
            prow: world.ports.prow,
            seed,
            services: Vec::new(),
            asked: Mutex::default(),
        };
        let (_, project) = deployer.post("projects", "project", &json!({"name": PROJECT})).await;
        for n in 0..SERVICES {
            let deploy = json!({"health": {"type": "command", "command": "true"}, "stop_grace_seconds": 1});
            let service = json!({"project_id": project["id"], "name": name(n), "recipe": {"deploy": deploy}});
            let (status, service) = deployer.post("services", &name(n), &service).await;
            assert_eq!(status, 201, "{service}");
            deployer.services.push(service["id"].as_i64().unwrap());
        }
        deployer
    }

    /// Deploys and rolls back until it is told to stop.
    pub(crate) async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut rng = Rng::with_seed(self.seed ^ 0xDE91);
        let mut n = 0;
        while !stop.is_cancelled() {
            n += 1;
            let service = self.services[rng.usize(..SERVICES)];
            if rng.u32(..4) == 0 {
                self.roll_back(service, n, &stop).await;
            } else {
                let (image, _) = IMAGES[rng.usize(..IMAGES.len())];
                let wanted = json!({"image_tag": format!("{image}:latest")});
                let (status, answer) = self
                    .post(&format!("services/{service}/deploy"), &n.to_string(), &wanted)
                    .await;
                match status {
                    201 => self.accept(&answer, false),
                    _ => self.wrong(format!("a deployment was answered {status}: {answer}")),
                }
            }
            tokio::time::sleep(Duration::from_millis(rng.u64(500..3_000))).await;
        }
    }

    /// Asks for a rollback as often as it takes until nothing else of the service is under way.
    async fn roll_back(&self, service: i64, n: usize, stop: &CancellationToken) {
        let path = format!("services/{service}/rollback");
        for time in 0.. {
            let (status, answer) = self.post(&path, &format!("{n}.{time}"), &json!({})).await;
            match status {
                201 => self.accept(&answer, true),
                409 if !stop.is_cancelled() => {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
                400 | 409 => {} // There is nothing to go back to, or enough has been done.
                _ => self.wrong(format!("a rollback was answered {status}: {answer}")),
            }
            return;
        }
    }

    /// Deploys each service once more, and waits until all have ended. An engine that was killed may not have started again
    /// what ran; that is its own affair, and what is deployed after it runs.
    pub(crate) async fn deploy_last(&self) {
        for (n, service) in self.services.iter().enumerate() {
            let wanted = json!({"image_tag": format!("{}:latest", IMAGES[n].0)});
            let (status, answer) = self
                .post(&format!("services/{service}/deploy"), &format!("last {n}"), &wanted)
                .await;
            if status == 201 {
                self.accept(&answer, false);
            } else {
                self.wrong(format!("a last deployment was answered {status}: {answer}"));
            }
        }
        let give_up = Instant::now() + STUCK;
        while Instant::now() < give_up {
            if let Some(all) = self.deployments().await
                && all.iter().all(|one| !one["finished_at"].is_null())
            {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// What must be true when all have ended.
    pub(crate) async fn audit(&self, world: &World) -> Vec<Check> {
        let deployments = testkit::within(PATIENCE, "prow says what was deployed", async || {
            self.deployments().await
        })
        .await;
        let asked = self.asked.lock().unwrap();
        let mut ended = Check::new("every deployment that was asked for has ended", asked.accepted.len());
        asked
            .wrong
            .iter()
            .for_each(|wrong| ended.expect(false, || wrong.clone()));
        let by_id: HashMap<i64, &Value> = deployments
            .iter()
            .map(|one| (one["id"].as_i64().unwrap(), one))
            .collect();
        for id in &asked.accepted {
            let found = by_id.get(id);
            let has_ended = found.is_some_and(|one| !one["finished_at"].is_null());
            ended.expect(has_ended, || format!("deployment {id}: {found:?}"));
        }
        println!(
            "{} deployments, {} of them rollbacks",
            asked.accepted.len(),
            asked.rollbacks
        );
        vec![
            ended,
            self.of_containers(&deployments, world),
            of_notices(&deployments, &world.receiver.heard.lock().unwrap()),
        ]
    }

    /// Of each service that container runs which was deployed last, and there is no other.
    fn of_containers(&self, deployments: &[Value], world: &World) -> Check {
        let mut check = Check::new(
            "of each service what was deployed last runs, and nothing else",
            self.services.len(),
        );
        for (n, service) in self.services.iter().enumerate() {
            let is_it = |one: &&Value| one["service_id"] == *service && one["status"] == "success";
            let newest = deployments.iter().filter(is_it).max_by_key(|one| one["id"].as_i64());
            let expected: Vec<String> = newest
                .iter()
                .map(|one| format!("{} running", one["container"].as_str().unwrap_or_default()))
                .collect();
            let label = format!("label=forge.service={PROJECT}/{}", name(n));
            let args = ["ps", "--all", "--filter", &label, "--format", "{{.Names}} {{.State}}"];
            let runs = world.engine.lines(&args);
            check.expect(runs == expected, || {
                format!("{}: {runs:?} instead of {expected:?}: {newest:?}", name(n))
            });
        }
        check
    }

    /// Every deployment; `None` when prow does not answer.
    async fn deployments(&self) -> Option<Vec<Value>> {
        let mut all = Vec::new();
        for service in &self.services {
            let url = format!(
                "http://127.0.0.1:{}/v1/cicd/services/{service}/deployments?limit=500",
                self.prow
            );
            let answer = self.client.get(url).bearer_auth(API_TOKEN).send().await.ok()?;
            let page: Vec<Value> = serde_json::from_str(&answer.error_for_status().ok()?.text().await.ok()?).ok()?;
            all.extend(page);
        }
        Some(all)
    }

    /// Posts until there is an answer; the same request twice is done once.
    async fn post(&self, path: &str, key: &str, body: &Value) -> (u16, Value) {
        let url = format!("http://127.0.0.1:{}/v1/cicd/{path}", self.prow);
        let give_up = Instant::now() + PATIENCE;
        loop {
            let request = self.client.post(&url).bearer_auth(API_TOKEN);
            let request = request
                .header("idempotency-key", format!("chaos-{}-{key}", self.seed))
                .header("content-type", "application/json")
                .body(body.to_string());
            if let Ok(response) = request.send().await {
                let status = response.status().as_u16();
                let text = response.text().await.unwrap_or_default();
                // Who began it may have died; then it is begun again after a while.
                let is_begun = status == 409 && text.contains("is being done");
                if !is_begun && status < 500 || Instant::now() > give_up {
                    return (status, serde_json::from_str(&text).unwrap_or_default());
                }
            } else if Instant::now() > give_up {
                return (0, Value::Null);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn accept(&self, answer: &Value, is_rollback: bool) {
        let mut asked = self.asked.lock().unwrap();
        asked.accepted.extend(answer["deployment_id"].as_i64());
        asked.rollbacks += usize::from(is_rollback);
    }

    fn wrong(&self, what: String) {
        self.asked.lock().unwrap().wrong.push(what);
    }
}

fn of_notices(deployments: &[Value], heard: &Heard) -> Check {
    let mut check = Check::new(
        "every deployment's end was told at least once, under one id",
        deployments.len(),
    );
    for one in deployments {
        let types = heard.accepted.get(one["uid"].as_str().unwrap_or_default());
        let last: Vec<_> = types
            .into_iter()
            .flatten()
            .filter(|(kind, _)| LAST.contains(&kind.as_str()))
            .collect();
        let good = matches!(last.as_slice(), [(_, ids)] if ids.iter().all(|id| Some(id) == ids.first()));
        check.expect(good, || {
            format!("deployment {} is {}, told was {types:?}", one["id"], one["status"])
        });
    }
    check
}

fn name(n: usize) -> String {
    format!("app{n}")
}

/// An image of its own, with nothing but a command.
fn build(host: &str, image: &str, command: &str) {
    use std::io::Write as _;
    let mut docker = Command::new("docker")
        .args(["--host", host, "build", "--tag", image, "-"])
        .env("DOCKER_BUILDKIT", "0")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let dockerfile = format!("FROM busybox\nLABEL is={image}\nCMD {command}\n");
    docker.stdin.take().unwrap().write_all(dockerfile.as_bytes()).unwrap();
    assert!(docker.wait().unwrap().success(), "cannot build {image}");
}
