//! How an endpoint is told: each kind of receiver has a way of its own.
//!
//! Whatever the way, an attempt is a [`Reply`]: what becomes of a delivery is decided in one place for all.

mod agent;
mod dashboard;
mod email;
mod github;
mod linear;
mod slack;
mod webhook;

use crate::{
    client::{self, Answer, Request},
    endpoint::Head,
    outcome::Reply,
};
use bus::{Courier, Pace};
use bytes::Bytes;
use chassis::Secret;
use contract::{Message as _, Notification};
use reqwest::{Client, Method};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::time::Duration;
use url::Url;
use uuid::Uuid;

pub(crate) use agent::{Agent, Kind as AgentKind};
pub(crate) use dashboard::Dashboard;
pub(crate) use email::{Email, Mail};
pub(crate) use github::{Access, App, Github, GithubCheck, GithubStatus};
pub(crate) use linear::Linear;
pub(crate) use slack::{Bot, Slack};
pub(crate) use webhook::{Signer, Webhook};

/// A way to tell.
#[derive(Clone, Debug)]
pub(crate) enum Channel {
    Webhook(Webhook),
    Slack(Slack),
    Email(Box<Email>),
    GithubStatus(GithubStatus),
    GithubCheck(GithubCheck),
    Dashboard(Dashboard),
    Agent(Agent),
    Linear(Linear),
}

/// What endpoints that are made by the API may use of the operator's own, or why they may not.
#[derive(Clone, Debug)]
pub(crate) struct Means {
    pub(crate) bot: Result<Bot, String>,
    pub(crate) mail: Result<Mail, String>,
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
    /// How long it may take.
    pub(crate) patience: Duration,
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

/// An attempt of several requests takes no longer, unless its channel says so.
pub(crate) const PATIENCE: Duration = Duration::from_secs(25);
/// What a service says that is spoken to in more than one request; a receiver of webhooks is not listened to for so long.
const MOST_READ: usize = 1024 * 1024;
/// Whoever shows lines of logs takes more than others.
const LINES_PER_SECOND: u32 = 10;
/// New lines of a log.
pub(crate) const LOG: &str = "build.log";

// === impl Channel ===

impl Channel {
    /// Tries once.
    pub(crate) async fn tell(&self, telling: &Telling<'_>) -> Reply {
        let told = match self {
            Self::Webhook(webhook) => webhook.tell(telling).await,
            // Boxed: a webhook is not to take the memory of a conversation with GitHub.
            Self::Slack(slack) => Box::pin(slack.tell(telling)).await,
            Self::Email(email) => Box::pin(email.tell(telling)).await,
            Self::GithubStatus(status) => Box::pin(status.tell(telling)).await,
            Self::GithubCheck(check) => Box::pin(check.tell(telling)).await,
            Self::Dashboard(dashboard) => Box::pin(dashboard.tell(telling)).await,
            Self::Agent(agent) => Box::pin(agent.tell(telling)).await,
            Self::Linear(linear) => Box::pin(linear.tell(telling)).await,
        };
        match (told.unwrap_or_else(|reply| reply), self.secret()) {
            (Reply::Status(status, asked, body), Some(secret)) => {
                Reply::Status(status, asked, body.replace(secret.expose(), "***"))
            }
            (reply, _) => reply,
        }
    }

    /// What it says of us: a receiver may say it back, and what it says is kept for people.
    const fn secret(&self) -> Option<&Secret> {
        match self {
            Self::Webhook(_) | Self::Email(_) => None,
            Self::Slack(slack) => slack.secret(),
            Self::GithubStatus(GithubStatus(github)) | Self::GithubCheck(GithubCheck(github)) => github.secret(),
            Self::Dashboard(dashboard) => Some(dashboard.secret()),
            Self::Agent(agent) => agent.secret(),
            Self::Linear(linear) => Some(linear.secret()),
        }
    }

    /// What it is called.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Webhook(_) => "webhook",
            Self::Slack(_) => "slack",
            Self::Email(_) => "email",
            Self::GithubStatus(_) => "github_status",
            Self::GithubCheck(_) => "github_check",
            Self::Dashboard(_) => "dashboard",
            Self::Agent(_) => "agentapi",
            Self::Linear(_) => "linear",
        }
    }

    /// Where it connects to.
    pub(crate) const fn url(&self) -> &Url {
        match self {
            Self::Webhook(webhook) => webhook.url(),
            Self::Slack(slack) => slack.url(),
            Self::Email(email) => email.url(),
            Self::GithubStatus(status) => status.url(),
            Self::GithubCheck(check) => check.url(),
            Self::Dashboard(dashboard) => dashboard.url(),
            Self::Agent(agent) => agent.url(),
            Self::Linear(linear) => linear.url(),
        }
    }

    /// How fast it may be told, if not as fast as webhooks: services that people look at one after another, so that the newest
    /// is told last, and no faster than they like.
    pub(crate) fn pace(&self, per_second: u32) -> Option<Pace> {
        match self {
            Self::Webhook(_) => None,
            Self::Slack(_)
            | Self::Email(_)
            | Self::GithubStatus(_)
            | Self::GithubCheck(_)
            | Self::Agent(_)
            | Self::Linear(_) => Some(Pace::new(1, per_second)),
            // Lines of a log make sense in their order.
            Self::Dashboard(_) => Some(Pace {
                ordered: true,
                ..Pace::new(1, per_second.max(LINES_PER_SECOND))
            }),
        }
    }

    /// Whether it is told of such events at all: lines of logs are for whoever shows them.
    pub(crate) fn hears(&self, event_type: &str) -> bool {
        event_type != LOG || matches!(self, Self::Dashboard(_))
    }

    /// How long an attempt may take.
    pub(crate) const fn patience(&self) -> Duration {
        match self {
            Self::Agent(agent) => agent.patience(),
            Self::Webhook(_)
            | Self::Slack(_)
            | Self::Email(_)
            | Self::GithubStatus(_)
            | Self::GithubCheck(_)
            | Self::Dashboard(_)
            | Self::Linear(_) => PATIENCE,
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

    async fn post(&self, url: Url, headers: Vec<(String, String)>, body: &Value) -> Result<Answer, Reply> {
        self.ask(Method::POST, url, headers, Some(body)).await
    }

    /// One request of an attempt, which as a whole is bounded.
    async fn ask(
        &self,
        method: Method,
        url: Url,
        headers: Vec<(String, String)>,
        body: Option<&Value>,
    ) -> Result<Answer, Reply> {
        let json = ("content-type".to_owned(), "application/json; charset=utf-8".to_owned());
        let agent = ("user-agent".to_owned(), client::AGENT.to_owned());
        let request = Request {
            method,
            url,
            headers: body.map(|_| json).into_iter().chain([agent]).chain(headers).collect(),
            body: body.map(|body| body.to_string().into()).unwrap_or_default(),
            patience: self.patience,
            most_read: MOST_READ,
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
