//! The endpoints there are: those of the configuration, and those that were made by the API and are in Redis.

use crate::{
    channel::{Channel, Signer, Webhook},
    endpoint::Endpoint,
    filter::{Filter, Patterns},
    guard::Guard,
    outcome::Schedule,
    tls::Tls,
};
use bus::{Courier, Pace, clock};
use seal::StandardSecret;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// All endpoints, as they are now.
pub(crate) struct Book {
    pub(crate) courier: Courier,
    pub(crate) guard: Guard,
    configured: Vec<Arc<Endpoint>>,
    usual: Usual,
    pages: RwLock<Arc<Pages>>,
    /// Whether Redis knows how fast the configured endpoints take what they get.
    paced: AtomicBool,
}

/// What an endpoint has unless it says otherwise.
#[derive(Clone, Debug)]
pub(crate) struct Usual {
    pub(crate) prefix: String,
    pub(crate) schedule: Schedule,
    pub(crate) pace: Pace,
    /// How fast channels are told that are no webhooks.
    pub(crate) channels_per_second: u32,
}

/// The endpoints at one moment.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    /// How often the book had been written in; `None` while it was not read.
    edition: Option<i64>,
    all: Vec<Arc<Endpoint>>,
    by_name: HashMap<String, usize>,
    /// Of what is written of those that were made by the API.
    digests: HashMap<String, String>,
}

/// What can be said of an endpoint through the API.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Wanted {
    /// Where it is; https, and where everybody can reach it, unless the operator allows more.
    pub(crate) url: String,
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

/// Most endpoints that can be made.
pub(crate) const MOST: usize = 10_000;
/// A secret that was replaced signs for so long, in milliseconds.
const ROTATION_MS: i64 = 24 * 3_600_000;
/// So many secrets sign at once at most.
const MOST_SECRETS: usize = 5;
/// How often others' changes are looked for.
const LOOK: Duration = Duration::from_secs(1);
const MOST_PER_SECOND: u32 = 100_000;
const LONGEST_URL: usize = 2_048;
const LONGEST_DESCRIPTION: usize = 500;

// === impl Book ===

impl Book {
    pub(crate) fn new(courier: Courier, guard: Guard, configured: Vec<Endpoint>, usual: Usual) -> Self {
        let configured: Vec<_> = configured.into_iter().map(Arc::new).collect();
        Self {
            courier,
            guard,
            usual,
            pages: RwLock::new(Arc::new(Pages::new(None, configured.clone(), HashMap::new()))),
            configured,
            paced: AtomicBool::new(false),
        }
    }

