//! Measures a build beside the script that people write in its place (`git clone --depth 1 && docker build &&
//! docker push`), on the same repository, engine and registry, in one run. Nothing is asserted.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a program for the shell; what fails must stop it"
)]

use e2e::{Forge, WEBHOOK_SECRET};
use serde_json::{Value, json};
use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};
use testkit::{Hook, Registry, Repo};
use tokio::time::Instant;

const ROUNDS: usize = 7;
const COMMITS: usize = 10_000;
const FILES: usize = 600;
const LINES: usize = 1_000_000;
const LINES_ROUNDS: usize = 3;
/// What is built: a context of some hundred files, and a step that reads them.
const DOCKERFILE: &str = "FROM busybox\nCOPY . /src\nRUN cat /src/files/* | sha256sum > /sum\n";
/// Debian's, which speaks BuildKit by itself; a newer one may be without its plugin.
const DOCKER: &str = "/usr/bin/docker";
const STAGES: [&str; 3] = ["cloning", "building", "pushing"];

/// Milliseconds by stage, and of all.
#[derive(Clone, Copy, Debug)]
struct Times {
    stages: [f64; 3],
    total: f64,
}

#[tokio::main]
async fn main() {
    testkit::crypto();
    let forge = Forge::start_with(
        1,
        &[
            ("LOG_LEVEL", "warn,chassis::life=info"),
            ("FORGERY_SLOTS", "4"),
            ("FORGERY_DEPLOYS", "false"),
        ],
    )
    .await;
    log_in(&forge);
    // All of it, or what is named.
    let named: Vec<String> = std::env::args().skip(1).collect();
    let wanted = |what: &str| named.is_empty() || named.iter().any(|name| name == what);
    if wanted("stages") {
        stages(&forge).await;
    }
    if wanted("push") {
        push_to_manifest(&forge).await;
    }
    if wanted("many") {
        at_once(&forge).await;
    }
    if wanted("lines") {
        log_lines(&forge).await;
    }
}

/// Stage by stage, on a repository with a history: cold, warm, and after one new commit.
async fn stages(forge: &Forge) {
    let repo = forge.git.repo("bench/app", &[("Dockerfile", DOCKERFILE)]);
    repo.grow(COMMITS, FILES);
    println!(
        "a repository of {COMMITS} commits and {FILES} files; median of {ROUNDS} rounds, script and forgery in turns, ms"
    );
    println!(
        "{:<28}{:>10}{:>10}{:>10}{:>10}{:>12}",
        "", "clone", "build", "push", "total", "the rest"
    );

    let mut cold = Rounds::default();
    for _ in 0..ROUNDS {
        forget(forge, true);
        cold.script.push(script(forge, &repo));
        forget(forge, true);
        cold.forgery.push(forgery(forge, &repo).await);
    }
    cold.print("cold: no cache, no mirror");

    forgery(forge, &repo).await;
    script(forge, &repo);
    let mut warm = Rounds::default();
    for _ in 0..ROUNDS {
        warm.script.push(script(forge, &repo));
        warm.forgery.push(forgery(forge, &repo).await);
    }
    warm.print("warm: the same commit");

    let mut change = Rounds::default();
    for n in 0..ROUNDS {
        repo.commit(&[("files/0", &format!("script {n}"))], "for the script");
        change.script.push(script(forge, &repo));
        repo.commit(&[("files/0", &format!("forgery {n}"))], "for forgery");
        change.forgery.push(forgery(forge, &repo).await);
    }
    change.print("one new commit");
}

#[derive(Default)]
struct Rounds {
    script: Vec<Times>,
    forgery: Vec<Times>,
}

impl Rounds {
    fn print(&self, what: &str) {
        let (script, forgery) = (median(&self.script), median(&self.forgery));
        println!("{what}");
        row("  script", script);
        row("  forgery", forgery);
        println!("{:<58}{:>9.2} ×", "  forgery : script", forgery.total / script.total);
    }
}

fn row(name: &str, times: Times) {
    let [clone, build, push] = times.stages;
    let rest = times.total - clone - build - push;
    println!(
        "{name:<28}{clone:>10.0}{build:>10.0}{push:>10.0}{:>10.0}{rest:>12.0}",
        times.total
    );
}

