//! What can be configured.

use crate::git::Credentials;
use bus::Settings;
use chassis::{Secret, Setting, Values};
use contract::{
    BuildEvent, BuildQueueMessage, DeploymentEvent, DeploymentQueueMessage, Scheme, WorkerReport, route, route::List,
};
use std::{path::PathBuf, time::Duration};

/// Forgery's configuration.
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) slots: usize,
    pub(crate) work_dir: PathBuf,
    pub(crate) timeout: Duration,
    pub(crate) registry: Option<Registry>,
    pub(crate) keep_images: bool,
    pub(crate) schemes: Vec<Scheme>,
    pub(crate) credentials: Credentials,
    pub(crate) bus: Settings,
    pub(crate) builds: List<BuildQueueMessage>,
    pub(crate) events: List<BuildEvent>,
    pub(crate) deployments: List<DeploymentQueueMessage>,
    pub(crate) deployment_events: List<DeploymentEvent>,
    pub(crate) deploys: bool,
    pub(crate) workers: List<WorkerReport>,
    pub(crate) cancel_channel: String,
    /// Where rehearsals leave their traces; without it there are none.
    #[cfg(feature = "rehearsal")]
    pub(crate) rehearsal: Option<PathBuf>,
}

/// Where images are pushed.
#[derive(Clone, Debug)]
pub(crate) struct Registry {
    /// Host and port, and a path if the images have one in common.
    pub(crate) prefix: String,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Secret>,
}

const SLOTS: Setting = Setting::new("slots", "How many builds run at once, 1 to 64")
    .env(&["FORGERY_SLOTS", "JOB_WORKERS"])
    .default("2");
const WORK_DIR: Setting = Setting::new("work_dir", "Folder of checkouts; everything in it is disposable")
    .env(&["WORK_DIR"])
    .default("/tmp/builds");
const TIMEOUT: Setting = Setting::new(
    "timeout_seconds",
    "The longest a build may take unless its message says otherwise, in seconds",
)
.env(&["BUILD_TIMEOUT_SECONDS"])
.default("1800");
const REGISTRY: Setting = Setting::new(
    "registry.prefix",
    "Registry that images are pushed to, such as registry.example:5000/team",
)
.env(&["REGISTRY", "FORGERY_REGISTRY"]);
const USER: Setting = Setting::new("registry.username", "User at the registry").env(&["REGISTRY_USERNAME"]);
const PASSWORD: Setting = Setting::new("registry.password", "Password at the registry")
    .env(&["REGISTRY_PASSWORD"])
    .secret();
const KEEP: Setting = Setting::new(
    "keep_images",
    "Whether images stay on the engine after they were pushed",
)
.env(&["FORGERY_KEEP_IMAGES"])
.default("false");
const HTTP: Setting = Setting::new("git.allow_http", "Whether plain http sources are cloned")
    .env(&["GIT_ALLOW_HTTP"])
    .default("false");
const FILE: Setting = Setting::new("git.allow_file", "Whether file sources are cloned")
    .env(&["GIT_ALLOW_FILE"])
    .default("false");
const GIT: Setting = Setting::new(
    "git.credentials",
    "Credentials of git servers, as https://user:token@host lines",
)
.env(&["GIT_CREDENTIALS"])
.secret();
const GITHUB: Setting = Setting::new("git.github_token", "Token for github.com")
    .env(&["GITHUB_TOKEN"])
    .secret();
const BUILDS: Setting = Setting::new("redis.queue_name", "Name of the list that builds come from")
    .env(&["REDIS_QUEUE_NAME"])
    .default("forge:builds");
const WORKERS: Setting = Setting::new("redis.workers_name", "Name of the list that reports of workers go to")
    .env(&["REDIS_WORKERS_NAME"])
    .default("forge:workers");
const DEPLOYMENTS: Setting = Setting::new("redis.deployments_name", "Name of the list that deployments come from")
    .env(&["REDIS_DEPLOYMENTS_NAME"])
    .default("forge:deployments");
const DEPLOYS: Setting = Setting::new(
    "deploys",
    "Whether this forgery runs images on its engine, besides building them",
)
.env(&["FORGERY_DEPLOYS"])
.default("true");
const CANCEL: Setting = Setting::new("redis.cancel_channel_name", "Channel of cancel requests")
    .env(&["REDIS_CANCEL_CHANNEL_NAME"])
    .default(route::CANCEL);

