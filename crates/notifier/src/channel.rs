//! How an endpoint is told: each kind of receiver has a way of its own.
//!
//! Whatever the way, an attempt is a [`Reply`]: what becomes of a delivery is decided in one place for all.

mod dashboard;
mod email;
mod github_status;
mod slack;
mod webhook;

use crate::{
    client::{self, Request},
    endpoint::Head,
    outcome::Reply,
};
use bus::{Courier, Pace};
use bytes::Bytes;
use contract::{Message as _, Notification};
use reqwest::Client;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use url::Url;
use uuid::Uuid;

pub(crate) use dashboard::Dashboard;
pub(crate) use email::Email;
pub(crate) use github_status::GithubStatus;
pub(crate) use slack::Slack;
pub(crate) use webhook::{Signer, Webhook};

/// A way to tell.
#[derive(Clone, Debug)]
pub(crate) enum Channel {
    Webhook(Webhook),
    Slack(Slack),
    Email(Box<Email>),
    GithubStatus(GithubStatus),
    Dashboard(Dashboard),
}

/// What there is to tell, and what helps with it.
#[derive(Debug)]
pub(crate) struct Telling<'a> {
    pub(crate) head: &'a Head,
    pub(crate) payload: Bytes,
    /// Seconds since the Unix epoch.
    pub(crate) now: i64,
    pub(crate) traceparent: Option<String>,
    pub(crate) client: &'a Client,
    pub(crate) notes: Notes<'a>,
}

/// What an endpoint noted of each thing that it was told of, for a week.
#[derive(Debug)]
pub(crate) struct Notes<'a> {
    pub(crate) courier: &'a Courier,
    pub(crate) endpoint: &'a str,
}

/// What was told last of a thing.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Told {
    version: u64,
    event: Uuid,
}

/// For services that people look at: one after another, so that the newest is told last, and no faster than they like.
const GENTLY: Pace = Pace {
    at_once: 1,
    per_second: 1,
};

// === impl Channel ===

impl Channel {
    /// Tries once.
    pub(crate) async fn tell(&self, telling: Telling<'_>) -> Reply {
        match self {
            Self::Webhook(webhook) => webhook.tell(telling).await,
            Self::Slack(slack) => slack.tell(telling).await,
            Self::Email(email) => email.tell(telling).await,
            Self::GithubStatus(status) => status.tell(telling).await,
            Self::Dashboard(dashboard) => dashboard.tell(telling).await,
        }
    }

    /// Where it connects to.
    pub(crate) const fn url(&self) -> &Url {
        match self {
            Self::Webhook(webhook) => webhook.url(),
            Self::Slack(slack) => slack.url(),
            Self::Email(email) => email.url(),
            Self::GithubStatus(status) => status.url(),
            Self::Dashboard(dashboard) => dashboard.url(),
        }
    }

    /// How fast it may be told, if not as fast as others.
    pub(crate) const fn pace(&self) -> Option<Pace> {
        match self {
            Self::Webhook(_) => None,
            Self::Slack(_) | Self::Email(_) | Self::GithubStatus(_) | Self::Dashboard(_) => Some(GENTLY),
        }
    }
}

// === impl Telling ===

impl Telling<'_> {
    /// All of the notification, for who says it in other words.
    ///
    /// # Errors
    /// When it is none.
    fn notification(&self) -> Result<Notification, Reply> {
        Notification::from_bytes(&self.payload).map_err(|error| Reply::Unfit(error.to_string()))
    }

    async fn post(&self, url: Url, headers: Vec<(String, String)>, body: &Value) -> Result<client::Answer, Reply> {
        let json = ("content-type".to_owned(), "application/json; charset=utf-8".to_owned());
        let agent = ("user-agent".to_owned(), client::AGENT.to_owned());
        let request = Request {
            url,
            headers: [json, agent].into_iter().chain(headers).collect(),
            body: body.to_string().into(),
        };
        client::exchange(self.client, request).await
    }
}

// === impl Notes ===

impl Notes<'_> {
    /// What was noted of a thing.
    async fn read<T: DeserializeOwned>(&self, uid: &str) -> Result<Option<T>, Reply> {
        let found = self.courier.noted(self.endpoint, uid).await;
        let text = found.map_err(|error| Reply::NotNow(chassis::chain(&error)))?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }

    /// What is not noted is told again, at worst; it has been told, whatever becomes of the note.
    async fn write<T: Serialize + Sync>(&self, uid: &str, note: &T) {
        let text = serde_json::to_string(note).unwrap_or_default();
        if let Err(error) = self.courier.note(self.endpoint, uid, &text).await {
            tracing::warn!(error = %chassis::chain(&error), endpoint = self.endpoint, "cannot note what was told");
        }
    }

    /// Whether something newer has been told of it already.
    async fn is_late(&self, notification: &Notification) -> Result<bool, Reply> {
        let told: Option<Told> = self.read(&notification.resource.uid).await?;
        Ok(told.is_some_and(|told| told.makes_late(notification)))
    }

    /// Notes that it has been told.
    async fn told(&self, notification: &Notification) {
        self.write(&notification.resource.uid, &Told::new(notification)).await;
    }
}

// === impl Told ===

impl Told {
    fn new(notification: &Notification) -> Self {
        Self {
            version: notification.version,
            event: notification.event_id,
        }
    }

    /// The same may be told again, if somebody wants that; what is about endpoints has no versions.
    fn makes_late(&self, notification: &Notification) -> bool {
        let other = self.event != notification.event_id;
        notification.resource.kind != "Endpoint" && other && self.version >= notification.version
    }
}

/// The three characters that mean something in HTML and in Slack's texts.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The first characters of a text, so many at most.
fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}
