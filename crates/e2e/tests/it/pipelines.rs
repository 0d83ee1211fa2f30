//! Pipelines on the real engine: steps in their order, what they share, what they may not.

use crate::{
    builds::message,
    images::{build, docker},
};
use e2e::{Forge, PATIENCE};
use serde_json::{Value, json};
use std::{fs, io::Write, net::TcpListener, process::Command, thread, time::Duration};
use testkit::{Repo, within};

/// A repository with a pipeline.
fn repo(forge: &Forge, pipeline: &str, files: &[(&str, &str)]) -> Repo {
    let files: Vec<_> = [(".forge.yml", pipeline)]
        .into_iter()
        .chain(files.iter().copied())
        .collect();
    let repo = forge.repo("FROM busybox\n");
    repo.commit(&files, "a pipeline");
    repo
}

/// Asks for a build by this pipeline, and does not wait for it.
pub(crate) fn ask(forge: &Forge, id: &str, repo: &Repo, pipeline: &str) {
    let mut wanted = message(id, &repo.url, &repo.head());
    wanted["type"] = json!("pipeline");
    wanted["pipeline"] = json!(pipeline);
    forge.redis.cli(&["LPUSH", "forge:builds", &wanted.to_string()]);
}

async fn run(forge: &Forge, repo: &Repo, change: Value) -> Value {
    let mut wanted = json!({"type": "pipeline", "branch": "main"});
    wanted
        .as_object_mut()
        .unwrap()
        .extend(change.as_object().unwrap().clone());
    build(forge, repo, wanted).await
}

async fn log(forge: &Forge, build: &Value) -> String {
    forge.log_that_says(build, "building").await;
    forge.text(&format!("/v1/cicd/builds/{}/logs", build["id"])).await
}

/// What is left of builds on the engine, caches aside.
fn left(forge: &Forge) -> String {
    let label = format!("label=forge.installation={}", forge.installation());
    let mut left = docker(&["ps", "-aq", "--filter", &label]);
    for kind in ["volume", "network"] {
        left += &docker(&[kind, "ls", "-q", "--filter", &label, "--filter", "label=forge.build"]);
    }
    left
}

#[tokio::test]
async fn steps_run_in_their_order_and_share_a_workspace_caches_services_and_secrets() {
    let (secrets, artifacts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = |folder: &tempfile::TempDir| folder.path().to_str().unwrap().to_owned();
    let forge = Forge::start_with(
        1,
        &[
            ("FORGERY_SECRETS_DIR", &path(&secrets)),
            ("FORGERY_ARTIFACTS_DIR", &path(&artifacts)),
        ],
    )
    .await;
    let repo = repo(
        &forge,
        r#"
image: busybox
env: {GREETING: hello, PORT: 8080}
steps:
  - name: make
    script:
      - echo "$GREETING from $FORGE_PROJECT on $FORGE_BRANCH, port $PORT"
      - test "$CI" = true
      - echo made > made
      - date >> /cache/runs; echo run $(wc -l < /cache/runs)
    cache: [{name: runs, path: /cache}]
    artifacts: [made, none]
  - name: secret
    needs: []
    secrets: [TOKEN]
    script: echo the token is $TOKEN
  - name: with a service
    needs: [make]
    services:
      - name: web
        image: busybox
        command: [httpd, -f, -p, "80", -h, /etc]
        ready: wget -q -O /dev/null http://127.0.0.1/passwd
    script: wget -q -O - http://web/passwd | grep ^root
  - name: only elsewhere
    when: {branch: "release/*"}
    script: exit 9
  - name: image
    type: build
  - name: flaky
    needs: [image]
    retries: 2
    script: echo x >> tries; test $(wc -l < tries) = 3
  - name: tolerated
    needs: [image]
    allow_failure: true
    script: exit 5
  - name: push
    type: push
"#,
        &[("Dockerfile", "FROM busybox\nCOPY made /made\n")],
    );
    let folder = secrets.path().join(&repo.name);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("TOKEN"), "s3cret-of-the-step\n").unwrap();

    for round in 1..=2 {
        let done = run(&forge, &repo, json!({})).await;
        assert_eq!(done["status"], "success", "{done}");
        let log = log(&forge, &done).await;
        for says in [
            &format!("hello from {} on main, port 8080", repo.name),
            &format!("run {round}"),
            "the token is ***",
            "root:x:0:0",
            "only elsewhere is skipped: it is not for the branch main",
            "trying again, 2 of 2",
            "tolerated failed with exit code 5; the pipeline goes on (allow_failure)",
            "make has left no none",
        ] {
            assert!(log.contains(says), "{says:?} is not in:\n{log}");
        }
        assert!(!log.contains("s3cret-of-the-step"), "{log}");
        let digest = forge.registry.digest(&repo.name, &repo.head()).await;
        assert_eq!(done["digest"].as_str(), digest.as_deref());
        let kept = artifacts
            .path()
            .join(&repo.name)
            .join(done["uid"].as_str().unwrap())
            .join("make/made.tar");
        let tar = Command::new("tar").arg("-xOf").arg(kept).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&tar.stdout), "made\n");
    }
    assert_eq!(left(&forge), "");

    let untrusted = run(&forge, &repo, json!({"trusted": false})).await;
    let log = log(&forge, &untrusted).await;
    assert!(
        log.contains("run 1"),
        "strangers do not fill the caches of others: {log}"
    );
    assert!(
        log.contains("steps get no secrets") && log.contains("nothing is pushed"),
        "{log}"
    );
}

