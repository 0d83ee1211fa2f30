//! Who may send, how often, with which secret, and what.

use e2e::{Gateway, WEBHOOK_SECRET, push_to};

#[tokio::test]
async fn only_addresses_that_are_allowed_may_send_and_only_a_trusted_proxy_speaks_for_others() {
    let vars = [
        ("WEBHOOK_ENABLE_IP_WHITELIST", "true"),
        ("WEBHOOK_ALLOWED_IPS", "140.82.112.0/20,2a0a:a440::/29"),
        ("WEBHOOK_TRUSTED_PROXIES", "127.0.0.1"),
    ];
    let gateway = Gateway::start(&vars).await;
    for (n, (forwarded, status)) in [
        ("140.82.115.1", 202),
        ("2a0a:a440::7", 202),
        ("192.0.2.1", 403),
        ("140.82.115.1, 192.0.2.1", 403), // What the sender made up, then who it is.
        ("", 403),
    ]
    .into_iter()
    .enumerate()
    {
        let body = push_to("o/r", n);
        let answer = gateway
            .github_with("push", &body, WEBHOOK_SECRET, &[("x-forwarded-for", forwarded)])
            .await;
        assert_eq!(answer.status, status, "{forwarded}: {}", answer.text);
    }
    let untrusting = Gateway::start(&vars[..2]).await;
    let spoofed = [("x-forwarded-for", "140.82.115.1")];
    let answer = untrusting
        .github_with("push", &push_to("o/r", 1), WEBHOOK_SECRET, &spoofed)
        .await;
    assert_eq!(answer.status, 403);
    assert_eq!(answer.body["error"], "this address may not send");
    let audit = untrusting.process.log();
    assert!(
        audit.contains("audit") && audit.contains("127.0.0.1") && audit.contains("forbidden"),
        "{audit}"
    );
    assert_eq!(
        untrusting.get("/health", "*/*").await.status,
        200,
        "health is for everybody"
    );
}

