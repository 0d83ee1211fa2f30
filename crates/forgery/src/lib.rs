#![doc = include_str!("../README.md")]

mod alone;
mod artifacts;
mod attempt;
mod bench;
mod buildpacks;
mod cancel;
mod checkout;
mod compose;
mod config;
mod context;
mod deploy;
mod disk;
mod end;
mod engine;
mod errands;
mod failure;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
mod ignore;
mod image;
mod images;
mod lines;
mod listen;
mod logs;
mod metrics;
mod pipeline;
mod progress;
mod publish;
mod reconciler;
mod redact;
mod registry;
#[cfg(feature = "rehearsal")]
mod rehearsal;
mod report;
mod roster;
mod secrets;
mod slot;
mod tools;
mod workspace;

use bus::Bus;
use chassis::{Failure, Findings, Life, Policy, Service};
use contract::{BuildEvent, BuildQueueMessage, Failure as BuildFailure, Happening, Message as _, Terminal};
use std::sync::Arc;

pub use config::Config;
pub use errands::errand;

/// The service, for [`chassis::launch`].
pub const SERVICE: Service = Service {
    name: "forgery",
    about: "Takes builds from a list and carries them out.",
    admin_listen: "127.0.0.1:9103",
    grace_seconds: "600",
    settings: &[
        config::OWN,
        config::STEPS,
        config::GIT,
        config::REGISTRIES,
        bus::SETTINGS,
    ],
    errands: errands::ALL,
};

/// Reads the configuration.
pub fn configure(values: &mut chassis::Values) -> Option<Config> {
    Config::read(values)
}

/// Looks at what forgery needs.
pub async fn check(config: Config) -> Findings {
    let mut findings = Findings::default();
    findings.folder("work folder", &config.work_dir);
    findings.folder("mirrors", &config.git.mirrors);
    engine::examine(&mut findings).await;
    let registry = registry::Registry::new(&config.registry);
    match registry.as_ref().map(|registry| (registry, registry.prefix.as_deref())) {
        Ok((registry, Some(prefix))) => registry::examine(registry, prefix, &mut findings).await,
        Err(error) => findings.wrong(
            "registry",
            chassis::chain(error),
            "see the certificates of this machine",
        ),
        Ok((_, None)) => findings.doubtful(
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
    let bus = Bus::start(config.bus.clone()).map_err(unfit)?;
    bus.ready().await.map_err(unfit)?;

    let installation = bus.holders(&config.builds).installation().await.map_err(unfit)?;
    let tools = tools::Tools::find(config.clone(), installation).await?;
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
    let bench = Arc::new(bench::Bench {
        tools,
        bus: bus.clone(),
        metrics,
        roster: roster::Roster::default(),
        room: disk::Room::default(),
    });
    let teller = roster::Teller::new(&bench, worker.name(), &life);
    life.spawn("roster", Policy::BestEffort, teller.run());
    life.keep("reconciler", {
        let (reconciler, stopping) = (reconciler::Reconciler::new(&bench, &worker), life.stopping());
        move || reconciler.clone().run(stopping.clone())
    });
    let governor = disk::Governor::new(&bench).await;
    life.keep("disk", {
        let stopping = life.stopping();
        move || governor.clone().run(stopping.clone())
    });
    if bench.tools.config.deploys {
        let worker = bus
            .worker(&bench.tools.config.deployments, "forgery", 1, deploy::lost)
            .await;
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
