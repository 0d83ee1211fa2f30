//! What can be configured.

use crate::{
    archive::Place,
    notice::links::{self, Links},
    retention::Kept,
    store::Database,
};
use bus::Settings;
use chassis::{Origin, Secret, Setting, Values};
use contract::{
    BuildEvent, BuildQueueMessage, DeploymentEvent, DeploymentQueueMessage, Message, Notification, WebhookDelivery,
    WorkerReport, route, route::List,
};
use seal::SigningKey;
use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

/// Prow's configuration.
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) listen: SocketAddr,
    pub(crate) data_dir: PathBuf,
    pub(crate) database: Database,
    pub(crate) logs: Place,
    pub(crate) admin_token: Option<Secret>,
    pub(crate) origins: Vec<Origin>,
    pub(crate) public_badges: bool,
    pub(crate) links: Links,
    pub(crate) hooks: Option<Hooks>,
    pub(crate) bus: Settings,
    pub(crate) webhooks: List<WebhookDelivery>,
    pub(crate) builds: List<BuildQueueMessage>,
    pub(crate) events: List<BuildEvent>,
    pub(crate) deployments: List<DeploymentQueueMessage>,
    pub(crate) deployment_events: List<DeploymentEvent>,
    pub(crate) notifications: List<Notification>,
    pub(crate) workers: List<WorkerReport>,
    pub(crate) cancel_channel: String,
    pub(crate) updates_channel: String,
    pub(crate) unregistered: Unregistered,
    pub(crate) deadlines: Deadlines,
    pub(crate) kept: Kept,
    pub(crate) reconcile_every: Duration,
}

/// What becomes of events of a repository that nobody has registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unregistered {
    /// It becomes a project with one service.
    Auto,
    /// They lead to nothing.
    Ignore,
}

/// Whose deliveries are looked at, and asked for again when they never arrived.
#[derive(Clone, Debug)]
pub(crate) struct Hooks {
    /// Base URL of GitHub's API.
    pub(crate) api: String,
    pub(crate) identity: Identity,
    pub(crate) every: Duration,
}

/// Who asks GitHub.
#[derive(Clone, Debug)]
pub(crate) enum Identity {
    /// A GitHub App, about its own hook.
    App { id: String, key: Arc<SigningKey> },
    /// Somebody who may see these hooks.
    Token { token: Secret, hooks: Vec<String> },
}

/// Path of a hook in GitHub's API: `repos/<owner>/<name>/hooks/<number>` or `orgs/<name>/hooks/<number>`.
#[derive(Clone, Debug)]
struct Hook(String);

/// How long a build may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadlines {
    /// To be taken by a worker.
    pub(crate) waiting: Duration,
    /// To run, unless its message says otherwise.
    pub(crate) running: Duration,
}

const LISTEN: Setting = Setting::new("api.listen", "Address of the REST API, or a bare port")
    .env(&["PROW_LISTEN"])
    .default("127.0.0.1:8080");
const DATA_DIR: Setting = Setting::new("data_dir", "Folder of the database")
    .env(&["PROW_DATA_DIR"])
    .default("./data/prow");
const DATABASE_URL: Setting = Setting::new(
    "database.url",
    "PostgreSQL, postgres://user:password@host/database; without it SQLite in the data folder. Several prows may share one",
)
.env(&["DATABASE_URL"])
.secret();
const LOG_DIR: Setting = Setting::new("log_dir", "Folder of the build logs")
    .env(&["BUILD_LOG_DIR"])
    .default("./logs");
const LOG_URL: Setting = Setting::new(
    "logs.url",
    "Bucket of the build logs instead of the folder, s3://bucket/prefix; AWS_ACCESS_KEY_ID and the like say who may use it",
)
.env(&["BUILD_LOG_URL"]);
const ADMIN_TOKEN: Setting = Setting::new(
    "api.admin_token",
    "Bearer token of the API, 16 characters or more; made and kept in the data folder if not given",
)
.env(&["ADMIN_TOKEN"])
.secret();
const ORIGINS: Setting = Setting::new(
    "api.cors_origins",
    "Origins whose pages may ask, comma-separated, or *; none by default",
)
.env(&["API_CORS_ORIGINS"]);
const BADGES: Setting = Setting::new(
    "badges",
    "Who sees /badge/<project>.svg: public (whoever asks), or private (who has a token)",
)
.env(&["BADGES"])
.default("private");
const BUILD_LINK: Setting = Setting::new(
    "links.build",
    "Where people see a build, for notifications; {id}, {project} and {commit} are filled in",
)
.env(&["PROW_BUILD_LINK"]);
const DEPLOYMENT_LINK: Setting = Setting::new(
    "links.deployment",
    "Where people see a deployment; {id} and {project} are filled in",
)
.env(&["PROW_DEPLOYMENT_LINK"]);
const GITHUB_API: Setting = Setting::new("github.api_url", "Base URL of GitHub's API")
    .env(&["GITHUB_API_URL"])
    .default("https://api.github.com");
