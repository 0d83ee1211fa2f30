//! Who may use the API, for what; and that asking twice does once.

use e2e::{API_TOKEN, Forge};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;

struct Client<'a> {
    forge: &'a Forge,
    http: reqwest::Client,
}

impl<'a> Client<'a> {
    fn new(forge: &'a Forge) -> Self {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { forge, http }
    }

    /// A new token.
    async fn token(&self, name: &str, role: &str, projects: Value) -> String {
        let new = json!({"name": name, "role": role, "projects": projects});
        let made = self.json(API_TOKEN, Method::POST, "/v1/tokens", Some(new)).await;
        made["token"].as_str().unwrap().to_owned()
    }

    async fn ask(
        &self,
        token: &str,
        method: Method,
        path: &str,
        body: Option<Value>,
        header: (&str, &str),
    ) -> Response {
        let mut request = self.http.request(method, format!("{}{path}", self.forge.prow_url()));
        request = request.bearer_auth(token).header(header.0, header.1);
        if let Some(body) = body {
            request = request.body(body.to_string());
        }
        request.send().await.unwrap()
    }

    async fn status(&self, token: &str, method: Method, path: &str, body: Option<Value>) -> u16 {
        self.ask(token, method, path, body, ("x-nothing", ""))
            .await
            .status()
            .as_u16()
    }

    async fn json(&self, token: &str, method: Method, path: &str, body: Option<Value>) -> Value {
        let response = self.ask(token, method, path, body, ("x-nothing", "")).await;
        serde_json::from_str(&response.text().await.unwrap()).unwrap_or_default()
    }
}

/// Two projects with a service each.
async fn start() -> Forge {
    let forge = Forge::start_with(0, &[]).await;
    let client = Client::new(&forge);
    for (name, project) in [("acme/shop", 1), ("acme/other", 2)] {
        let added = client
            .status(
                API_TOKEN,
                Method::POST,
                "/v1/cicd/projects",
                Some(json!({"name": name})),
            )
            .await;
        assert_eq!(added, 201);
        let service = json!({"project_id": project, "name": "api"});
        assert_eq!(
            client
                .status(API_TOKEN, Method::POST, "/v1/cicd/services", Some(service))
                .await,
            201
        );
    }
    forge
}

fn begin(service: i64) -> (String, Option<Value>) {
    let build = build_of("https://example.org/o/r.git");
    (format!("/v1/cicd/services/{service}/build"), Some(build))
}

fn build_of(url: &str) -> Value {
    json!({"git_ref": "a".repeat(40), "git_url": url})
}

#[tokio::test]
async fn a_token_may_do_what_its_role_and_its_projects_allow() {
    let forge = start().await;
    let client = Client::new(&forge);
    let viewer = client.token("viewer", "viewer", Value::Null).await;
    let deployer = client.token("deployer", "deployer", json!([1])).await;
    assert!(viewer.starts_with("forge_"));
    let cut_off: String = viewer.chars().take(viewer.len() - 1).collect();
    let ((one, build), (two, _)) = (begin(1), begin(2));
    for (token, method, path, body, expected) in [
        (&*viewer, Method::GET, "/v1/cicd/projects", None, 200),
        (&viewer, Method::POST, &one, build.clone(), 403),
        (&viewer, Method::GET, "/v1/tokens", None, 403),
        (&deployer, Method::POST, &one, build.clone(), 422),
        (API_TOKEN, Method::POST, &one, build.clone(), 201),
        (&deployer, Method::POST, &one, build.clone(), 201),
        (&deployer, Method::POST, &two, build.clone(), 404),
        // Another project's code and images are not theirs to have.
        (
            &deployer,
            Method::POST,
            &one,
            Some(build_of("https://example.org/secret.git")),
            422,
        ),
        (
            &deployer,
            Method::POST,
            "/v1/cicd/services/1/deploy",
            Some(json!({"image_tag": "r/secret:main"})),
            422,
        ),
        (&deployer, Method::GET, "/v1/cicd/projects/2", None, 404),
        (
            &deployer,
            Method::POST,
            "/v1/cicd/projects",
            Some(json!({"name": "x/y"})),
            403,
        ),
        (&deployer, Method::GET, "/v1/queues/builds/dead", None, 403),
        (API_TOKEN, Method::POST, &two, build.clone(), 201),
        ("forge_0123456789abcdef", Method::GET, "/v1/cicd/projects", None, 401),
        (&cut_off, Method::GET, "/v1/cicd/projects", None, 401),
    ] {
        assert_eq!(client.status(token, method, path, body).await, expected, "{path}");
    }
    // What is listed is what they may see.
    let builds = client.json(&deployer, Method::GET, "/v1/cicd/builds", None).await;
    assert_eq!(
        (builds.as_array().unwrap().len(), &builds[0]["project_id"]),
        (2, &json!(1))
    );
    let uid = client.json(API_TOKEN, Method::GET, "/v1/cicd/builds", None).await[0]["uid"].clone();
    let path = format!("/v1/cicd/builds/{}", uid.as_str().unwrap());
    assert_eq!(client.status(&deployer, Method::GET, &path, None).await, 404);
    assert_eq!(client.status(&viewer, Method::GET, &path, None).await, 200);
    let me = client.json(&deployer, Method::GET, "/v1/me", None).await;
    assert_eq!(me, json!({"name": "deployer", "role": "deployer", "projects": [1]}));
}

