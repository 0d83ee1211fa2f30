//! Real deliveries of every forge.

use e2e::{Forge, Gateway, WEBHOOK_SECRET};
use serde_json::Value;
use std::collections::BTreeMap;
use testkit::{eventually, node};

/// Every payload that GitHub documents, signed by GitHub's own library: {event, body, signature}.
fn examples() -> Vec<Value> {
    let printed = node("examples.mjs", &[WEBHOOK_SECRET], "");
    printed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap()
}

/// Sends what GitHub's own library signed.
async fn send(gateway: &Gateway, example: &Value, n: usize) -> e2e::Answer {
    let delivery = format!("example-{n}");
    let headers = [
        ("content-type", "application/json"),
        ("x-github-event", text(example, "event")),
        ("x-github-delivery", &delivery),
        ("x-hub-signature-256", text(example, "signature")),
    ];
    gateway
        .send("/webhook/github", &headers, text(example, "body").to_owned())
        .await
}

#[tokio::test]
async fn every_documented_payload_of_github_is_taken_or_ignored_with_a_reason() {
    let gateway = Gateway::start(&[]).await;
    let examples = examples();
    assert!(examples.len() > 300);
    let mut seen: BTreeMap<(String, &str), usize> = BTreeMap::new();
    for (n, example) in examples.iter().enumerate() {
        let answer = send(&gateway, example, n).await;
        let event = text(example, "event").to_owned();
        let word = match (answer.status, answer.body["status"].as_str()) {
            (202, Some("accepted")) => "accepted",
            (200, Some("ignored")) => {
                assert!(!text(&answer.body, "message").is_empty());
                "ignored"
            }
            (200, Some("pong")) => "pong",
            (200, Some("duplicate")) => "duplicate",
            _ => panic!("{event}: {} {}", answer.status, answer.text),
        };
        *seen.entry((event, word)).or_default() += 1;
    }
    for event in [
        "push",
        "pull_request",
        "check_run",
        "status",
        "create",
        "delete",
        "release",
        "installation",
    ] {
        assert!(seen.contains_key(&(event.to_owned(), "accepted")), "{event}: {seen:?}");
    }
    assert!(seen.contains_key(&("ping".to_owned(), "pong")));
    let accepted: usize = seen
        .iter()
        .filter(|((_, word), _)| *word == "accepted")
        .map(|(_, n)| n)
        .sum();
    assert_eq!(gateway.all_taken().len(), accepted);
    let kinds = ["deployment", "validation", "workflow"].map(|lane| gateway.taken(lane).len() > 5);
    assert_eq!(kinds, [true; 3], "each kind of work waits in its own lane");
}

#[tokio::test]
async fn each_documented_payload_that_is_taken_is_planned_or_ignored_by_prow() {
    let forge = Forge::start_with(0, &[]).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut accepted = 0;
    for (n, example) in examples().iter().enumerate() {
        let request = client
            .post(format!("{}/webhook/github", forge.gateway_url()))
            .header("content-type", "application/json")
            .header("x-github-event", text(example, "event"))
            .header("x-github-delivery", format!("example-{n}"))
            .header("x-hub-signature-256", text(example, "signature"));
        let response = request.body(text(example, "body").to_owned()).send().await.unwrap();
        accepted += usize::from(response.status() == 202);
    }
    assert!(accepted > 80, "{accepted}");
    eventually("prow has seen to all of them", async || {
        let keys = [
            "forge:webhooks",
            "{forge:webhooks}:deployment",
            "{forge:webhooks}:validation",
        ];
        let empty = |key: &&str| forge.redis.cli(&["EXISTS", key]) == "0";
        keys.iter().all(empty).then_some(())
    })
    .await;
    let dead = forge.redis.cli(&["LRANGE", "{forge:webhooks}:dead", "0", "-1"]);
    assert!(dead.is_empty(), "{dead}");
    let projects: Vec<_> = forge
        .builds()
        .await
        .iter()
        .map(|build| build["project"].clone())
        .collect();
    assert!(
        projects.contains(&Value::from("Codertocat/Hello-World")),
        "{projects:?}"
    );
}

const GITLAB: &str = r#"{"object_kind": "push", "ref": "refs/heads/master", "user_username": "jsmith",
    "before": "95790bf891e76fee5e1747ab589903a6a1f80f22", "after": "da1560886d4f094c3e6c9ef40349f7d38b5d27d7",
    "project": {"path_with_namespace": "mike/diaspora", "git_http_url": "http://example.com/mike/diaspora.git"},
    "commits": [{"id": "da1560886d4f094c3e6c9ef40349f7d38b5d27d7", "message": "fixed readme"}]}"#;
const GITEA: &str = r#"{"ref": "refs/heads/develop", "before": "28e1879d029cb852e4844d9c718537df08844e03",
    "after": "bffeb74224043ba2feb48d137756c8a9331c449a", "sender": {"login": "gitea"},
    "repository": {"full_name": "gitea/webhooks", "clone_url": "http://localhost:3000/gitea/webhooks.git"}}"#;
