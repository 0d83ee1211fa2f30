//! What can be said of an endpoint through the API, and what is kept of it.

use crate::{
    book::Usual,
    channel::{Channel, Signer, Slack, Webhook},
    filter::Patterns,
    guard::Guard,
    outcome::Schedule,
    tls::Tls,
};
use bus::{Pace, clock};
use seal::StandardSecret;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;

/// A kind of endpoint that can be made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    #[default]
    Webhook,
    /// By an incoming webhook, or in a channel by the operator's bot.
    Slack,
    /// By the operator's mail server.
    Email,
}

/// What can be said of an endpoint through the API.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Wanted {
    #[serde(default)]
    pub(crate) kind: Kind,
    /// Where it is; https, and where everybody can reach it, unless the operator allows more.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) url: String,
    /// Where the operator's bot writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) channel: Option<String>,
    /// Whom the operator's mail server writes to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) to: Vec<String>,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) description: String,
    /// What it gets; all of it, if nothing is said.
    #[serde(default)]
    pub(crate) filter: Patterns,
    /// When it is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) schedule: Option<Schedule>,
    /// So many attempts at once, 1 to 256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) in_flight: Option<u32>,
    /// So many a second on average; 0: as many as there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) per_second: Option<u32>,
    /// Whether it gets what is about one thing in order, each when the one before it has arrived or is given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ordered: Option<bool>,
    /// What it has of its own for TLS.
    #[serde(default)]
    pub(crate) tls: Tls,
}

/// An endpoint that was made by the API, as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Made {
    pub(crate) wanted: Wanted,
    /// The newest first.
    secrets: Vec<Kept>,
    pub(crate) created_at: i64,
}

/// A secret, and until when it signs, if it was replaced.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Kept {
    secret: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<i64>,
}

/// A secret that was replaced signs for so long, in milliseconds.
const ROTATION_MS: i64 = 24 * 3_600_000;
/// So many secrets sign at once at most.
const MOST_SECRETS: usize = 5;
const MOST_PER_SECOND: u32 = 100_000;
const LONGEST_URL: usize = 2_048;
const LONGEST_TEXT: usize = 500;
/// Whom one endpoint writes to.
const MOST_READERS: usize = 20;

// === impl Kind ===

impl Kind {
    /// As it is written.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Slack => "slack",
            Self::Email => "email",
        }
    }
}

// === impl Wanted ===