    /// The endpoints as they are now.
    pub(crate) fn pages(&self) -> Arc<Pages> {
        Arc::clone(&self.pages.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads it again if somebody has written in it; what Redis has forgotten, or was never told, is written again.
    pub(crate) async fn refresh(&self) -> Result<(), bus::Error> {
        // Asked before reading: what is written meanwhile is read the next time.
        let edition = self.courier.edition().await?;
        let before = self.pages();
        if before.edition.is_some_and(|known| edition < known) {
            self.paced.store(false, Ordering::Relaxed);
        }
        if !self.paced.load(Ordering::Relaxed) {
            self.set_paces().await?;
            self.paced.store(true, Ordering::Relaxed);
        }
        if before.edition == Some(edition) {
            return Ok(());
        }
        let (mut all, mut digests) = (self.configured.clone(), HashMap::new());
        let mut book: Vec<_> = self.courier.book().await?.into_iter().collect();
        book.sort_unstable();
        for (name, text) in book {
            let digest = seal::digest(text.as_bytes());
            // One that has not changed keeps its connections.
            let known = before
                .find(&name)
                .filter(|_| before.digests.get(&name) == Some(&digest));
            all.push(known.map_or_else(|| Arc::new(self.readable(&name, &text)), Arc::clone));
            digests.insert(name, digest);
        }
        let pages = Pages::new(Some(edition), all, digests);
        *self.pages.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(pages);
        Ok(())
    }

    /// Says how fast the configured endpoints take what they get.
    async fn set_paces(&self) -> Result<(), bus::Error> {
        for endpoint in &self.configured {
            let own = endpoint
                .channel()
                .and_then(|channel| channel.pace(self.usual.channels_per_second));
            self.courier
                .pace(endpoint.name(), own.unwrap_or(self.usual.pace))
                .await?;
        }
        Ok(())
    }

    /// Keeps it as it is in Redis, until the service stops.
    pub(crate) async fn tend(self: Arc<Self>, stopping: CancellationToken) {
        loop {
            if let Err(error) = self.refresh().await {
                tracing::warn!(error = %chassis::chain(&error), "cannot read which endpoints there are");
            }
            if stopping.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_none() {
                return;
            }
        }
    }

    /// Writes down an endpoint, and how fast it takes what it gets; whether what is there was still `before` (nothing, if it
    /// is empty).
    pub(crate) async fn write(&self, name: &str, before: &str, made: &Made) -> Result<bool, bus::Error> {
        let wanted = &made.wanted;
        let pace = Pace {
            at_once: wanted.in_flight.unwrap_or(self.usual.pace.at_once),
            per_second: wanted.per_second.unwrap_or(self.usual.pace.per_second),
            ordered: wanted.ordered.unwrap_or(self.usual.pace.ordered),
        };
        let url = wanted.url.parse::<url::Url>().ok();
        let host = url.as_ref().and_then(|url| url.host_str()).unwrap_or_default();
        let written = self.courier.write(name, host, before, &made.text(), pace).await?;
        self.refresh().await?;
        Ok(written)
    }

    /// Strikes out an endpoint, with all that waits for it; whether what is there was still `before`.
    pub(crate) async fn strike(&self, name: &str, host: &str, before: &str) -> Result<bool, bus::Error> {
        let struck = self.courier.strike(name, host, before).await?;
        self.refresh().await?;
        Ok(struck)
    }

    fn readable(&self, name: &str, text: &str) -> Endpoint {
        self.read(name, text).unwrap_or_else(|error| {
            tracing::error!(endpoint = name, error, "what is kept of an endpoint cannot be read");
            let why = Err(format!("what is kept of it cannot be read: {error}"));
            Endpoint::made(name, why, self.usual.schedule, Filter::default())
        })
    }

    fn read(&self, name: &str, text: &str) -> Result<Endpoint, String> {
        let made: Made = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let filter = made.wanted.filter.compile()?;
        let schedule = made.wanted.schedule.unwrap_or(self.usual.schedule);
        let webhook = Webhook::new(&made.wanted.url, made.signers(), &self.usual.prefix);
        let endpoint = Endpoint::made(name, webhook.map(Channel::Webhook), schedule, filter);
        Ok(endpoint.by(made.wanted.tls.client(Some(&self.guard))))
    }
}

// === impl Pages ===

impl Pages {
    fn new(edition: Option<i64>, all: Vec<Arc<Endpoint>>, digests: HashMap<String, String>) -> Self {
        let by_name = all
            .iter()
            .enumerate()
            .map(|(n, endpoint)| (endpoint.name().to_owned(), n));
        Self {
            edition,
            by_name: by_name.collect(),
            all,
            digests,
        }
    }

    pub(crate) fn all(&self) -> &[Arc<Endpoint>] {
        &self.all
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Arc<Endpoint>> {
        self.all.get(*self.by_name.get(name)?)
    }
}

// === impl Wanted ===

impl Wanted {
    /// Reads what was sent to us; what is kept may be of a newer version, and say more.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn read(body: &[u8]) -> Result<Self, String> {
        const KNOWN: [&str; 8] = [
            "url",
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
        serde_json::from_value(fields.into()).map_err(|error| error.to_string())
    }

    /// # Errors
    /// What is wrong with it.
    pub(crate) fn check(&self, guard: &Guard) -> Result<(), String> {
        if self.url.len() > LONGEST_URL || self.description.len() > LONGEST_DESCRIPTION {
            return Err(format!(
                "url: at most {LONGEST_URL} characters; description: {LONGEST_DESCRIPTION}"
            ));
        }
        let url = self.url.parse().map_err(|error| format!("url: {error}"))?;
        guard.check(&url).map_err(|why| format!("url: {why}"))?;
        if self.in_flight.is_some_and(|n| !(1..=256).contains(&n)) {
            return Err("in_flight: expected 1 to 256".to_owned());
        }
        if self.per_second.is_some_and(|n| n > MOST_PER_SECOND) {
            return Err(format!("per_second: expected 0 to {MOST_PER_SECOND}"));
        }
        self.tls.client(Some(guard))?;
        self.filter.compile().map(drop).map_err(|why| format!("filter: {why}"))
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
    fn text(&self) -> String {
        json!({"wanted": self.wanted, "secrets": self.secrets, "created_at": self.created_at}).to_string()
    }

    fn signers(&self) -> Vec<Signer> {
        let signer = |kept: &Kept| {
            Some(Signer {
                secret: kept.secret.parse().ok()?,
                until: kept.until,
            })
        };
        self.secrets.iter().filter_map(signer).collect()
    }
}