fn median(times: &[Times]) -> Times {
    let of = |value: fn(&Times) -> f64| middle(times.iter().map(value).collect());
    Times {
        stages: [of(|t| t.stages[0]), of(|t| t.stages[1]), of(|t| t.stages[2])],
        total: of(|t| t.total),
    }
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn ms(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() * 1_000.0
}

fn log_in(forge: &Forge) {
    let host = forge.registry.host();
    run(
        DOCKER,
        &["login", "-u", Registry::USER, "-p", Registry::PASSWORD, &host],
    );
}

/// Nothing of a build is left on the engine, or in forgery's mirrors.
fn forget(forge: &Forge, mirrors: bool) {
    run(DOCKER, &["builder", "prune", "-af"]);
    let folder = Path::new(&forge.path("work")).join("mirrors");
    for mirror in fs::read_dir(folder).unwrap().flatten() {
        let path = mirror.path();
        if mirrors && path.extension().is_some_and(|extension| extension == "git") {
            fs::remove_dir_all(path).unwrap();
        }
    }
}

/// The script, stage by stage.
fn script(forge: &Forge, repo: &Repo) -> Times {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    let source = source.to_str().unwrap();
    let image = format!("{}/script/{}:{}", forge.registry.host(), repo.name, repo.head());
    let url = repo
        .url
        .replacen("http://", &format!("http://{}@", forge.git.login()), 1);
    let begun = Instant::now();
    run("git", &["clone", "-q", "--depth", "1", &url, source]);
    let cloned = ms(begun);
    run(DOCKER, &["build", "-q", "-t", &image, source]);
    let built = ms(begun);
    run(DOCKER, &["push", "-q", &image]);
    let total = ms(begun);
    run(DOCKER, &["rmi", &image]);
    Times {
        stages: [cloned, built - cloned, total - built],
        total,
    }
}

/// The same by forgery, from the message on its list to the end that prow shows.
async fn forgery(forge: &Forge, repo: &Repo) -> Times {
    build(forge, |id| message(id, repo, &repo.head())).await
}

/// Any build.
async fn build(forge: &Forge, wanted: impl Fn(&str) -> Value) -> Times {
    let id = forge.redis.cli(&["INCR", "bench:builds"]);
    let id = format!("bench-{}", id.trim());
    let wanted = wanted(&id).to_string();
    let begun = Instant::now();
    forge.redis.cli(&["LPUSH", "forge:builds", &wanted]);
    let (build, total) = loop {
        let build = forge.get(&format!("/v1/cicd/builds/{id}")).await.unwrap_or_default();
        match build["status"].as_str() {
            Some("success") => break (build, ms(begun)),
            Some("failed") => unreachable!("{build}"),
            _ => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    let stage = |name: &str| {
        let stages = build["stages"].as_array().unwrap();
        let found = stages.iter().find(|stage| stage["stage"] == name);
        found.and_then(|stage| stage["ms"].as_f64()).unwrap_or_default()
    };
    Times {
        stages: STAGES.map(stage),
        total,
    }
}

fn message(id: &str, repo: &Repo, commit: &str) -> Value {
    json!({
        "id": id, "project_name": repo.name, "type": "dockerfile", "source": repo.url, "commit_hash": commit,
        "strategy": "local", "push_artifact": true,
    })
}

/// From `git push` to the manifest in the registry: by a hook that runs the script, and by a webhook.
async fn push_to_manifest(forge: &Forge) {
    let repo = forge
        .git
        .repo("bench/small", &[("Dockerfile", "FROM busybox\nCOPY Dockerfile /\n")]);
    let (mut hooked, mut forged) = (Vec::new(), Vec::new());
    let change = |n: usize, whose: &str| {
        let text = format!("FROM busybox\nCOPY Dockerfile /\n# {n} {whose}\n");
        fs::write(repo.work().join("Dockerfile"), text).unwrap();
        repo.git(&["commit", "-qam", "change"]);
    };
    for n in 0..=ROUNDS {
        change(n, "script");
        let image = format!("{}/hook/app:latest", forge.registry.host());
        let url = repo
            .url
            .replacen("http://", &format!("http://{}@", forge.git.login()), 1);
        let hook = format!(
            "#!/bin/sh\nset -e\nunset GIT_DIR\nd=$(mktemp -d)\ngit clone -q --depth 1 {url} $d/s\n{DOCKER} build -q -t {image} $d/s >/dev/null\n{DOCKER} push -q {image} >/dev/null\nrm -rf $d\n"
        );
        let path = Path::new(repo.bare()).join("hooks/post-receive");
        fs::write(&path, hook).unwrap();
        run("chmod", &["+x", path.to_str().unwrap()]);
        let begun = Instant::now();
        repo.git(&["push", "-q", repo.bare(), "HEAD:refs/heads/main"]);
        hooked.push(ms(begun));
        fs::remove_file(&path).unwrap();

        change(n, "forge");
        let begun = Instant::now();
        repo.git(&["push", "-q", repo.bare(), "HEAD:refs/heads/main"]);
        let (status, _) = Hook::push(&repo, WEBHOOK_SECRET).send(&forge.gateway_url()).await;
        assert_eq!(status, 202);
        let head = repo.head();
        while forge.registry.digest(&repo.name, &head).await.is_none() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        forged.push(ms(begun));
    }
    let (hooked, forged) = (middle(hooked), middle(forged));
    println!("git push to the manifest in the registry, a trivial image");
    println!("{:<58}{hooked:>9.0}", "  post-receive hook that runs the script");
    println!("{:<58}{forged:>9.0}", "  webhook, gateway, prow, forgery");
    println!("{:<58}{:>9.2} ×", "  forge : hook", forged / hooked);
}

/// Trivial builds, four at a time.
async fn at_once(forge: &Forge) {
    const BUILDS: usize = 20;
    let repo = forge
        .git
        .repo("bench/many", &[("Dockerfile", "FROM busybox\nCOPY Dockerfile /\n")]);
    let commits: Vec<String> = (0..2 * BUILDS)
        .map(|n| {
            repo.commit(
                &[("Dockerfile", &format!("FROM busybox\nCOPY Dockerfile /\n# {n}\n"))],
                "one more",
            )
        })
        .collect();
    let url = repo
        .url
        .replacen("http://", &format!("http://{}@", forge.git.login()), 1);
    let image = format!("{}/many/app", forge.registry.host());
    let script = format!(
        "set -e; d=$(mktemp -d); git init -q $d; git -C $d fetch -q --depth 1 {url} $0; git -C $d checkout -q FETCH_HEAD; {DOCKER} build -q -t {image}:$0 $d >/dev/null; {DOCKER} push -q {image}:$0 >/dev/null; rm -rf $d"
    );
    let begun = Instant::now();
    let mut child = Command::new("xargs")
        .args(["-P4", "-n1", "bash", "-c", &script])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let input = commits[..BUILDS].join("\n");
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    let scripts = begun.elapsed().as_secs_f64();
    let begun = Instant::now();
    for (n, commit) in commits[BUILDS..].iter().enumerate() {
        let wanted = message(&format!("many-{n}"), &repo, commit).to_string();
        forge.redis.cli(&["LPUSH", "forge:builds", &wanted]);
    }
    loop {
        let builds = forge.builds().await;
        let done = builds
            .iter()
            .filter(|build| build["uid"].as_str().unwrap().starts_with("many-") && build["status"] == "success");
        if done.count() == BUILDS {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let forged = begun.elapsed().as_secs_f64();
    let count = f64::from(u32::try_from(BUILDS).unwrap());
    println!("{BUILDS} trivial builds, four at a time, builds/s");
    println!("{:<58}{:>9.1}", "  script", count / scripts);
    println!("{:<58}{:>9.1}", "  forgery", count / forged);
    println!("{:<58}{:>9.2} ×", "  forgery : script", scripts / forged);
}

/// What a step of a pipeline costs that prints much, over `docker run`. (Not in a Dockerfile: at so many lines the
/// engine of 20.10 and its own client take minutes and gigabytes.) And what forgery takes for it.
async fn log_lines(forge: &Forge) {
    let print = format!("awk 'BEGIN {{ for (i = 0; i < {LINES}; i++) print \"line \" i \" of a log that is long\" }}'");
    let pipeline = format!("image: busybox\nsteps:\n- name: print\n  script: |\n    {print}\n");
    let repo = forge.git.repo("bench/lines", &[("Dockerfile", "FROM busybox\n")]);
    let (mut alone, mut forged, mut came) = (Vec::new(), Vec::new(), 0);
    for _ in 0..LINES_ROUNDS {
        let begun = Instant::now();
        run(DOCKER, &["run", "--rm", "busybox", "sh", "-c", &print]);
        alone.push(ms(begun));
        let wanted = |id: &str| {
            let mut wanted = message(id, &repo, &repo.head());
            wanted["type"] = json!("pipeline");
            wanted["pipeline"] = json!(pipeline);
            wanted
        };
        forged.push(build(forge, wanted).await.stages[1]);
        came = lines(forge).await;
    }
    let (alone, forged) = (middle(alone), middle(forged));
    let status = fs::read_to_string(format!("/proc/{}/status", forge.forgeries[0].id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    println!("a step that prints {LINES} lines, ms");
    println!("{:<58}{alone:>9.0}", "  docker run alone");
    println!("{:<58}{forged:>9.0}", "  forgery's step of a pipeline");
    println!("{:<58}{:>9.2} ×", "  forgery : docker", forged / alone);
    println!(
        "  {came} lines came; the most that forgery had in memory, ever: {}",
        peak.unwrap_or_default().trim()
    );
}

/// How many lines the newest log has.
async fn lines(forge: &Forge) -> usize {
    let newest = forge.builds().await.into_iter().next().unwrap();
    let log = forge.text(&format!("/v1/cicd/builds/{}/logs", newest["id"])).await;
    log.lines().count()
}

/// Runs a program that must succeed.
fn run(program: &str, args: &[&str]) {
    let mut command = Command::new(program);
    let output = command.args(args).env("DOCKER_BUILDKIT", "1").output().unwrap();
    assert!(
        output.status.success(),
        "{program} {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
