//! The life of a service: named tasks, readiness, and a stop that loses nothing.

use crate::{Setting, Values};
use axum::Router;
use prometheus_client::registry::Registry;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Pause before a task that ended too early is started again.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// What the end of a task means for the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Its end before the stop ends the service.
    Essential,
    /// Its end is logged.
    BestEffort,
}

/// A service's life; cheap to clone, passed by value.
#[derive(Clone, Debug)]
pub struct Life {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    stop: CancellationToken,
    grace: Duration,
    tasks: TaskTracker,
    broken: watch::Sender<Option<&'static str>>,
    configuration: Configuration,
    health: Mutex<Health>,
    registry: Mutex<Registry>,
    /// What the service has on the admin port.
    routes: OnceLock<Router>,
}

/// Where the configuration comes from.
pub(crate) struct Configuration {
    /// Gathers its values as they are now.
    pub(crate) gather: Box<dyn Fn() -> Values + Send + Sync>,
    pub(crate) settings: Vec<Setting>,
    /// What they were when they were used.
    pub(crate) at_start: BTreeMap<&'static str, u64>,
}

#[derive(Debug, Default)]
struct Health {
    started: bool,
    /// What is not as it should be, and why.
    wrong: BTreeMap<&'static str, String>,
    /// What does not work as it should while the rest does, and why.
    degraded: BTreeMap<String, String>,
}

/// Something that must be in order for the service to be ready.
#[derive(Clone, Debug)]
pub struct Latch {
    life: Life,
    name: &'static str,
}

// === impl Life ===

impl Life {
    pub(crate) fn new(grace: Duration, configuration: Configuration) -> Self {
        Self {
            inner: Arc::new(Inner {
                stop: CancellationToken::new(),
                grace,
                tasks: TaskTracker::new(),
                broken: watch::Sender::new(None),
                configuration,
                health: Mutex::default(),
                registry: Mutex::default(),
                routes: OnceLock::new(),
            }),
        }
    }

    /// The configuration's values as they are now, in flags, environment and files.
    pub fn values(&self) -> Values {
        (self.inner.configuration.gather)()
    }

    /// Which settings are not what they were at the start, but for these.
    pub(crate) fn changed_since_start(&self, values: &mut Values, but: &[Setting]) -> Vec<&'static str> {
        let Configuration { settings, at_start, .. } = &self.inner.configuration;
        let now = values.fingerprints(settings).into_iter();
        let changed = now
            .filter(|(name, now)| at_start.get(name) != Some(now))
            .map(|(name, _)| name);
        changed
            .filter(|name| but.iter().all(|setting| setting.key != *name))
            .collect()
    }

    /// Cancelled when the service must stop taking work.
    pub fn stopping(&self) -> CancellationToken {
        self.inner.stop.clone()
    }

    /// How long running work may go on after the stop.
    pub fn grace(&self) -> Duration {
        self.inner.grace
    }

    /// Runs a task by name; a stop waits for it.
    pub fn spawn<F>(&self, name: &'static str, policy: Policy, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let life = self.clone();
        let watched = self.track(task);
        let _detached = self.track(async move {
            let panicked = watched.await.is_err();
            if panicked {
                tracing::error!(task = name, "a task panicked");
            }
            if policy == Policy::Essential && (panicked || !life.inner.stop.is_cancelled()) {
                life.inner.broken.send_replace(Some(name));
            }
        });
    }

    /// Runs a task by name, and again whenever it ends or panics before the stop.
    pub fn keep<M, F>(&self, name: &'static str, mut make: M)
    where
        M: FnMut() -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let life = self.clone();
        let _detached = self.track(async move {
            while !life.inner.stop.is_cancelled() {
                if life.track(make()).await.is_err() {
                    tracing::error!(task = name, "a task panicked, it starts again");
                }
                if !life.inner.stop.is_cancelled() {
                    tokio::time::sleep(RESTART_PAUSE).await;
                }
            }
        });
    }

    /// Says that the service has started; it is ready while no latch is open.
    pub fn ready(&self) {
        self.health().started = true;
        tracing::info!("ready");
    }

    /// A condition of readiness, not met until it says so.
    pub fn latch(&self, name: &'static str) -> Latch {
        let latch = Latch {
            life: self.clone(),
            name,
        };
        latch.wrong("not yet");
        latch
    }

    /// Serves these on the admin port, beside what every service has there. The first time counts.
    pub fn serve_admin(&self, routes: Router) {
        if self.inner.routes.set(routes).is_err() {
            tracing::error!("the admin port has its routes already");
        }
    }

    pub(crate) fn admin_routes(&self) -> Option<Router> {
        self.inner.routes.get().cloned()
    }

    /// Registers metrics.
    pub fn metrics<R>(&self, register: impl FnOnce(&mut Registry) -> R) -> R {
        register(&mut self.inner.registry.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What keeps the service from being ready; empty when it is.
    pub fn wrong(&self) -> BTreeMap<&'static str, String> {
        let health = self.health();
        let mut wrong = health.wrong.clone();
        if !health.started {
            wrong.insert("start", "not finished".to_owned());
        }
        if self.inner.stop.is_cancelled() {
            wrong.insert("stop", "stopping".to_owned());
        }
        wrong
    }

    /// Says that a part does not work as it should, and why, or that it does again. The service is ready all the same.
    pub fn degraded(&self, part: &str, why: Option<String>) {
        let parts = &mut self.health().degraded;
        match why {
            Some(why) => parts.insert(part.to_owned(), why),
            None => parts.remove(part),
        };
    }

    /// The parts that do not work as they should, and why.
    pub(crate) fn degraded_parts(&self) -> BTreeMap<String, String> {
        self.health().degraded.clone()
    }

    pub(crate) fn stop(&self) {
        self.inner.stop.cancel();
        self.inner.tasks.close();
    }

    /// Waits for every task.
    pub(crate) async fn drained(&self) {
        self.inner.tasks.wait().await;
    }

    /// Waits until an essential task ends; its name.
    pub(crate) async fn broken(&self) -> &'static str {
        let mut broken = self.inner.broken.subscribe();
        let found = broken.wait_for(Option::is_some).await.ok().and_then(|name| *name);
        found.unwrap_or("unknown")
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.inner.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn track<F>(&self, task: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.inner.tasks.spawn(task)
    }
}

impl std::fmt::Debug for Configuration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Configuration")
    }
}

// === impl Latch ===

impl Latch {
    /// The condition is met.
    pub fn right(&self) {
        self.life.health().wrong.remove(self.name);
    }

    /// The condition is not met, and why.
    pub fn wrong(&self, why: impl Into<String>) {
        self.life.health().wrong.insert(self.name, why.into());
    }
}