#[cfg(feature = "rehearsal")]
const REHEARSAL: Setting = Setting::new(
    "rehearsal.dir",
    "Folder of builds that are only rehearsed; for the chaos harness",
)
.env(&["FORGERY_REHEARSAL_DIR"]);

/// Forgery's own settings.
pub(crate) const SETTINGS: &[Setting] = &[
    SLOTS,
    WORK_DIR,
    TIMEOUT,
    REGISTRY,
    USER,
    PASSWORD,
    KEEP,
    HTTP,
    FILE,
    GIT,
    GITHUB,
    BUILDS,
    WORKERS,
    DEPLOYMENTS,
    DEPLOYS,
    CANCEL,
    #[cfg(feature = "rehearsal")]
    REHEARSAL,
];

const LONGEST_TIMEOUT: Duration = Duration::from_hours(24);

// === impl Config ===

impl Config {
    pub(crate) fn read(values: &mut Values) -> Option<Self> {
        let slots = values.get(&SLOTS);
        if slots.is_some_and(|slots| !(1..=64).contains(&slots)) {
            values.refuse(&SLOTS, "expected 1 to 64");
        }
        let work_dir = values.get(&WORK_DIR);
        let timeout = values.get(&TIMEOUT).map(Duration::from_secs);
        if timeout.is_some_and(|timeout| timeout.is_zero() || timeout > LONGEST_TIMEOUT) {
            values.refuse(&TIMEOUT, "expected 1 to 86400 seconds");
        }
        let registry = registry(values);
        let keep_images = values.get(&KEEP);
        let (http, file): (Option<bool>, Option<bool>) = (values.get(&HTTP), values.get(&FILE));
        let credentials = credentials(values);
        let name: String = values.get(&BUILDS)?;
        let builds = route::builds()
            .named(&name)
            .map_err(|error| values.refuse(&BUILDS, error))
            .ok();
        let name: String = values.get(&DEPLOYMENTS)?;
        let deployments = route::deployments()
            .named(&name)
            .map_err(|error| values.refuse(&DEPLOYMENTS, error))
            .ok();
        let deploys = values.get(&DEPLOYS);
        let cancel_channel = values.get(&CANCEL);
        let bus = Settings::read(values)?;
        let optional = [(Scheme::Http, http?), (Scheme::File, file?)];
        let allowed = optional
            .into_iter()
            .filter(|(_, allowed)| *allowed)
            .map(|(scheme, _)| scheme);
        let workers: String = values.get(&WORKERS)?;
        let workers = route::workers()
            .named(&workers)
            .map_err(|error| values.refuse(&WORKERS, error))
            .ok();
        let (builds, deployments) = (builds?, deployments?);
        Some(Self {
            schemes: [Scheme::Https, Scheme::Ssh].into_iter().chain(allowed).collect(),
            events: route::build_events(&builds),
            deployment_events: route::deployment_events(&deployments),
            deploys: deploys?,
            deployments,
            workers: workers?,
            work_dir: work_dir?,
            timeout: timeout?,
            keep_images: keep_images?,
            credentials: credentials?,
            cancel_channel: cancel_channel?,
            slots: slots?,
            #[cfg(feature = "rehearsal")]
            rehearsal: values.optional(&REHEARSAL),
            registry,
            bus,
            builds,
        })
    }
}

fn registry(values: &mut Values) -> Option<Registry> {
    let prefix: Option<String> = values.optional(&REGISTRY);
    let user = values.optional(&USER);
    let password = values.optional(&PASSWORD);
    let prefix = prefix?.trim_end_matches('/').to_owned();
    if prefix.contains("://") || prefix.contains(char::is_whitespace) {
        values.refuse(
            &REGISTRY,
            "expected a host, perhaps with port and path, without https://",
        );
    }
    Some(Registry { prefix, user, password })
}

fn credentials(values: &mut Values) -> Option<Credentials> {
    let lines: Option<Secret> = values.optional(&GIT);
    let mut credentials = match Credentials::parse(lines.as_ref().map_or("", |lines| lines.expose())) {
        Ok(credentials) => credentials,
        Err(error) => {
            values.refuse(&GIT, error);
            return None;
        }
    };
    if let Some(token) = values.optional::<Secret>(&GITHUB) {
        credentials.add("github.com", "x-access-token", token);
    }
    Some(credentials)
}
