//! Who is told, of what, and how.

use crate::{
    channel::{Channel, LOG},
    filter::Filter,
    outcome::Schedule,
};
use chassis::Findings;
use contract::{Metadata, Notification};
use reqwest::Client;
use serde::Deserialize;
use std::time::Duration;
use tokio::net::TcpStream;
use uuid::Uuid;

/// The longest that connecting may take when it is only looked at.
const PATIENCE: Duration = Duration::from_secs(5);

/// A receiver of notifications.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    name: String,
    /// What it is, as far as that is known of one that cannot be used.
    kind: Option<&'static str>,
    /// How it is told; or why nothing can be sent there.
    channel: Result<Channel, String>,
    /// If all others' will not do.
    client: Option<Client>,
    pub(crate) schedule: Schedule,
    filter: Filter,
    /// Whether it was made by the API.
    pub(crate) made: bool,
    /// Whether whoever made it said where it is, and may not reach what we can reach.
    pub(crate) guarded: bool,
}

/// What must be known of a notification to send it; the rest is only carried.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Head {
    pub(crate) event_id: Uuid,
    pub(crate) event_type: String,
    #[serde(default)]
    pub(crate) metadata: Metadata,
}

// === impl Head ===

impl Head {
    pub(crate) fn read(payload: &[u8]) -> Option<Self> {
        serde_json::from_slice(payload).ok()
    }
}

// === impl Endpoint ===

impl Endpoint {
    /// An endpoint of the operator's own. One that cannot be used is there all the same: what is for it waits until that is
    /// put right.
    pub(crate) fn new(name: &str, channel: Result<Channel, String>, schedule: Schedule) -> Self {
        Self {
            name: name.to_owned(),
            kind: channel.as_ref().ok().map(Channel::kind),
            channel,
            client: None,
            schedule,
            filter: Filter::default(),
            made: false,
            guarded: false,
        }
    }

    /// One that was made by the API, and is not trusted.
    pub(crate) fn made(name: &str, channel: Result<Channel, String>, schedule: Schedule, filter: Filter) -> Self {
        Self {
            filter,
            made: true,
            guarded: true,
            ..Self::new(name, channel, schedule)
        }
    }

    /// The same, of this kind although it cannot be used, perhaps.
    pub(crate) const fn of_kind(mut self, kind: &'static str) -> Self {
        self.kind = Some(kind);
        self
    }

    /// What it is, if that is known.
    pub(crate) const fn kind(&self) -> Option<&'static str> {
        self.kind
    }

    /// The same, by nothing but what is the operator's own.
    pub(crate) fn trusted(mut self) -> Self {
        self.guarded = false;
        self
    }

    /// The same with a client of its own, if it needs one; or it cannot be used.
    pub(crate) fn by(mut self, client: Result<Option<Client>, String>) -> Self {
        match client {
            Ok(client) => self.client = client,
            Err(why) => self.channel = Err(why),
        }
        self
    }

    /// Whether it gets this. What becomes of endpoints is the operator's business, that endpoint's, and of those that ask
    /// for it by name: ten thousand endpoints are not told of each other.
    pub(crate) fn wants(&self, notification: &Notification) -> bool {
        let resource = &notification.resource;
        let is_others = resource.kind == "Endpoint" && resource.uid != self.name;
        let is_asked_for = !is_others || !self.made || self.filter.names_endpoints();
        is_asked_for && self.hears(&notification.event_type) && self.filter.wants(notification)
    }

    /// Whether it is told of such events at all.
    pub(crate) fn hears(&self, event_type: &str) -> bool {
        match self.channel() {
            Some(channel) => channel.hears(event_type),
            None => event_type != LOG,
        }
    }

    pub(crate) const fn client(&self) -> Option<&Client> {
        self.client.as_ref()
    }

    /// Why nothing can be sent there, if so.
    pub(crate) fn broken(&self) -> Option<&str> {
        self.channel.as_ref().err().map(String::as_str)
    }

    pub(crate) fn channel(&self) -> Option<&Channel> {
        self.channel.as_ref().ok()
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The host, for logs: the whole URL may hold a token.
    pub(crate) fn host(&self) -> &str {
        let channel = self.channel();
        channel.and_then(|channel| channel.url().host_str()).unwrap_or_default()
    }

    /// Looks whether it can be connected to.
    pub(crate) async fn examine(&self, findings: &mut Findings) {
        let url = match &self.channel {
            Ok(channel) => channel.url(),
            Err(why) => {
                let cure = "put its settings right; what is for it waits until then";
                return findings.doubtful("endpoint", format!("{}: {why}", self.name), cure);
            }
        };
        let mail = if url.scheme() == "smtps" { 465 } else { 587 };
        let (host, port) = (self.host(), url.port_or_known_default().unwrap_or(mail));
        let connected = tokio::time::timeout(PATIENCE, TcpStream::connect((host, port))).await;
        match connected.unwrap_or_else(|_elapsed| Err(std::io::ErrorKind::TimedOut.into())) {
            Ok(_) => findings.fine("endpoint", format!("{host}:{port}")),
            Err(error) => {
                let cure = "start the receiver, or put its URL right; deliveries wait and are tried again";
                findings.doubtful("endpoint", format!("{host}:{port}: {error}"), cure);
            }
        }
    }
}