#[tokio::test]
async fn a_token_is_shown_once_ends_at_once_and_what_was_done_with_it_is_known() {
    let forge = start().await;
    let client = Client::new(&forge);
    let viewer = client.token("viewer", "viewer", Value::Null).await;
    let (path, build) = begin(1);
    assert_eq!(client.status(&viewer, Method::POST, &path, build.clone()).await, 403);
    assert_eq!(client.status(API_TOKEN, Method::POST, &path, build).await, 201);
    let tokens = client.json(API_TOKEN, Method::GET, "/v1/tokens", None).await;
    assert!(
        !tokens.to_string().contains(&viewer) && tokens[0]["used_at"].is_string(),
        "{tokens}"
    );
    let token = format!("/v1/tokens/{}", tokens[0]["id"]);
    assert_eq!(client.status(API_TOKEN, Method::DELETE, &token, None).await, 204);
    assert_eq!(
        client.status(&viewer, Method::GET, "/v1/cicd/projects", None).await,
        401
    );
    assert_eq!(client.status(API_TOKEN, Method::DELETE, &token, None).await, 404);

    let changes = client.json(API_TOKEN, Method::GET, "/v1/audit", None).await;
    let seen: Vec<_> = changes
        .as_array()
        .unwrap()
        .iter()
        .map(|c| (&c["who"], &c["path"], &c["status"]))
        .collect();
    for (who, status) in [("viewer", 403), ("admin", 201)] {
        assert!(seen.contains(&(&json!(who), &json!(path), &json!(status))), "{seen:?}");
    }
    assert_eq!(changes[0]["peer"], "127.0.0.1");
}

