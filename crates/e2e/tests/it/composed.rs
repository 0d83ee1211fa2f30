//! Builds of compose files, and of sources without a Dockerfile, on the real engine.

use crate::images::{build, docker, pull};
use e2e::Forge;
use serde_json::json;
use std::fs;

const COMPOSE: &str = r"
services:
  base:
    image: acme/base
    build: {context: base, args: ['FLAVOUR=${FLAVOUR:-plain}']}
  web:
    image: acme/web:1
    depends_on: [db]
    build:
      context: web
      dockerfile: Dockerfile.web
      target: wanted
      labels: {team: shop}
      secrets: [token]
  inline:
    build:
      context: .
      dockerfile_inline: |
        FROM acme/base
        RUN grep vanilla /flavour && touch /inline
  worker:
    extends: {file: shared/common.yml, service: job}
    build: {args: {JOB: work}}
  later:
    profiles: [nightly]
    build: nowhere
  db:
    image: postgres:16
secrets:
  token: {environment: TOKEN}
";

#[tokio::test]
async fn a_compose_file_in_a_folder_of_its_own_builds_what_is_beside_it() {
    let forge = Forge::start().await;
    let repo = forge.repo("FROM busybox\nRUN exit 1\n");
    let compose = "services:\n\
        \x20 app: {build: {context: .., dockerfile: docker/app.Dockerfile, args: {V: '${V}', W: file}}}\n\
        \x20 lib: {build: {context: ../lib, dockerfile: ../docker/lib.Dockerfile}}\n\
        \x20 inline: {build: {context: .., dockerfile_inline: 'FROM busybox'}}\n";
    repo.commit(
        &[
            ("docker/compose.yaml", compose),
            ("docker/.env", "V='quoted' # here\n"),
            (
                "docker/app.Dockerfile",
                "FROM busybox\nARG V\nARG W\nCOPY lib/a /a\nRUN test \"$V $W\" = 'quoted asked'\n",
            ),
            ("docker/lib.Dockerfile", "FROM busybox\nCOPY a /a\n"),
            ("lib/a", "1"),
        ],
        "a folder",
    );
    let asked = json!({
        "type": "compose", "build_args": {"W": "asked"}, "options": {"compose_files": ["docker/compose.yaml"]},
    });
    let built = build(&forge, &repo, asked).await;
    assert_eq!(built["status"], "success", "{built}");
    for service in ["app", "lib", "inline"] {
        let name = format!("{}/{service}", repo.name);
        assert!(forge.registry.digest(&name, &repo.head()).await.is_some(), "{service}");
    }
}

#[tokio::test]
async fn every_service_with_a_build_section_becomes_an_image() {
    let secrets = tempfile::tempdir().unwrap();
    let dir = secrets.path().to_str().unwrap().to_owned();
    let forge = Forge::start_with(1, &[("FORGERY_SECRETS_DIR", &dir)]).await;
    let repo = forge.repo("FROM busybox\n");
    repo.commit(
        &[
            ("compose.yaml", COMPOSE),
            (".env", "FLAVOUR=vanilla # the only one\n"),
            (
                "base/Dockerfile",
                "FROM busybox\nARG FLAVOUR\nRUN echo $FLAVOUR > /flavour\n",
            ),
            (
                "web/Dockerfile.web",
                "FROM acme/base:latest AS wanted\n\
                 RUN --mount=type=secret,id=token,required sha256sum < /run/secrets/token && cat /run/secrets/token\n\
                 FROM busybox\nRUN exit 9\n",
            ),
            (
                "shared/common.yml",
                "services:\n  job:\n    build: {context: ../job, args: {JOB: none, KIND: cron}}\n",
            ),
            (
                "job/Dockerfile",
                "FROM busybox\nARG JOB\nARG KIND\nRUN echo \"job=$JOB kind=$KIND\"\n",
            ),
        ],
        "services",
    );
    let folder = secrets.path().join(&repo.name);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("TOKEN"), "s3cret-of-compose").unwrap();
    let done = build(&forge, &repo, json!({"type": "compose", "options": {"no_cache": true}})).await;
    let log = forge.text(&format!("/v1/cicd/builds/{}/logs", done["id"])).await;
    assert_eq!(done["status"], "success", "{done} {log}");
    for service in ["base", "web", "inline", "worker"] {
        let name = format!("{}/{service}", repo.name);
        assert!(
            forge.registry.digest(&name, &repo.head()).await.is_some(),
            "{service}: {log}"
        );
    }
    assert_eq!(
        forge
            .registry
            .digest(&format!("{}/later", repo.name), &repo.head())
            .await,
        None
    );
    assert!(!log.contains("s3cret-of-compose"), "{log}");
    forge.log_that_says(&done, "job=work kind=cron").await;
    forge.log_that_says(&done, &seal::digest(b"s3cret-of-compose")).await;
}