impl Wanted {
    /// Reads what was sent to us; what is kept may be of a newer version, and say more.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn read(body: &[u8]) -> Result<Self, String> {
        const KNOWN: [&str; 11] = [
            "kind",
            "url",
            "channel",
            "to",
            "description",
            "filter",
            "schedule",
            "in_flight",
            "per_second",
            "ordered",
            "tls",
        ];
        let fields: serde_json::Map<String, Value> = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        only("", &fields, &KNOWN)?;
        if let Some(Value::Object(tls)) = fields.get("tls") {
            only("tls.", tls, &["ca", "certificate", "key"])?;
        }
        if let Some(Value::Object(filter)) = fields.get("filter") {
            only("filter.", filter, &["events", "projects", "branches", "statuses"])?;
        }
        serde_json::from_value(fields.into()).map_err(|error| error.to_string())
    }

    /// # Errors
    /// What is wrong with it.
    pub(crate) fn check(&self, guard: &Guard, usual: &Usual) -> Result<(), String> {
        self.is_of_its_kind()?;
        let channel = self.channel.as_deref().unwrap_or_default();
        if self.url.len() > LONGEST_URL || self.description.len() > LONGEST_TEXT || channel.len() > LONGEST_TEXT {
            return Err(format!(
                "url: at most {LONGEST_URL} characters; description, channel: {LONGEST_TEXT}"
            ));
        }
        if self.is_elsewhere() {
            let url = self.url.parse().map_err(|error| format!("url: {error}"))?;
            guard.check(&url).map_err(|why| format!("url: {why}"))?;
        }
        if self.in_flight.is_some_and(|n| !(1..=256).contains(&n)) {
            return Err("in_flight: expected 1 to 256".to_owned());
        }
        if self.per_second.is_some_and(|n| n > MOST_PER_SECOND) {
            return Err(format!("per_second: expected 0 to {MOST_PER_SECOND}"));
        }
        self.tls.client(Some(guard))?;
        self.filter.compile().map_err(|why| format!("filter: {why}"))?;
        match self.kind {
            Kind::Webhook => Ok(()),
            Kind::Slack | Kind::Email => self.way(Vec::new(), usual).map(drop),
        }
    }

    /// Whether it says what its kind needs, and nothing that only others have.
    fn is_of_its_kind(&self) -> Result<(), String> {
        let (url, channel, to) = (!self.url.is_empty(), self.channel.is_some(), !self.to.is_empty());
        let fits = match self.kind {
            Kind::Webhook => url && !channel && !to,
            Kind::Slack => url != channel && !to,
            Kind::Email => to && !url && !channel,
        };
        if !fits {
            return Err(match self.kind {
                Kind::Webhook => "a webhook has a url, and neither channel nor to",
                Kind::Slack => "slack has either the url of an incoming webhook or a channel, and no to",
                Kind::Email => "email has addresses (to), and neither url nor channel",
            }
            .to_owned());
        }
        if self.to.len() > MOST_READERS {
            return Err(format!("to: at most {MOST_READERS} addresses"));
        }
        if !url && self.tls != Tls::default() {
            return Err("tls: there is no url that it is for".to_owned());
        }
        let paced = self.in_flight.is_some() || self.ordered.is_some();
        if self.kind != Kind::Webhook && paced {
            return Err("in_flight, ordered: people are told one thing at a time".to_owned());
        }
        Ok(())
    }

    /// Whether it is at an address that whoever made it has named.
    pub(crate) const fn is_elsewhere(&self) -> bool {
        !self.url.is_empty()
    }

    /// How it is told.
    ///
    /// # Errors
    /// Why it cannot be told.
    pub(crate) fn way(&self, signers: Vec<Signer>, usual: &Usual) -> Result<Channel, String> {
        match (self.kind, &self.channel) {
            (Kind::Webhook, _) => Webhook::new(&self.url, signers, &usual.prefix).map(Channel::Webhook),
            (Kind::Slack, Some(channel)) => Ok(Channel::Slack(usual.means.bot.clone()?.channel(channel.clone()))),
            (Kind::Slack, None) => {
                let url = self.url.parse::<Url>().map_err(|error| format!("url: {error}"))?;
                Ok(Channel::Slack(Slack::Webhook(url)))
            }
            (Kind::Email, _) => Ok(Channel::Email(Box::new(usual.means.mail.clone()?.to(&self.to)?))),
        }
    }

    /// How fast it is told.
    pub(crate) fn pace(&self, way: Option<&Channel>, usual: &Usual) -> Pace {
        let own = way.and_then(|channel| channel.pace(usual.channels_per_second));
        let own = own.unwrap_or(usual.pace);
        Pace {
            at_once: self.in_flight.unwrap_or(own.at_once),
            per_second: self.per_second.unwrap_or(own.per_second),
            ordered: self.ordered.unwrap_or(own.ordered),
        }
    }
}

fn only(of: &str, fields: &serde_json::Map<String, Value>, known: &[&str]) -> Result<(), String> {
    match fields.keys().find(|name| !known.contains(&name.as_str())) {
        Some(odd) => Err(format!("{of}{odd}: there is no such field, but {}", known.join(", "))),
        None => Ok(()),
    }
}

// === impl Made ===

impl Made {
    /// A new endpoint and its secret; `None` when the system has no randomness to give.
    pub(crate) fn new(wanted: Wanted) -> Option<(Self, String)> {
        let secret = StandardSecret::random()?;
        let kept = Kept {
            secret: secret.clone(),
            until: None,
        };
        let made = Self {
            wanted,
            secrets: vec![kept],
            created_at: clock::now_ms(),
        };
        Some((made, secret))
    }

    /// Whether there is room for another secret: those before it sign for a day more.
    pub(crate) fn can_rotate(&self) -> bool {
        let now = clock::now_ms();
        self.secrets
            .iter()
            .filter(|kept| kept.until.is_none_or(|until| until > now))
            .count()
            < MOST_SECRETS
    }

    /// A new secret.
    pub(crate) fn rotate(&mut self) -> Option<String> {
        let (secret, now) = (StandardSecret::random()?, clock::now_ms());
        let end = now.saturating_add(ROTATION_MS);
        self.secrets.retain(|kept| kept.until.is_none_or(|until| until > now));
        for kept in &mut self.secrets {
            kept.until.get_or_insert(end);
        }
        let kept = Kept {
            secret: secret.clone(),
            until: None,
        };
        self.secrets.insert(0, kept);
        Some(secret)
    }

    /// As it is kept.
    pub(crate) fn text(&self) -> String {
        json!({"wanted": self.wanted, "secrets": self.secrets, "created_at": self.created_at}).to_string()
    }

    pub(crate) fn signers(&self) -> Vec<Signer> {
        let signer = |kept: &Kept| {
            Some(Signer {
                secret: kept.secret.parse().ok()?,
                until: kept.until,
            })
        };
        self.secrets.iter().filter_map(signer).collect()
    }
}
