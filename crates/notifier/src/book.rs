//! The endpoints there are: those of the configuration, and those that were made by the API and are in Redis.

use crate::{channel::Means, endpoint::Endpoint, filter::Filter, guard::Guard, outcome::Schedule, wanted::Made};
use bus::{Courier, Pace};
use chassis::Life;
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
    pub(crate) usual: Usual,
    pages: RwLock<Arc<Pages>>,
    /// Told which of them cannot be used.
    life: Life,
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
    pub(crate) means: Means,
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

/// Most endpoints that can be made.
pub(crate) const MOST: usize = 10_000;
/// How often others' changes are looked for.
const LOOK: Duration = Duration::from_secs(1);

// === impl Book ===

impl Book {
    pub(crate) fn new(courier: Courier, guard: Guard, configured: Vec<Endpoint>, usual: Usual, life: Life) -> Self {
        let configured: Vec<_> = configured.into_iter().map(Arc::new).collect();
        for endpoint in &configured {
            tell_broken(&life, endpoint);
        }
        Self {
            life,
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
            let endpoint = known.map_or_else(|| Arc::new(self.readable(&name, &text)), Arc::clone);
            if known.is_none() {
                tell_broken(&self.life, &endpoint);
            }
            all.push(endpoint);
            digests.insert(name, digest);
        }
        for struck in before.digests.keys().filter(|name| !digests.contains_key(*name)) {
            self.life.degraded(&part(struck), None);
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
        let way = made.wanted.way(made.signers(), &self.usual).ok();
        let pace = made.wanted.pace(way.as_ref(), &self.usual);
        let host = way.as_ref().and_then(|way| way.url().host_str()).unwrap_or_default();
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
        let way = made.wanted.way(made.signers(), &self.usual);
        let endpoint = Endpoint::made(name, way, schedule, filter).of_kind(made.wanted.kind.word());
        if !made.wanted.is_elsewhere() {
            return Ok(endpoint.trusted());
        }
        Ok(endpoint.by(made.wanted.tls.client(Some(&self.guard))))
    }
}

/// Says whether an endpoint cannot be used here, and why.
fn tell_broken(life: &Life, endpoint: &Endpoint) {
    if let Some(why) = endpoint.broken() {
        let endpoint = endpoint.name();
        tracing::error!(endpoint, reason = why, "nothing can be sent to an endpoint");
    }
    life.degraded(&part(endpoint.name()), endpoint.broken().map(ToOwned::to_owned));
}

/// What an endpoint is called as a part of the service.
fn part(endpoint: &str) -> String {
    format!("endpoint {endpoint}")
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