#[tokio::test]
async fn a_request_that_is_sent_twice_is_done_once_and_what_is_known_is_not_sent_again() {
    let forge = start().await;
    let client = Client::new(&forge);
    let begin = async |key: &str, git_ref: &str| {
        let body = json!({"git_ref": git_ref, "git_url": "https://example.org/o/r.git"});
        let path = "/v1/cicd/services/1/build";
        let response = client
            .ask(API_TOKEN, Method::POST, path, Some(body), ("idempotency-key", key))
            .await;
        (response.status().as_u16(), response.text().await.unwrap())
    };
    let commit = "a".repeat(40);
    let first = begin("k-1", &commit).await;
    assert_eq!(first.0, 201);
    assert_eq!(begin("k-1", &commit).await, first);
    assert_eq!(begin("k-1", &"b".repeat(40)).await.0, 422, "the key of another request");
    assert_eq!(begin(&"k".repeat(256), &commit).await.0, 400);
    assert_eq!(forge.builds().await.len(), 1);
    assert_ne!(begin("k-2", &commit).await.1, first.1);
    // Who leaves before the answer finds it later, and nothing was done twice.
    let builds = forge.builds().await.len();
    for n in 0..20 {
        let left = tokio::time::timeout(Duration::from_micros(n * 200), begin("k-4", &commit)).await;
        drop(left);
    }
    let answered = testkit::eventually("an answer", async || {
        Some(begin("k-4", &commit).await).filter(|a| a.0 == 201)
    });
    answered.await;
    assert_eq!(forge.builds().await.len(), builds + 1);
    // A token is in no answer that is kept.
    let new = Some(json!({"name": "once", "role": "viewer"}));
    let made = async || {
        client
            .ask(
                API_TOKEN,
                Method::POST,
                "/v1/tokens",
                new.clone(),
                ("idempotency-key", "k"),
            )
            .await
    };
    assert_eq!(
        (made().await.status(), made().await.status()),
        (StatusCode::CREATED, StatusCode::CONFLICT)
    );

    let list = async |tag: &str| {
        client
            .ask(API_TOKEN, Method::GET, "/v1/cicd/builds", None, ("if-none-match", tag))
            .await
    };
    let known = list("").await;
    let tag = known.headers()["etag"].to_str().unwrap().to_owned();
    assert_eq!(list(&tag).await.status(), StatusCode::NOT_MODIFIED);
    begin("k-3", &commit).await;
    assert_eq!(list(&tag).await.status(), StatusCode::OK);
    for (name, value) in [("x-content-type-options", "nosniff"), ("cache-control", "no-cache")] {
        assert_eq!(known.headers()[name], value);
    }
    let page = client
        .json(API_TOKEN, Method::GET, "/v1/cicd/builds?limit=2", None)
        .await;
    assert_eq!(page.as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused() {
    let forge = Forge::start_with(0, &[]).await;
    let client = Client::new(&forge);
    let body = |bytes: usize| Some(json!({"name": "x".repeat(bytes)}));
    let path = "/v1/cicd/projects";
    assert_eq!(client.status(API_TOKEN, Method::POST, path, body(1_048_577)).await, 413);
    assert_eq!(client.status(API_TOKEN, Method::POST, path, body(1_000_000)).await, 422);
    let keyed = client
        .ask(API_TOKEN, Method::POST, path, body(1_048_577), ("idempotency-key", "k"))
        .await;
    assert_eq!(keyed.status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn a_pattern_that_is_too_long_is_refused() {
    let forge = start().await;
    let client = Client::new(&forge);
    let (path, build) = begin(1);
    client.status(API_TOKEN, Method::POST, &path, build).await;
    for (pattern, expected) in [
        ("x".repeat(1_001), 422),
        ("x".repeat(1_000), 200),
        ("%28%3F%3Ax%7B1000%7D%29%7B1000%7D".to_owned(), 422),
        ("%5Bab%5D*a%5Bab%5D%7B2500%7Dc".to_owned(), 422),
        ("%28".to_owned(), 422),
    ] {
        let path = format!("/v1/cicd/builds/1/logs?grep={pattern}");
        assert_eq!(
            client.status(API_TOKEN, Method::GET, &path, None).await,
            expected,
            "{pattern:.20}"
        );
    }
}

#[tokio::test]
async fn badges_and_pages_of_other_origins_are_for_those_whom_the_operator_lets() {
    let forge = Forge::start_with(0, &[]).await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let badge = format!("{}/badge/acme/shop.svg", forge.prow_url());
    let get = async |token: Option<&str>| {
        let request = http.get(&badge).header("origin", "https://ci.example");
        let request = match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        request.send().await.unwrap()
    };
    assert_eq!(get(None).await.status().as_u16(), 401);
    assert_eq!(
        get(Some(API_TOKEN)).await.status().as_u16(),
        404,
        "there is no such project"
    );
    forge
        .post_json("/v1/cicd/projects", &json!({"name": "acme/shop"}))
        .await;
    let answer = get(Some(API_TOKEN)).await;
    assert_eq!(answer.headers()["content-type"], "image/svg+xml");
    assert!(!answer.headers().contains_key("access-control-allow-origin"));
    assert!(answer.text().await.unwrap().contains("build: unknown"));

    let forge = Forge::start_with(1, &[("BADGES", "public"), ("API_CORS_ORIGINS", "https://ci.example")]).await;
    let repo = forge.repo(e2e::QUICK);
    forge.push(&repo).await;
    forge.build_that_is("success").await;
    let badge = async |query: &str| {
        let url = format!("{}/badge/{}.svg{query}", forge.prow_url(), repo.name);
        let answer = http
            .get(url)
            .header("origin", "https://ci.example")
            .send()
            .await
            .unwrap();
        assert_eq!(answer.headers()["access-control-allow-origin"], "https://ci.example");
        answer.text().await.unwrap()
    };
    assert!(badge("").await.contains("build: passing"));
    assert!(badge("?branch=main&service=default").await.contains("build: passing"));
    assert!(badge("?branch=other").await.contains("build: unknown"));
    let preflight = http.request(Method::OPTIONS, format!("{}/v1/cicd/builds", forge.prow_url()));
    let preflight = preflight
        .header("origin", "https://ci.example")
        .header("access-control-request-method", "GET")
        .header("access-control-request-headers", "authorization");
    let answer = preflight.send().await.unwrap();
    assert_eq!(answer.headers()["access-control-allow-headers"], "authorization");
}
