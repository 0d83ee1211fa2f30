#![doc = include_str!("../README.md")]

mod access;
mod api;
mod archive;
mod config;
mod correlation;
mod deployment;
mod dispatcher;
mod intake;
mod metrics;
mod notice;
mod planner;
mod reconciler;
mod retention;
mod service;
mod stop;
mod store;
mod tracker;

use bus::{Bus, Worker};
use chassis::{Failure, Findings, Life, Policy, Service};
use contract::{Message, route::List};
use std::sync::Arc;

pub use config::Config;

/// The service, for [`chassis::launch`].
pub const SERVICE: Service = Service {
    name: "prow",
    about: "Decides which event becomes which build, remembers, and answers people.",
    admin_listen: "127.0.0.1:9102",
    grace_seconds: "30",
    settings: &[config::SETTINGS, bus::SETTINGS],
};

/// Reads the configuration.
pub fn configure(values: &mut chassis::Values) -> Option<Config> {
    Config::read(values)
}

/// Looks at what prow needs.
pub async fn check(config: Config) -> Findings {
    let mut findings = Findings::default();
    findings.folder("data", &config.data_dir);
    archive::examine(&config.logs, &mut findings).await;
    store::examine(&config.database, &mut findings).await;
    bus::examine(&config.bus, &mut findings).await;
    findings
}

/// Runs the control plane until the service stops.
///
/// # Errors
/// When Redis or the database is unfit, or the address is taken.
pub async fn run(config: Config, life: Life) -> Result<(), Failure> {
    let unfit = |error: bus::Error| Failure::Dependency(chassis::chain(&error));
    let broken = |error: store::Error| Failure::Dependency(chassis::chain(&error));
    let store = store::Store::open(&config.database).await.map_err(broken)?;
    let token = api::AdminToken::settle(&config).map_err(|error| Failure::Dependency(error.to_string()))?;
    let bus = Bus::start(config.bus.clone()).map_err(unfit)?;
    bus.ready().await.map_err(unfit)?;

    let metrics = metrics::Metrics::new(&life);
    let archive = archive::Archive::open(&config.logs, &bus, &store)
        .map_err(|error| Failure::Dependency(chassis::chain(&error)))?;
    let keeper = archive::Keeper::new(&archive, &store, &life);
    life.keep("logs", {
        let keeper = keeper.clone();
        move || keeper.clone().run()
    });
    life.keep("retention", {
        let (retention, stopping) = (retention::Retention::new(&config, &store, &archive), life.stopping());
        move || retention.clone().run(stopping.clone())
    });
    let dispatcher = dispatcher::Dispatcher::new(&config, &bus, &store);
    let kick = dispatcher.kick();
    life.keep("dispatcher", {
        let (dispatcher, stopping) = (dispatcher.clone(), life.stopping());
        move || dispatcher.clone().run(stopping.clone())
    });
    life.keep("reconciler", {
        let (reconciler, stopping) = (
            reconciler::Reconciler::new(&config, &bus, &store, &kick),
            life.stopping(),
        );
        move || reconciler.clone().run(stopping.clone())
    });

    let webhooks = slot(&bus, &config.webhooks, "webhooks worker", &life).await?;
    let planning = intake::Webhooks::new(&config, &store, &kick, &metrics);
    life.keep("webhooks", {
        let (intake, stopping) = (planning.clone(), life.stopping());
        move || intake.clone().run(webhooks.slot(0), stopping.clone())
    });
    let events = slot(&bus, &config.events, "events worker", &life).await?;
    let intake = intake::Events::new(&config, &store, &kick, &keeper, &metrics);
    life.keep("events", {
        let stopping = life.stopping();
        move || intake.clone().run(events.slot(0), stopping.clone())
    });
    let events = slot(&bus, &config.deployment_events, "deployment events worker", &life).await?;
    let intake = intake::Deployments::new(&store, &kick);
    life.keep("deployment events", {
        let stopping = life.stopping();
        move || intake.clone().run(events.slot(0), stopping.clone())
    });

    let parts = api::Parts {
        store,
        archive,
        canceller: bus.canceller(&config.builds, &config.cancel_channel),
        deployment_canceller: reconciler::deployment_canceller(&config, &bus),
        queues: api::Queues::new(&config, &bus),
        token,
        planning,
        kick,
    };
    let routes = api::routes(parts.into());
    chassis::http::serve("api", config.listen, routes, chassis::http::Limits::default(), &life).await?;
    life.ready();
    Ok(())
}

/// Joins those who take from a list, with one slot.
async fn slot<T: Message>(
    bus: &Bus,
    list: &List<T>,
    name: &'static str,
    life: &Life,
) -> Result<Arc<Worker<T>>, Failure> {
    let worker = bus.worker(list, "prow", 1, |_| String::new()).await;
    let worker = worker.map_err(|error| Failure::Dependency(chassis::chain(&error)))?;
    life.spawn(name, Policy::Essential, worker.tend(life.stopping()));
    Ok(worker)
}