const BITBUCKET: &str = r#"{"repository": {"full_name": "team/repo", "links": {"html": {"href": "https://bitbucket.org/team/repo"}}},
    "actor": {"nickname": "emmap1"}, "push": {"changes": [
    {"old": null, "new": {"type": "branch", "name": "main", "target": {"hash": "709d658dc5b6d6afcd46049c2f332ee3f515a67d", "message": "m"}}},
    {"old": {"type": "tag", "name": "v1", "target": {"hash": "709d658dc5b6d6afcd46049c2f332ee3f515a67d"}}, "new": null}]}}"#;

/// A delivery of some forge.
struct Delivery<'a> {
    path: &'a str,
    event: (&'a str, &'a str),
    id: (&'a str, &'a str),
    proof: (&'a str, &'a str),
    body: &'a str,
}

impl Delivery<'_> {
    async fn send(&self, gateway: &Gateway, proof: Option<&str>) -> e2e::Answer {
        let proof = proof.map(|value| (self.proof.0, value));
        let headers = [("content-type", "application/json"), self.event, self.id];
        let headers: Vec<_> = headers.into_iter().chain(proof).collect();
        gateway.send(self.path, &headers, self.body.to_owned()).await
    }
}

#[tokio::test]
async fn each_forge_has_its_route_its_proof_and_its_shape_and_all_come_out_alike() {
    let gateway = Gateway::start(&[]).await;
    let forgejo = GITEA.replace("develop", "forge");
    let (sealed, forgejo_sealed) = (seal_of(WEBHOOK_SECRET, GITEA), seal_of(WEBHOOK_SECRET, &forgejo));
    let bitbucket = format!("sha256={}", seal_of(WEBHOOK_SECRET, BITBUCKET));
    let deliveries = [
        Delivery {
            path: "/webhook/gitlab",
            event: ("x-gitlab-event", "Push Hook"),
            id: ("x-gitlab-event-uuid", "gl-1"),
            proof: ("x-gitlab-token", WEBHOOK_SECRET),
            body: GITLAB,
        },
        Delivery {
            path: "/webhook/gitea",
            event: ("x-gitea-event", "push"),
            id: ("x-gitea-delivery", "gt-1"),
            proof: ("x-gitea-signature", &sealed),
            body: GITEA,
        },
        Delivery {
            path: "/v1/webhooks/forgejo",
            event: ("x-forgejo-event", "push"),
            id: ("x-forgejo-delivery", "fj-1"),
            proof: ("x-forgejo-signature", &forgejo_sealed),
            body: &forgejo,
        },
        Delivery {
            path: "/webhook/bitbucket",
            event: ("x-event-key", "repo:push"),
            id: ("x-request-uuid", "bb-1"),
            proof: ("x-hub-signature", &bitbucket),
            body: BITBUCKET,
        },
    ];
    for delivery in deliveries {
        let path = delivery.path;
        for wrong in [None, Some(""), Some("sha256=00"), Some(&*"0".repeat(64))] {
            assert_eq!(delivery.send(&gateway, wrong).await.status, 401, "{path} {wrong:?}");
        }
        let proof = Some(delivery.proof.1);
        let answer = delivery.send(&gateway, proof).await;
        assert_eq!(answer.status, 202, "{path}: {}", answer.text);
        let again = delivery.send(&gateway, proof).await;
        assert_eq!(again.body["status"], "duplicate", "{path}: {}", again.text);
    }
    let taken = gateway.all_taken();
    assert_eq!(taken.len(), 5, "Bitbucket tells two pushes at once");
    for taken in &taken {
        assert_eq!(taken["source"]["type"], "push", "{taken}");
        assert!(text(&taken["source"], "ref").starts_with("refs/"), "{taken}");
    }
    let deleted = taken.iter().find(|taken| taken["id"] == "bb-1.1").unwrap();
    assert_eq!(deleted["source"]["deleted"], true);
}

fn seal_of(secret: &str, body: &str) -> String {
    seal::Key::new(secret.as_bytes()).seal(&[body.as_bytes()]).hex()
}

#[tokio::test]
async fn gitlabs_signing_token_is_checked_as_its_specification_says() {
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let gateway = Gateway::start(&[("WEBHOOK_SECRET", &format!("{secret},{WEBHOOK_SECRET}"))]).await;
    let now = bus::clock::now_ms() / 1_000;
    let send = async |at: i64, body: &str, sent: &str| {
        let at = at.to_string();
        let signature = node("standard.mjs", &[secret, "msg-1", &at], body);
        let headers = [
            ("content-type", "application/json"),
            ("x-gitlab-event", "Push Hook"),
            ("idempotency-key", "msg-1"),
            ("x-gitlab-token", WEBHOOK_SECRET), // Right, and no rescue.
            ("webhook-id", "msg-1"),
            ("webhook-timestamp", &at),
            ("webhook-signature", &signature),
        ];
        gateway.send("/webhook/gitlab", &headers, sent.to_owned()).await.status
    };
    assert_eq!(send(now, GITLAB, &GITLAB.replace("jsmith", "mallory")).await, 401);
    assert_eq!(send(now - 400, GITLAB, GITLAB).await, 401, "too old");
    assert_eq!(send(now, GITLAB, GITLAB).await, 202);
}
