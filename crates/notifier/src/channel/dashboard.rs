//! The dashboard that the first builder service reported to: `POST {url}/webhooks/deployments/{id}/status` with an
//! `x-api-key`, in its words.

use super::Telling;
use crate::{outcome::Reply, wording};
use chassis::Secret;
use contract::Notification;
use serde_json::json;
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

    pub(super) const fn url(&self) -> &Url {
        &self.url
    }

    pub(super) async fn tell(&self, telling: Telling<'_>) -> Reply {
        self.told(&telling).await.unwrap_or_else(|reply| reply)
    }

    async fn told(&self, telling: &Telling<'_>) -> Result<Reply, Reply> {
        let notification = telling.notification()?;
        let Some(status) = status(&notification) else {
            return Ok(Reply::NothingToSay);
        };
        if telling.notes.is_late(&notification).await? {
            return Ok(Reply::NothingToSay); // Something newer has been told.
        }
        let mut url = self.url.clone();
        match url.path_segments_mut() {
            Ok(mut path) => {
                path.pop_if_empty()
                    .extend(["webhooks", "deployments", &notification.resource.uid, "status"])
            }
            Err(()) => return Err(Reply::Unfit("dashboard.url is no base of URLs".to_owned())),
        };
        let text = |name: &str| wording::text(&notification, name);
        let body = json!({
            "status": status, "message": text("reason"), "image": text("image"),
            "commit": notification.correlation.commit, "timestamp": notification.timestamp,
        });
        let key = ("x-api-key".to_owned(), self.key.expose().to_owned());
        let answer = telling.post(url, vec![key], &body).await?;
        if (200..300).contains(&answer.status) {
            telling.notes.told(&notification).await;
        }
        Ok(match answer.status {
            401 | 403 => Reply::Refused(format!(
                "the dashboard answered {}: its key (dashboard.key) is not accepted",
                answer.status
            )),
            _ => answer.into(),
        })
    }
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