const APP_ID: Setting = Setting::new(
    "github.app_id",
    "Number or client id of a GitHub App whose deliveries are asked for again when they never arrived",
)
.env(&["GITHUB_APP_ID"]);
const APP_KEY: Setting = Setting::new("github.app_private_key", "The app's private key, as PEM")
    .env(&["GITHUB_APP_PRIVATE_KEY"])
    .secret();
const HOOKS: Setting = Setting::new(
    "github.hooks",
    "Instead of an app, hooks whose deliveries are looked after, comma-separated: repos/owner/name/hooks/123, orgs/name/hooks/123",
)
.env(&["GITHUB_HOOKS"]);
const HOOKS_TOKEN: Setting = Setting::new("github.hooks_token", "Token that may read and redeliver these hooks")
    .env(&["GITHUB_HOOKS_TOKEN"])
    .secret();
const SWEEP: Setting = Setting::new(
    "github.sweep_seconds",
    "How often it is looked for webhooks that never arrived, 5 to 3600 s",
)
.env(&["GITHUB_SWEEP_SECONDS"])
.default("300");
const WEBHOOKS: Setting = Setting::new("redis.webhooks_name", "Name of the list that webhooks come from")
    .env(&["REDIS_WEBHOOKS_NAME"])
    .default("forge:webhooks");
const BUILDS: Setting = Setting::new("redis.queue_name", "Name of the list that builds go to")
    .env(&["REDIS_QUEUE_NAME"])
    .default("forge:builds");
const NOTIFICATIONS: Setting = Setting::new("redis.notifications_name", "Name of the list of notifications")
    .env(&["REDIS_NOTIFICATIONS_NAME"])
    .default("forge:notifications");
const DEPLOYMENTS: Setting = Setting::new("redis.deployments_name", "Name of the list that deployments go to")
    .env(&["REDIS_DEPLOYMENTS_NAME"])
    .default("forge:deployments");
const WORKERS: Setting = Setting::new(
    "redis.workers_name",
    "Name of the list that reports of workers come from",
)
.env(&["REDIS_WORKERS_NAME"])
.default("forge:workers");
const CANCEL: Setting = Setting::new("redis.cancel_channel_name", "Channel of cancel requests")
    .env(&["REDIS_CANCEL_CHANNEL_NAME"])
    .default(route::CANCEL);
const UPDATES: Setting = Setting::new(
    "redis.updates_channel_name",
    "Channel on which prows tell each other what has changed",
)
.env(&["REDIS_UPDATES_CHANNEL_NAME"])
.default(route::UPDATES);

const UNREGISTERED: Setting = Setting::new(
    "projects.unregistered",
    "What becomes of events of a repository that nobody has registered: auto (a project with one service) or ignore",
)
.env(&["UNREGISTERED"])
.default("auto");
const RUNNING: Setting = Setting::new(
    "builds.timeout_seconds",
    "The longest a build may run unless its message says otherwise, as forgery has it; past it prow stops it",
)
.env(&["BUILD_TIMEOUT_SECONDS"])
.default("1800");
const WAITING: Setting = Setting::new(
    "builds.wait_seconds",
    "The longest a build may wait for a worker; past it, it has timed out",
)
.env(&["BUILD_WAIT_SECONDS"])
.default("604800");
const KEEP_LOGS: Setting = Setting::new("retention.logs_days", "How long logs are kept, in days; 0 for ever")
    .env(&["RETENTION_LOGS_DAYS"])
    .default("90");
const KEEP_BUILDS: Setting = Setting::new("retention.builds_days", "How long builds are kept, in days; 0 for ever")
    .env(&["RETENTION_BUILDS_DAYS"])
    .default("0");
