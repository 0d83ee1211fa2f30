#![doc = include_str!("../README.md")]

mod config;
mod github;
mod hook;
mod metrics;
mod reject;
mod routes;

use bus::{Bus, ErrorKind};
use chassis::{Failure, Findings, Life, Service};
use std::time::Duration;

pub use config::Config;

/// How often Redis is asked whether it is there.
const PING_EVERY: Duration = Duration::from_secs(1);

/// The service, for [`chassis::launch`].
pub const SERVICE: Service = Service {
    name: "gateway",
    about: "Takes webhooks of git forges and puts them on a list, once each.",
    admin_listen: "127.0.0.1:9101",
    grace_seconds: "30",
    settings: &[config::SETTINGS, bus::SETTINGS],
};

/// Reads the configuration.
pub fn configure(values: &mut chassis::Values) -> Option<Config> {
    Config::read(values)
}

/// Looks at what the gateway needs.
pub async fn check(config: Config) -> Findings {
    let mut findings = Findings::default();
    if config.secrets.is_empty() {
        let cure = "set security.secret (GITHUB_WEBHOOK_SECRET) to what the hook was given at the forge";
        findings.wrong("secret", "there is none, so every webhook is refused", cure);
    } else {
        findings.fine("secret", format!("{} in use", config.secrets.len()));
    }
    bus::examine(&config.bus, &mut findings).await;
    findings
}

/// Serves webhooks until the service stops. Answers 503 while Redis is away.
///
/// # Errors
/// When the address is taken.
pub async fn run(config: Config, life: Life) -> Result<(), Failure> {
    let bus = Bus::start(config.bus.clone()).map_err(|e| Failure::Dependency(chassis::chain(&e)))?;
    let redis = life.latch("redis");
    life.spawn(
        "redis watch",
        chassis::Policy::Essential,
        watch_redis(bus.clone(), redis, life.stopping()),
    );
    if config.secrets.is_empty() {
        tracing::warn!("no webhook secret is configured, so every webhook is refused");
    }
    let routes = routes::routes(&config, &bus, &life);
    chassis::http::serve(
        "webhooks",
        config.listen,
        routes,
        chassis::http::Limits::default(),
        &life,
    )
    .await?;
    life.ready();
    Ok(())
}

/// Keeps the readiness true to Redis. An unfit Redis is as bad as none.
async fn watch_redis(bus: Bus, latch: chassis::Latch, stopping: tokio_util::sync::CancellationToken) {
    let mut fit = false;
    loop {
        let checked = if fit { bus.ping().await } else { bus.ready().await };
        match checked {
            Ok(()) => {
                fit = true;
                latch.right();
            }
            Err(error) => {
                if matches!(error.kind(), ErrorKind::Unsuitable(_) | ErrorKind::Unauthorized) {
                    tracing::error!(error = %chassis::chain(&error), "redis cannot be used");
                }
                latch.wrong(error.to_string());
            }
        }
        tokio::select! {
            () = tokio::time::sleep(PING_EVERY) => {}
            () = stopping.cancelled() => return,
        }
    }
}
