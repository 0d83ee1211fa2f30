//! First figures of this machine: printed, not asserted. Peers measured elsewhere are in the text;
//! the baseline is measured here, in the same run.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a program for the shell; what fails must stop it"
)]

use bus::{Bus, Settings};
use contract::{BuildQueueMessage, BuildType, Strategy, route};
use e2e::{Forge, WEBHOOK_SECRET};
use futures_util::{StreamExt as _, stream};
use std::{path::Path, process::Command, sync::Arc, time::Duration};
use testkit::{Hook, Process, Redis, Repo, binary, free_port, push_body};
use tokio::time::Instant;

const SERVICES: [&str; 4] = ["gateway", "prow", "forgery", "notifier"];

#[tokio::main]
async fn main() {
    testkit::crypto();
    cold_start().await;
    queue_cycles().await;
    let forge = Forge::start_with(1, &[("LOG_LEVEL", "warn,chassis::life=info")]).await;
    idle_memory(&forge).await;
    webhooks_per_second(&forge).await;
    webhook_to_start(&forge).await;
    push_to_manifest(&forge).await;
}

/// From the start of a process to its first 200 on `/ready`.
async fn cold_start() {
    let redis = Redis::start();
    let folder = tempfile::tempdir().unwrap();
    for name in SERVICES {
        let mut times = Vec::new();
        for _ in 0..5 {
            let port = free_port();
            let mut command = Command::new(binary(name));
            command
                .env("REDIS_URL", redis.url())
                .env("ADMIN_LISTEN", format!("127.0.0.1:{port}"));
            command
                .env("WEBHOOK_LISTEN", "127.0.0.1:0")
                .env("PROW_LISTEN", "127.0.0.1:0");
            command
                .current_dir(folder.path())
                .env("WORK_DIR", folder.path().join("work"));
            let begun = Instant::now();
            let _process = Process::start(&mut command, &folder.path().join("log"));
            let url = format!("http://127.0.0.1:{port}/ready");
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            while !client.get(&url).send().await.is_ok_and(|r| r.status().is_success()) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            times.push(begun.elapsed());
        }
        println!(
            "cold start of {name:<9} {:>8.0} ms   (median of 5; aim 200)",
            at(&mut times, 0.5) * 1e3
        );
    }
}

async fn idle_memory(forge: &Forge) {
    tokio::time::sleep(Duration::from_secs(5)).await;
    let kib = [&forge.gateway, &forge.prow]
        .into_iter()
        .chain(&forge.forgeries)
        .chain([&forge.notifier]);
    let kib: Vec<u64> = kib.map(Process::memory_kib).collect();
    for (name, kib) in SERVICES.iter().zip(&kib) {
        println!("idle memory of {name:<9} {:>6.1} MiB", mib(*kib));
    }
    println!("idle memory of all four  {:>6.1} MiB   (aim 60)", mib(kib.iter().sum()));
}