#[tokio::test]
async fn a_failed_step_ends_the_pipeline_and_cleaning_up_is_done_all_the_same() {
    let forge = Forge::start().await;
    let inline = "image: busybox\nsteps:\n\
        - {name: unit, script: exit 3}\n\
        - {name: after, script: echo not to be seen}\n\
        - {name: cleaning, always: true, script: echo cleaned}\n";
    let repo = forge.repo("FROM busybox\n");
    let failed = run(&forge, &repo, json!({"pipeline": inline})).await;
    assert_eq!(failed["failure"]["kind"], "build_failed", "{failed}");
    assert_eq!(
        (&failed["failure"]["step"], &failed["failure"]["exit_code"]),
        (&json!("unit"), &json!(3))
    );
    let text = log(&forge, &failed).await;
    assert!(text.contains("after is not done") && text.contains("cleaned"), "{text}");
    assert!(!text.contains("not to be seen"), "{text}");
    assert_eq!(left(&forge), "");

    let wrong = run(&forge, &repo, json!({"pipeline": "steps:\n- name: a\n  scrip: x\n"})).await;
    assert_eq!(wrong["failure"]["kind"], "pipeline_invalid", "{wrong}");
    let message = wrong["failure"]["message"].as_str().unwrap();
    assert!(message.starts_with("pipeline:3:3: unknown field"), "{message}");
    let none = run(&forge, &repo, json!({})).await;
    assert!(
        none["failure"]["message"]
            .as_str()
            .unwrap()
            .contains("there is no .forge.yml"),
        "{none}"
    );
}

#[tokio::test]
async fn only_changed_files_lead_to_steps_that_are_for_them() {
    let forge = Forge::start().await;
    let repo = repo(
        &forge,
        "image: busybox\nsteps:\n- {name: docs, when: {paths: 'docs/**'}, script: echo looked at docs}\n",
        &[("docs/a.md", "a")],
    );
    let first = run(&forge, &repo, json!({})).await;
    assert!(
        log(&forge, &first).await.contains("looked at docs"),
        "what is not known may have changed"
    );
    for (file, looked) in [("src/x", false), ("docs/b.md", true)] {
        repo.commit(&[(file, "x")], file);
        let change = json!({"webhook_data": {"event_type": "push", "before": repo.git(&["rev-parse", "HEAD~1"])}});
        let done = run(&forge, &repo, change).await;
        assert_eq!(log(&forge, &done).await.contains("looked at docs"), looked, "{file}");
    }
}

/// A port of this machine that says so to who reaches it.
fn host_port() -> u16 {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for caller in listener.incoming() {
            let _written = caller.unwrap().write_all(b"it was reached\n");
        }
    });
    port
}