const KEEP_BODIES: Setting = Setting::new(
    "retention.bodies_days",
    "How long the bodies of webhooks are kept for replay, in days; 0 for ever",
)
.env(&["RETENTION_BODIES_DAYS"])
.default("7");
const KEEP_EVENTS: Setting = Setting::new(
    "retention.events_days",
    "How long it is kept that webhooks came and what followed, in days; 0 for ever",
)
.env(&["RETENTION_EVENTS_DAYS"])
.default("90");
const KEEP_AUDIT: Setting = Setting::new(
    "retention.audit_days",
    "How long the audit is kept, in days; 0 for ever",
)
.env(&["RETENTION_AUDIT_DAYS"])
.default("365");
const KEEP_WORKFLOWS: Setting = Setting::new(
    "retention.workflows_days",
    "How long it is kept what belongs together as one change, since it was last heard of, in days; 0 for ever",
)
.env(&["RETENTION_WORKFLOWS_DAYS"])
.default("7");
const RECONCILE: Setting = Setting::new(
    "reconcile_seconds",
    "How often what should be is compared with what is, 1 to 300 s",
)
.env(&["PROW_RECONCILE_SECONDS"])
.default("30");

/// Prow's own settings.
pub(crate) const SETTINGS: &[Setting] = &[
    LISTEN,
    DATA_DIR,
    DATABASE_URL,
    LOG_DIR,
    LOG_URL,
    ADMIN_TOKEN,
    ORIGINS,
    BADGES,
    BUILD_LINK,
    DEPLOYMENT_LINK,
    GITHUB_API,
    APP_ID,
    APP_KEY,
    HOOKS,
    HOOKS_TOKEN,
    SWEEP,
    WEBHOOKS,
    BUILDS,
    NOTIFICATIONS,
    DEPLOYMENTS,
    WORKERS,
    CANCEL,
    UPDATES,
    UNREGISTERED,
    RUNNING,
    WAITING,
    KEEP_LOGS,
    KEEP_BUILDS,
    KEEP_BODIES,
    KEEP_EVENTS,
    KEEP_AUDIT,
    KEEP_WORKFLOWS,
    RECONCILE,
];

/// After so many rounds of the reconciler an event that others speak of is taken for lost.
const LOST_ROUNDS: u32 = 30;
/// A shorter token could be guessed.
const SHORTEST_TOKEN: usize = 16;

// === impl Config ===

impl Config {
    pub(crate) fn read(values: &mut Values) -> Option<Self> {
        let listen: String = values.get(&LISTEN)?;
        let listen = chassis::http::address(&listen, 8080)
            .map_err(|error| values.refuse(&LISTEN, error))
            .ok();
        let data_dir: Option<PathBuf> = values.get(&DATA_DIR);
        let url: Option<Secret> = values.optional(&DATABASE_URL);
        let is_known = |url: &str| {
            ["postgres://", "postgresql://"]
                .iter()
                .any(|scheme| url.starts_with(scheme))
        };
        if url.as_ref().is_some_and(|url| !is_known(url.expose())) {
            values.refuse(&DATABASE_URL, "expected postgres://user:password@host/database");
        }
        let log_dir: PathBuf = values.get(&LOG_DIR)?;
        let logs = values.optional(&LOG_URL).unwrap_or(Place::Folder(log_dir));
        let admin_token: Option<Secret> = values.optional(&ADMIN_TOKEN);
        if admin_token
            .as_ref()
            .is_some_and(|token| token.expose().len() < SHORTEST_TOKEN)
        {
            values.refuse(&ADMIN_TOKEN, "expected 16 characters or more");
        }
        let badges: String = values.get(&BADGES)?;
        if !matches!(badges.as_str(), "public" | "private") {
            values.refuse(&BADGES, "expected public or private");
        }
        let webhooks = list(values, &WEBHOOKS, route::webhooks());
        let builds = list(values, &BUILDS, route::builds());
        let notifications = list(values, &NOTIFICATIONS, route::notifications());
        let workers = list(values, &WORKERS, route::workers());
        let deployments = list(values, &DEPLOYMENTS, route::deployments());
        let cancel_channel: String = values.get(&CANCEL)?;
        let updates_channel: String = values.get(&UPDATES)?;
        let unregistered = values.get(&UNREGISTERED);
        let bus = Settings::read(values)?;
        let (running, waiting) = (values.get(&RUNNING), values.get(&WAITING));
        let every = values.within(&RECONCILE, 1..=300);
        let deadlines = Deadlines {
            running: Duration::from_secs(running?),
            waiting: Duration::from_secs(waiting?),
        };
        let (builds, deployments, data_dir) = (builds?, deployments?, data_dir?);
        Some(Self {
            listen: listen?,
            database: url.map_or_else(|| Database::Folder(data_dir.clone()), Database::Postgres),
            data_dir,
            origins: values.list(&ORIGINS),
            public_badges: badges == "public",
            links: links(values),
            hooks: hooks(values),
            logs,
            events: route::build_events(&builds),
            deployment_events: route::deployment_events(&deployments),
            deployments,
            webhooks: webhooks?,
            notifications: notifications?,
            workers: workers?,
            admin_token,
            bus,
            builds,
            cancel_channel,
            updates_channel,
            kept: kept(values)?,
            unregistered: unregistered?,
            deadlines,
            reconcile_every: Duration::from_secs(every?),
        })
    }