#[tokio::test]
async fn who_comes_too_often_is_told_when_to_come_again_in_the_standard_fields() {
    let gateway = Gateway::start(&[
        ("WEBHOOK_RATE_LIMIT_MAX", "5"),
        ("WEBHOOK_RATE_LIMIT_WINDOW_MS", "3600000"),
    ])
    .await;
    for n in 0..5 {
        assert_eq!(
            gateway
                .github_with("push", &push_to("o/r", n), "wrong", &[])
                .await
                .status,
            401
        );
    }
    let answer = gateway.github("push", &push_to("o/r", 6)).await;
    assert_eq!(answer.status, 429, "before anything is proved");
    let field = |name: &str| answer.headers[name].to_str().unwrap().to_owned();
    let after: u64 = field("retry-after").parse().unwrap();
    assert!((700..=720).contains(&after), "{after}");
    assert_eq!(field("ratelimit-policy"), r#""address";q=5;w=3600"#);
    assert_eq!(field("ratelimit"), format!(r#""address";r=0;t={after}"#));
    assert_eq!(field("content-type"), "application/problem+json");
    for page in ["/health", "/metrics"] {
        assert_eq!(gateway.get(page, "*/*").await.status, 200, "{page} is exempt");
    }
    let gateway = Gateway::start(&[("WEBHOOK_RATE_LIMIT_REPOSITORY_MAX", "2")]).await;
    let mut statuses = Vec::new();
    for (n, project) in ["o/r", "o/r", "o/r", "o/other"].into_iter().enumerate() {
        statuses.push(gateway.github("push", &push_to(project, n)).await.status);
    }
    assert_eq!(statuses, [202, 202, 429, 202]);
}

#[tokio::test]
async fn a_repository_with_a_secret_of_its_own_is_proved_by_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secrets.yml");
    std::fs::write(&file, "github: {acme: [old, new], acme/shop: shop}\n").unwrap();
    let gateway = Gateway::start_in(folder, &[("WEBHOOK_SECRETS_FILE", &file.to_string_lossy())]).await;
    let mut n = 0;
    for (project, secret, status) in [
        ("acme/shop", "shop", 202),
        ("acme/shop", "new", 401),
        ("acme/shop", WEBHOOK_SECRET, 401),
        ("acme/other", "old", 202),
        ("acme/other", "new", 202),
        ("acme/other", "shop", 401),
        ("else/where", WEBHOOK_SECRET, 202),
        ("else/where", "shop", 401),
    ] {
        n += 1;
        let answer = gateway.github_with("push", &push_to(project, n), secret, &[]).await;
        assert_eq!(answer.status, status, "{project} {secret}: {}", answer.text);
    }
    // Two repositories in one body: none may be proved by the other's secret.
    let body = push_to("acme/shop", 99).replacen('{', r#"{"repository": {"full_name": "acme/other"}, "#, 1);
    assert_eq!(gateway.github_with("push", &body, "old", &[]).await.status, 401);
    // Nor may who holds the secret of everybody else write what hides the repository from the choice of a secret.
    for hidden in [
        r#""project": 1, "#,
        r#""organization": 1, "#,
        r#""organization": {"login": "else"}, "#,
    ] {
        let body = push_to("acme/shop", 99).replacen('{', &format!("{{{hidden}"), 1);
        let answer = gateway.github_with("push", &body, WEBHOOK_SECRET, &[]).await;
        assert_eq!(answer.status, 401, "{hidden}");
    }
    let ping = r#"{"zen": "x", "repository": {"full_name": "acme/shop"}}"#;
    assert_eq!(gateway.github_with("ping", ping, "shop", &[]).await.status, 200);
}

#[tokio::test]
async fn payloads_must_fit_the_schemas_of_the_users() {
    let folder = tempfile::tempdir().unwrap();
    let schemas = folder.path().join("schemas");
    std::fs::create_dir(&schemas).unwrap();
    let rule = r#"{"type": "object", "required": ["ticket"], "properties": {"ticket": {"type": "string", "pattern": "^T-[0-9]+$"}}}"#;
    std::fs::write(schemas.join("push.json"), rule).unwrap();
    let gateway = Gateway::start_in(folder, &[("WEBHOOK_SCHEMAS", &schemas.to_string_lossy())]).await;
    let answer = gateway.github("push", &push_to("o/r", 1)).await;
    assert_eq!(answer.status, 422);
    assert_eq!(answer.body["details"][0], r#"body: "ticket" is a required property"#);
    let good = push_to("o/r", 2).replacen('{', r#"{"ticket": "T-7", "#, 1);
    assert_eq!(gateway.github("push", &good).await.status, 202);
    let bad = push_to("o/r", 3).replacen('{', r#"{"ticket": "hunter2", "#, 1);
    let answer = gateway.github("push", &bad).await;
    assert!(
        answer.status == 422 && !answer.text.contains("hunter2"),
        "{}",
        answer.text
    );
}

#[tokio::test]
async fn events_that_are_not_wanted_are_ignored_and_others_go_to_the_lanes_and_lists_of_the_users() {
    let vars = [
        ("WEBHOOK_EVENTS", "push,release"),
        ("WEBHOOK_QUEUES", "release=workflow,realese=recovery"),
        ("WEBHOOK_COPIES", "release=my:releases"),
        ("WEBHOOK_USER_AGENTS", "GitHub-Hookshot/"),
    ];
    let gateway = Gateway::start(&vars).await;
    let told = "realese is configured, and no event that Forge knows";
    testkit::eventually("a misspelt event is told", async || {
        gateway.process.log().contains(told).then_some(())
    })
    .await;
    assert_eq!(
        gateway.github("push", &push_to("o/r", 1)).await.status,
        202,
        "so that the list is not empty"
    );
    let repository = r#""repository": {"full_name": "o/r", "clone_url": "https://github.com/o/r.git"}"#;
    let release = format!(r#"{{"action": "published", "release": {{"tag_name": "v1"}}, {repository}}}"#);
    assert_eq!(gateway.github("release", &release).await.status, 202);
    assert_eq!(gateway.github("release", &release).await.body["status"], "duplicate");
    let status = format!(r#"{{"sha": "a", "state": "success", {repository}}}"#);
    let answer = gateway.github("status", &status).await;
    assert_eq!(answer.body["message"], "events of type status are not wanted");
    let waits = gateway.taken("workflow");
    assert_eq!((waits.len(), waits[0]["queue"].as_str()), (1, Some("workflow")));
    let copy = gateway.redis.cli(&["--raw", "LRANGE", "my:releases", "0", "-1"]);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&copy).unwrap(), waits[0]);
    let headers = [("content-type", "application/json"), ("user-agent", "curl/8")];
    let answer = gateway.send("/webhook/github", &headers, "{}").await;
    assert_eq!(
        (answer.status, answer.body["error"].as_str()),
        (400, Some("a header has no valid value: User-Agent"))
    );
}

#[tokio::test]
async fn health_and_metrics_tell_the_truth_in_both_forms() {
    let gateway = Gateway::start(&[("WEBHOOK_CORS_ORIGINS", "https://ci.example")]).await;
    gateway.github("push", &push_to("o/r", 1)).await;
    gateway.github("push", &push_to("o/r", 2)).await;
    gateway.github_with("push", &push_to("o/r", 3), "wrong", &[]).await;
    let health = gateway.get("/health", "*/*").await;
    assert_eq!((health.status, health.body["status"].as_str()), (200, Some("healthy")));
    assert_eq!(
        health.body["metrics"],
        serde_json::json!({"totalRequests": 3, "validRequests": 2, "invalidRequests": 1})
    );
    assert_eq!(health.body["checks"]["redis"], "ok");
    let metrics = gateway.get("/metrics", "application/json").await.body;
    assert_eq!(
        (metrics["processedEvents"].as_u64(), metrics["failedEvents"].as_u64()),
        (Some(2), Some(0))
    );
    // An empty list is filled first, whatever the lane. What waits is asked for once a second.
    testkit::eventually("the lanes are counted", async || {
        let lanes = &gateway.get("/metrics", "application/json").await.body["queueMetrics"];
        (lanes["default"] == 1 && lanes["deployment"] == 1).then_some(())
    })
    .await;
    for accept in [
        "text/plain;version=0.0.4",
        "application/openmetrics-text; version=1.0.0",
    ] {
        let page = gateway.get("/metrics", accept).await;
        assert!(
            page.text.contains("gateway_deliveries_total{outcome=\"accepted\"} 2"),
            "{}",
            page.text
        );
    }
    let asked = gateway
        .send("/webhook/github", &[("origin", "https://ci.example")], "")
        .await;
    assert_eq!(asked.headers["access-control-allow-origin"], "https://ci.example");
    let asked = gateway
        .send("/webhook/github", &[("origin", "https://evil.example")], "")
        .await;
    assert!(!asked.headers.contains_key("access-control-allow-origin"));
}
