//! An engine that is updated while it builds: what fails because of that is nobody's fault, and is done again.

use crate::pipelines::ask;
use e2e::Forge;
use testkit::Engine;

const PIPELINE: &str = "image: busybox\nsteps:\n\
    - {name: lint, script: 'trap \"exit 3\" TERM; echo begun; sleep 5 & wait', allow_failure: true}\n";

/// Engine first, so that it ends last.
async fn with_an_engine() -> (Engine, Forge) {
    let engine = Engine::start();
    let forge = Forge::start_with(1, &[("DOCKER_HOST", &engine.host())]).await;
    (engine, forge)
}

async fn is_built_again(forge: &Forge, engine: &mut Engine) {
    let first = forge.build_that_is("building").await;
    forge.log_that_says(&first, " begun").await;
    engine.update();
    let build = forge.build_that_is("success").await;
    assert_eq!((&build["id"], &build["attempts"]), (&first["id"], &2.into()), "{build}");
    let log = forge.text(&format!("/v1/cicd/builds/{}/logs", build["id"])).await;
    assert!(!log.contains("goes on"), "{log}");
}

#[tokio::test]
async fn a_dockerfile_is_built_again_after_an_update_of_the_engine() {
    let (mut engine, forge) = with_an_engine().await;
    let repo = forge.repo("FROM busybox\nRUN echo begun && sleep 4\nRUN echo more\n");
    forge.push(&repo).await;
    is_built_again(&forge, &mut engine).await;
}

#[tokio::test]
async fn a_step_that_may_fail_is_done_again_after_an_update_of_the_engine() {
    let (mut engine, forge) = with_an_engine().await;
    let repo = forge.repo("FROM busybox\n");
    ask(&forge, "by-hand", &repo, PIPELINE);
    is_built_again(&forge, &mut engine).await;
}
