//! `<service> check`: says what is wrong and how to put it right, by its exit code too.

use std::process::Command;
use testkit::{Redis, Registry, Sink, binary};

/// Runs a check; exit code and what it said.
fn check(service: &str, env: &[(&str, &str)], args: &[&str]) -> (i32, String) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(binary(service));
    command.env_clear().current_dir(folder.path()).arg("check").args(args);
    let output = command.envs(env.iter().copied()).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8(text).unwrap())
}

#[track_caller]
fn says((code, text): &(i32, String), expected: i32, parts: &[&str]) {
    assert_eq!(*code, expected, "{text}");
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
}

/// As it should be: an append-only file and a bound on memory.
fn good_redis() -> Redis {
    Redis::start_with(&["--maxmemory", "1gb", "--maxmemory-policy", "noeviction"])
}

#[tokio::test]
async fn a_service_that_has_all_it_needs_says_so_with_exit_code_0() {
    let (redis, registry, sink) = (good_redis(), Registry::start().await, Sink::start("s").await);
    let (redis, receiver, registry) = (redis.url(), sink.url(), registry.host());
    let env = [
        ("REDIS_URL", redis.as_str()),
        ("GITHUB_WEBHOOK_SECRET", "secret"),
        ("WEBHOOK_URL", &receiver),
        ("WEBHOOK_HMAC_SECRET", "secret"),
        ("REGISTRY", &registry),
        ("REGISTRY_USERNAME", Registry::USER),
        ("REGISTRY_PASSWORD", Registry::PASSWORD),
        ("WORK_DIR", "work"),
    ];
    let usual = [
        "ok     redis ",
        "ok     persistence",
        "ok     memory",
        "ok     latency",
        "ok     clock",
    ];
    for (service, own) in [
        ("gateway", &["ok     secret"][..]),
        ("prow", &["ok     data ", "ok     logs ", "ok     database"]),
        (
            "forgery",
            &[
                "ok     work folder",
                "ok     engine",
                "ok     bounds of pipeline steps",
                "ok     registry",
            ],
        ),
        ("notifier", &["ok     endpoint"]),
    ] {
        let (code, text) = check(service, &env, &[]);
        assert!(!text.contains("WRONG") && !text.contains(Registry::PASSWORD), "{text}");
        says(&(code, text), 0, &[&usual[..], own].concat());
    }
}

#[test]
fn what_is_wrong_with_redis_comes_with_its_cure_and_exit_code_69() {
    let away = check("notifier", &[("REDIS_URL", "redis://me:hidden@127.0.0.1:1")], &[]);
    says(
        &away,
        69,
        &[
            "WRONG  redis ",
            "redis://127.0.0.1:1 cannot be reached",
            "→ start Redis",
        ],
    );
    assert!(!away.1.contains("hidden"), "{}", away.1);
    let evicting = Redis::start_with(&["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]);
    let evicting = check("prow", &[("REDIS_URL", &evicting.url())], &[]);
    says(&evicting, 69, &["set maxmemory-policy noeviction"]);
    let full = Redis::start_with(&["--maxmemory", "1mb"]);
    says(
        &check("prow", &[("REDIS_URL", &full.url())], &[]),
        69,
        &["WRONG  memory", "→ raise maxmemory"],
    );
    let forgetful = Redis::start_with(&["--appendonly", "no"]);
    let forgetful = check("prow", &[("REDIS_URL", &forgetful.url())], &[]);
    says(
        &forgetful,
        0,
        &[
            "doubt  persistence",
            "→ set appendonly yes",
            "doubt  memory",
            "no bound",
        ],
    );
}

#[tokio::test]
async fn what_a_service_needs_of_its_own_is_looked_at_too() {
    let (redis, registry) = (good_redis(), Registry::start().await);
    let (redis, registry) = (redis.url(), registry.host());
    let base = [("REDIS_URL", redis.as_str()), ("WORK_DIR", "work")];
    let with = |more: &[(&'static str, &str)]| {
        let all: Vec<(String, String)> = base
            .iter()
            .chain(more)
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        all
    };
    let run = |service: &str, env: Vec<(String, String)>| {
        let env: Vec<_> = env.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        check(service, &env, &[])
    };
    says(
        &run("gateway", with(&[])),
        69,
        &["WRONG  secret", "GITHUB_WEBHOOK_SECRET"],
    );
    let engine = with(&[("DOCKER_HOST", "unix:///nowhere.sock")]);
    says(
        &run("forgery", engine),
        69,
        &["WRONG  engine", "DOCKER_HOST", "doubt  registry"],
    );
    let login = with(&[
        ("REGISTRY", &registry),
        ("REGISTRY_USERNAME", "ci"),
        ("REGISTRY_PASSWORD", "wrong"),
    ]);
    says(&run("forgery", login), 69, &["WRONG  registry", "refuses the login"]);
    says(
        &run("forgery", with(&[("WORK_DIR", "/proc/nowhere")])),
        69,
        &["WRONG  work folder", "/proc/nowhere"],
    );
    says(
        &run(
            "notifier",
            with(&[("WEBHOOK_URL", "http://127.0.0.1:1/"), ("WEBHOOK_HMAC_SECRET", "s")]),
        ),
        0,
        &["doubt  endpoint", "127.0.0.1:1: "],
    );
}

#[test]
fn a_database_that_a_newer_prow_has_used_is_refused() {
    let (redis, folder) = (good_redis(), tempfile::tempdir().unwrap());
    let make = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); \
                c.execute('CREATE TABLE _sqlx_migrations (version BIGINT)'); \
                c.execute('INSERT INTO _sqlx_migrations VALUES (999)'); c.commit()";
    let made = Command::new("python3")
        .args(["-c", make])
        .arg(folder.path().join("prow.db"))
        .status();
    assert!(made.unwrap().success());
    let env = [
        ("REDIS_URL", redis.url()),
        ("PROW_DATA_DIR", folder.path().to_string_lossy().into_owned()),
    ];
    let env: Vec<_> = env.iter().map(|(k, v)| (*k, v.as_str())).collect();
    says(
        &check("prow", &env, &[]),
        69,
        &["WRONG  database", "migration 999", "→ start the newer program"],
    );
}

#[test]
fn a_wrong_setting_is_exit_code_64_wherever_it_stands() {
    says(
        &check("forgery", &[], &["--slots", "0"]),
        64,
        &["slots: expected 1 to 64"],
    );
    says(
        &check("forgery", &[("FORGERY_SLOTS", "0")], &[]),
        64,
        &["slots: expected 1 to 64"],
    );
}
