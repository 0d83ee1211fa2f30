//! Commit statuses of GitHub: what has become of a commit shows at the commit and at its pull request.
//!
//! <https://docs.github.com/en/rest/commits/statuses#create-a-commit-status>.

use super::{Github, LONGEST};
use crate::{
    channel::{Telling, Told, cut},
    outcome::Reply,
    wording::{self, Words},
};
use contract::Notification;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;

/// Statuses of all commits of a GitHub.
#[derive(Clone, Debug)]
pub(crate) struct GithubStatus(pub(crate) Github);

/// What was told last of a commit.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    /// Of which build.
    uid: String,
    told: Told,
}

// === impl GithubStatus ===

impl GithubStatus {
    pub(in crate::channel) const fn url(&self) -> &Url {
        self.0.url()
    }

    pub(in crate::channel) async fn tell(&self, telling: &Telling<'_>) -> Result<Reply, Reply> {
        let notification = telling.notification()?;
        let (Some(state), Some(place)) = (state(&notification), self.0.place(&notification)) else {
            return Ok(Reply::NothingToSay);
        };
        let context = wording::check_name(&notification);
        // Of the statuses of a context the last one counts: what is late, or is about a build that another one has taken the
        // place of, is not to be the last.
        let thing = format!("{}/{}/{}/{context}", place.owner, place.repo, place.commit);
        let before: Option<Note> = telling.notes.read(&thing).await?;
        if before.is_some_and(|note| note.makes_late(&notification)) {
            return Ok(Reply::NothingToSay);
        }
        let path = format!("statuses/{}", place.commit);
        let words = Words::new(&notification);
        let body = json!({
            "state": state, "context": context, "description": cut(&words.title, LONGEST), "target_url": words.link,
        });
        let answer = self.0.ask(telling, place, Method::POST, &path, Some(&body)).await?;
        if answer.status == 201 {
            let note = Note {
                uid: notification.resource.uid.clone(),
                told: Told::new(&notification),
            };
            telling.notes.write(&thing, &note).await;
        }
        Ok(self.0.judge(answer, place, "statuses"))
    }
}

// === impl Note ===

impl Note {
    fn makes_late(&self, notification: &Notification) -> bool {
        if self.uid == notification.resource.uid {
            return self.told.makes_late(notification);
        }
        ["superseded", "cancelled", "lost"].contains(&wording::change(notification))
    }
}

fn state(notification: &Notification) -> Option<Value> {
    if notification.resource.kind != "Build" {
        return None;
    }
    Some(json!(match wording::change(notification) {
        "queued" | "started" => "pending",
        "succeeded" => "success",
        "failed" | "timed_out" => "failure",
        "cancelled" | "superseded" | "lost" => "error",
        _ => return None,
    }))
}
