#![doc = include_str!("../README.md")]

mod announce;
mod api;
mod book;
mod channel;
mod client;
mod config;
mod deliver;
mod endpoint;
mod expand;
mod filter;
mod guard;
mod metrics;
mod outcome;
mod rounds;
mod tls;
mod wanted;
mod wording;

use announce::Announcer;
use api::Api;
use book::Book;
use bus::{Bus, Courier, clock};
use chassis::{Failure, Findings, Life, Service};
use client::Clients;
use deliver::Deliver;
use expand::Expand;
use metrics::Metrics;
use rounds::Rounds;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{Notify, Semaphore},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

pub use config::Config;

/// The service, for [`chassis::launch`].
pub const SERVICE: Service = Service {
    name: "notifier",
    about: "Tells others what happened: signed webhooks, retried until they arrive.",
    admin_listen: "127.0.0.1:9104",
    grace_seconds: "30",
    settings: &[config::SETTINGS, config::channels::SETTINGS, bus::SETTINGS],
    errands: &[],
};

/// How often what dead notifiers held is looked for, and how things stand.
const REAP: Duration = Duration::from_secs(5);
/// Whoever comes to that after so long has slept, in milliseconds.
const SLEPT_MS: i64 = 10_000;

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
    let courier = bus.courier(&config.notifications);
    let book = Arc::new(Book::new(
        courier.clone(),
        config.guard.clone(),
        config.endpoints,
        config.usual,
        life.clone(),
    ));
    book.refresh().await.map_err(unfit)?;
    if book.pages().all().is_empty() {
        tracing::warn!("no endpoint is configured, so nobody is told anything");
    }
    let (tended, stopping) = (Arc::clone(&book), life.stopping());
    life.keep("book", move || Arc::clone(&tended).tend(stopping.clone()));
    let kick = Arc::new(Notify::new());
    let expand = Expand {
        book: Arc::clone(&book),
        kick: Arc::clone(&kick),
    };
    expand.start(&bus, &config.notifications, &life).await.map_err(unfit)?;
    let announcer = Announcer {
        book: Arc::clone(&book),
        notifications: bus.producer(&config.notifications),
    };
    if let Some(token) = &config.token {
        let api = Api {
            book: Arc::clone(&book),
            kick: Arc::clone(&kick),
            announcer: announcer.clone(),
        };
        life.serve_admin(api::routes(api, token));
    }
    let metrics = Metrics::new(&life);
    let deliver = Deliver {
        clients: Clients::new(&config.guard).map_err(|error| Failure::Dependency(chassis::chain(&error)))?,
        book,
        metrics: metrics.clone(),
        refused: config.refused,
        stopping: life.stopping(),
    };
    announcer.want_logs().await;
    let rounds = Arc::new(Rounds {
        courier: courier.clone(),
        patience: config.patience,
        room: Arc::new(Semaphore::new(config.max_in_flight)),
        most: config.max_in_flight * rounds::PATIENT,
        deliver,
        announcer: announcer.clone(),
        kick,
    });
    let stopping = life.stopping();
    life.keep("rounds", move || Arc::clone(&rounds).run(stopping.clone()));
    let stopping = life.stopping();
    life.keep("reaper", move || {
        reap(courier.clone(), metrics.clone(), announcer.clone(), stopping.clone())
    });
    life.ready();
    Ok(())
}

/// Frees what dead notifiers held, tells what they did not, and counts what there is.
async fn reap(courier: Courier, metrics: Metrics, announcer: Announcer, stopping: CancellationToken) {
    // While Redis was away, or all of us slept, nobody could say that it lives; nothing is freed before all have had the
    // time to.
    let (mut calm_from, mut looked) = (Instant::now(), clock::now_ms());
    while stopping.run_until_cancelled(tokio::time::sleep(REAP)).await.is_some() {
        // By the clock of the day: the other one stands still while a machine sleeps.
        let now = clock::now_ms();
        if now.saturating_sub(looked) > SLEPT_MS {
            calm_from = Instant::now();
        }
        looked = now;
        while calm_from.elapsed() > config::LEASE && !stopping.is_cancelled() {
            match freed(&courier).await {
                Some(0) => break,
                Some(_) => {}
                None => calm_from = Instant::now(),
            }
        }
        announcer.announce().await; // What whoever has died has left.
        announcer.want_logs().await;
        match courier.stats().await {
            Ok(stats) => metrics.stand(&stats),
            Err(_away) => calm_from = Instant::now(),
        }
    }
}

/// Frees some of it; how much, unless Redis is away.
async fn freed(courier: &Courier) -> Option<u64> {
    match courier.reap().await {
        Ok(freed) => {
            if freed > 0 {
                tracing::warn!(freed, "a notifier has died; what it was delivering is delivered again");
            }
            Some(freed)
        }
        Err(error) => {
            tracing::warn!(error = %chassis::chain(&error), "cannot look for what dead notifiers held");
            None
        }
    }
}