#[tokio::test]
async fn nothing_that_a_step_does_harms_others() {
    let port = host_port();
    let forge = Forge::start_with(1, &[("FORGERY_STEP_MEMORY_MIB", "64"), ("FORGERY_STEP_PIDS", "64")]).await;
    let repo = forge.repo("FROM busybox\n");
    let run = async |script: &str, more: &str| {
        let pipeline = format!(
            "image: busybox\nsteps:\n- name: bad\n{more}  script: |\n    {}\n",
            script.replace('\n', "\n    ")
        );
        let done = run(&forge, &repo, json!({"pipeline": pipeline, "push_artifact": false})).await;
        let text = log(&forge, &done).await;
        (done, text)
    };
    let (bomb, text) = run("i=0; while [ $i -lt 200 ]; do sleep 20 & i=$((i+1)); done; wait", "").await;
    assert_eq!(bomb["status"], "failed", "{bomb}");
    assert!(
        text.contains("can't fork") || text.contains("Resource temporarily unavailable"),
        "{text}"
    );

    let (hog, _) = run("dd if=/dev/zero of=/dev/null bs=200M count=1", "").await;
    assert_eq!(hog["failure"]["kind"], "out_of_memory", "{hog}");
    assert!(
        hog["failure"]["message"].as_str().unwrap().contains("steps.memory_mib"),
        "{hog}"
    );

    let (sleeper, _) = run(
        "trap '' TERM\necho begun\nsleep 986 & wait; sleep 986",
        "  timeout: 2s\n",
    )
    .await;
    assert_eq!(sleeper["failure"]["kind"], "timeout", "{sleeper}");
    assert!(
        sleeper["failure"]["message"]
            .as_str()
            .unwrap()
            .contains("bad took longer than 2 s"),
        "{sleeper}"
    );

    let (tame, text) = run(
        "ls /var/run/docker.sock || echo no socket\nmount -t tmpfs x /mnt || echo no mounting\n\
         ping -c 1 -w 1 127.0.0.1 || echo no raw sockets\ngrep NoNewPrivs /proc/self/status",
        "",
    )
    .await;
    assert_eq!(tame["status"], "success", "{tame}");
    for says in ["no socket", "no mounting", "no raw sockets", "NoNewPrivs:\t1"] {
        assert!(text.contains(says), "{says:?} is not in {text}");
    }

    let host = docker(&[
        "network",
        "inspect",
        "bridge",
        "--format",
        "{{(index .IPAM.Config 0).Gateway}}",
    ]);
    let knock = format!("nc -w 2 {host} {port} </dev/null || echo not reached");
    let (_, text) = run(&knock, "").await;
    assert!(text.contains("it was reached"), "{text}");
    let (_, text) = run(&knock, "  network: none\n").await;
    assert!(text.contains("not reached"), "{text}");
    let (refused, _) = run("true", "  network: host\n").await;
    assert_eq!(refused["failure"]["kind"], "not_configured", "{refused}");
    let image = json!({"pipeline": "steps:\n- {name: image, type: build, network: host}\n", "push_artifact": false});
    let refused = super::pipelines::run(&forge, &repo, image).await;
    assert_eq!(refused["failure"]["kind"], "not_configured", "{refused}");
    assert_eq!(left(&forge), "");
}

#[tokio::test]
async fn an_isolated_step_reaches_its_services_and_nothing_else() {
    let port = host_port();
    let forge = Forge::start_with(1, &[("FORGERY_STEP_NETWORK", "isolated")]).await;
    let host = docker(&[
        "network",
        "inspect",
        "bridge",
        "--format",
        "{{(index .IPAM.Config 0).Gateway}}",
    ]);
    let pipeline = format!(
        "image: busybox\nsteps:\n- name: scan\n  services: [{{name: web, image: busybox, command: [httpd, -f, -p, '80', -h, /etc]}}]\n\
         \x20 script: |\n    gateway=$(ip route | sed -n 's/default via \\([^ ]*\\).*/\\1/p')\n\
         \x20   for host in {host} $gateway; do nc -w 2 $host {port} </dev/null || true; done\n\
         \x20   for i in 1 2 3 4 5; do wget -q -O - http://web/passwd && exit; sleep 1; done; exit 1\n"
    );
    let repo = forge.repo("FROM busybox\n");
    let done = run(&forge, &repo, json!({"pipeline": pipeline})).await;
    let text = log(&forge, &done).await;
    assert_eq!(done["status"], "success", "{text}");
    assert!(text.contains("root:x:0:0") && !text.contains("reached"), "{text}");
}

