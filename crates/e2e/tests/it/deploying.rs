//! From an image to a running service; what fails leaves what ran before; and the way back.

use e2e::{Forge, PATIENCE};
use serde_json::{Value, json};
use std::{
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use testkit::{Repo, within};
use tokio::task::JoinSet;

/// A service of one repository, and what it left on the engine.
struct Stage {
    repo: Repo,
    service: i64,
}

impl Drop for Stage {
    fn drop(&mut self) {
        for id in docker(&["ps", "-aq", "--filter", &self.label()]).split_whitespace() {
            docker(&["rm", "-fv", id]);
        }
        let filter = format!("name=forge-{}-", self.repo.name.replace('/', "-"));
        for what in ["network", "volume"] {
            for id in docker(&[what, "ls", "-q", "--filter", &filter]).split_whitespace() {
                docker(&[what, "rm", id]);
            }
        }
    }
}

fn docker(args: &[&str]) -> String {
    let output = Command::new("docker").args(args).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A program that answers with this text, once it has begun.
fn answers(text: &str) -> String {
    format!(
        "FROM busybox\nRUN mkdir /www && echo {text} > /www/index.html\n\
         CMD [\"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/www\"]\n"
    )
}

/// The same, and it ends what it is answering when it is asked to stop.
fn ends_gracefully(text: &str) -> String {
    format!(
        "FROM forge-test/nginx\nSTOPSIGNAL SIGQUIT\n\
         RUN echo 'user root; events {{}} http {{ access_log off; server {{ listen 8080; location / {{ return 200 {text}; }} }} }}' \
         > /etc/nginx/nginx.conf\n"
    )
}

fn healthy() -> Value {
    json!({"health": {"type": "http", "port": 8080}, "healthy_within_seconds": 20, "stop_grace_seconds": 0})
}

impl Stage {
    /// A repository that was built once, with a service that is run as this says.
    async fn set(forge: &Forge, dockerfile: &str, deploy: Value) -> (Self, Value) {
        let repo = forge.repo(dockerfile);
        forge.push(&repo).await;
        let build = forge.build_that_is("success").await;
        let service = build["service_id"].as_i64().unwrap();
        let recipe = json!({"recipe": {"deploy": deploy}});
        let (status, answer) = forge.put_json(&format!("/v1/cicd/services/{service}"), &recipe).await;
        assert_eq!(status, 200, "{answer}");
        (Self { repo, service }, build)
    }

    /// Another commit, built.
    async fn build(&self, forge: &Forge, dockerfile: &str) -> Value {
        self.repo.commit(&[("Dockerfile", dockerfile)], "another");
        forge.push(&self.repo).await;
        let head = self.repo.head();
        within(PATIENCE, "the build of the newer commit", async || {
            let newest = forge.builds().await.into_iter().next()?;
            (newest["commit"] == head.as_str() && newest["status"] == "success").then_some(newest)
        })
        .await
    }

    async fn deploy(&self, forge: &Forge, build: &Value) -> Value {
        let path = format!("/v1/cicd/services/{}/deploy", self.service);
        let (status, answer) = forge
            .post_json(&path, &json!({"image_tag": build["image_tag"], "reason": "a test"}))
            .await;
        assert_eq!((status, &answer["status"]), (201, &json!("queued")), "{answer}");
        answer
    }

    async fn rollback(&self, forge: &Forge) -> (u16, Value) {
        forge
            .post(&format!("/v1/cicd/services/{}/rollback", self.service))
            .await
    }

    fn label(&self) -> String {
        format!("label=forge.service={}/default", self.repo.name)
    }

    /// Containers that run.
    fn running(&self) -> Vec<String> {
        let ids = docker(&["ps", "-q", "--filter", &self.label()]);
        ids.split_whitespace().map(ToOwned::to_owned).collect()
    }

    /// What the service answers to its neighbours, who know it by its name.
    fn answer(&self) -> String {
        let filter = format!("name=forge-{}-", self.repo.name.replace('/', "-"));
        let network = docker(&["network", "ls", "-q", "--filter", &filter]);
        // A static busybox resolves names by nslookup only, and its wget breaks over them.
        let ask = "a=$(nslookup default | awk '/^Address/ && !/127.0.0.11/ {print $NF}') &&
            printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc $a 8080 | tail -n 1";
        docker(&["run", "--rm", "--network", &network, "busybox", "sh", "-c", ask])
    }
}

async fn ended(forge: &Forge, begun: &Value, status: &str) -> Value {
    let path = format!("/v1/cicd/deployments/{}", begun["deployment_id"]);
    within(PATIENCE, &format!("a deployment that is {status}"), async || {
        let deployment = forge.get(&path).await?;
        (deployment["status"] == status).then_some(deployment)
    })
    .await
}

#[tokio::test]
async fn a_newer_image_takes_the_place_of_the_older_and_a_sick_one_does_not() {
    let forge = Forge::start().await;
    // What an image says of itself does not make it a build's leftover.
    let one = answers("one") + "LABEL forge.build=x\n";
    let (stage, first) = Stage::set(&forge, &one, healthy()).await;
    let begun = stage.deploy(&forge, &first).await;
    let deployment = ended(&forge, &begun, "success").await;
    assert_eq!((stage.running().len(), stage.answer().as_str()), (1, "one"));
    let pinned = deployment["image"].as_str().unwrap();
    assert!(pinned.ends_with(first["digest"].as_str().unwrap()), "{deployment}");
    assert_eq!(
        (&deployment["build_id"], &deployment["progress"]),
        (&first["id"], &json!(100))
    );
    let job = forge
        .get(&format!("/v1/cicd/jobs/{}", begun["job_id"].as_str().unwrap()))
        .await
        .unwrap();
    assert_eq!(
        (&job["type"], &job["status"], &job["progress"]),
        (&json!("deploy"), &json!("success"), &json!(100))
    );
    for event in ["deployment.queued", "deployment.started", "deployment.succeeded"] {
        assert!(forge.told(event).await.verified);
    }

    let second = stage.build(&forge, &answers("two")).await;
    ended(&forge, &stage.deploy(&forge, &second).await, "success").await;
    let running = stage.running();
    assert_eq!((running.len(), stage.answer().as_str()), (1, "two"));

    // One that ends, and one that never answers: what ran before is not touched.
    let dies = stage.build(&forge, "FROM busybox\nCMD echo I cannot; exit 3\n").await;
    let failed = ended(&forge, &stage.deploy(&forge, &dies).await, "failed").await;
    let why = failed["failure"]["message"].as_str().unwrap();
    assert_eq!(failed["failure"]["kind"], "unhealthy");
    assert!(why.contains("exit code 3") && why.contains("I cannot"), "{why}");
    let silent = stage.build(&forge, "FROM busybox\nCMD sleep 300\n").await;
    let failed = ended(&forge, &stage.deploy(&forge, &silent).await, "failed").await;
    assert!(
        failed["detail"]
            .as_str()
            .unwrap()
            .starts_with("it was not healthy within 20 s: GET /"),
        "{failed}"
    );
    assert_eq!((stage.running(), stage.answer().as_str()), (running, "two"));
    assert_eq!(
        docker(&["ps", "-aq", "--filter", &stage.label()]).lines().count(),
        1,
        "nothing is left"
    );
    assert!(forge.told("deployment.failed").await.verified);

    // Back to the first; that it came back to is not what the next rollback brings.
    let (status, back) = stage.rollback(&forge).await;
    assert_eq!((status, &back["rollback_to"]), (201, &begun["deployment_id"]), "{back}");
    assert_eq!(back["rollback_image_tag"], first["image_tag"]);
    ended(&forge, &back, "success").await;
    assert_eq!(stage.answer(), "one");
    let all = forge
        .get(&format!("/v1/cicd/services/{}/deployments", stage.service))
        .await
        .unwrap();
    let statuses: Vec<_> = all
        .as_array()
        .unwrap()
        .iter()
        .map(|d| d["status"].as_str().unwrap())
        .collect();
    assert_eq!(statuses, ["success", "failed", "failed", "rolled_back", "success"]);
    let (status, answer) = stage.rollback(&forge).await;
    assert_eq!(status, 400, "{answer}");
    forge.is_quiet().await;
}

#[tokio::test]
async fn ports_of_the_host_are_handed_over_and_handed_back() {
    let forge = Forge::start().await;
    let port = testkit::free_port();
    let mut deploy = healthy();
    deploy["ports"] = json!([format!("127.0.0.1:{port}:8080")]);
    deploy["volumes"] = json!(["data:/data"]);
    let (stage, first) = Stage::set(&forge, &answers("one"), deploy).await;
    ended(&forge, &stage.deploy(&forge, &first).await, "success").await;
    let get = async || {
        reqwest::get(format!("http://127.0.0.1:{port}/"))
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
    };
    assert_eq!(get().await.trim(), "one");
    docker(&["exec", &stage.running()[0], "touch", "/data/kept"]);
    let dies = stage.build(&forge, "FROM busybox\nCMD exit 3\n").await;
    ended(&forge, &stage.deploy(&forge, &dies).await, "failed").await;
    assert_eq!(get().await.trim(), "one", "what ran before runs again");
    let second = stage.build(&forge, &answers("two")).await;
    ended(&forge, &stage.deploy(&forge, &second).await, "success").await;
    assert_eq!(get().await.trim(), "two");
    assert_eq!(docker(&["exec", &stage.running()[0], "ls", "/data"]), "kept");
}

#[tokio::test]
async fn of_each_service_one_deployment_is_under_way_and_what_waits_can_be_stopped() {
    let forge = Forge::start().await;
    let mut deploy = healthy();
    deploy["healthy_within_seconds"] = json!(5);
    let (stage, first) = Stage::set(&forge, "FROM busybox\nCMD sleep 300\n", deploy).await;
    let (one, two, three) = (
        stage.deploy(&forge, &first).await,
        stage.deploy(&forge, &first).await,
        stage.deploy(&forge, &first).await,
    );
    let waits = forge
        .get(&format!("/v1/cicd/deployments/{}", two["deployment_id"]))
        .await
        .unwrap();
    let expected = format!("waits for deployment {} of this service to end", one["deployment_id"]);
    assert_eq!(
        (waits["status"].as_str(), waits["detail"].as_str()),
        (Some("queued"), Some(&*expected))
    );
    let cancel = async |begun: &Value| {
        forge
            .post(&format!("/v1/cicd/deployments/{}/cancel", begun["deployment_id"]))
            .await
    };
    assert_eq!(cancel(&two).await.0, 202);
    ended(&forge, &two, "cancelled").await;
    ended(&forge, &one, "failed").await;
    ended(&forge, &three, "deploying").await;
    assert_eq!(cancel(&three).await.0, 202);
    ended(&forge, &three, "cancelled").await;
    assert_eq!(stage.running().len(), 0);
    assert_eq!(cancel(&three).await.0, 409);
    let (status, answer) = stage.rollback(&forge).await;
    assert_eq!(status, 400, "{answer}");
    stage.deploy(&forge, &first).await;
    assert_eq!(stage.rollback(&forge).await.0, 409, "one is under way");
    forge.is_quiet().await;
}

#[tokio::test]
async fn a_forgery_that_dies_anywhere_leaves_one_container_in_the_end() {
    for point in [
        "forgery.deploy.created",
        "forgery.deploy.started",
        "forgery.deploy.switched",
        "forgery.deploy.settled",
    ] {
        let mut forge = Forge::start_with(1, &[("REDIS_LEASE_SECONDS", "6")]).await;
        let (stage, first) = Stage::set(&forge, &answers("one"), healthy()).await;
        ended(&forge, &stage.deploy(&forge, &first).await, "success").await;
        let second = stage.build(&forge, &answers("two")).await;
        forge.start_doomed("forgery", point).await;
        let begun = stage.deploy(&forge, &second).await;
        forge.bury_and_revive("forgery").await;
        ended(&forge, &begun, "success").await;
        assert_eq!((stage.running().len(), stage.answer().as_str()), (1, "two"), "{point}");
        assert_eq!(
            docker(&["ps", "-aq", "--filter", &stage.label()]).lines().count(),
            1,
            "{point}"
        );
        forge.is_quiet().await;
    }
}

#[tokio::test]
async fn what_was_pushed_is_deployed_at_once_where_the_service_says_so() {
    let forge = Forge::start().await;
    let (stage, _) = Stage::set(&forge, &answers("one"), healthy()).await;
    let recipe = json!({"recipe": {"auto_deploy": true, "deploy": healthy()}});
    forge
        .put_json(&format!("/v1/cicd/services/{}", stage.service), &recipe)
        .await;
    let build = stage.build(&forge, &answers("two")).await;
    let deployment = within(PATIENCE, "a deployment", async || {
        let all = forge
            .get(&format!("/v1/cicd/services/{}/deployments", stage.service))
            .await?;
        all.as_array()?
            .first()
            .filter(|newest| newest["status"] == "success")
            .cloned()
    })
    .await;
    assert_eq!(deployment["build_id"], build["id"]);
    assert_eq!(deployment["reason"], format!("build {} succeeded", build["id"]));
    assert_eq!(stage.answer(), "two");
}

#[tokio::test]
async fn what_ran_before_comes_back_when_a_deployment_is_ended_without_its_worker() {
    let mut forge = Forge::start_with(1, &[("REDIS_LEASE_SECONDS", "6")]).await;
    let mut deploy = healthy();
    deploy["ports"] = json!([format!("127.0.0.1:{}:8080", testkit::free_port())]);
    let (stage, first) = Stage::set(&forge, &answers("one"), deploy).await;
    ended(&forge, &stage.deploy(&forge, &first).await, "success").await;
    let before = stage.running();
    let silent = stage.build(&forge, "FROM busybox\nCMD sleep 300\n").await;
    let begun = stage.deploy(&forge, &silent).await;
    within(PATIENCE, "the new one runs alone", async || {
        let running = stage.running();
        (running.len() == 1 && running != before).then_some(())
    })
    .await;
    forge.forgeries[0].kill();
    let path = format!("/v1/cicd/deployments/{}/cancel", begun["deployment_id"]);
    assert_eq!(forge.post(&path).await.0, 202);
    forge.start_again("forgery");
    ended(&forge, &begun, "cancelled").await;
    within(PATIENCE, "what ran before", async || {
        (stage.running() == before).then_some(())
    })
    .await;
    within(PATIENCE, "and nothing else", async || {
        (docker(&["ps", "-aq", "--filter", &stage.label()]).lines().count() == 1).then_some(())
    })
    .await;
    forge.is_quiet().await;
}

#[tokio::test]
async fn what_died_with_the_engine_is_started_again_and_what_somebody_stopped_is_not() {
    let forge = Forge::start().await;
    // The engine says 255 of what it finds dead when it comes back.
    let dies = "FROM busybox\nCMD [\"sh\", \"-c\", \"trap 'exit 255' USR1; while true; do sleep 0.2; done\"]\n";
    let deploy = json!({"health": {"type": "command", "command": "true"}, "stop_grace_seconds": 0});
    let (stage, build) = Stage::set(&forge, dies, deploy).await;
    ended(&forge, &stage.deploy(&forge, &build).await, "success").await;
    let running = stage.running();
    docker(&["update", "--restart=no", &running[0]]);
    docker(&["kill", "-s", "USR1", &running[0]]);
    within(PATIENCE, "it has ended", async || {
        stage.running().is_empty().then_some(())
    })
    .await;
    within(PATIENCE, "it runs again", async || {
        (stage.running() == running).then_some(())
    })
    .await;
    docker(&["stop", "-t", "0", &running[0]]);
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert_eq!(stage.running(), Vec::<String>::new(), "somebody wanted it so");
}

/// Asks again and again, as many do at once, until it is dropped; what was not answered is counted.
struct Crowd {
    answered: Arc<AtomicUsize>,
    failed: Arc<Mutex<Vec<String>>>,
    /// They end with it.
    _tasks: JoinSet<()>,
}

impl Crowd {
    fn gather(url: &str) -> Self {
        let (answered, failed) = (Arc::<AtomicUsize>::default(), Arc::<Mutex<Vec<String>>>::default());
        let ask = async |url: String, answered: Arc<AtomicUsize>, failed: Arc<Mutex<Vec<String>>>| {
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            loop {
                let answer = async { client.get(&url).send().await?.error_for_status()?.text().await };
                match answer.await {
                    Ok(_) => drop(answered.fetch_add(1, Ordering::Relaxed)),
                    Err(error) => failed.lock().unwrap().push(error.to_string()),
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let mut tasks = JoinSet::new();
        for _ in 0..4 {
            tasks.spawn(ask(url.to_owned(), Arc::clone(&answered), Arc::clone(&failed)));
        }
        Self {
            answered,
            failed,
            _tasks: tasks,
        }
    }
}

/// nginx in front of a service that it knows by its name.
const PROXY: &str = "user root;\nevents {}\nhttp {\n  access_log off;\n  resolver 127.0.0.11 valid=1s;\n  server {\n    listen 80;\n\
    location / {\n      set $upstream http://default:8080;\n      proxy_pass $upstream;\n      proxy_connect_timeout 1s;\n\
      proxy_next_upstream error timeout;\n    }\n  }\n}\n";

#[tokio::test]
async fn nobody_behind_a_reverse_proxy_notices_ten_deployments_and_one_that_fails() {
    let forge = Forge::start().await;
    let mut deploy = healthy();
    deploy["stop_grace_seconds"] = json!(5);
    deploy["healthy_within_seconds"] = json!(3);
    let image = testkit::nginx_image(PROXY); // The application is made of it, too.
    let (stage, first) = Stage::set(&forge, &ends_gracefully("one"), deploy).await;
    let second = stage.build(&forge, &ends_gracefully("two")).await;
    let sick = stage.build(&forge, "FROM busybox\nCMD [\"sleep\", \"900\"]\n").await;
    ended(&forge, &stage.deploy(&forge, &first).await, "success").await;

    let filter = format!("name=forge-{}-", stage.repo.name.replace('/', "-"));
    let network = docker(&["network", "ls", "-q", "--filter", &filter]);
    let proxy = docker(&[
        "run",
        "-d",
        "--network",
        &network,
        "-p",
        "127.0.0.1::80",
        "--label",
        stage.label().trim_start_matches("label="),
        &image,
    ]);
    let address = docker(&["port", &proxy, "80"]);
    let url = format!("http://{}/", address.lines().next().unwrap());
    within(PATIENCE, "the proxy answers", async || {
        reqwest::get(&url).await.ok()?.error_for_status().ok()
    })
    .await;

    let crowd = Crowd::gather(&url);
    for round in 0..10 {
        let build = if round % 2 == 0 { &second } else { &first };
        ended(&forge, &stage.deploy(&forge, build).await, "success").await;
    }
    ended(&forge, &stage.deploy(&forge, &sick).await, "failed").await;
    let (answered, failed) = (
        crowd.answered.load(Ordering::Relaxed),
        crowd.failed.lock().unwrap().clone(),
    );
    assert!(answered > 1_000, "{answered} answers in ten deployments are no proof");
    assert!(
        failed.is_empty(),
        "{} of {answered} were not answered: {:?}",
        failed.len(),
        failed.first()
    );
}
