//! Which events become builds of which services, and which builds take each other's place.

use e2e::{Forge, WEBHOOK_SECRET};
use serde_json::{Value, json};
use testkit::{Hook, eventually};

/// A commit of nothing, told from others by one digit.
pub(crate) fn commit(digit: char) -> String {
    digit.to_string().repeat(40)
}

/// Tells gateway of a push.
pub(crate) async fn push(forge: &Forge, git_ref: &str, before: char, after: char, changed: &[&str]) -> u16 {
    let body = testkit::push_body("acme/shop", "https://github.com/acme/shop.git", git_ref, &commit(after));
    let mut body: Value = serde_json::from_str(&body).unwrap();
    body["before"] = commit(before).into();
    body["deleted"] = (after == '0').into();
    body["commits"] = json!([{"added": changed, "modified": [], "removed": []}]);
    let hook = Hook::new("push", body.to_string(), WEBHOOK_SECRET);
    hook.send(&forge.gateway_url()).await.0
}

async fn pull_request(forge: &Forge, action: &str, head: char, head_repository: &str) -> u16 {
    pull_request_that(forge, action, head, head_repository, None).await
}

/// Tells gateway of a pull request, and of the commit that it became where it was merged.
pub(crate) async fn pull_request_that(
    forge: &Forge,
    action: &str,
    head: char,
    head_repository: &str,
    merged_as: Option<char>,
) -> u16 {
    let repository = json!({"full_name": "acme/shop", "clone_url": "https://github.com/acme/shop.git",
        "default_branch": "main"});
    let body = json!({
        "action": action, "number": 7, "repository": repository, "sender": {"login": "octocat"},
        "pull_request": {"number": 7, "title": "t", "state": if action == "closed" { "closed" } else { "open" }, "draft": false,
            "merged": merged_as.is_some(), "merge_commit_sha": merged_as.map(commit),
            "head": {"ref": "feature", "sha": commit(head), "repo": {"full_name": head_repository}},
            "base": {"ref": "main", "sha": commit('b')}},
    });
    let hook = Hook::new("pull_request", body.to_string(), WEBHOOK_SECRET);
    hook.send(&forge.gateway_url()).await.0
}

/// Waits until the builds are these, newest first: service, first digit of the commit, status.
pub(crate) async fn builds_are(forge: &Forge, expected: &[&str]) -> Vec<Value> {
    eventually(&expected.join(", "), async || {
        let builds = forge.builds().await;
        let line = |build: &Value| {
            let text = |name: &str| build[name].as_str().unwrap_or_default().to_owned();
            format!("{} {:.1} {}", text("service"), text("commit"), text("status"))
        };
        let lines: Vec<String> = builds.iter().map(line).collect();
        (lines == expected).then_some(builds)
    })
    .await
}

fn waiting(forge: &Forge) -> String {
    forge.redis.cli(&["LLEN", "forge:builds"])
}