#[tokio::test]
async fn a_cancelled_pipeline_leaves_nothing() {
    let forge = Forge::start().await;
    let repo = forge.repo("FROM busybox\n");
    let pipeline = "image: busybox\nsteps:\n- name: stubborn\n  services: [{name: s, image: busybox, command: [sleep, '985']}]\n  \
                    script: |\n    trap '' TERM\n    echo begun\n    while true; do sleep 1; done\n";
    ask(&forge, "stubborn", &repo, pipeline);
    let build = forge.build_that_is("building").await;
    forge.log_that_says(&build, "begun").await;
    assert_ne!(left(&forge), "");
    forge.post(&format!("/v1/cicd/builds/{}/cancel", build["id"])).await;
    forge.build_that_is("cancelled").await;
    assert_eq!(left(&forge), "", "it is confirmed before it is told");
}

#[tokio::test]
async fn a_build_that_prints_nothing_for_too_long_is_ended() {
    let forge = Forge::start_with(1, &[("FORGERY_SILENCE_SECONDS", "2")]).await;
    let repo = forge.repo("FROM busybox\nRUN sleep 984\n");
    let silent = build(&forge, &repo, json!({})).await;
    assert_eq!(silent["failure"]["kind"], "timeout", "{silent}");
    assert!(
        silent["failure"]["message"]
            .as_str()
            .unwrap()
            .contains("printed nothing for 2 s"),
        "{silent}"
    );
}

#[tokio::test]
async fn what_a_killed_run_has_left_the_next_one_removes() {
    let (folder, work) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let begin = |script: &str| {
        let pipeline = format!("steps:\n- {{name: a, image: busybox, script: '{script}'}}\n");
        fs::write(folder.path().join(".forge.yml"), pipeline).unwrap();
        let mut command = Command::new(testkit::binary("forgery"));
        command
            .args(["run", "."])
            .env("WORK_DIR", work.path())
            .current_dir(folder.path());
        testkit::Process::start(&mut command, &folder.path().join("log"))
    };
    let marker = format!("sleep 99{}", std::process::id());
    let running = || docker(&["ps", "-q", "--no-trunc", "--filter", "label=forge.installation=run"]);
    let ours = || {
        let ids = running();
        let mine = |id: &&str| docker(&["top", id, "-eo", "pid,args"]).contains(&marker);
        ids.split_whitespace().find(mine).map(ToOwned::to_owned)
    };
    let mut killed = begin(&marker);
    let id = within(PATIENCE, "the step runs", async || ours()).await;
    killed.kill();
    assert!(running().contains(&id), "nobody ends it");
    let mut next = begin("true");
    assert!(next.wait(PATIENCE).unwrap().success(), "{}", next.log());
    assert!(docker(&["ps", "-aq", "--no-trunc"]).lines().all(|other| other != id));
    let left = fs::read_dir(work.path().join("runs")).unwrap().count();
    assert_eq!(left, 0, "{}", next.log());
}

