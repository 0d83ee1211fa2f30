//! Webhooks as GitHub sends them.

use crate::Repo;
use serde_json::json;
use std::time::Duration;

/// A webhook, ready to be sent.
#[derive(Clone, Debug)]
pub struct Hook {
    /// `X-GitHub-Event`.
    pub event: String,
    /// `X-GitHub-Delivery`.
    pub delivery: String,
    /// The body.
    pub body: String,
    /// The secret it is signed with.
    pub secret: String,
}

impl Hook {
    /// A webhook with a new delivery id.
    pub fn new(event: &str, body: String, secret: &str) -> Self {
        let delivery = uuid::Uuid::new_v4().to_string();
        Self {
            event: event.to_owned(),
            delivery,
            body,
            secret: secret.to_owned(),
        }
    }

    /// A push of a repository's newest commit to `main`.
    pub fn push(repo: &Repo, secret: &str) -> Self {
        Self::new(
            "push",
            push_body(&repo.name, &repo.url, "refs/heads/main", &repo.head()),
            secret,
        )
    }

    /// The signed request.
    pub fn request(&self, client: &reqwest::Client, url: &str) -> reqwest::RequestBuilder {
        let seal = seal::Key::new(self.secret.as_bytes())
            .seal(&[self.body.as_bytes()])
            .hex();
        client
            .post(url)
            .header("content-type", "application/json")
            .header("user-agent", "GitHub-Hookshot/044aadd")
            .header("x-github-event", &self.event)
            .header("x-github-delivery", &self.delivery)
            .header("x-hub-signature-256", format!("sha256={seal}"))
            .body(self.body.clone())
    }

    /// Sends it; status and body of the answer.
    pub async fn send(&self, gateway: &str) -> (u16, serde_json::Value) {
        crate::crypto();
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(10))
            .build()
            .unwrap();
        let request = self.request(&client, &format!("{gateway}/webhook/github"));
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or_default())
    }
}

/// The body of a push event, with what GitHub sends and Forge reads.
pub fn push_body(name: &str, clone_url: &str, git_ref: &str, after: &str) -> String {
    let (owner, repo) = name.split_once('/').unwrap();
    json!({
        "ref": git_ref, "before": "0".repeat(40), "after": after,
        "created": true, "deleted": false, "forced": false, "base_ref": null, "compare": "",
        "commits": [], "head_commit": {"id": after, "message": "a commit"},
        "repository": {
            "id": 1, "name": repo, "full_name": name, "private": true, "clone_url": clone_url,
            "default_branch": "main", "owner": {"login": owner, "name": owner},
        },
        "pusher": {"name": "octocat"}, "sender": {"login": "octocat", "id": 1, "type": "User"},
    })
    .to_string()
}
