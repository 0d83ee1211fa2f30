#![doc = include_str!("../README.md")]

mod access;
mod api;
mod archive;
mod backup;
mod begin;
mod config;
mod correlation;
mod deployment;
mod dispatcher;
mod intake;
mod metrics;
mod notice;
mod planner;
mod reconciler;
mod redelivery;
mod retention;
mod scheduler;
mod service;
mod stop;
mod store;
mod ticket;
mod tracker;
mod updates;
mod verdict;

use bus::{Bus, Slot};
use chassis::{Asked, Errand, Failure, Findings, Life, Policy, Service};
use contract::{Message, route::List};
use tokio_util::sync::CancellationToken;

pub use config::Config;

const BACKUP: &str = "backup";
const RESTORE: &str = "restore";

/// The service, for [`chassis::launch_with`].
pub const SERVICE: Service = Service {
    name: "prow",
    about: "Decides which event becomes which build, remembers, and answers people.",
    admin_listen: "127.0.0.1:9102",
    grace_seconds: "30",
    settings: &[config::SETTINGS, bus::SETTINGS],
    errands: &[
        Errand {
            name: BACKUP,
            about: "Writes all of the database into a file, as it is at this moment; prow may be running",
            argument: "FILE",
        },
        Errand {
            name: RESTORE,
            about: "Reads such a file into a database that holds nothing yet, of either kind",
            argument: "FILE",
        },
    ],
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

/// Carries out `prow backup FILE` or `prow restore FILE`.
///
/// # Errors
/// When the database or the file is unfit.
pub async fn errand(config: Config, asked: Asked) -> Result<String, Failure> {
    let done = if asked.name == BACKUP {
        backup::write(&config.database, &asked.argument).await
    } else {
        backup::restore(&config.database, &asked.argument).await
    };
    done.map_err(|error| Failure::Dependency(chassis::chain(&error)))
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
    let archive = archive::Archive::open(&config.logs, &bus, &store, &config.notifications)
        .map_err(|error| Failure::Dependency(chassis::chain(&error)))?;
    let keeper = archive::Keeper::new(&archive, &store, &life);
    life.keep("logs", {
        let keeper = keeper.clone();
        move || keeper.clone().run()
    });
    let dispatcher = dispatcher::Dispatcher::new(&config, &bus, &store);
    let kick = dispatcher.kick();
    keep(&life, "dispatcher", move |stopping| dispatcher.clone().run(stopping));
    look_after(&config, &bus, &store, &archive, &kick, &life)?;
    let updates = updates::Updates::new(&bus, &store, &config.updates_channel);
    let (announcing, hearing) = (updates.clone(), updates.clone());
    keep(&life, "announcing", move |stopping| {
        announcing.clone().announce(stopping)
    });
    keep(&life, "hearing", move |stopping| hearing.clone().hear(stopping));

    let planning = intake::Webhooks::new(&config, &store, &kick, &metrics);
    let intake = planning.clone();
    take(&bus, &config.webhooks, "webhooks", &life, move |slot, stopping| {
        intake.clone().run(slot, stopping)
    })
    .await?;
    let intake = intake::Events::new(&config, &store, &kick, &keeper, &metrics);
    take(&bus, &config.events, "events", &life, move |slot, stopping| {
        intake.clone().run(slot, stopping)
    })
    .await?;
    let intake = intake::Deployments::new(&store, &kick);
    let events = &config.deployment_events;
    take(&bus, events, "deployment events", &life, move |slot, stopping| {
        intake.clone().run(slot, stopping)
    })
    .await?;
    let intake = intake::Workers::new(&store);
    take(&bus, &config.workers, "workers", &life, move |slot, stopping| {
        intake.clone().run(slot, stopping)
    })
    .await?;

    let parts = api::Parts {
        store,
        archive,
        canceller: bus.canceller(&config.builds, &config.cancel_channel),
        deployment_canceller: reconciler::deployment_canceller(&config, &bus),
        queues: api::Queues::new(&config, &bus),
        token,
        planning,
        updates,
        kick,
        public_badges: config.public_badges,
        origins: config.origins.clone(),
    };
    let routes = api::routes(parts.into());
    chassis::http::serve("api", config.listen, routes, chassis::http::Limits::default(), &life).await?;
    life.ready();
    Ok(())
}

/// What is done now and then, whatever comes.
fn look_after(
    config: &Config,
    bus: &Bus,
    store: &store::Store,
    archive: &archive::Archive,
    kick: &dispatcher::Kick,
    life: &Life,
) -> Result<(), Failure> {
    let retention = retention::Retention::new(config, store, archive);
    keep(life, "retention", move |stopping| retention.clone().run(stopping));
    let reconciler = reconciler::Reconciler::new(config, bus, store, kick);
    keep(life, "reconciler", move |stopping| reconciler.clone().run(stopping));
    let scheduler = scheduler::Scheduler::new(store, kick);
    keep(life, "scheduler", move |stopping| scheduler.clone().run(stopping));
    let redelivery = redelivery::Redelivery::new(config.hooks.as_ref(), store)
        .map_err(|error| Failure::Dependency(chassis::chain(&error)))?;
    if let Some(redelivery) = redelivery {
        keep(life, "redelivery", move |stopping| redelivery.clone().run(stopping));
    }
    Ok(())
}

/// Keeps something going until the service stops.
fn keep<F>(life: &Life, name: &'static str, run: impl Fn(CancellationToken) -> F + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    let stopping = life.stopping();
    life.keep(name, move || run(stopping.clone()));
}

/// Joins those who take from a list, with one slot, and keeps taking.
async fn take<T: Message, F>(
    bus: &Bus,
    list: &List<T>,
    name: &'static str,
    life: &Life,
    run: impl Fn(Slot<T>, CancellationToken) -> F + Send + 'static,
) -> Result<(), Failure>
where
    F: Future<Output = ()> + Send + 'static,
{
    let worker = bus.worker(list, "prow", 1, |_| String::new()).await;
    let worker = worker.map_err(|error| Failure::Dependency(chassis::chain(&error)))?;
    life.spawn(name, Policy::Essential, worker.tend(life.stopping()));
    keep(life, name, move |stopping| run(worker.slot(0), stopping));
    Ok(())
}
