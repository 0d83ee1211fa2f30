#![doc = include_str!("../README.md")]

mod address;
mod body;
mod config;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
mod intake;
mod json;
mod lane;
mod metrics;
mod outlet;
mod proof;
mod provider;
mod rate;
mod reject;
mod routes;
mod rules;
mod schema;
mod secrets;
mod spool;

use arc_swap::ArcSwap;
use bus::{Bus, ErrorKind, Producer};
use chassis::{Failure, Findings, Life, Policy, Service, Values, http};
use contract::WebhookDelivery;
use outlet::Outlet;
use std::{sync::Arc, time::Duration};
use tokio::{sync::watch, time::Instant};

pub use config::Config;

/// How often Redis is asked whether it is there.
const PING_EVERY: Duration = Duration::from_secs(1);

/// The service, for [`chassis::launch`].
pub const SERVICE: Service = Service {
    name: "gateway",
    about: "Takes webhooks of git forges and puts them on a list, once each.",
    admin_listen: "127.0.0.1:9101",
    grace_seconds: "30",
    settings: &[config::SETTINGS, rules::SETTINGS, bus::SETTINGS],
    errands: &[],
};

/// Reads the configuration.
pub fn configure(values: &mut Values) -> Option<Config> {
    Config::read(values)
}

/// Looks at what the gateway needs.
pub async fn check(config: Config) -> Findings {
    let mut findings = Findings::default();
    let secrets = config.rules.rules().map_or(0, |rules| rules.secrets.len());
    if secrets == 0 {
        let cure = "set security.secret (GITHUB_WEBHOOK_SECRET) to what the hook was given at the forge";
        findings.wrong("secret", "there is none, so every webhook is refused", cure);
    } else {
        findings.fine("secret", format!("{secrets} in use"));
    }
    if let Some(spool) = &config.spool {
        findings.folder("spool", &spool.folder);
        let aside = spool::count_refused(&spool.folder);
        if aside > 0 {
            let cure = "look at the files *.refused there; those renamed to *.json are sent after a restart";
            findings.doubtful("spool", format!("put aside, for people to look at: {aside}"), cure);
        }
        let waiting = spool::count_waiting(&spool.folder);
        if waiting > 0 {
            let cure = "they are sent on when Redis is there and gateway runs";
            findings.doubtful("spool", format!("deliveries that wait: {waiting}"), cure);
        }
    }
    for event in config
        .rules
        .events()
        .into_iter()
        .filter(|event| !provider::is_known(event))
    {
        let cure = "write it as the forge does, such as push or Merge Request Hook";
        findings.doubtful(
            "events",
            format!("{event} is configured, and no event that Forge knows"),
            cure,
        );
    }
    bus::examine(&config.bus, &mut findings).await;
    findings
}

/// Serves webhooks until the service stops. While Redis is away they wait in the spool, or are answered 503.
///
/// # Errors
/// When the address is taken, or the spool cannot be used.
pub async fn run(config: Config, life: Life) -> Result<(), Failure> {
    let unusable = |what: &str, error: &dyn std::fmt::Display| Failure::Dependency(format!("{what}: {error}"));
    let bus = Bus::start(config.bus.clone()).map_err(|e| Failure::Dependency(chassis::chain(&e)))?;
    let (rules, tls) = (config.rules.rules(), config.rules.tls());
    let rules = rules.map_err(|(_, error)| unusable("rules", &error))?;
    let tls = tls.map_err(|error| unusable("certificate", &error))?;

    let (batch, carrying) = bus.batch(&config.list);
    life.spawn("batch", Policy::Essential, carrying);
    let open = |spool: &config::Spool| {
        let failed = |error| unusable(&format!("spool {}", spool.folder.display()), &error);
        spool::Spool::open(&spool.folder, spool.most).map_err(failed)
    };
    let spool = config.spool.as_ref().map(open).transpose()?;
    if let Some(spool) = spool.clone() {
        spool.register(&life);
        let forwarding = spool.forward(batch.clone(), life.stopping());
        life.spawn("spool", Policy::Essential, forwarding);
    }
    let outlet = Outlet::new(batch, spool, config.list.limits.message_bytes);
    let watching = watch_redis(bus.clone(), bus.producer(&config.list), life.clone(), outlet.clone());
    life.spawn("redis watch", Policy::Essential, watching);

    if rules.secrets.len() == 0 {
        tracing::warn!("no webhook secret is configured, so every webhook is refused");
    }
    let rules = Arc::new(ArcSwap::from_pointee(rules));
    let (certificate, certificates) = tls.map(watch::channel).unzip();
    let rereading = {
        let rules = Arc::clone(&rules);
        chassis::reread(
            life.clone(),
            config.rules.clone(),
            rules::Text::read,
            rules::SETTINGS,
            move |text| {
                let (Ok(now), Ok(tls)) = (text.rules(), text.tls()) else {
                    return; // It was seen to be good when it was read.
                };
                rules.store(Arc::new(now));
                match (&certificate, tls) {
                    (Some(certificate), Some(tls)) => drop(certificate.send_replace(tls)),
                    (None, None) => {}
                    (Some(_), None) | (None, Some(_)) => tracing::warn!("TLS begins or ends with a restart only"),
                }
            },
        )
    };
    life.spawn("rereading", Policy::Essential, rereading);

    let intake = Arc::new(intake::Intake::new(&config, rules, outlet.clone(), &life));
    life.spawn("tidying", Policy::Essential, Arc::clone(&intake).tidy(life.clone()));
    let shared = routes::Shared {
        intake,
        outlet,
        life: life.clone(),
        started: Instant::now(),
    };
    let routes = routes::routes(&config, shared);
    let limits = http::Limits {
        connections: config.connections,
        ..http::Limits::default()
    };
    match certificates {
        Some(tls) => http::serve_tls("webhooks", config.listen, routes, limits, tls, &life).await?,
        None => http::serve("webhooks", config.listen, routes, limits, &life).await?,
    };
    life.ready();
    Ok(())
}

/// Keeps the readiness true to Redis. An unfit Redis is as bad as none. With a spool the gateway is ready all the
/// same: it can take deliveries.
async fn watch_redis(bus: Bus, list: Producer<WebhookDelivery>, life: Life, outlet: Outlet) {
    let (latch, stopping) = (life.latch("redis"), life.stopping());
    let mut fit = false;
    if outlet.has_spool() {
        latch.right();
    }
    loop {
        let check = async { if fit { bus.ping().await } else { bus.ready().await } };
        let checked = tokio::select! {
            checked = check => checked,
            () = stopping.cancelled() => return,
        };
        if checked.is_ok() != fit {
            match &checked {
                Ok(()) => tracing::info!("redis is there"),
                Err(error) => tracing::warn!(error = %chassis::chain(error), "redis is away"),
            }
        }
        fit = checked.is_ok();
        outlet.redis_is(fit);
        outlet.depth_is(if fit { list.depth().await.ok() } else { None });
        match checked {
            Ok(()) => latch.right(),
            Err(error) => {
                if matches!(error.kind(), ErrorKind::Unsuitable(_) | ErrorKind::Unauthorized) {
                    tracing::error!(error = %chassis::chain(&error), "redis cannot be used");
                }
                if !outlet.has_spool() {
                    latch.wrong(error.to_string());
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(PING_EVERY) => {}
            () = stopping.cancelled() => return,
        }
    }
}
