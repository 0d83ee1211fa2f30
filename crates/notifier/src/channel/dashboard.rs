//! The dashboard that the first builder service reported to: `POST {url}/webhooks/deployments/{id}/status` and `/logs` with an
//! `x-api-key`, in its words.
//!
//! The bodies are those that the API of [Deployra](https://github.com/deployra/deployra) takes
//! (`StatusUpdateRequest`, `LogUpdateRequest`), whose builder that service was.

use super::{LOG, Telling};
use crate::{client::Answer, outcome::Reply, wording};
use chassis::Secret;
use contract::Notification;
use serde_json::{Value, json};
use url::Url;

/// A dashboard.
#[derive(Clone, Debug)]
pub(crate) struct Dashboard {
    url: Url,
    key: Secret,
}

// === impl Dashboard ===

impl Dashboard {
    pub(crate) const fn new(url: Url, key: Secret) -> Self {
        Self { url, key }
    }

    pub(super) const fn secret(&self) -> &Secret {
        &self.key
    }

    pub(super) const fn url(&self) -> &Url {
        &self.url
    }

    pub(super) async fn tell(&self, telling: &Telling<'_>) -> Result<Reply, Reply> {
        let notification = telling.notification()?;
        if notification.event_type == LOG {
            let answer = self.post(telling, &notification, "logs", &lines(&notification)).await?;
            return Ok(judge(answer));
        }
        let Some(status) = status(&notification) else {
            return Ok(Reply::NothingToSay);
        };
        if telling.notes.is_late(&notification).await? {
            return Ok(Reply::NothingToSay); // Something newer has been told.
        }
        let body = said(&notification, status);
        let answer = self.post(telling, &notification, "status", &body).await?;
        if (200..300).contains(&answer.status) {
            telling.notes.told(&notification).await;
        }
        Ok(judge(answer))
    }

    async fn post(
        &self,
        telling: &Telling<'_>,
        notification: &Notification,
        what: &str,
        body: &Value,
    ) -> Result<Answer, Reply> {
        let mut url = self.url.clone();
        match url.path_segments_mut() {
            Ok(mut path) => path
                .pop_if_empty()
                .extend(["webhooks", "deployments", &notification.resource.uid, what]),
            Err(()) => return Err(Reply::Unfit("dashboard.url is no base of URLs".to_owned())),
        };
        let key = ("x-api-key".to_owned(), self.key.expose().to_owned());
        telling.post(url, vec![key], body).await
    }
}

fn judge(answer: Answer) -> Reply {
    match answer.status {
        401 | 403 => Reply::Refused(format!(
            "the dashboard answered {}: its key (dashboard.key) is not accepted",
            answer.status
        )),
        _ => answer.into(),
    }
}

fn said(notification: &Notification, status: &str) -> Value {
    let why = wording::text(notification, "reason").filter(|_| ["FAILED", "CANCELLED"].contains(&status));
    let image = wording::text(notification, "image");
    let fields = [
        ("status", Some(json!(status))),
        ("error", why.map(Value::from)),
        ("data", image.map(|image| json!({ "containerImageUri": image }))),
    ];
    let fields = fields
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(fields.collect())
}

/// Some lines as one entry of its log.
fn lines(notification: &Notification) -> Value {
    let lines = notification.data.get("lines").and_then(Value::as_array);
    let lines: Vec<_> = lines.into_iter().flatten().collect();
    let text = |line: &&Value| Some(line.get("text")?.as_str()?.to_owned());
    let mut texts: Vec<_> = lines.iter().filter_map(text).collect();
    let skipped = notification
        .data
        .get("skipped")
        .and_then(Value::as_u64)
        .unwrap_or_default();
    if skipped > 0 {
        texts.push(format!("[{skipped} lines are not shown here]"));
    }
    let all = |stream: &str| {
        lines
            .iter()
            .all(|line| line.get("stream").and_then(Value::as_str) == Some(stream))
    };
    let kind = match () {
        () if all("stderr") => "STDERR",
        () if all("forge") => "INFO",
        () => "STDOUT",
    };
    json!({"text": texts.join("\n"), "type": kind})
}

/// Its word for what has become of it.
fn status(notification: &Notification) -> Option<&'static str> {
    let change = wording::change(notification);
    Some(match (notification.resource.kind.as_str(), change) {
        ("Build", "queued") => "PENDING",
        ("Build", "started") => "BUILDING",
        ("Build", "succeeded") => "BUILDED",
        ("Deployment", "queued" | "started") => "DEPLOYING",
        ("Deployment", "succeeded") => "DEPLOYED",
        ("Build" | "Deployment", "failed" | "timed_out" | "lost" | "rolled_back") => "FAILED",
        ("Build" | "Deployment", "cancelled" | "superseded") => "CANCELLED",
        _ => return None,
    })
}
