//! What makes one image differ from another: the options of a build, on the real engine and a real registry.

use crate::builds::message;
use e2e::Forge;
use serde_json::{Value, json};
use std::{fs, process::Command};
use testkit::{Registry, Repo};

/// Runs a build that a foreign producer asks for; how it ended.
pub(crate) async fn build(forge: &Forge, repo: &Repo, change: Value) -> Value {
    let id = format!("by-hand-{}", uuid(forge));
    let mut wanted = message(&id, &repo.url, &repo.head());
    wanted["project_name"] = json!(repo.name);
    wanted["push_artifact"] = json!(true);
    for (field, value) in change.as_object().unwrap() {
        wanted[field] = value.clone();
    }
    forge.redis.cli(&["LPUSH", "forge:builds", &wanted.to_string()]);
    testkit::within(e2e::PATIENCE, "the build ends", async || {
        let build = forge.get(&format!("/v1/cicd/builds/{id}")).await?;
        matches!(build["status"].as_str()?, "success" | "failed").then_some(build)
    })
    .await
}

fn uuid(forge: &Forge) -> String {
    forge.redis.cli(&["INCR", "test:builds"]).trim().to_owned()
}

pub(crate) fn docker(args: &[&str]) -> String {
    let output = Command::new("docker").args(args).output().unwrap();
    assert!(
        output.status.success(),
        "docker {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Where a build's image is, by its digest.
fn pinned(build: &Value) -> String {
    let (repository, _) = build["image_tag"].as_str().unwrap().rsplit_once(':').unwrap();
    format!("{repository}@{}", build["digest"].as_str().unwrap())
}

/// Fetches a pushed image; its name on the engine.
pub(crate) fn pull(build: &Value) -> String {
    pull_with(build, &[])
}

fn pull_with(build: &Value, more: &[&str]) -> String {
    let image = pinned(build);
    let host = image.split('/').next().unwrap();
    docker(&["login", "-u", Registry::USER, "-p", Registry::PASSWORD, host]);
    docker(&[&["pull", "-q"], more, &[&image]].concat());
    image
}

/// The configuration of a pushed image, as the engine shows it.
fn inspect(build: &Value) -> Value {
    let image = pull(build);
    let shown = docker(&["inspect", &image]);
    docker(&["rmi", &image]);
    serde_json::from_str::<Value>(&shown).unwrap()[0].clone()
}

#[tokio::test]
async fn secrets_reach_the_steps_and_nothing_else() {
    let secrets = tempfile::tempdir().unwrap();
    let dir = secrets.path().to_str().unwrap().to_owned();
    let forge = Forge::start_with(1, &[("FORGERY_SECRETS_DIR", &dir)]).await;
    let repo = forge.repo(
        "FROM busybox\n\
         RUN --mount=type=secret,id=TOKEN,required sha256sum < /run/secrets/TOKEN && echo the token is $(cat /run/secrets/TOKEN)\n\
         RUN --mount=type=secret,id=env . /run/secrets/env && echo greeting is $GREETING\n",
    );
    let folder = secrets.path().join(&repo.name);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("TOKEN"), "s3cret-of-the-build").unwrap();
    let options = json!({"options": {"secrets": ["TOKEN"], "environment": {"GREETING": "hello $USER \"you\""}}});
    let done = build(&forge, &repo, options.clone()).await;
    assert_eq!(done["status"], "success", "{done}");
    let digest = seal::digest(b"s3cret-of-the-build");
    forge.log_that_says(&done, &digest).await;
    forge.log_that_says(&done, "greeting is hello $USER \"you\"").await;
    forge.log_that_says(&done, "the token is ***").await;
    let log = forge.text(&format!("/v1/cicd/builds/{}/logs", done["id"])).await;
    assert!(!log.contains("s3cret-of-the-build"), "{log}");

    let mut untrusted = options;
    untrusted["trusted"] = json!(false);
    untrusted["options"]["no_cache"] = json!(true); // The cache does not know of secrets.
    let refused = build(&forge, &repo, untrusted).await;
    assert_eq!(refused["failure"]["kind"], "build_failed", "{refused}");
    let missing = build(&forge, &repo, json!({"options": {"secrets": ["OTHER"]}})).await;
    assert_eq!(missing["failure"]["kind"], "secret_missing", "{missing}");
}

#[tokio::test]
async fn arguments_labels_targets_and_tags_are_those_that_were_asked_for() {
    let forge = Forge::start().await;
    let repo = forge.repo(
        "FROM busybox\nFROM busybox AS first\nARG FLAVOUR=plain\nRUN echo $FLAVOUR > /flavour\nENV FLAVOUR=$FLAVOUR\nFROM first AS wanted\nENV STAGE=wanted\nFROM busybox\nRUN exit 9\n",
    );
    let change = json!({
        "target": "wanted", "build_args": {"FLAVOUR": "vanilla"}, "branch": "main",
        "webhook_data": {"event_type": "tag", "ref": "refs/tags/v1.2"},
        "options": {"labels": {"team": "shop", "forge.project": "forged"}, "tags": ["latest", "main"]},
    });
    let done = build(&forge, &repo, change).await;
    assert_eq!(done["status"], "success", "{done}");
    for tag in [repo.head().as_str(), "main", "latest"] {
        assert_eq!(
            forge.registry.digest(&repo.name, tag).await,
            done["digest"].as_str().map(ToOwned::to_owned),
            "{tag}"
        );
    }
    let image = inspect(&done);
    let environment = image["Config"]["Env"].to_string();
    assert!(
        environment.contains("FLAVOUR=vanilla") && environment.contains("STAGE=wanted"),
        "{environment}"
    );
    let label = |name: &str| image["Config"]["Labels"][name].as_str().unwrap_or_default().to_owned();
    assert_eq!(
        (label("team"), label("forge.project")),
        ("shop".to_owned(), repo.name.clone())
    );
    assert_eq!(label("org.opencontainers.image.revision"), repo.head());
    assert_eq!(label("org.opencontainers.image.source"), repo.url);
    assert_eq!(label("org.opencontainers.image.version"), "v1.2");
}

#[tokio::test]
async fn the_network_of_steps_and_what_the_cache_may_give() {
    let forge = Forge::start().await;
    let repo = forge.repo(
        "FROM busybox\nRUN echo made $(cat /proc/sys/kernel/random/uuid) > /made\nRUN ip addr | grep -c eth || echo no network\nCOPY Dockerfile /made-of\n",
    );
    let first = build(
        &forge,
        &repo,
        json!({"options": {"network": "none", "inline_cache": true}}),
    )
    .await;
    forge.log_that_says(&first, "no network").await;
    let layers = |build: &Value| inspect(build)["RootFS"]["Layers"].clone();
    let made = layers(&first);
    let again = build(
        &forge,
        &repo,
        json!({"options": {"network": "none", "inline_cache": true}}),
    )
    .await;
    assert_eq!(layers(&again), made, "from the engine's cache");
    let anew = build(&forge, &repo, json!({"options": {"network": "none", "no_cache": true}})).await;
    assert_ne!(layers(&anew), made, "without it");
    // Another engine would have no cache of its own.
    docker(&["builder", "prune", "-af"]);
    let from = first["image_tag"].as_str().unwrap();
    let moved = build(
        &forge,
        &repo,
        json!({"options": {"network": "none", "cache_from": [pinned(&first)]}}),
    )
    .await;
    assert_eq!(layers(&moved)[1], made[1], "from the registry, {from}");
    let host = build(&forge, &repo, json!({"options": {"network": "host"}})).await;
    assert_eq!(host["failure"]["kind"], "not_configured", "{host}");
}

#[tokio::test]
async fn one_image_for_several_platforms_and_several_registries() {
    let other = Registry::start().await;
    let logins = format!("http://{}:{}@{}", Registry::USER, Registry::PASSWORD, other.host());
    let forge = Forge::start_with(1, &[("REGISTRY_CREDENTIALS", &logins)]).await;
    let repo = forge.git.repo(
        &format!("e2e/platforms-{}", std::process::id()),
        &[("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n")],
    );
    let target = format!("{}/mirror", other.host());
    let change = json!({"options": {"platforms": ["linux/amd64", "linux/arm64/v8"], "registries": [target]}});
    let done = build(&forge, &repo, change).await;
    assert_eq!(done["status"], "success", "{done}");
    let (name, mirrored) = (repo.name.clone(), format!("mirror/{}", repo.name));
    for (registry, name) in [(&forge.registry, &name), (&other, &mirrored)] {
        let index = registry.manifest(name, &repo.head()).await.unwrap();
        let platforms: Vec<_> = index["manifests"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["platform"].to_string())
            .collect();
        assert_eq!(
            platforms,
            [
                r#"{"os":"linux","architecture":"amd64"}"#,
                r#"{"os":"linux","architecture":"arm64","variant":"v8"}"#
            ]
        );
    }
    let manifest = docker_pull_platform(&done);
    assert_eq!(manifest, "arm64");
    let without = build(
        &forge,
        &repo,
        json!({"push_artifact": false, "options": {"platforms": ["linux/amd64", "linux/arm64"]}}),
    )
    .await;
    assert_eq!(without["failure"]["kind"], "invalid_message", "{without}");
}

fn docker_pull_platform(build: &Value) -> String {
    let image = pull_with(build, &["--platform", "linux/arm64"]);
    let architecture = docker(&["inspect", "-f", "{{.Architecture}}", &image]);
    docker(&["rmi", &image]);
    architecture
}

#[tokio::test]
async fn a_step_that_the_kernel_kills_and_what_cannot_be_had_say_so() {
    let forge = Forge::start().await;
    for (dockerfile, kind, says) in [
        (
            "FROM busybox\nRUN sh -c 'kill -9 $$'; exit $?\n",
            "out_of_memory",
            "exit code 137",
        ),
        (
            "FROM busybox\nNONSENSE\n",
            "build_failed",
            "unknown instruction: NONSENSE",
        ),
        ("FROM forge.invalid/no/such:image\n", "build_failed", "forge.invalid"),
        ("FROM busybox\nCOPY missing /\n", "build_failed", "missing"),
    ] {
        let repo = forge
            .git
            .repo(&format!("e2e/kinds-{}", uuid(&forge)), &[("Dockerfile", dockerfile)]);
        let done = build(&forge, &repo, json!({"push_artifact": false})).await;
        assert_eq!(done["failure"]["kind"], kind, "{done}");
        assert!(done["failure"]["message"].as_str().unwrap().contains(says), "{done}");
    }
}
