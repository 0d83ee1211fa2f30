//! A row and its intents are one; what is known already changes nothing.

use super::*;
use crate::{deployment, notice, service::Concurrency, tracker};
use contract::{
    BuildEvent, BuildQueueMessage, BuildStatus, BuildType, Happening, Message as _, Provider, SourceEvent, Strategy,
    Terminal, Timestamp, WebhookDelivery,
};

struct Lab {
    store: Store,
    database: Database,
    /// What the database is in.
    _home: Home,
}

enum Home {
    Sqlite(#[expect(dead_code, reason = "kept")] tempfile::TempDir),
    Postgres(#[expect(dead_code, reason = "kept")] testkit::Postgres),
}

/// The same tests with either database.
macro_rules! on_both {
    ($($name:ident)*) => {
        mod sqlite {
            $(#[tokio::test] async fn $name() { super::$name(super::Lab::new(super::Kind::Sqlite).await).await; })*
        }
        mod postgres {
            $(#[tokio::test] async fn $name() { super::$name(super::Lab::new(super::Kind::Postgres).await).await; })*
        }
    };
}

on_both! {
    a_build_is_recorded_once_with_its_intents_however_often_it_comes
    intents_stay_until_they_are_carried_out
    a_change_that_was_overtaken_changes_nothing_and_tells_nobody
    only_builds_that_should_be_in_redis_are_looked_for_there
    what_was_stored_is_there_after_a_restart
    webhooks_are_listed_newest_first_page_by_page
    what_no_database_takes_is_stored_all_the_same
    an_approval_a_repetition_and_an_ending_are_found_again
    projects_and_services_have_one_name_each
    a_newer_build_takes_the_place_of_the_older
    tokens_are_found_by_their_first_part_until_they_are_removed
    a_change_is_recorded_before_it_is_done
    a_request_with_a_key_is_ours_once
    builds_are_listed_by_project_service_and_state
    of_each_service_one_deployment_goes_to_forgery_at_a_time
    rollbacks_never_swing_back_to_what_was_rolled_back
    a_deployment_follows_from_its_build_once
    what_is_old_is_forgotten_and_what_others_need_is_not
    a_webhook_is_kept_with_what_it_said_and_what_followed_again
    builds_wait_for_their_turn
    a_build_that_is_to_end_never_has_its_turn
    no_priority_of_a_project_keeps_another_waiting
    a_check_does_not_move_a_change_and_what_comes_late_does_not_open_it
}

impl Lab {
    async fn new(kind: Kind) -> Self {
        let (database, home) = match kind {
            Kind::Sqlite => {
                let folder = tempfile::Builder::new().prefix("a folder? 100%#").tempdir().unwrap();
                (Database::Folder(folder.path().to_owned()), Home::Sqlite(folder))
            }
            Kind::Postgres => {
                let server = testkit::Postgres::start();
                (
                    Database::Postgres(server.url().parse().unwrap()),
                    Home::Postgres(server),
                )
            }
        };
        Self {
            store: Store::open(&database).await.unwrap(),
            database,
            _home: home,
        }
    }

    /// How many builds are to be queued, and how many changes of builds are to be told.
    async fn intents(&self) -> (usize, usize) {
        let all = async |route| self.store.intents(route, 100).await.unwrap().intents;
        let told = all(Route::Notifications).await.into_iter();
        let of_builds = told.filter(|intent| intent.payload.contains(r#""kind":"Build""#));
        (all(Route::Builds).await.len(), of_builds.count())
    }

    async fn queue(&self, delivery: &str) -> Option<Build> {
        let build = build();
        let notice = notice::about(&build, None, None).unwrap();
        let intents = vec![Intent::notification(&notice).unwrap()];
        self.store
            .record(
                &webhook(delivery),
                None,
                "build",
                None,
                vec![(build, Concurrency::Queue, intents)],
            )
            .await
            .unwrap()
            .pop()
    }
}

fn build() -> Build {
    let url = "https://h/o/r.git".parse().unwrap();
    let (id, project, commit) = ("b".parse().unwrap(), "o/r".parse().unwrap(), "abcdef".parse().unwrap());
    let message = BuildQueueMessage::new(id, project, BuildType::Dockerfile, url, commit, Strategy::Local);
    let payload = message.to_json().unwrap();
    Build::queued(message, payload)
}

fn webhook(delivery: &str) -> WebhookDelivery {
    let at = Timestamp::from_millis(1);
    WebhookDelivery::new(
        delivery.parse().unwrap(),
        Provider::Github,
        "push",
        at,
        SourceEvent::Other,
        String::new(),
    )
}

fn ended() -> BuildEvent {
    let event = Happening::Ended {
        status: Terminal::Success,
        failure: None,
        image: None,
        images: Vec::new(),
        stages: Vec::new(),
    };
    BuildEvent::new("b".parse().unwrap(), 1, 2, Timestamp::from_millis(7), event)
}

async fn a_build_is_recorded_once_with_its_intents_however_often_it_comes(lab: Lab) {
    assert!(lab.queue("d-1").await.is_some());
    assert!(lab.queue("d-1").await.is_none(), "the same delivery");
    assert!(lab.queue("d-2").await.is_none(), "the same build by another delivery");
    assert_eq!(lab.intents().await, (1, 1));
    let builds = lab
        .store
        .builds(&Page {
            limit: 10,
            ..Page::default()
        })
        .await
        .unwrap();
    assert_eq!(builds.len(), 1);
}

async fn intents_stay_until_they_are_carried_out(lab: Lab) {
    lab.queue("d-1").await;
    let batch = lab.store.intents(Route::Builds, 10).await.unwrap();
    let id = batch.intents[0].id;
    assert_eq!(
        (batch.intents[0].message_id.as_str(), batch.intents[0].payload.as_str()),
        ("b", build().payload.as_str())
    );
    if matches!(lab.database, Database::Postgres(_)) {
        assert_eq!(lab.intents().await, (0, 1), "another prow leaves it alone");
        drop(batch); // As if its prow had died; the database hears of it a moment later.
        testkit::eventually("another prow takes it over", async || {
            (lab.intents().await == (1, 1)).then_some(())
        })
        .await;
    } else {
        drop(batch);
    }
    let sent = async || {
        lab.store
            .intents(Route::Builds, 10)
            .await
            .unwrap()
            .sent(&[id])
            .await
            .unwrap();
    };
    sent().await;
    assert_eq!(lab.intents().await, (0, 1));
    // Redis may have lost it, so it is kept for a while and can be sent again.
    assert_eq!(lab.store.send_again().await.unwrap(), 1);
    assert_eq!(lab.intents().await, (1, 1));
    sent().await;
    lab.store.forget_sent(bus::clock::now_ms() + 1).await.unwrap();
    assert_eq!(
        (lab.store.send_again().await.unwrap(), lab.intents().await),
        (0, (0, 1))
    );
}

async fn a_change_that_was_overtaken_changes_nothing_and_tells_nobody(lab: Lab) {
    let queued = lab.queue("d-1").await.unwrap();
    let next = tracker::fold(&queued, &ended()).unwrap();
    let (first, change) = (
        notice::about(&queued, None, None).unwrap(),
        notice::about(&next, Some(queued.status), None).unwrap(),
    );
    assert_eq!(
        (first.version, change.version),
        (1, 2),
        "a change is newer than what it changes"
    );
    let told = [Intent::notification(&change).unwrap()];
    assert!(lab.store.advance(&next, &told).await.unwrap());
    assert!(
        !lab.store.advance(&next, &told).await.unwrap(),
        "the version has moved on"
    );
    assert_eq!(lab.intents().await, (1, 2));
    let stored = lab.store.build("b").await.unwrap().unwrap();
    assert_eq!(
        (stored.status, stored.finished_at, stored.version),
        (BuildStatus::Ended(Terminal::Success), Some(7), 2)
    );
}

async fn only_builds_that_should_be_in_redis_are_looked_for_there(lab: Lab) {
    lab.queue("d-1").await;
    let soon = bus::clock::now_ms() + 1_000;
    assert_eq!(
        lab.store.silent_builds(soon, 10).await.unwrap().len(),
        0,
        "it is about to be queued"
    );
    let batch = lab.store.intents(Route::Builds, 10).await.unwrap();
    let id = batch.intents[0].id;
    batch.sent(&[id]).await.unwrap();
    assert_eq!(lab.store.silent_builds(soon, 10).await.unwrap().len(), 1);
    assert_eq!(
        lab.store.silent_builds(0, 10).await.unwrap().len(),
        0,
        "it was heard of since"
    );
}

async fn what_was_stored_is_there_after_a_restart(lab: Lab) {
    lab.queue("d-1").await;
    let again = Store::open(&lab.database).await.unwrap();
    assert_eq!(again.build("b").await.unwrap().unwrap().payload, build().payload);
}

async fn webhooks_are_listed_newest_first_page_by_page(lab: Lab) {
    for n in 1..=5 {
        let mut webhook = webhook(&format!("d{n}"));
        webhook.received_at = Timestamp::from_millis(if n < 3 { 7 } else { n });
        lab.store.record(&webhook, None, "why", None, Vec::new()).await.unwrap();
    }
    let mut listed = Vec::new();
    let mut before = None;
    loop {
        let page = lab.store.told(before.as_ref(), None, 2).await.unwrap();
        let Some(last) = page.last() else { break };
        before = Some(last.place());
        listed.extend(page.into_iter().map(|told| told.delivery));
    }
    assert_eq!(listed, ["d2", "d1", "d5", "d4", "d3"]);
}

async fn what_no_database_takes_is_stored_all_the_same(lab: Lab) {
    let mut hostile = webhook("d");
    (hostile.event, hostile.action) = ("push\0".to_owned(), Some("\0".to_owned()));
    lab.store
        .record(&hostile, None, "why \0", None, Vec::new())
        .await
        .unwrap();
    let told = lab.store.told_by("d").await.unwrap().unwrap();
    assert_eq!(
        (told.event.as_str(), told.result.as_str()),
        ("push\u{fffd}", "why \u{fffd}")
    );
    let queued = lab.queue("d-1").await.unwrap();
    let mut next = tracker::fold(&queued, &ended()).unwrap();
    (next.reason, next.digest) = (Some("a \0 b".to_owned()), Some("\0".to_owned()));
    assert!(lab.store.advance(&next, &[]).await.unwrap());
    let stored = lab.store.build("b").await.unwrap().unwrap();
    assert_eq!(stored.reason.as_deref(), Some("a \u{fffd} b"));
}

async fn an_approval_a_repetition_and_an_ending_are_found_again(lab: Lab) {
    let mut held = build();
    held.held = Some("waits for approval".to_owned());
    held.about = Some("refs/heads/x".to_owned());
    let recorded = lab.store.add_build(held, &[]).await.unwrap().unwrap();
    assert_eq!(lab.store.approve(&recorded, &[]).await.unwrap(), Approved::Queued);
    assert_eq!(lab.store.approve(&recorded, &[]).await.unwrap(), Approved::TooLate);
    assert_eq!(lab.store.reruns(recorded.id).await.unwrap(), 0);
    let mut again = build();
    again.message.id = "b-2".parse().unwrap();
    again.payload = again.message.to_json().unwrap();
    (again.rerun_of, again.about) = (Some(recorded.id), Some("refs/heads/x".to_owned()));
    let again = lab.store.add_build(again, &[]).await.unwrap().unwrap();
    assert_eq!(lab.store.reruns(recorded.id).await.unwrap(), 1);
    let about = Some("refs/heads/x".to_owned());
    let newest = lab
        .store
        .newest_of_service(again.service_id, about)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(newest.id, recorded.id, "a repetition is as old as what it repeats");
}

async fn projects_and_services_have_one_name_each(lab: Lab) {
    let project = lab.store.add_project("o/r", None).await.unwrap();
    assert!(matches!(lab.store.add_project("o/r", None).await, Err(Error::Taken)));
    let recipe = crate::service::Recipe::default();
    let service = lab.store.add_service(project.id, "api", &recipe).await.unwrap();
    let taken = lab.store.add_service(project.id, "api", &recipe).await;
    assert!(matches!(taken, Err(Error::Taken)));
    assert_eq!(
        lab.store.services_of("o/r").await.unwrap(),
        std::slice::from_ref(&service)
    );
    assert_eq!(lab.store.services(None).await.unwrap(), std::slice::from_ref(&service));
    assert_eq!(lab.store.services(Some(project.id + 1)).await.unwrap(), []);
    let changed = lab.store.change_service(service.id, &recipe).await.unwrap().unwrap();
    assert_eq!((changed.id, &changed.recipe), (service.id, &service.recipe));
    assert!(changed.changed_at >= service.changed_at);
}

async fn a_newer_build_takes_the_place_of_the_older(lab: Lab) {
    let with = |id: &str| {
        let mut build = build();
        build.message.id = id.parse().unwrap();
        build.payload = build.message.to_json().unwrap();
        build.about = Some("refs/heads/x".to_owned());
        vec![(build, Concurrency::Supersede, Vec::new())]
    };
    let record = async |delivery: &str, build| {
        let recorded = lab.store.record(&webhook(delivery), None, "build", None, build).await;
        recorded.unwrap().pop().unwrap()
    };
    // Two prows plan two pushes at the same time: one of them sees the other.
    let (webhook_1, webhook_2) = (webhook("d-1"), webhook("d-2"));
    let (first, second) = tokio::join!(
        lab.store.record(&webhook_1, None, "build", None, with("b-1")),
        lab.store.record(&webhook_2, None, "build", None, with("b-2")),
    );
    let newer = first.unwrap().pop().unwrap().id.max(second.unwrap().pop().unwrap().id);
    let page = Page {
        limit: 10,
        ..Page::default()
    };
    let superseded_by = async || {
        let builds = lab.store.builds(&page).await.unwrap();
        builds.iter().map(|build| build.superseded_by).collect::<Vec<_>>()
    };
    assert_eq!(superseded_by().await, [None, Some(newer)]);
    let third = record("d-3", with("b-3")).await;
    assert_eq!(superseded_by().await, [None, Some(third.id), Some(newer)]);
}

async fn tokens_are_found_by_their_first_part_until_they_are_removed(lab: Lab) {
    let token = Token {
        id: 0,
        name: "ci".to_owned(),
        prefix: "abc".to_owned(),
        digest: "d".to_owned(),
        role: crate::access::Role::Deployer,
        projects: Some(vec![1, 2]),
        created_at: 0,
        expires_at: Some(7),
        used_at: None,
    };
    let added = lab.store.add_token(&token).await.unwrap();
    assert!(matches!(lab.store.add_token(&token).await, Err(Error::Taken)));
    assert_eq!(lab.store.token("abc").await.unwrap().as_ref(), Some(&added));
    assert_eq!((added.projects, added.expires_at), (Some(vec![1, 2]), Some(7)));
    assert_eq!(lab.store.token("ab").await.unwrap(), None);
    lab.store.token_used(added.id).await.unwrap();
    assert!(lab.store.tokens().await.unwrap()[0].used_at.is_some());
    assert!(lab.store.remove_token(added.id).await.unwrap());
    assert!(!lab.store.remove_token(added.id).await.unwrap());
    assert_eq!(lab.store.token("abc").await.unwrap(), None);
}

async fn a_change_is_recorded_before_it_is_done(lab: Lab) {
    let begin = async |path| lab.store.begin_change("me", "127.0.0.1", "POST", path).await.unwrap();
    let (first, second) = (begin("/a").await, begin("/b").await);
    lab.store.end_change(first, 201).await.unwrap();
    let changes = lab.store.changes(None, 10).await.unwrap();
    let seen: Vec<_> = changes
        .iter()
        .map(|change| (change.id, change.path.as_str(), change.status))
        .collect();
    assert_eq!(seen, [(second, "/b", None), (first, "/a", Some(201))]);
    assert_eq!(lab.store.changes(Some(second), 10).await.unwrap().len(), 1);
}

async fn a_request_with_a_key_is_ours_once(lab: Lab) {
    let begin = async |who, digest| lab.store.begin_reply(who, "k", digest).await.unwrap();
    assert_eq!(begin("me", "d").await, Known::New);
    assert_eq!(begin("me", "d").await, Known::Begun);
    assert_eq!(begin("me", "e").await, Known::Another);
    assert_eq!(begin("you", "e").await, Known::New, "keys are of one caller");
    lab.store.end_reply("me", "k", Some((201, "{}"))).await.unwrap();
    let answered = Known::Answered {
        status: 201,
        body: "{}".to_owned(),
    };
    assert_eq!(begin("me", "d").await, answered);
    lab.store.end_reply("you", "k", None).await.unwrap();
    assert_eq!(begin("you", "f").await, Known::New, "what failed may be sent again");
    lab.store.forget_replies(bus::clock::now_ms() + 1).await.unwrap();
    assert_eq!(begin("me", "other").await, Known::New);
}

async fn builds_are_listed_by_project_service_and_state(lab: Lab) {
    let build = lab.queue("d-1").await.unwrap();
    let count = async |page: Page| lab.store.builds(&Page { limit: 10, ..page }).await.unwrap().len();
    let of = |project| Page {
        projects: Some(vec![project]),
        ..Page::default()
    };
    assert_eq!((count(of(build.project_id)).await, count(of(999)).await), (1, 0));
    let of = |service| Page {
        service: Some(service),
        ..Page::default()
    };
    assert_eq!((count(of(build.service_id)).await, count(of(999)).await), (1, 0));
    let of = |status| Page {
        status: Some(status),
        ..Page::default()
    };
    assert_eq!(
        (
            count(of(BuildStatus::Queued)).await,
            count(of(BuildStatus::Building)).await
        ),
        (1, 0)
    );
}

/// Asks for a deployment of an image.
async fn deploy(lab: &Lab, image: &str, back: Option<(i64, i64)>) -> Deployment {
    let service = lab.store.services_of("o/r").await.unwrap().remove(0);
    let wanted = deployment::Wanted {
        project: "o/r".parse().unwrap(),
        service: &service,
        image_tag: image.to_owned(),
        image: image.parse().unwrap(),
        reason: None,
        metadata: contract::Metadata::default(),
    };
    let mut asked = deployment::by_hand(wanted, uuid::Uuid::now_v7()).unwrap();
    if let Some((of, to)) = back {
        (asked.rollback_of, asked.rollback_to) = (Some(of), Some(to));
    }
    lab.store.add_deployment(asked, &[]).await.unwrap().unwrap()
}

async fn end(lab: &Lab, deployment: &Deployment, status: Status) {
    let mut next = lab.store.deployment(deployment.id).await.unwrap().unwrap();
    (next.status, next.finished_at) = (status, Some(7));
    next.image = Some(next.image_tag.clone());
    assert!(lab.store.advance_deployment(&next, &[]).await.unwrap());
    assert!(
        !lab.store.advance_deployment(&next, &[]).await.unwrap(),
        "the version has moved on"
    );
}

async fn of_each_service_one_deployment_goes_to_forgery_at_a_time(lab: Lab) {
    lab.queue("d-1").await;
    let (first, second) = (deploy(&lab, "i:1", None).await, deploy(&lab, "i:2", None).await);
    let third = deploy(&lab, "i:3", None).await;
    assert_eq!((first.queued, second.queued, third.queued), (true, false, false));
    let waiting = async || lab.store.intents(Route::Deployments, 9).await.unwrap().intents.len();
    assert_eq!(waiting().await, 1);
    end(&lab, &second, Status::Cancelled).await;
    assert_eq!(waiting().await, 1, "the first is under way");
    end(&lab, &first, Status::Success).await;
    assert_eq!(waiting().await, 2);
    assert!(lab.store.deployment(third.id).await.unwrap().unwrap().queued);
    let named = lab
        .store
        .deployment_named(third.message.id.as_str())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (named.id, named.detail.as_deref()),
        (third.id, Some("waits for a free worker"))
    );
    let listed = lab.store.deployments(third.service_id, None, 2).await.unwrap();
    assert_eq!(
        listed.iter().map(|one| one.id).collect::<Vec<_>>(),
        [third.id, second.id]
    );
    let soon = bus::clock::now_ms() + 1_000;
    assert_eq!(
        lab.store.silent_deployments(soon, 9).await.unwrap().len(),
        0,
        "it is about to be queued"
    );
    let batch = lab.store.intents(Route::Deployments, 9).await.unwrap();
    let ids: Vec<i64> = batch.intents.iter().map(|intent| intent.id).collect();
    batch.sent(&ids).await.unwrap();
    assert_eq!(lab.store.silent_deployments(soon, 9).await.unwrap().len(), 1);
    lab.store.looked_after_deployment(third.id).await.unwrap();
}

async fn rollbacks_never_swing_back_to_what_was_rolled_back(lab: Lab) {
    lab.queue("d-1").await;
    let mut ids = Vec::new();
    for image in ["i:1", "i:2", "i:2", "i:3"] {
        let deployment = deploy(&lab, image, None).await;
        end(&lab, &deployment, Status::Success).await;
        ids.push(deployment.id);
    }
    let failed = deploy(&lab, "i:4", None).await;
    end(&lab, &failed, Status::Failed).await;
    let service = failed.service_id;
    for (of, to, image) in [(ids[3], ids[2], "i:2"), (0, ids[0], "i:1")] {
        let back = lab.store.rollback(service).await.unwrap().unwrap();
        assert_eq!((back.to.id, back.to.image_tag.as_str()), (to, image));
        assert!(of == 0 || back.of.id == of);
        let again = deploy(&lab, image, Some((back.of.id, back.origin))).await;
        end(&lab, &again, Status::Success).await;
        let replaced = lab.store.deployment(back.of.id).await.unwrap().unwrap();
        assert_eq!(replaced.status, Status::RolledBack);
    }
    assert!(
        lab.store.rollback(service).await.unwrap().is_none(),
        "nothing is earlier than the first"
    );
    // What is deployed after that has what ran then to go back to.
    let newest = deploy(&lab, "i:5", None).await;
    end(&lab, &newest, Status::Success).await;
    let back = lab.store.rollback(service).await.unwrap().unwrap();
    assert_eq!(back.of.id, newest.id);
    assert_eq!(
        (back.to.image_tag.as_str(), back.origin),
        ("i:1", ids[0]),
        "what ran before"
    );
}

async fn a_deployment_follows_from_its_build_once(lab: Lab) {
    let build = lab.queue("d-1").await.unwrap();
    let service = lab.store.services_of("o/r").await.unwrap().remove(0);
    let mut next = tracker::fold(&build, &ended()).unwrap();
    next.digest = Some("sha256:ab".to_owned());
    next.about = Some("refs/heads/main".to_owned());
    let mut deployed = service.clone();
    deployed.recipe.auto_deploy = true;
    let follows = || Some((deployment::after(&next, &deployed).unwrap().unwrap(), Vec::new()));
    assert!(lab.store.advance_and_deploy(&next, &[], follows()).await.unwrap());
    assert!(!lab.store.advance_and_deploy(&next, &[], follows()).await.unwrap());
    assert_eq!(lab.store.deployments(service.id, None, 9).await.unwrap().len(), 1);
    // What follows from a newer build is deployed, too; what follows from an older one, or from a repetition of that, is not.
    let mut newer = self::build();
    newer.message.id = "b-newer".parse().unwrap();
    newer.payload = newer.message.to_json().unwrap();
    let newer = lab.store.add_build(newer, &[]).await.unwrap().unwrap();
    let again = build.again("b-again".parse().unwrap(), "api").unwrap();
    let again = lab.store.add_build(again, &[]).await.unwrap().unwrap();
    assert!(again.id > newer.id);
    for (n, (of, deployments)) in [(&again, 2), (&newer, 3), (&again, 3), (&build, 3)]
        .into_iter()
        .enumerate()
    {
        let row = lab.store.build_by_number(of.id).await.unwrap().unwrap();
        let deployment = Deployment {
            message: deploy_message(&format!("d{n}")),
            build_id: Some(of.id),
            ..follows().unwrap().0
        };
        let follows = Some((deployment, Vec::new()));
        assert!(lab.store.advance_and_deploy(&row, &[], follows).await.unwrap());
        assert_eq!(
            lab.store.deployments(service.id, None, 9).await.unwrap().len(),
            deployments,
            "{n}"
        );
    }
    let known = lab.store.build_of_image(service.id, &next.image_tag).await.unwrap();
    assert_eq!(known, Some((build.id, Some("sha256:ab".to_owned()))));
}

async fn what_is_old_is_forgotten_and_what_others_need_is_not(lab: Lab) {
    let add = async |id: &str, rerun_of: Option<i64>| {
        let mut build = build();
        build.message.id = id.parse().unwrap();
        build.payload = build.message.to_json().unwrap();
        build.rerun_of = rerun_of;
        let build = lab.store.add_build(build, &[]).await.unwrap().unwrap();
        let mut ended = build.clone();
        (ended.started_at, ended.finished_at) = (Some(1), Some(5));
        assert!(lab.store.advance(&ended, &[]).await.unwrap());
        build.id
    };
    let (first, log, unlogged) = (add("b-1", None).await, add("b-2", None).await, add("b-3", None).await);
    add("b-4", Some(first)).await;
    let segment = Segment {
        at: 0,
        bytes: 3,
        lines: 1,
        name: "n".to_owned(),
    };
    let cursor = lab.store.log_cursor(log).await.unwrap().unwrap();
    assert!(lab.store.add_segment(log, cursor, 1, &segment).await.unwrap());
    for id in [first, log] {
        let cursor = lab.store.log_cursor(id).await.unwrap().unwrap();
        lab.store.close_log(id, cursor).await.unwrap();
    }
    assert_eq!(lab.store.forget_builds(5).await.unwrap(), 0, "none of them is old");
    assert_eq!(
        lab.store.forget_builds(6).await.unwrap(),
        0,
        "others refer to the one, the others have logs"
    );
    assert_eq!(lab.store.old_segments(5).await.unwrap(), []);
    assert_eq!(lab.store.old_segments(6).await.unwrap(), [(log, segment.clone())]);
    lab.store.forget_segment(log, &segment).await.unwrap();
    assert_eq!(lab.store.forget_builds(6).await.unwrap(), 1);
    assert!(lab.store.build_by_number(log).await.unwrap().is_none());
    assert!(
        lab.store.build_by_number(unlogged).await.unwrap().is_some(),
        "its log is still to be stored"
    );
    lab.store.begin_change("me", "", "POST", "/").await.unwrap();
    assert_eq!(lab.store.forget_changes(1).await.unwrap(), 0);
    assert_eq!(lab.store.forget_changes(bus::clock::now_ms() + 1).await.unwrap(), 1);
}

async fn a_webhook_is_kept_with_what_it_said_and_what_followed_again(lab: Lab) {
    lab.store
        .record(&webhook("d"), Some("{}"), "nothing", None, Vec::new())
        .await
        .unwrap();
    assert_eq!(lab.store.said("d").await.unwrap().as_deref(), Some("{}"));
    lab.store.replayed("d", "build", &[build()]).await.unwrap();
    lab.store.replayed("d", "build again", &[build()]).await.unwrap();
    lab.store.replayed("d", "nothing new", &[]).await.unwrap();
    let told = lab.store.told_by("d").await.unwrap().unwrap();
    assert_eq!((told.result.as_str(), told.builds.len()), ("nothing new", 2));
    assert_eq!(lab.store.forget_messages(1).await.unwrap(), 0);
    assert_eq!(lab.store.forget_messages(2).await.unwrap(), 1);
    assert_eq!(lab.store.forget_messages(2).await.unwrap(), 0);
    assert_eq!(lab.store.said("d").await.unwrap(), None);
    assert_eq!(
        (
            lab.store.forget_webhooks(1).await.unwrap(),
            lab.store.forget_webhooks(2).await.unwrap()
        ),
        (0, 1)
    );
    assert_eq!(lab.store.told_by("d").await.unwrap(), None);
}

fn deploy_message(id: &str) -> contract::DeploymentQueueMessage {
    let (id, project, service) = (id.parse().unwrap(), "o/r".parse().unwrap(), "default".parse().unwrap());
    contract::DeploymentQueueMessage::new(id, project, service, "i".parse().unwrap())
}

/// Adds a build about something; its row.
async fn pushed(lab: &Lab, id: &str, about: &str, concurrency: Concurrency) -> Build {
    let mut build = build();
    build.message.id = id.parse().unwrap();
    (build.payload, build.about) = (build.message.to_json().unwrap(), Some(about.to_owned()));
    let builds = vec![(build, concurrency, Vec::new())];
    let delivery = format!("delivery-{id}");
    lab.store
        .record(&webhook(&delivery), None, "build", None, builds)
        .await
        .unwrap();
    lab.store.build(id).await.unwrap().unwrap()
}

async fn has_turn(lab: &Lab, id: &str) -> bool {
    lab.store.build(id).await.unwrap().unwrap().released_at.is_some()
}

/// A worker begins a build, or ends it.
async fn moves(lab: &Lab, id: &str, happening: Happening) {
    let build = lab.store.build(id).await.unwrap().unwrap();
    let event = BuildEvent::new(
        id.parse().unwrap(),
        1,
        build.sequence + 1,
        Timestamp::from_millis(5),
        happening,
    );
    let next = tracker::fold(&build, &event).unwrap();
    assert!(lab.store.advance(&next, &[]).await.unwrap());
}

async fn begins(lab: &Lab, id: &str) {
    let message = Box::new(lab.store.build(id).await.unwrap().unwrap().message);
    moves(lab, id, Happening::Started { message }).await;
}

async fn ends(lab: &Lab, id: &str) {
    moves(lab, id, ended().event).await;
}

async fn builds_wait_for_their_turn(lab: Lab) {
    // Of one branch that matters, one at a time.
    let first = pushed(&lab, "m1", "refs/heads/main", Concurrency::Queue).await;
    let second = pushed(&lab, "m2", "refs/heads/main", Concurrency::Queue).await;
    assert_eq!(
        (first.released_at.is_some(), second.released_at.is_some()),
        (true, false)
    );
    let why = second.reason.unwrap();
    assert_eq!(
        why,
        "waits for its turn: an older build of the same branch has not ended"
    );
    begins(&lab, "m1").await;
    assert!(!has_turn(&lab, "m2").await);
    ends(&lab, "m1").await;
    assert!(has_turn(&lab, "m2").await);
    assert_eq!(lab.intents().await.0, 2);

    // Some of a project wait for a worker, with `m2` as many as there may be; the next comes when one has begun.
    for n in 1..=turns::SHARE {
        pushed(
            &lab,
            &format!("f{n}"),
            &format!("refs/heads/f{n}"),
            Concurrency::Supersede,
        )
        .await;
    }
    let last = format!("f{}", turns::SHARE);
    let waits = lab.store.build(&last).await.unwrap().unwrap();
    assert_eq!(waits.released_at, None);
    let why = waits.reason.unwrap();
    assert_eq!(
        why,
        "waits for its turn: other builds of its project wait for a worker before it"
    );
    begins(&lab, "f1").await;
    assert!(has_turn(&lab, &last).await);

    // No more than a project may have; when it may have more, those that wait go on.
    let project = waits.project_id;
    assert_eq!(
        lab.store
            .change_project(project, Some(1))
            .await
            .unwrap()
            .unwrap()
            .max_builds,
        Some(1)
    );
    let waits = pushed(&lab, "g", "refs/heads/g", Concurrency::Supersede).await;
    assert_eq!(
        waits.reason.unwrap(),
        "waits for its turn: its project may have 1 builds at a time"
    );
    ends(&lab, "f1").await;
    lab.store.release_all().await.unwrap();
    assert!(!has_turn(&lab, "g").await, "the others have not ended");
    lab.store.change_project(project, None).await.unwrap();
    begins(&lab, "f2").await;
    assert!(has_turn(&lab, "g").await);
    assert!(lab.store.change_project(project + 100, None).await.unwrap().is_none());
}

async fn a_build_that_is_to_end_never_has_its_turn(lab: Lab) {
    pushed(&lab, "m1", "refs/heads/main", Concurrency::Queue).await;
    begins(&lab, "m1").await;
    pushed(&lab, "m2", "refs/heads/main", Concurrency::SkipIntermediate).await;
    let third = pushed(&lab, "m3", "refs/heads/main", Concurrency::SkipIntermediate).await;
    let second = lab.store.build("m2").await.unwrap().unwrap();
    assert_eq!(second.superseded_by, Some(third.id));
    assert!(second.ending.unwrap().ends_with("takes its place"));
    ends(&lab, "m1").await;
    assert!(!has_turn(&lab, "m2").await);
    // The last event of the second has not come yet; nobody runs it.
    ends(&lab, "m2").await;
    assert!(has_turn(&lab, "m3").await);

    let gone = crate::planner::Ending {
        about: "refs/heads/main".to_owned(),
        reason: "refs/heads/main was deleted".to_owned(),
    };
    let mut deleted = webhook("gone");
    let url = "https://h/o/r.git".parse().unwrap();
    deleted.repository = Some(contract::Repository::new("o/r".parse().unwrap(), url, None));
    lab.store
        .record(&deleted, None, "", Some(&gone), Vec::new())
        .await
        .unwrap();
    let third = lab.store.build("m3").await.unwrap().unwrap();
    assert_eq!(third.ending.unwrap(), "refs/heads/main was deleted");
    assert_eq!(lab.store.intents(Route::Cancels, 10).await.unwrap().intents.len(), 2);
}

async fn no_priority_of_a_project_keeps_another_waiting(lab: Lab) {
    for n in 0..turns::SHARE * 5 {
        pushed(
            &lab,
            &format!("f{n}"),
            &format!("refs/heads/f{n}"),
            Concurrency::Supersede,
        )
        .await;
    }
    for (id, priority) in [("low", contract::Priority::Low), ("high", contract::Priority::High)] {
        let mut build = build();
        build.message.id = id.parse().unwrap();
        build.message.priority = Some(priority);
        build.payload = build.message.to_json().unwrap();
        lab.store.add_build(build, &[]).await.unwrap();
        assert!(has_turn(&lab, id).await, "{id}");
    }
}

/// Records what is told of a repository; the number of the change that it is about.
async fn told(lab: &Lab, delivery: &str, source: SourceEvent, body: &str) -> Option<i64> {
    let mut webhook = webhook(delivery);
    let url = "https://h/o/r.git".parse().unwrap();
    webhook.repository = Some(contract::Repository::new("o/r".parse().unwrap(), url, None));
    (webhook.source, webhook.body) = (source, body.to_owned());
    lab.store.record(&webhook, None, "", None, Vec::new()).await.unwrap();
    lab.store.told_by(delivery).await.unwrap().unwrap().workflow_id
}

fn pull(head: char, state: &str) -> SourceEvent {
    SourceEvent::PullRequest(contract::PullRequest {
        number: 7,
        title: "t".into(),
        state: state.into(),
        draft: false,
        head_ref: "feature".into(),
        head_sha: head.to_string().repeat(40),
        head_repository: Some("evil/r".into()),
        base_ref: "main".into(),
        base_sha: "0".repeat(40),
    })
}

async fn a_check_does_not_move_a_change_and_what_comes_late_does_not_open_it(lab: Lab) {
    let id = told(&lab, "opened", pull('a', "open"), "{}").await.unwrap();
    // A check may name any branch; that of a stranger's repository is none of ours.
    let check = format!(
        r#"{{"check_run": {{"head_sha": "{}", "head_branch": "develop"}}}}"#,
        "a".repeat(40)
    );
    assert_eq!(told(&lab, "check", SourceEvent::Other, &check).await, Some(id));
    assert_eq!(lab.store.workflow(id).await.unwrap().unwrap().branch, None);
    let push = SourceEvent::Push {
        git_ref: "refs/heads/develop".into(),
        before: "0".repeat(40),
        after: "b".repeat(40),
        deleted: false,
        message: None,
    };
    assert_ne!(told(&lab, "push", push, "{}").await, Some(id));

    assert_eq!(told(&lab, "closed", pull('a', "closed"), "{}").await, Some(id));
    lab.store.asks_for("late", 0).await.unwrap();
    assert_eq!(told(&lab, "late", pull('a', "open"), "{}").await, Some(id));
    assert!(lab.store.workflow(id).await.unwrap().unwrap().is_completed());
    assert_eq!(told(&lab, "reopened", pull('a', "open"), "{}").await, Some(id));
    assert!(!lab.store.workflow(id).await.unwrap().unwrap().is_completed());
}

#[tokio::test]
async fn a_database_of_an_older_version_is_copied_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::connect(&Database::Folder(folder.path().to_owned()))
        .await
        .unwrap();
    for version in 1..=store.newest() {
        store.migrate(version).await.unwrap();
        let mut copied = None;
        store
            .copy_out(|what| {
                if let Copied::Version(version) = what {
                    copied = Some(version);
                }
                Ok(())
            })
            .await
            .unwrap();
        assert_eq!(copied, Some(version));
    }
}
