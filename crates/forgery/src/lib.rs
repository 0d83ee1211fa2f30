#![doc = include_str!("../README.md")]

mod attempt;
mod cancel;
mod config;
mod context;
mod deploy;
mod end;
mod engine;
mod failure;
mod git;
mod ignore;
mod image;
mod logs;
mod metrics;
mod progress;
mod reconciler;
mod registry;
#[cfg(feature = "rehearsal")]
mod rehearsal;
mod report;
mod roster;
mod slot;
mod workspace;

use bus::Bus;
use chassis::{Failure, Findings, Life, Policy, Service};
use contract::{BuildEvent, BuildQueueMessage, Failure as BuildFailure, Happening, Message as _, Terminal};
use std::sync::Arc;

pub use config::Config;

/// The service, for [`chassis::launch`].
pub const SERVICE: Service = Service {
    name: "forgery",
    about: "Takes builds from a list and carries them out.",
    admin_listen: "127.0.0.1:9103",
    grace_seconds: "600",
    settings: &[config::SETTINGS, bus::SETTINGS],
    errands: &[],
};

/// Reads the configuration.
pub fn configure(values: &mut chassis::Values) -> Option<Config> {
    Config::read(values)
}

/// Looks at what forgery needs.
pub async fn check(config: Config) -> Findings {
    let mut findings = Findings::default();
    findings.folder("work folder", &config.work_dir);
    engine::examine(&mut findings).await;
    match &config.registry {
        Some(registry) => registry::examine(registry, &mut findings).await,
        None => findings.doubtful(
            "registry",
            "there is none: builds that push fail",
            "set registry.prefix (REGISTRY)",
        ),
    }
    bus::examine(&config.bus, &mut findings).await;
    findings
}

/// Builds until the service stops.
///
/// # Errors
/// When Redis, the engine or the work folder is unfit.
pub async fn run(config: Config, life: Life) -> Result<(), Failure> {
    let unfit = |error: bus::Error| Failure::Dependency(chassis::chain(&error));
    let engine = engine::Engine::connect()
        .await
        .map_err(|error| Failure::Dependency(chassis::chain(&error)))?;
    let workspaces = workspace::Workspaces::open(&config.work_dir)
        .map_err(|error| Failure::Dependency(format!("work folder {}: {error}", config.work_dir.display())))?;
    let bus = Bus::start(config.bus.clone()).map_err(unfit)?;
    bus.ready().await.map_err(unfit)?;

    let installation = bus.holders(&config.builds).installation().await.map_err(unfit)?;
    let worker = bus
        .worker(&config.builds, "forgery", config.slots, lost)
        .await
        .map_err(unfit)?;
    tracing::info!(worker = worker.name(), slots = config.slots, "joined");
    life.spawn("worker", Policy::Essential, worker.tend(life.stopping()));
    let listener = cancel::Listener::new(&bus, &config, &worker);
    let (listener, channel) = listener.subscribe().await.map_err(unfit)?;
    life.spawn("cancel", Policy::Essential, listener.run(channel, life.stopping()));

    let metrics = metrics::Metrics::new(&life);
    let slots = config.slots;
    let bench = Arc::new(attempt::Bench {
        engine,
        workspaces,
        installation,
        bus: bus.clone(),
        config,
        metrics,
        roster: roster::Roster::default(),
    });
    let teller = roster::Teller::new(&bench, worker.name(), &life);
    life.spawn("roster", Policy::BestEffort, teller.run());
    life.keep("reconciler", {
        let (reconciler, stopping) = (reconciler::Reconciler::new(&bench, &worker), life.stopping());
        move || reconciler.clone().run(stopping.clone())
    });
    if bench.config.deploys {
        let worker = bus.worker(&bench.config.deployments, "forgery", 1, deploy::lost).await;
        let worker = worker.map_err(unfit)?;
        life.spawn("deployments worker", Policy::Essential, worker.tend(life.stopping()));
        let (bench, its_life) = (Arc::clone(&bench), life.clone());
        life.keep("deployments", move || {
            deploy::Taking::new(&worker, 0, &bench, &its_life).run()
        });
    }
    for n in 0..slots {
        let (worker, bench, its_life) = (Arc::clone(&worker), Arc::clone(&bench), life.clone());
        life.keep("slot", move || slot::Taking::new(&worker, n, &bench, &its_life).run());
    }
    life.ready();
    Ok(())
}

/// The event that tells that a build's workers died too often.
fn lost(message: &BuildQueueMessage) -> String {
    let failure = BuildFailure::new("worker_lost", "the workers that ran it died too often");
    let event = Happening::ended(Terminal::Lost, failure);
    BuildEvent::new(message.id.clone(), 0, 0, bus::clock::now(), event)
        .to_json()
        .unwrap_or_default()
}
