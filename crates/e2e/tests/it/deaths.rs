//! A service dies between two effects, at every place where that can be; the other side of it is repaired.

use crate::builds::message;
use e2e::{Forge, PATIENCE, QUICK};
use std::collections::HashSet;

/// Leases that run out soon, and a reconciler that looks often: only so that tests do not take minutes.
pub(crate) const SOON: &[(&str, &str)] = &[("REDIS_LEASE_SECONDS", "3"), ("PROW_RECONCILE_SECONDS", "1")];

async fn dies_and_nobody_notices(service: &str, point: &str) {
    let mut forge = Forge::start_with(1, SOON).await;
    let repo = forge.repo(QUICK);
    forge.start_doomed(service, point).await;
    if point == "prow.adopted" || point == "prow.event.taken" {
        let text = message("by-hand", &repo.url, &repo.head()).to_string();
        forge.redis.cli(&[
            "LPUSH",
            "forge:builds",
            &text.replace("\"push_artifact\":false", "\"push_artifact\":true"),
        ]);
    } else if service == "gateway" {
        // It dies without having answered; the forge sends it again to the one that comes after.
        let lost = testkit::Hook::push(&repo, e2e::WEBHOOK_SECRET);
        let url = format!("{}/webhook/github", forge.gateway_url());
        assert!(lost.request(&reqwest::Client::new(), &url).send().await.is_err());
    } else {
        forge.push(&repo).await;
    }
    forge.bury_and_revive(service).await;
    if service == "gateway" {
        forge.push_until_answered(&repo).await;
    }
    let build = forge.build_that_is("success").await;
    let told = forge.told("build.succeeded").await;
    assert_eq!(forge.builds().await.len(), 1);
    let image = build["image_tag"].as_str().unwrap();
    let (_, name) = image.split_once('/').unwrap();
    let (name, tag) = name.rsplit_once(':').unwrap();
    let digest = forge.registry.digest(name, tag).await;
    assert_eq!(
        digest.as_deref(),
        build["digest"].as_str(),
        "what is there is what was reported"
    );
    forge.is_quiet().await;
    let ends = forge.sink.received();
    let ends: HashSet<_> = ends
        .iter()
        .filter(|r| r.body["data"]["status"] == "success")
        .map(|r| r.header("webhook-id").to_owned())
        .collect();
    assert_eq!(ends.len(), 1, "told under one id, {}", told.header("webhook-id"));
    log_is_complete(&forge, &build).await;
}

/// The log may be a moment behind the build.
async fn log_is_complete(forge: &Forge, build: &serde_json::Value) {
    let path = format!("/v1/cicd/builds/{}/logs", build["id"]);
    let log = testkit::within(PATIENCE, "a log with an end", async || {
        Some(forge.text(&path).await).filter(|log| log.contains(" built "))
    })
    .await;
    let lines: HashSet<_> = log.lines().collect();
    assert_eq!(lines.len(), log.lines().count(), "nothing is said twice:\n{log}");
    let last = format!("attempt {} on ", build["attempts"]);
    assert_eq!(log.matches(&last).count(), 1, "{log}");
}

macro_rules! deaths {
    ($($name:ident: $service:literal at $point:literal;)+) => {
        $(
            #[tokio::test]
            async fn $name() {
                dies_and_nobody_notices($service, $point).await;
            }
        )+
    };
}

deaths! {
    gateway_dies_between_queueing_and_answering: "gateway" at "gateway.sent";
    prow_dies_between_recording_and_settling_a_webhook: "prow" at "prow.planned";
    prow_dies_between_sending_an_intent_and_noting_it: "prow" at "prow.sent";
    prow_dies_between_folding_and_settling_an_event: "prow" at "prow.folded";
    prow_dies_between_adopting_and_advancing_a_build: "prow" at "prow.adopted";
    prow_dies_between_taking_and_folding_the_first_event_of_a_foreign_build: "prow" at "prow.event.taken";
    prow_dies_between_writing_a_log_and_noting_it: "prow" at "prow.log.written";
    prow_dies_between_noting_a_log_and_trimming_it: "prow" at "prow.log.recorded";
    forgery_dies_between_claiming_and_telling: "forgery" at "forgery.claimed";
    forgery_dies_between_cloning_and_building: "forgery" at "forgery.cloned";
    forgery_dies_between_building_and_pushing: "forgery" at "forgery.built";
    forgery_dies_between_two_tags: "forgery" at "forgery.pushed";
    forgery_dies_between_pushing_and_cleaning: "forgery" at "forgery.done";
    forgery_dies_between_cleaning_and_its_last_words: "forgery" at "forgery.cleaned";
    forgery_dies_between_its_last_words_and_its_events: "forgery" at "forgery.logged";
    forgery_dies_between_its_events_and_the_end: "forgery" at "forgery.told";
    forgery_dies_after_the_end: "forgery" at "forgery.settled";
    notifier_dies_between_reading_and_expanding: "notifier" at "notifier.read";
    notifier_dies_between_expanding_and_delivering: "notifier" at "notifier.expanded";
    notifier_dies_between_delivering_and_settling: "notifier" at "notifier.delivered";
}