#[tokio::test]
async fn what_cannot_be_built_of_a_compose_file_is_said() {
    let forge = Forge::start().await;
    let repo = forge.repo("FROM busybox\n");
    for (file, says) in [
        ("services: {a: {build: nowhere}}\n", "there is no Dockerfile in nowhere"),
        (
            "services: {a: {image: x}}\n",
            "no service of the compose file has a build section",
        ),
        (
            "services: {a: {build: {context: ., ssh: [default]}}}\n",
            "services.a.build: ssh cannot be honoured",
        ),
        (
            "services: {a: {build: {context: ../..}}}\n",
            "there is no Dockerfile in ../..",
        ),
        ("include: [x.yml]\nservices: {a: {build: .}}\n", "cannot be honoured"),
        ("services: {a: {build: .}, A: {build: .}}\n", "would have one name"),
        (
            "services: {a: {build: {context: ., platforms: [here]}}}\n",
            "platforms: here",
        ),
        ("services: {a: {build: '${NONE:?who}'}}\n", "the variable NONE: who"),
        ("services: {a: {extends: a, build: .}}\n", "extends itself"),
        ("services:\n  a: [\n", "compose.yaml:"),
    ] {
        repo.commit(&[("compose.yaml", file)], "wrong");
        let failed = build(&forge, &repo, json!({"type": "compose"})).await;
        let message = failed["failure"]["message"].as_str().unwrap();
        assert!(
            failed["status"] == "failed" && message.contains(says),
            "{file}: {failed}"
        );
    }
}

#[tokio::test]
async fn a_source_without_a_dockerfile_is_built_by_buildpacks_that_the_operator_named() {
    let builder = testkit::builder_image();
    let forge = Forge::start_with(1, &[("FORGERY_BUILDERS", &builder)]).await;
    let repo = forge.repo("FROM busybox\n");
    repo.git(&["rm", "-q", "Dockerfile"]);
    repo.commit(&[("index.html", "hello from buildpacks")], "no Dockerfile");
    let change = json!({"options": {"buildpacks": true, "environment": {"GREETING": "good day"}}});
    let done = build(&forge, &repo, change.clone()).await;
    let log = forge.text(&format!("/v1/cicd/builds/{}/logs", done["id"])).await;
    assert_eq!(done["status"], "success", "{done} {log}");
    assert!(log.contains("good day on 8080"), "{log}");
    let image = &*pull(&done);
    assert_eq!(docker(&["run", "--rm", image]), "hello from buildpacks");
    let labels = docker(&["inspect", image, "--format", "{{json .Config.Labels}}"]);
    assert!(
        labels.contains("io.buildpacks.build.metadata") && labels.contains(&repo.head()),
        "{labels}"
    );
    docker(&["rmi", image]);

    repo.git(&["mv", "index.html", "other"]);
    repo.commit(&[("x", "y")], "nothing that it knows");
    let failed = build(&forge, &repo, change).await;
    assert!(
        failed["failure"]["message"]
            .as_str()
            .unwrap()
            .contains("no buildpack of the builder"),
        "{failed}"
    );
    let other = json!({"options": {"buildpacks": true, "builder": "somebody/else"}});
    let refused = build(&forge, &repo, other).await;
    assert_eq!(refused["failure"]["kind"], "not_configured", "{refused}");
    let none = build(&forge, &repo, json!({})).await;
    assert_eq!(none["failure"]["kind"], "dockerfile_missing", "{none}");
    let left = docker(&["images", "-q", &format!("forge-buildpacks/{}", forge.installation())]);
    assert_eq!(left, "");
}