/// Sent, taken, claimed, finished: with eight workers of one slot.
async fn queue_cycles() {
    const MESSAGES: usize = 20_000;
    const WORKERS: usize = 8;
    let redis = Redis::start();
    let bus = Bus::start(Settings::new(redis.url())).unwrap();
    bus.ready().await.unwrap();
    let list = route::builds().limited(|limits| limits.items = MESSAGES as u64 + 1);
    let producer = bus.producer(&list);
    let url: contract::CloneUrl = "https://example.org/o/r.git".parse().unwrap();
    let message = |n: usize| {
        let (id, project, commit) = (format!("b-{n}"), "o/r".parse().unwrap(), "abcdef".parse().unwrap());
        BuildQueueMessage::new(
            id.parse().unwrap(),
            project,
            BuildType::Dockerfile,
            url.clone(),
            commit,
            Strategy::Local,
        )
    };
    let begun = Instant::now();
    let sent = stream::iter(0..MESSAGES).map(|n| {
        let (producer, message) = (producer.clone(), message(n));
        async move { producer.send(&message).await.unwrap() }
    });
    sent.buffer_unordered(64).for_each(|_| async {}).await;
    println!("queue: sent              {:>8.0} /s", per_second(MESSAGES, begun));
    let begun = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..WORKERS {
        let worker = bus.worker(&list, "figures", 1, |_| String::new()).await.unwrap();
        tasks.spawn(async move {
            let mut slot = worker.slot(0);
            for _ in 0..MESSAGES / WORKERS {
                slot.take().await.finish("success", "").await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    println!(
        "queue: cycles            {:>8.0} /s   ({WORKERS} workers; a prototype reached 13,000 to 17,000)",
        per_second(MESSAGES, begun)
    );
}

async fn webhooks_per_second(forge: &Forge) {
    const DELIVERIES: usize = 5_000;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("{}/webhook/github", forge.gateway_url());
    let requests: Vec<_> = (0..DELIVERIES)
        .map(|n| {
            // Deleted refs: accepted and planned, but never built.
            let body = push_body(
                "o/r",
                "https://example.org/o/r.git",
                &format!("refs/heads/b{n}"),
                &"0".repeat(40),
            );
            let hook = Hook::new("push", body, WEBHOOK_SECRET);
            hook.request(&client, &url)
        })
        .collect();
    let begun = Instant::now();
    let accepted = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = Arc::clone(&accepted);
    stream::iter(requests)
        .for_each_concurrent(32, |request| {
            let accepted = Arc::clone(&counted);
            async move {
                if request.send().await.is_ok_and(|r| r.status() == 202) {
                    accepted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                }
            }
        })
        .await;
    let accepted = accepted.load(std::sync::atomic::Ordering::Relaxed);
    println!(
        "webhooks accepted        {:>8.0} /s   ({accepted} of {DELIVERIES}; sender and receiver share the machine)",
        per_second(accepted, begun)
    );
    let waiting = async || (forge.redis.cli(&["LLEN", "forge:webhooks"]) == "0").then_some(());
    testkit::within(e2e::PATIENCE, "webhooks are planned", waiting).await;
}

/// From sending the webhook to the builder's `started`, by the clock of this machine.
async fn webhook_to_start(forge: &Forge) {
    let mut times = Vec::new();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let gateway = format!("{}/webhook/github", forge.gateway_url());
    for n in 0..100 {
        // There is no such repository, so the build ends as soon as it has begun.
        let url = format!("http://{}/none/none.git", forge.git.host());
        let body = push_body("none/none", &url, &format!("refs/heads/b{n}"), &"1".repeat(40));
        let request = Hook::new("push", body, WEBHOOK_SECRET).request(&client, &gateway);
        let sent = std::time::UNIX_EPOCH.elapsed().unwrap();
        assert_eq!(request.send().await.unwrap().status(), 202);
        let build = testkit::within(e2e::PATIENCE, "the build has ended", async || {
            let newest = forge.builds().await.into_iter().next()?;
            let mine = newest["git_ref"] == format!("refs/heads/b{n}") && newest["status"] == "failed";
            mine.then_some(newest)
        });
        let build = build.await;
        let started: contract::Timestamp = build["started_at"].as_str().unwrap().parse().unwrap();
        let started = Duration::from_millis(u64::try_from(started.as_millis()).unwrap());
        times.push(started.saturating_sub(sent));
    }
    let (p50, p99) = (at(&mut times, 0.5) * 1e3, at(&mut times, 0.99) * 1e3);
    println!(
        "webhook → build start    {p50:>5.1} ms p50, {p99:.1} ms p99   (aim 5; adnanh/webhook 12, a BullMQ worker 14, Buildbot 208)"
    );
}

/// From `git push` to the manifest in the registry; and the same by git, docker build, docker push.
async fn push_to_manifest(forge: &Forge) {
    let repo = forge.repo("FROM busybox\nCOPY a /a\n");
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for n in 0..8 {
        let begun = Instant::now();
        let commit = repo.commit(&[("a", &n.to_string())], "another");
        forge.push(&repo).await;
        testkit::within(e2e::PATIENCE, "the manifest", async || {
            forge.registry.digest(&repo.name, &commit).await
        })
        .await;
        ours.push(begun.elapsed());
        let begun = Instant::now();
        let commit = repo.commit(&[("a", &format!("{n} again"))], "another");
        by_hand(forge, &repo, &commit);
        theirs.push(begun.elapsed());
    }
    let (ours, theirs) = (at(&mut ours, 0.5), at(&mut theirs, 0.5));
    println!(
        "git push → manifest      {:>5.2} s p50   (git clone, docker build, docker push by hand: {theirs:.2} s; ratio {:.2})",
        ours,
        ours / theirs
    );
}

/// What a script would do.
fn by_hand(forge: &Forge, repo: &Repo, commit: &str) {
    let folder = tempfile::tempdir().unwrap();
    let (config, source) = (folder.path().join("docker"), folder.path().join("source"));
    let image = format!("{}/{}:{commit}", forge.registry.host(), repo.name);
    let url = repo.url.replace("http://", &format!("http://{}@", forge.git.login()));
    let docker = |args: &[&str]| {
        let config = config.to_string_lossy().into_owned();
        run(Command::new("docker")
            .args(["--config", &config])
            .args(args)
            .env("DOCKER_BUILDKIT", "0"));
    };
    let (user, password) = (testkit::Registry::USER, testkit::Registry::PASSWORD);
    docker(&["login", "-u", user, "-p", password, &forge.registry.host()]);
    run(Command::new("git")
        .args(["clone", "-q", "--depth", "1", &url])
        .arg(&source));
    docker(&["build", "-q", "-t", &image, &text(&source)]);
    docker(&["push", "-q", &image]);
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// A quantile, in seconds.
fn at(times: &mut [Duration], quantile: f64) -> f64 {
    times.sort_unstable();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index of few"
    )]
    let index = ((times.len() as f64 * quantile) as usize).min(times.len() - 1);
    times[index].as_secs_f64()
}

#[expect(clippy::cast_precision_loss, reason = "counts of few")]
fn per_second(count: usize, begun: Instant) -> f64 {
    count as f64 / begun.elapsed().as_secs_f64()
}

#[expect(clippy::cast_precision_loss, reason = "sizes of little")]
fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}