    /// An event that was not heard of for so long is lost. A dead prow that held it is found far sooner.
    pub(crate) fn lost_after(&self) -> Duration {
        self.reconcile_every * LOST_ROUNDS
    }
}

/// Whose deliveries are looked after, if anybody's are.
fn hooks(values: &mut Values) -> Option<Hooks> {
    let api: String = values.get(&GITHUB_API)?;
    let every = values.within(&SWEEP, 5..=3_600);
    if !["https://", "http://"].iter().any(|scheme| api.starts_with(scheme)) {
        values.refuse(&GITHUB_API, "expected https://host");
    }
    let (id, key): (Option<String>, Option<Secret>) = (values.optional(&APP_ID), values.optional(&APP_KEY));
    let (hooks, token): (Vec<Hook>, Option<Secret>) = (values.list(&HOOKS), values.optional(&HOOKS_TOKEN));
    let identity = match (id, key, token) {
        (Some(id), Some(key), _) => match SigningKey::from_pem(key.expose()) {
            Ok(key) => Some(Identity::App { id, key: Arc::new(key) }),
            Err(error) => {
                values.refuse(&APP_KEY, error);
                None
            }
        },
        (Some(_), None, _) => {
            values.refuse(&APP_KEY, "is required with github.app_id");
            None
        }
        (None, _, Some(token)) if !hooks.is_empty() => Some(Identity::Token {
            token,
            hooks: hooks.into_iter().map(|Hook(path)| path).collect(),
        }),
        (None, _, None) if !hooks.is_empty() => {
            values.refuse(&HOOKS_TOKEN, "is required with github.hooks");
            None
        }
        (None, _, _) => None,
    };
    let every = Duration::from_secs(every?);
    identity.map(|identity| Hooks { api, identity, every })
}

fn kept(values: &mut Values) -> Option<Kept> {
    let days = |days: Option<u32>| days.map(|days| Some(days).filter(|days| *days > 0));
    let kept = Kept {
        logs: days(values.get(&KEEP_LOGS))?,
        builds: days(values.get(&KEEP_BUILDS))?,
        bodies: days(values.get(&KEEP_BODIES))?,
        events: days(values.get(&KEEP_EVENTS))?,
        audit: days(values.get(&KEEP_AUDIT))?,
        workflows: days(values.get(&KEEP_WORKFLOWS))?,
    };
    if let Some(mistake) = kept.mistake() {
        values.refuse(&KEEP_LOGS, mistake);
    }
    Some(kept)
}

/// Where people see what notifications are about.
fn links(values: &mut Values) -> Links {
    let mut link = |setting: &Setting| {
        let template: String = values.optional(setting)?;
        match links::mistake(&template) {
            Some(mistake) => {
                values.refuse(setting, mistake);
                None
            }
            None => Some(template),
        }
    };
    Links {
        build: link(&BUILD_LINK),
        deployment: link(&DEPLOYMENT_LINK),
    }
}

/// A list by its configured name.
fn list<T: Message>(values: &mut Values, setting: &Setting, usual: List<T>) -> Option<List<T>> {
    let name: String = values.get(setting)?;
    usual.named(&name).map_err(|error| values.refuse(setting, error)).ok()
}

// === impl Unregistered ===

impl std::str::FromStr for Hook {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = text.split('/').collect();
        let is_name = |part: &str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        };
        match parts.as_slice() {
            ["repos", _, _, "hooks", number] | ["orgs", _, "hooks", number]
                if parts.iter().all(|part| is_name(part) && !part.starts_with('.'))
                    && number.parse::<u64>().is_ok() =>
            {
                Ok(Self(text.to_owned()))
            }
            _ => Err("expected repos/owner/name/hooks/123 or orgs/name/hooks/123"),
        }
    }
}

impl std::str::FromStr for Unregistered {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "ignore" => Ok(Self::Ignore),
            _ => Err("expected auto or ignore"),
        }
    }
}
