//! How a service starts and stops, seen from outside: exit codes, signals, admin endpoints.

use std::{
    path::Path,
    process::{Command, Output},
    time::Duration,
};
use tempfile::TempDir;
use testkit::{Process, Redis, binary, free_port};

/// A service with nothing in its environment but what a test gives it.
fn service(name: &str, folder: &TempDir, env: &[(&str, &str)], args: &[&str]) -> Command {
    let mut command = Command::new(binary(name));
    command
        .env_clear()
        .current_dir(folder.path())
        .envs(env.iter().copied())
        .args(args);
    command
}

fn run(name: &str, env: &[(&str, &str)], args: &[&str]) -> (i32, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let Output { status, stdout, stderr } = service(name, &folder, env, args).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code().unwrap_or(-1), text(stdout), text(stderr))
}

async fn get(port: u16, path: &str) -> Option<(u16, String)> {
    testkit::crypto();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let response = client.get(format!("http://127.0.0.1:{port}{path}")).send().await.ok()?;
    Some((response.status().as_u16(), response.text().await.ok()?))
}

async fn is_ready(port: u16) {
    testkit::eventually("ready", async || (get(port, "/ready").await?.0 == 200).then_some(())).await;
}

#[test]
fn every_wrong_setting_is_named_at_once_with_exit_code_64() {
    let (code, _, stderr) = run(
        "forgery",
        &[("FORGERY_SLOTS", "0"), ("REGISTRY", "https://r")],
        &["--timeout-seconds", "soon"],
    );
    assert_eq!(code, 64, "{stderr}");
    for expected in [
        "slots: expected 1 to 64; set --slots, or FORGERY_SLOTS in the environment",
        "registry.prefix: ",
        "timeout_seconds: ",
    ] {
        assert!(stderr.contains(expected), "{stderr}");
    }
    assert_eq!(run("gateway", &[], &["--no-such-flag"]).0, 64);
}

#[test]
fn what_would_be_effective_can_be_printed_without_secrets_and_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("c.yml");
    std::fs::write(
        &file,
        "webhook: {server: {port: 3005, maxPayloadSize: 10mb}}\nredis: {addr: 'r:1', password: hidden}\n",
    )
    .unwrap();
    let env = [
        ("WEBHOOK_MAX_PAYLOAD_SIZE", "11mb"),
        ("GITHUB_WEBHOOK_SECRET", "hidden"),
    ];
    let args = [
        "--print-config",
        "--config",
        &file.to_string_lossy(),
        "--log-level",
        "warn",
    ];
    let (code, printed, stderr) = run("gateway", &env, &args);
    assert_eq!(code, 0, "{stderr}");
    for line in [
        "server.listen: \"3005\"  # file",
        "server.max_payload_size: \"11mb\"  # environment",
        "log.level: \"warn\"  # --log-level",
        "security.secret: \"***\"  # environment",
        "redis.password: \"***\"  # file",
    ] {
        assert!(printed.contains(line), "{line} is not in {printed}");
    }
    assert!(!printed.contains("hidden"));
    let again = folder.path().join("again.yml");
    std::fs::write(&again, &printed).unwrap();
    let (code, _, stderr) = run(
        "gateway",
        &[],
        &["--print-config", "--config", &again.to_string_lossy()],
    );
    assert_eq!(code, 0, "{stderr}");
}

#[test]
fn an_unfit_redis_is_refused_with_exit_code_69_and_a_way_out() {
    let redis = Redis::start_with(&["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]);
    let (code, _, log) = run(
        "prow",
        &[("REDIS_URL", &redis.url())],
        &["--admin-listen", "127.0.0.1:0"],
    );
    assert_eq!(code, 69, "{log}");
    assert!(log.contains("set maxmemory-policy noeviction"), "{log}");
}

#[tokio::test]
async fn a_service_serves_its_admin_endpoints_and_stops_cleanly() {
    let (redis, folder, port) = (Redis::start(), tempfile::tempdir().unwrap(), free_port());
    let (admin, url) = (format!("127.0.0.1:{port}"), redis.url());
    let env = [
        ("REDIS_URL", url.as_str()),
        ("ADMIN_LISTEN", &admin),
        ("LOG_FORMAT", "json"),
    ];
    let mut process = Process::start(&mut service("notifier", &folder, &env, &[]), &folder.path().join("log"));
    is_ready(port).await;
    assert_eq!(get(port, "/live").await.unwrap().0, 200);
    assert!(get(port, "/health").await.unwrap().1.contains("healthy"));
    let metrics = get(port, "/metrics").await.unwrap().1;
    assert!(
        metrics.contains("notifier_webhook_latency_seconds") && metrics.ends_with("# EOF\n"),
        "{metrics}"
    );
    let probe = service("notifier", &folder, &env, &["--probe", "/ready"])
        .status()
        .unwrap();
    assert!(probe.success());
    let status = process.terminate(Duration::from_secs(10)).expect("it stops");
    assert_eq!(status.code(), Some(0), "{}", process.log());
    assert!(
        process.log().lines().all(|line| line.starts_with('{')),
        "{}",
        process.log()
    );
    assert!(
        !service("notifier", &folder, &env, &["--probe", "/ready"])
            .status()
            .unwrap()
            .success()
    );
    assert!(
        !redis
            .cli(&["ZRANGE", "{forge:notifications}:workers", "0", "-1"])
            .contains("notifier"),
        "it signed off"
    );
}

#[tokio::test]
async fn a_second_signal_ends_a_service_at_once() {
    // A receiver that never answers keeps the first stop waiting.
    let silent = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let receiver = format!("http://{}/", silent.local_addr().unwrap());
    let (redis, folder, port) = (Redis::start(), tempfile::tempdir().unwrap(), free_port());
    let (admin, url) = (format!("127.0.0.1:{port}"), redis.url());
    let env = [
        ("REDIS_URL", url.as_str()),
        ("ADMIN_LISTEN", &admin),
        ("WEBHOOK_URL", &receiver),
        ("WEBHOOK_HMAC_SECRET", "s"),
    ];
    let mut process = Process::start(&mut service("notifier", &folder, &env, &[]), &folder.path().join("log"));
    is_ready(port).await;
    let example =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../contracts/examples/notification/build-succeeded.json");
    redis.cli(&[
        "LPUSH",
        "forge:notifications",
        &std::fs::read_to_string(example).unwrap(),
    ]);
    testkit::eventually("an attempt is under way", async || {
        let held = redis.cli(&["--raw", "ZCARD", "{forge:notifications}:deliveries:held"]);
        (held.trim() == "1").then_some(())
    })
    .await;
    assert!(
        process.terminate(Duration::from_millis(700)).is_none(),
        "the first signal lets the attempt finish"
    );
    let status = process
        .terminate(Duration::from_secs(2))
        .expect("the second one does not");
    assert!(!status.success());
}
