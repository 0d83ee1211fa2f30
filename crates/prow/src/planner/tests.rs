use super::*;
use contract::{Provider, Timestamp};

fn hash(digit: char) -> String {
    digit.to_string().repeat(40)
}

fn webhook(event: &str, action: Option<&str>, source: SourceEvent) -> WebhookDelivery {
    let id = "72d3162e-cc78-11e3-81ab-4c9367dc0958".parse().unwrap();
    let mut webhook = WebhookDelivery::new(
        id,
        Provider::Github,
        event,
        Timestamp::from_millis(0),
        source,
        "{}".into(),
    );
    let url = "https://github.com/o/r.git".parse().unwrap();
    webhook.repository = Some(Repository::new("o/r".parse().unwrap(), url, None));
    webhook.action = action.map(Into::into);
    webhook.metadata = Metadata::correlated("c-1");
    webhook
}

fn push(git_ref: &str, after: char, deleted: bool, message: &str) -> WebhookDelivery {
    let source = SourceEvent::Push {
        git_ref: git_ref.into(),
        before: hash('b'),
        after: hash(after),
        deleted,
        message: Some(message.into()),
    };
    webhook("push", None, source)
}

fn pull(action: &str, head_repository: Option<&str>) -> WebhookDelivery {
    let source = SourceEvent::PullRequest(PullRequest {
        number: 7,
        title: "t".into(),
        state: "open".into(),
        draft: false,
        head_ref: "feature".into(),
        head_sha: hash('a'),
        head_repository: head_repository.map(Into::into),
        base_ref: "main".into(),
        base_sha: hash('b'),
    });
    webhook("pull_request", Some(action), source)
}

/// What a webhook leads to for services with these recipes, in one line: what is built, or why nothing is.
fn decide_for(webhook: &WebhookDelivery, recipes: &[(&str, &str)]) -> String {
    let service = |(name, recipe): &(&str, &str)| Service {
        name: (*name).to_owned(),
        recipe: serde_json::from_str(recipe).unwrap(),
        ..Service::usual()
    };
    let plan = plan(webhook, &recipes.iter().map(service).collect::<Vec<_>>());
    if let Some(Ending { about, reason }) = &plan.ends {
        assert_eq!(reason, &plan.result);
        return format!("{reason}; ends {about}");
    }
    let [one] = plan.builds.as_slice() else {
        return plan.result;
    };
    let data = one.message.webhook_data.as_ref().unwrap();
    let branch = one.message.branch.as_ref().map_or("-", Branch::as_str);
    let (kind, git_ref) = (data.event_type.unwrap(), data.git_ref.as_ref().unwrap());
    let commit = one.message.commit_hash.as_str().get(..2).unwrap();
    let how = format!("{:?}", one.concurrency).to_lowercase();
    let held = one.held.as_ref().map(|held| format!(" {held}")).unwrap_or_default();
    format!("{kind} {branch} {git_ref} {commit} {how}{held}")
}

fn decide(webhook: &WebhookDelivery) -> String {
    decide_for(webhook, &[(USUAL, "{}")])
}

#[test]
fn the_table_of_decisions_holds() {
    for (webhook, expected) in [
        (
            push("refs/heads/main", 'a', false, "m"),
            "push main refs/heads/main aa queue",
        ),
        (
            push("refs/heads/feature/x", 'a', false, "m"),
            "push feature/x refs/heads/feature/x aa supersede",
        ),
        (push("refs/tags/v1", 'a', false, "m"), "tag - refs/tags/v1 aa queue"),
        (
            push("refs/heads/main", '0', true, "m"),
            "refs/heads/main was deleted; ends refs/heads/main",
        ),
        (
            push("refs/heads/main", '0', false, "m"),
            "refs/heads/main was deleted; ends refs/heads/main",
        ),
        (
            push("refs/tags/v1", 'a', true, "m"),
            "refs/tags/v1 was deleted; ends refs/tags/v1",
        ),
        (
            push("refs/notes/x", 'a', false, "m"),
            "refs/notes/x is neither a branch nor a tag",
        ),
        (
            push("refs/heads/main", 'a', false, "fix [skip ci]"),
            "the commit's message says [skip ci]",
        ),
        (
            pull("opened", Some("o/r")),
            "pull_request feature refs/pull/7/head aa supersede",
        ),
        (
            pull("synchronize", Some("o/r")),
            "pull_request feature refs/pull/7/head aa supersede",
        ),
        (
            pull("reopened", Some("o/r")),
            "pull_request feature refs/pull/7/head aa supersede",
        ),
        (
            pull("ready_for_review", Some("o/r")),
            "pull_request feature refs/pull/7/head aa supersede",
        ),
        (
            pull("closed", Some("o/r")),
            "a pull request that was closed brings nothing new to build; ends pull/7",
        ),
        (
            pull("opened", Some("evil/r")),
            "pull_request feature refs/pull/7/head aa supersede waits for approval: it comes from a fork",
        ),
        (
            pull("opened", None),
            "pull_request feature refs/pull/7/head aa supersede waits for approval: it comes from a fork",
        ),
        (
            webhook("ping", None, SourceEvent::Other),
            "ping events lead to no build",
        ),
        (
            webhook("check_run", None, SourceEvent::Other),
            "check_run events lead to no build",
        ),
    ] {
        assert_eq!(decide(&webhook), expected);
    }
}

