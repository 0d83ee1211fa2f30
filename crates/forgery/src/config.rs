//! What can be configured.

mod git;
mod registry;
mod steps;

use bus::Settings;
use chassis::{Setting, Values};
use contract::{
    BuildEvent, BuildQueueMessage, DeploymentEvent, DeploymentQueueMessage, WorkerReport, route, route::List,
};
pub(crate) use git::Git;
pub(crate) use registry::Registries;
use std::{path::PathBuf, time::Duration};
pub(crate) use steps::Steps;

/// Forgery's configuration.
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) slots: usize,
    pub(crate) work_dir: PathBuf,
    pub(crate) timeout: Duration,
    pub(crate) registry: Registries,
    pub(crate) keep_images: bool,
    /// What must stay free on each disk, in MiB.
    pub(crate) min_free_mib: u64,
    /// Folder of secrets.
    pub(crate) secrets_dir: Option<PathBuf>,
    /// Whether builds may use the network of the engine's host.
    pub(crate) host_network: bool,
    /// Builder images of buildpacks that may be used; the first one is used unless a build names another.
    pub(crate) builders: Vec<String>,
    /// Folder of what steps leave for people, and for how many days.
    pub(crate) artifacts: Option<PathBuf>,
    pub(crate) artifact_days: u32,
    /// The longest that a build may print nothing.
    pub(crate) silence: Option<Duration>,
    pub(crate) steps: Steps,
    pub(crate) git: Git,
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
const KEEP: Setting = Setting::new(
    "keep_images",
    "Whether images stay on the engine after they were pushed",
)
.env(&["FORGERY_KEEP_IMAGES"])
.default("false");
const MIN_FREE: Setting = Setting::new(
    "disk.min_free_mib",
    "With less than this free on a disk that builds use, mirrors and the engine's cache are emptied, and no build is taken, in MiB",
)
.env(&["FORGERY_MIN_FREE_MIB"])
.default("1024");
const SECRETS: Setting = Setting::new(
    "secrets.dir",
    "Folder of the secrets that builds name, as <folder>/org/repo/NAME",
)
.env(&["FORGERY_SECRETS_DIR"]);
const HOST_NETWORK: Setting = Setting::new(
    "allow_host_network",
    "Whether builds may ask for the network of the engine's host",
)
.env(&["FORGERY_ALLOW_HOST_NETWORK"])
.default("false");
const BUILDERS: Setting = Setting::new(
    "buildpacks.builders",
    "Builder images of buildpacks that may be used, separated by commas; they get the engine's socket",
)
.env(&["FORGERY_BUILDERS"])
.default("paketobuildpacks/builder-jammy-base");
const ARTIFACTS: Setting = Setting::new(
    "artifacts.dir",
    "Folder of what steps of pipelines leave for people; without it there is none",
)
.env(&["FORGERY_ARTIFACTS_DIR"]);
const ARTIFACT_DAYS: Setting = Setting::new("artifacts.days", "For how many days it is kept, 1 to 3650")
    .env(&["FORGERY_ARTIFACTS_DAYS"])
    .default("30");
const SILENCE: Setting = Setting::new(
    "silence_seconds",
    "The longest that a build may print nothing before it is ended, in seconds; 0 for ever",
)
.env(&["FORGERY_SILENCE_SECONDS"])
.default("0");
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

/// Settings of where repositories come from.
pub(crate) const GIT: &[Setting] = git::SETTINGS;

/// Settings of where images go.
pub(crate) const REGISTRIES: &[Setting] = registry::SETTINGS;

/// Settings of what pipelines may take.
pub(crate) const STEPS: &[Setting] = steps::SETTINGS;

/// Forgery's other settings.
pub(crate) const OWN: &[Setting] = &[
    SLOTS,
    WORK_DIR,
    TIMEOUT,
    KEEP,
    MIN_FREE,
    SECRETS,
    HOST_NETWORK,
    BUILDERS,
    ARTIFACTS,
    ARTIFACT_DAYS,
    SILENCE,
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
        let slots = values.within(&SLOTS, 1..=64);
        let work_dir: Option<PathBuf> = values.get(&WORK_DIR);
        let timeout = values.get(&TIMEOUT).map(Duration::from_secs);
        if timeout.is_some_and(|timeout| timeout.is_zero() || timeout > LONGEST_TIMEOUT) {
            values.refuse(&TIMEOUT, "expected 1 to 86400 seconds");
        }
        let registry = Registries::read(values);
        let (keep_images, min_free_mib) = (values.get(&KEEP), values.get(&MIN_FREE));
        let (secrets_dir, host_network) = (values.optional(&SECRETS), values.get(&HOST_NETWORK));
        let builders = values.get(&BUILDERS).map(|text: String| listed(&text));
        let (artifacts, artifact_days) = (values.optional(&ARTIFACTS), values.within(&ARTIFACT_DAYS, 1..=3_650));
        let silence = values.get(&SILENCE).map(Duration::from_secs);
        let steps = Steps::read(values);
        let git = Git::read(values, work_dir.as_ref());
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
        let workers: String = values.get(&WORKERS)?;
        let workers = route::workers()
            .named(&workers)
            .map_err(|error| values.refuse(&WORKERS, error))
            .ok();
        let (builds, deployments) = (builds?, deployments?);
        Some(Self {
            git: git?,
            builders: builders?,
            artifacts,
            artifact_days: artifact_days?,
            silence: silence.filter(|silence| !silence.is_zero()),
            steps: steps?,
            events: route::build_events(&builds),
            deployment_events: route::deployment_events(&deployments),
            deploys: deploys?,
            deployments,
            workers: workers?,
            work_dir: work_dir?,
            timeout: timeout?,
            keep_images: keep_images?,
            min_free_mib: min_free_mib?,
            secrets_dir,
            host_network: host_network?,
            cancel_channel: cancel_channel?,
            slots: slots?,
            #[cfg(feature = "rehearsal")]
            rehearsal: values.optional(&REHEARSAL),
            registry: registry?,
            bus,
            builds,
        })
    }
}

/// What is separated by commas.
fn listed(text: &str) -> Vec<String> {
    let parts = text.split(',').map(str::trim);
    parts.filter(|part| !part.is_empty()).map(ToOwned::to_owned).collect()
}