#[tokio::test]
async fn a_folder_is_built_without_redis_and_a_wrong_pipeline_is_pointed_at() {
    let left = || docker(&["ps", "-aq", "--filter", "label=forge.installation=run"]);
    let before = left(); // Of what somebody has run by hand here.
    let folder = tempfile::tempdir().unwrap();
    let work = tempfile::tempdir().unwrap();
    let forgery = async |args: &[&str]| {
        let mut command = tokio::process::Command::new(testkit::binary("forgery"));
        let command = command
            .args(args)
            .env("WORK_DIR", work.path())
            .current_dir(folder.path());
        let output = tokio::time::timeout(Duration::from_mins(2), command.output())
            .await
            .unwrap()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.code().unwrap(),
            text(&output.stdout) + &text(&output.stderr),
        )
    };
    fs::write(
        folder.path().join(".forge.yml"),
        "steps:\n- name: a\n  image: busybox\n  script: echo hello from here\n",
    )
    .unwrap();
    let (code, text) = forgery(&["lint", ".forge.yml"]).await;
    assert!(code == 0 && text.contains("1 steps, nothing wrong"), "{text}");
    let (code, text) = forgery(&["run", "."]).await;
    assert!(code == 0 && text.contains("a | hello from here"), "{text}");

    fs::write(
        folder.path().join(".forge.yml"),
        "steps:\n- name: a\n  image: busybox\n  script: exit 4\n  needs: [b]\n",
    )
    .unwrap();
    let (code, text) = forgery(&["lint", ".forge.yml"]).await;
    assert!(
        code == 1 && text.contains(".forge.yml:5:11: there is no step b"),
        "{text}"
    );
    fs::remove_file(folder.path().join(".forge.yml")).unwrap();
    fs::write(folder.path().join("Dockerfile"), "FROM busybox\nRUN exit 7\n").unwrap();
    let (code, text) = forgery(&["run", "."]).await;
    assert!(code == 1 && text.contains("exit code 7"), "{text}");
    assert_eq!(left(), before);
}

#[tokio::test]
async fn a_step_of_the_type_compose_takes_arguments_and_tags() {
    let forge = Forge::start().await;
    let repo = repo(
        &forge,
        "steps:\n- {name: stack, type: compose, files: [stack.yml], args: {FLAVOUR: vanilla}, tags: [latest]}\n",
        &[
            ("stack.yml", "services: {web: {build: .}}\n"),
            (
                "Dockerfile",
                "FROM busybox\nARG FLAVOUR=plain\nRUN test $FLAVOUR = vanilla\n",
            ),
        ],
    );
    let done = run(&forge, &repo, json!({})).await;
    assert_eq!(done["status"], "success", "{done}");
    let name = format!("{}/web", repo.name);
    assert_eq!(
        forge.registry.digest(&name, "latest").await.as_deref(),
        done["digest"].as_str()
    );
}

#[tokio::test]
async fn no_image_of_a_stranger_is_taken_for_something_else() {
    let forge = Forge::start().await;
    let repo = forge.repo("FROM busybox\nCMD [\"echo\", \"evil\"]\n");
    let pipeline = "steps:\n- {name: evil, type: build, image: library/busybox, tags: [latest]}\n";
    let before = docker(&["inspect", "busybox", "--format", "{{.Id}}"]);
    let stranger = run(&forge, &repo, json!({"pipeline": pipeline, "trusted": false})).await;
    assert_eq!(stranger["status"], "success", "{stranger}");
    let trusted = run(&forge, &repo, json!({"pipeline": pipeline})).await;
    let name = format!("{}/library/busybox", repo.name);
    assert!(trusted["image_tag"].as_str().unwrap().contains(&name), "{trusted}");
    assert_eq!(docker(&["inspect", "busybox", "--format", "{{.Id}}"]), before);
}

#[tokio::test]
async fn a_container_is_found_whatever_the_labels_of_its_image_say() {
    let forge = Forge::start().await;
    let image = format!("forge-test/labels-{}", forge.installation());
    let folder = tempfile::tempdir().unwrap();
    let dockerfile = "FROM busybox\nLABEL forge.deployment=x forge.service=victim/app/web forge.build=other\n";
    fs::write(folder.path().join("Dockerfile"), dockerfile).unwrap();
    let mut command = Command::new("docker");
    let command = command
        .env("DOCKER_BUILDKIT", "0")
        .args(["build", "-q", "-t", &image, "."]);
    assert!(command.current_dir(folder.path()).status().unwrap().success());
    let repo = forge.repo("FROM busybox\n");
    let pipeline = format!("image: {image}\nsteps:\n- {{name: miner, script: 'echo begun; sleep 983'}}\n");
    ask(&forge, "miner", &repo, &pipeline);
    let build = forge.build_that_is("building").await;
    forge.log_that_says(&build, "begun").await;
    forge.post(&format!("/v1/cicd/builds/{}/cancel", build["id"])).await;
    forge.build_that_is("cancelled").await;
    assert_eq!(left(&forge), "");
    docker(&["rmi", &image]);
}