#[test]
fn a_pull_request_has_the_ref_that_its_forge_keeps() {
    for (provider, git_ref) in [
        (Provider::Github, "refs/pull/7/head"),
        (Provider::Gitea, "refs/pull/7/head"),
        (Provider::Forgejo, "refs/pull/7/head"),
        (Provider::Gitlab, "refs/merge-requests/7/head"),
        (Provider::Bitbucket, "refs/heads/feature"),
    ] {
        let mut webhook = pull("opened", Some("o/r"));
        webhook.provider = provider;
        assert_eq!(decide(&webhook), format!("pull_request feature {git_ref} aa supersede"));
    }
}

#[test]
fn the_same_event_is_the_same_build_and_another_is_another() {
    let id = |webhook: &WebhookDelivery| plan(webhook, &[Service::usual()]).builds.remove(0).message.id;
    let main = push("refs/heads/main", 'a', false, "m");
    let mut again = main.clone();
    again.id = "other-hook".parse().unwrap();
    assert_eq!(id(&main), id(&again));
    assert_ne!(id(&main), id(&push("refs/heads/other", 'a', false, "m")));
    assert_ne!(id(&main), id(&push("refs/heads/main", 'c', false, "m")));
    assert_ne!(id(&main), id(&pull("opened", Some("o/r"))));
}

#[test]
fn each_service_of_a_repository_decides_for_itself() {
    let api = ("api", r#"{"paths": ["api/**"], "context_path": "api"}"#);
    let web = ("web", r#"{"paths": ["web/**"], "image": "team/site"}"#);
    let mut main = push("refs/heads/main", 'a', false, "m");
    assert_eq!(
        decide_for(&main, &[api, web]),
        "api: built; web: built",
        "nobody says what changed"
    );
    main.body = r#"{"commits": [{"added": ["api/x"]}, {"modified": ["README.md"]}]}"#.to_owned();
    assert_eq!(decide_for(&main, &[api, web]), "push main refs/heads/main aa queue");
    main.body = r#"{"commits": [{"removed": ["docs/x"]}]}"#.to_owned();
    assert_eq!(
        decide_for(&main, &[api, web]),
        "api: none of its files changed; web: none of its files changed"
    );
    assert_eq!(decide_for(&main, &[]), "nobody has registered its repository");
    main.body = "{}".to_owned();
    let service = |(name, recipe): (&str, &str)| Service {
        name: name.to_owned(),
        recipe: serde_json::from_str(recipe).unwrap(),
        ..Service::usual()
    };
    let plan = plan(&main, &[service(api), service(web), Service::usual()]);
    let shown = plan.builds.iter().map(|one| {
        let image = one.message.image.as_ref().map_or("-", |image| image.as_str());
        let context = one.message.context_path.as_ref().map_or("-", |path| path.as_str());
        format!("{} {image} {context}", one.service)
    });
    assert_eq!(
        shown.collect::<Vec<_>>(),
        ["api o/r/api api", "web team/site -", "default - -"]
    );
    let ids: std::collections::BTreeSet<_> = plan.builds.iter().map(|one| one.message.id.to_string()).collect();
    assert_eq!(ids.len(), 3);
}

#[test]
fn a_recipe_decides_about_forks_drafts_and_older_builds() {
    let mut draft = pull("opened", Some("o/r"));
    if let SourceEvent::PullRequest(pull) = &mut draft.source {
        pull.draft = true;
    }
    let main = push("refs/heads/main", 'a', false, "m");
    let mut trunk = push("refs/heads/trunk", 'a', false, "m");
    let url = "https://github.com/o/r.git".parse().unwrap();
    trunk.repository = Some(Repository::new("o/r".parse().unwrap(), url, Some("trunk".to_owned())));
    for (webhook, recipe, expected) in [
        (
            &pull("opened", Some("evil/r")),
            r#"{"forks": "ignore"}"#,
            "default: it comes from a fork",
        ),
        (&draft, "{}", "default: it is not built for drafts"),
        (
            &draft,
            r#"{"drafts": true}"#,
            "pull_request feature refs/pull/7/head aa supersede",
        ),
        (&trunk, "{}", "push trunk refs/heads/trunk aa queue"),
        (
            &main,
            r#"{"concurrency": "supersede"}"#,
            "push main refs/heads/main aa supersede",
        ),
        (
            &main,
            r#"{"concurrency": "skip_intermediate"}"#,
            "push main refs/heads/main aa skipintermediate",
        ),
        (
            &main,
            r#"{"branches": ["release/*"]}"#,
            "default: it is not built for the branch main",
        ),
    ] {
        assert_eq!(decide_for(webhook, &[(USUAL, recipe)]), expected, "{recipe}");
    }
}

#[test]
fn a_repetition_has_a_name_of_its_own_that_is_always_the_same() {
    let first = "b".parse().unwrap();
    assert_eq!(rerun_id(&first, 1), rerun_id(&first, 1));
    assert_ne!(rerun_id(&first, 1), rerun_id(&first, 2));
}

#[test]
fn a_fork_that_is_built_without_secrets_leaves_no_image() {
    let service = Service {
        recipe: serde_json::from_str(r#"{"forks": "build_without_secrets"}"#).unwrap(),
        ..Service::usual()
    };
    for (head, pushes) in [("evil/r", false), ("o/r", true)] {
        let plan = plan(&pull("opened", Some(head)), std::slice::from_ref(&service));
        let [build] = plan.builds.as_slice() else {
            panic!("{}", plan.result)
        };
        assert_eq!(
            (build.held.as_deref(), build.message.push_artifact()),
            (None, pushes),
            "{head}"
        );
    }
}
