//! Who is told, of what, and how.

use crate::{
    channel::{Channel, LOG},
    filter::Filter,
    outcome::Schedule,
};
use chassis::Findings;
use contract::Metadata;
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
    /// How it is told; or why nothing can be sent there.
    channel: Result<Channel, String>,
    /// If all others' will not do.
    client: Option<Client>,
    pub(crate) schedule: Schedule,
    pub(crate) filter: Filter,
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
