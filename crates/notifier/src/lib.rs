#![doc = include_str!("../README.md")]

mod client;
mod config;
mod deliver;
mod endpoint;
mod expand;
mod metrics;
mod outcome;

use bus::Bus;
use chassis::{Failure, Findings, Life, Policy, Service};
use std::sync::Arc;

pub use config::Config;

/// The service, for [`chassis::launch`].
pub const SERVICE: Service = Service {
    name: "notifier",
    about: "Tells others what happened: signed webhooks, retried until they arrive.",
    admin_listen: "127.0.0.1:9104",
    grace_seconds: "30",
    settings: &[config::SETTINGS, bus::SETTINGS],
    errands: &[],
};

/// Notifications are expanded one at a time: it takes a millisecond each.
const EXPANDERS: usize = 1;

/// Reads the configuration.
pub fn configure(values: &mut chassis::Values) -> Option<Config> {
    Config::read(values)
}

/// Looks at what notifier needs.
pub async fn check(config: Config) -> Findings {
    let mut findings = Findings::default();
    if config.endpoints.is_empty() {
        findings.doubtful(
            "endpoints",
            "there are none: nobody is told anything",
            "set webhook.url (WEBHOOK_URL)",
        );
    }
    for endpoint in &config.endpoints {
        endpoint.examine(&mut findings).await;
    }
    bus::examine(&config.bus, &mut findings).await;
    findings
}

/// Delivers notifications until the service stops.
///
/// # Errors
/// When Redis is unfit.
pub async fn run(config: Config, life: Life) -> Result<(), Failure> {
    let unfit = |error: bus::Error| Failure::Dependency(chassis::chain(&error));
    let bus = Bus::start(config.bus.clone()).map_err(unfit)?;
    bus.ready().await.map_err(unfit)?;
    let endpoints = Arc::new(config.endpoints);
    if endpoints.is_empty() {
        tracing::warn!("no endpoint is configured, so nobody is told anything");
    }
    let deliveries = contract::route::deliveries(&config.notifications)
        .limited(|limits| limits.attempts = config.schedule.attempts());
    let metrics = metrics::Metrics::new(&life);
    let client = client::client().map_err(|error| Failure::Dependency(chassis::chain(&error)))?;

    let expanders = bus
        .worker(&config.notifications, "notifier", EXPANDERS, |_| String::new())
        .await
        .map_err(unfit)?;
    life.spawn("expanders", Policy::Essential, expanders.tend(life.stopping()));
    let expand = expand::Expand::new(bus.producer(&deliveries), Arc::clone(&endpoints));
    for n in 0..EXPANDERS {
        let (worker, expand, stopping) = (Arc::clone(&expanders), expand.clone(), life.stopping());
        life.keep("expander", move || expand.clone().run(worker.slot(n), stopping.clone()));
    }

    let senders = bus
        .worker(&deliveries, "notifier", config.max_in_flight, |_| String::new())
        .await
        .map_err(unfit)?;
    life.spawn("senders", Policy::Essential, senders.tend(life.stopping()));
    let deliver = deliver::Deliver::new(client, endpoints, config.schedule, metrics);
    for n in 0..config.max_in_flight {
        let (worker, deliver, stopping) = (Arc::clone(&senders), deliver.clone(), life.stopping());
        life.keep("sender", move || deliver.clone().run(worker.slot(n), stopping.clone()));
    }
    life.ready();
    Ok(())
}