#[tokio::test]
async fn a_newer_push_takes_the_place_of_the_older_but_on_the_main_branch() {
    let forge = Forge::start_with(0, &[]).await;
    assert_eq!(push(&forge, "refs/heads/x", '0', '1', &[]).await, 202);
    builds_are(&forge, &["default 1 queued"]).await;
    assert_eq!(push(&forge, "refs/heads/x", '1', '2', &[]).await, 202);
    let builds = builds_are(&forge, &["default 2 queued", "default 1 superseded"]).await;
    let reason = format!(
        "build {} of the newer commit 222222222222 takes its place",
        builds[0]["id"]
    );
    assert_eq!(
        (builds[1]["reason"].as_str().unwrap(), &builds[1]["superseded_by"]),
        (&*reason, &builds[0]["id"])
    );
    assert!(forge.told("build.superseded").await.verified);

    // A push that comes after the one that was made on top of it is old news, and so never runs.
    push(&forge, "refs/heads/y", '5', '6', &[]).await;
    builds_are(
        &forge,
        &["default 6 queued", "default 2 queued", "default 1 superseded"],
    )
    .await;
    push(&forge, "refs/heads/y", '0', '5', &[]).await;
    let builds = builds_are(
        &forge,
        &[
            "default 5 superseded",
            "default 6 queued",
            "default 2 queued",
            "default 1 superseded",
        ],
    )
    .await;
    assert_eq!(builds[0]["superseded_by"], builds[1]["id"]);
    // A push back to an older commit is news.
    push(&forge, "refs/heads/y", '6', '5', &[]).await;
    builds_are(
        &forge,
        &[
            "default 5 queued",
            "default 5 superseded",
            "default 6 superseded",
            "default 2 queued",
            "default 1 superseded",
        ],
    )
    .await;

    push(&forge, "refs/heads/y", '5', '0', &[]).await;
    eventually("a deleted branch ends its builds", async || {
        let builds = forge.builds().await;
        (builds[0]["reason"] == "refs/heads/y was deleted").then_some(())
    })
    .await;
    push(&forge, "refs/heads/main", '0', '7', &[]).await;
    push(&forge, "refs/heads/main", '7', '8', &[]).await;
    eventually("both of main wait", async || {
        let builds = forge.builds().await;
        (builds[0]["status"] == "queued" && builds[1]["status"] == "queued").then_some(())
    })
    .await;
    let builds = forge.builds().await;
    let why = "waits for its turn: an older build of the same branch has not ended";
    assert_eq!(builds[0]["reason"], why);
    eventually("the older one has its turn", async || {
        (forge.builds().await[1]["reason"] == "waits for a free worker").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_project_has_no_more_builds_at_a_time_than_it_may() {
    let forge = Forge::start_with(0, &[]).await;
    let (status, project) = forge
        .post_json("/v1/cicd/projects", &json!({"name": "acme/shop", "max_builds": 1}))
        .await;
    assert_eq!((status, &project["max_builds"]), (201, &json!(1)), "{project}");
    push(&forge, "refs/heads/x", '0', '1', &[]).await;
    push(&forge, "refs/heads/y", '0', '2', &[]).await;
    let builds = builds_are(&forge, &["default 2 queued", "default 1 queued"]).await;
    let why = "waits for its turn: its project may have 1 builds at a time";
    assert_eq!(builds[0]["reason"], why);
    eventually("one is in Redis", async || (waiting(&forge) == "1").then_some(())).await;

    let path = format!("/v1/cicd/builds/{}/cancel", builds[1]["id"]);
    assert_eq!(forge.post(&path).await.0, 202);
    let builds = builds_are(&forge, &["default 2 queued", "default 1 cancelled"]).await;
    assert_eq!(builds[0]["reason"], "waits for a free worker");
    // One that waits for its turn can be cancelled, and never runs.
    push(&forge, "refs/heads/z", '0', '3', &[]).await;
    let builds = builds_are(&forge, &["default 3 queued", "default 2 queued", "default 1 cancelled"]).await;
    let path = format!("/v1/cicd/builds/{}/cancel", builds[0]["id"]);
    assert_eq!(forge.post(&path).await.0, 202);
    builds_are(
        &forge,
        &["default 3 cancelled", "default 2 queued", "default 1 cancelled"],
    )
    .await;
    // What was cancelled while it waited stays on the list until a worker throws it away.
    assert_eq!(waiting(&forge), "2", "the third has never been in Redis");

    let path = format!("/v1/cicd/projects/{}", project["id"]);
    assert_eq!(forge.put_json(&path, &json!({"max_builds": 0})).await.0, 422);
    let (status, changed) = forge.put_json(&path, &json!({})).await;
    assert_eq!((status, &changed["max_builds"]), (200, &Value::Null), "{changed}");
}

#[tokio::test]
async fn a_build_of_a_fork_waits_for_approval_of_this_very_commit() {
    let forge = Forge::start_with(0, &[]).await;
    pull_request(&forge, "opened", '1', "evil/shop").await;
    let builds = builds_are(&forge, &["default 1 queued"]).await;
    let path = |build: &Value, what: &str| format!("/v1/cicd/builds/{}/{what}", build["id"]);
    assert_eq!(builds[0]["reason"], "waits for approval: it comes from a fork");
    assert_eq!(
        (&builds[0]["waits_for_approval"], &*waiting(&forge)),
        (&json!(true), "0")
    );
    let (status, answer) = forge.post(&path(&builds[0], "retry")).await;
    assert_eq!(status, 409, "{answer}");

    pull_request(&forge, "synchronize", '2', "evil/shop").await;
    let builds = builds_are(&forge, &["default 2 queued", "default 1 superseded"]).await;
    assert_eq!(forge.post(&path(&builds[1], "approve")).await.0, 409);
    assert_eq!(forge.post(&path(&builds[0], "approve")).await.0, 202);
    eventually("it is queued", async || (waiting(&forge) == "1").then_some(())).await;
    let builds = builds_are(&forge, &["default 2 queued", "default 1 superseded"]).await;
    assert_eq!(
        (&builds[0]["waits_for_approval"], builds[0]["reason"].as_str()),
        (&json!(false), Some("waits for a free worker"))
    );
    assert_eq!(forge.post(&path(&builds[0], "approve")).await.0, 409, "once is enough");

    pull_request(&forge, "synchronize", '3', "evil/shop").await;
    builds_are(
        &forge,
        &["default 3 queued", "default 2 superseded", "default 1 superseded"],
    )
    .await;
    pull_request(&forge, "closed", '3', "evil/shop").await;
    builds_are(
        &forge,
        &["default 3 superseded", "default 2 superseded", "default 1 superseded"],
    )
    .await;
}

#[tokio::test]
async fn services_are_configured_and_each_is_built_when_its_files_change() {
    let forge = Forge::start_with(0, &[("UNREGISTERED", "ignore")]).await;
    push(&forge, "refs/heads/main", '0', '1', &["api/x"]).await;
    forge.is_quiet().await; // It was looked at, and led to nothing.
    assert_eq!(forge.builds().await, Vec::<Value>::new());
    let (status, project) = forge
        .post_json("/v1/cicd/projects", &json!({"name": "acme/shop"}))
        .await;
    assert_eq!((status, &project["name"]), (201, &json!("acme/shop")));
    assert_eq!(
        forge
            .post_json("/v1/cicd/projects", &json!({"name": "acme/shop"}))
            .await
            .0,
        409
    );
    let service = |name: &str, recipe: Value| json!({"project_id": project["id"], "name": name, "recipe": recipe});
    let add = async |body: Value| forge.post_json("/v1/cicd/services", &body).await;
    for (body, expected) in [
        (service("../x", json!({})), "name: expected"),
        (service("api", json!({"dockerfle": "x"})), "unknown field `dockerfle`"),
        (
            service("api", json!({"timeout_seconds": 0})),
            "recipe.timeout_seconds: expected 1 to 86400",
        ),
        (
            json!({"project_id": 99, "name": "api"}),
            "project_id: there is no such project",
        ),
    ] {
        let (status, answer) = add(body).await;
        assert_eq!(status, 422, "{answer}");
        assert!(answer["error"].as_str().unwrap().contains(expected), "{answer}");
    }
    let (status, api) = add(service("api", json!({"paths": ["api/**"], "context_path": "api"}))).await;
    assert_eq!((status, &api["recipe"]["paths"]), (201, &json!(["api/**"])));
    assert_eq!(add(service("api", json!({}))).await.0, 409);
    let (_, web) = add(service("web", json!({"paths": ["web/**"]}))).await;
    push(&forge, "refs/heads/main", '1', '2', &["api/x", "README.md"]).await;
    let builds = builds_are(&forge, &["api 2 queued"]).await;
    assert_eq!(builds[0]["image_tag"], format!("acme/shop/api:{}", commit('2')));
    assert_eq!(builds[0]["context_path"], "api");

    let path = format!("/v1/cicd/services/{}", web["id"]);
    let (status, changed) = forge.put_json(&path, &json!({"recipe": {"branches": ["main"]}})).await;
    assert_eq!(
        (status, changed["recipe"]["branches"].as_array().unwrap().len()),
        (200, 1)
    );
    push(&forge, "refs/heads/main", '2', '3', &["api/x"]).await;
    builds_are(&forge, &["web 3 queued", "api 3 queued", "api 2 queued"]).await;
    let of_web = forge.get(&format!("{path}/builds")).await.unwrap();
    assert_eq!(of_web.as_array().unwrap().len(), 1);
    assert_eq!(
        forge.get("/v1/cicd/services").await.unwrap().as_array().unwrap().len(),
        2
    );
    assert!(forge.get("/v1/cicd/services/99").await.is_none());

    let events = forge.get("/v1/events?repository=acme/shop").await.unwrap();
    let results = events
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["result"].as_str().unwrap());
    assert_eq!(
        results.collect::<Vec<_>>(),
        [
            "api: built; web: built",
            "api: built; web: none of its files changed",
            "nobody has registered its repository",
        ]
    );
    assert_eq!(events[1]["builds"], json!([builds[0]["uid"]]));
    let one = forge
        .get(&format!("/v1/events/{}", events[0]["id"].as_str().unwrap()))
        .await
        .unwrap();
    assert_eq!((&one, one["builds"].as_array().unwrap().len()), (&events[0], 2));
    assert_eq!(forge.get("/v1/events?repository=acme/other").await, Some(json!([])));
    assert!(forge.get("/v1/events?cursor=x").await.is_none());

    let first = &builds[0];
    assert_eq!(
        forge.post(&format!("/v1/cicd/builds/{}/cancel", first["id"])).await.0,
        202
    );
    builds_are(&forge, &["web 3 queued", "api 3 queued", "api 2 cancelled"]).await;
    for n in 1..=2 {
        let (status, again) = forge.post(&format!("/v1/cicd/builds/{}/retry", first["id"])).await;
        assert_eq!(status, 202, "{again}");
        let again = forge
            .get(&format!("/v1/cicd/builds/{}", again["build_id"]))
            .await
            .unwrap();
        assert_eq!(
            (&again["rerun_of"], &again["commit"]),
            (&first["id"], &first["commit"]),
            "{n}"
        );
        assert_ne!(again["uid"], first["uid"]);
    }
    builds_are(
        &forge,
        &[
            "api 2 queued",
            "api 2 queued",
            "web 3 queued",
            "api 3 queued",
            "api 2 cancelled",
        ],
    )
    .await;
}

#[tokio::test]
async fn a_service_is_built_when_somebody_asks_for_it() {
    let mut forge = Forge::start_with(0, &[]).await;
    let repo = forge.repo(e2e::QUICK);
    let (_, project) = forge.post_json("/v1/cicd/projects", &json!({"name": repo.name})).await;
    let service = json!({"project_id": project["id"], "name": "default"});
    let (_, service) = forge.post_json("/v1/cicd/services", &service).await;
    let path = format!("/v1/cicd/services/{}/build", service["id"]);
    let main = json!({"git_ref": "main"});
    for (body, expected) in [
        (main.clone(), "git_url: is required before the first build"),
        (
            json!({"git_ref": "main", "git_url": repo.url}),
            "git_ref: expected a commit's hash, or a branch",
        ),
        (
            json!({"git_ref": repo.head(), "git_url": "ext::sh"}),
            "expected an https",
        ),
        (json!({}), "missing field `git_ref`"),
    ] {
        let (status, answer) = forge.post_json(&path, &body).await;
        assert!(
            status == 422 && answer["error"].as_str().unwrap().contains(expected),
            "{status} {answer}"
        );
    }
    let asked = json!({"git_ref": repo.head(), "git_url": repo.url, "context_path": ".", "dockerfile": "Dockerfile"});
    let (status, answer) = forge.post_json(&path, &asked).await;
    assert_eq!((status, &answer["status"]), (201, &json!("queued")), "{answer}");
    let job = format!("/v1/cicd/jobs/{}", answer["job_id"].as_str().unwrap());
    let queued = forge.get(&job).await.unwrap();
    assert_eq!(
        (&queued["type"], &queued["status"], &queued["progress"]),
        (&json!("build"), &json!("queued"), &json!(0))
    );
    assert!(queued.get("started_at").is_none() && queued.get("error").is_none());

    forge.add_forgery();
    let build = forge.build_that_is("success").await;
    assert_eq!(
        (&build["id"], &build["commit"]),
        (&answer["build_id"], &json!(repo.head()))
    );
    let done = forge.get(&job).await.unwrap();
    assert_eq!((&done["status"], &done["progress"]), (&json!("success"), &json!(100)));
    assert_eq!(
        (&done["finished_at"], &done["data"]["build_id"]),
        (&build["finished_at"], &build["id"])
    );
    assert!(forge.get("/v1/cicd/jobs/none").await.is_none());

    forge.push(&repo).await;
    testkit::within(e2e::PATIENCE, "a build of the push", async || {
        (forge.builds().await.len() == 2).then_some(())
    })
    .await;
    let (status, again) = forge.post_json(&path, &main).await;
    assert_eq!(status, 201, "the branch is known now: {again}");
    let again = forge
        .get(&format!("/v1/cicd/builds/{}", again["build_id"]))
        .await
        .unwrap();
    assert_eq!(
        (&again["commit"], &again["git_url"]),
        (&build["commit"], &build["git_url"])
    );
}

#[tokio::test]
async fn a_webhook_is_planned_again_as_its_services_are_then() {
    let forge = Forge::start_with(0, &[("UNREGISTERED", "ignore")]).await;
    assert_eq!(push(&forge, "refs/heads/x", '0', '1', &[]).await, 202);
    let told = eventually("the webhook", async || {
        let all = forge.get("/v1/events").await?;
        all.as_array()?.first().cloned()
    })
    .await;
    assert_eq!(told["result"], "nobody has registered its repository");
    assert_eq!(
        forge
            .post_json("/v1/cicd/projects", &json!({"name": "acme/shop"}))
            .await
            .0,
        201
    );
    assert_eq!(
        forge
            .post_json("/v1/cicd/services", &json!({"project_id": 1, "name": "api"}))
            .await
            .0,
        201
    );
    let path = format!("/v1/events/{}/replay", told["id"].as_str().unwrap());
    let (status, again) = forge.post(&path).await;
    assert_eq!((status, again["builds"].as_array().unwrap().len()), (202, 1), "{again}");
    builds_are(&forge, &["api 1 queued"]).await;
    let (status, again) = forge.post(&path).await;
    assert_eq!(
        (status, &again["builds"]),
        (202, &json!([])),
        "it is one build, however often"
    );
    let told = forge
        .get(&format!("/v1/events/{}", told["id"].as_str().unwrap()))
        .await
        .unwrap();
    assert_eq!(
        (told["builds"].as_array().unwrap().len(), &told["result"]),
        (1, &json!("build"))
    );
    assert_eq!(forge.post("/v1/events/nothing/replay").await.0, 404);
}
