//! What the program does besides serving: `forgery lint FILE`, `forgery run FOLDER`. Neither needs Redis.

use crate::{
    Config,
    alone::{self, INSTALLATION, Run},
    attempt::{Attempt, Origin, Steward},
    compose, logs, pipeline,
    slot::done,
    tools::Tools,
};
use chassis::{Asked, Errand, Failure};
use contract::{BuildId, BuildOptions, BuildQueueMessage, BuildType, Happening, Strategy};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use std::{path::Path, time::Duration};
use tokio::signal::unix::{SignalKind, signal};

/// All of them.
pub(crate) const ALL: &[Errand] = &[
    Errand {
        name: "lint",
        about: "Says what is wrong with a pipeline, and where",
        argument: "FILE",
    },
    Errand {
        name: "run",
        about: "Builds a folder of this machine as it is, without Redis; nothing is pushed",
        argument: "FOLDER",
    },
];

/// The longest that cleaning up may take.
const SWEEP: Duration = Duration::from_secs(30);

/// Nobody else takes part.
struct Alone;

/// Does an errand; what is to be said of it.
///
/// # Errors
/// [`Failure::Refused`] when the pipeline is wrong or the build failed; others when it could not be tried.
pub async fn errand(config: Config, asked: Asked) -> Result<String, Failure> {
    match asked.name {
        "lint" => lint(&asked.argument),
        "run" => Box::pin(build(config, &asked.argument)).await,
        other => Err(Failure::Dependency(format!("{other} is no errand"))),
    }
}

fn lint(file: &str) -> Result<String, Failure> {
    let text = std::fs::read_to_string(file).map_err(|error| Failure::Dependency(format!("{file}: {error}")))?;
    match pipeline::Plan::read(&text) {
        Ok(plan) => Ok(format!("{file}: {} steps, nothing wrong", plan.pipeline.steps.len())),
        Err(mistake) => Err(Failure::Refused(format!("{file}:{mistake}"))),
    }
}

async fn build(config: Config, folder: &str) -> Result<String, Failure> {
    let refused = |error: &dyn std::fmt::Display| Failure::Refused(format!("{folder}: {error}"));
    let folder = Path::new(folder).canonicalize().map_err(|error| refused(&error))?;
    let message = message(&folder).map_err(|error| refused(&error))?;
    let timeout = config.timeout;
    let tools = Tools::find(config, INSTALLATION.to_owned()).await?;
    tokio::time::timeout(SWEEP, alone::clear_dead(&tools)).await.ok();
    let run = Run::begin(&tools.config.work_dir, message.id.clone()).map_err(|error| refused(&error))?;
    let workspace = tools.workspaces.make().map_err(|error| refused(&error))?;
    let mut times = Vec::new();
    let attempt = Attempt {
        tools: &tools,
        message: &message,
        number: 1,
        origin: Origin::Folder(folder.clone()),
        workspace: workspace.path(),
        log: logs::shown(),
        steward: Alone,
        times: &mut times,
    };
    let ended = tokio::select! {
        ended = Box::pin(attempt.run()) => ended.map_err(|failure| Failure::Refused(format!("failed: {failure}"))),
        () = tokio::time::sleep(timeout) => Err(Failure::Refused(format!("it took longer than {} s", timeout.as_secs()))),
        () = interrupted() => Err(Failure::Refused("interrupted".to_owned())),
    };
    if !matches!(tokio::time::timeout(SWEEP, run.end(&tools)).await, Ok(Ok(()))) {
        tracing::warn!("it is not certain that nothing of the build is left running; the next run looks");
    }
    ended.map(|images| done(&images))
}

/// Waits until somebody wants this to end.
async fn interrupted() {
    let mut signals: FuturesUnordered<_> = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()]
        .into_iter()
        .filter_map(|kind| signal(kind).ok())
        .map(|mut signal| async move { signal.recv().await })
        .collect();
    signals.next().await;
}

/// The message that asks for a folder to be built: as a pipeline if it has one, else by its Dockerfile or compose file.
fn message(folder: &Path) -> Result<BuildQueueMessage, String> {
    let is_there = |name: &str| folder.join(name).is_file();
    let build_type = if pipeline::FILES.into_iter().any(is_there) {
        BuildType::Pipeline
    } else if !is_there("Dockerfile") && compose::NAMES.into_iter().any(is_there) {
        BuildType::Compose
    } else {
        BuildType::Dockerfile
    };
    let name = folder
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || "._-".contains(c) {
            c
        } else {
            '-'
        }
    };
    let name: String = name.chars().map(plain).collect();
    let id: BuildId = format!("run-{}", uuid::Uuid::new_v4().simple())
        .parse()
        .map_err(|error| format!("{error}"))?;
    let head = gix::open(folder)
        .ok()
        .and_then(|repository| Some(repository.head_id().ok()?.to_string()));
    let commit = head.unwrap_or_else(|| "0".repeat(40));
    let mut message = BuildQueueMessage::new(
        id,
        format!("local/{}", name.trim_matches(['.', '-']))
            .parse()
            .map_err(|error| format!("{error}"))?,
        build_type,
        format!("https://localhost/local/{name}.git")
            .parse()
            .map_err(|error| format!("{error}"))?,
        commit.parse().map_err(|error| format!("{error}"))?,
        Strategy::Local,
    );
    let mut options = BuildOptions::default();
    options.buildpacks = true;
    message.options = Some(Box::new(options));
    Ok(message)
}

// === impl Alone ===

impl Steward for Alone {
    fn tell(&self, _: Happening) {}

    async fn is_ours(&self) -> bool {
        true
    }
}
