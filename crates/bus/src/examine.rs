//! What can be wrong with a Redis, looked at before it shows.

use crate::{
    Bus, Error, Settings, clock,
    connection::{self, field},
    script,
};
use chassis::Findings;
use fred::{interfaces::ClientLike as _, types::InfoKind};
use std::time::Duration;
use tokio::time::Instant;

/// How long Redis may take to be reached.
const PATIENCE: Duration = Duration::from_secs(5);
const PINGS: usize = 20;
/// Every webhook waits for at least one answer of Redis.
const SLOW: Duration = Duration::from_millis(20);
/// Clocks that are further apart make receivers refuse what is signed.
const APART: u64 = 2_000;
/// Above these parts of its memory Redis is filling up, and about to refuse everything.
const FILLING: u64 = 60;
const FULL: u64 = 90;

/// Looks at the Redis that these settings name.
pub async fn examine(settings: &Settings, findings: &mut Findings) {
    let place = connection::place(settings.url.expose());
    let bus = match Bus::start(settings.clone()) {
        Ok(bus) => bus,
        Err(error) => return findings.wrong("redis", chassis::chain(&error), "put redis.url (REDIS_URL) right"),
    };
    let connected = tokio::time::timeout(PATIENCE, bus.reached()).await;
    if connected.is_err() {
        let text = format!("{place} cannot be reached, or refuses the credentials");
        return findings.wrong("redis", text, "start Redis, or put redis.url (REDIS_URL) right");
    }
    if let Err(error) = look(&bus, &place, findings).await {
        findings.wrong("redis", chassis::chain(&error), "see what the log of Redis says");
    }
}

async fn look(bus: &Bus, place: &str, findings: &mut Findings) -> Result<(), Error> {
    let failed = |source| Error::redis(source, "examine", "redis");
    let client = bus.client();
    let info: String = client.info(Some(InfoKind::Default)).await.map_err(failed)?;
    let number = |name: &str| field(&info, name).parse::<u64>().unwrap_or_default();
    match bus.check(&info) {
        Ok(()) => findings.fine("redis", format!("{} at {place}", field(&info, "redis_version"))),
        Err(error) => findings.wrong(
            "redis",
            error.to_string(),
            "see above, or redis.allow_eviction if losses are fine",
        ),
    }
    if field(&info, "role") != "master" && !client.is_clustered() {
        let cure = "name the primary, or its sentinels by redis-sentinel://";
        findings.wrong("redis role", format!("this is a {}", field(&info, "role")), cure);
    }
    if number("aof_enabled") == 0 {
        let text = "appendonly is off: what was not saved is lost when Redis dies";
        findings.doubtful("persistence", text, "set appendonly yes (deploy/redis.conf)");
    } else if field(&info, "aof_last_write_status") != "ok" {
        findings.wrong(
            "persistence",
            "Redis cannot write its append-only file",
            "look at its disk",
        );
    } else {
        findings.fine("persistence", "append-only file");
    }
    let (used, most) = (number("used_memory"), number("maxmemory"));
    let percent = used.saturating_mul(100).checked_div(most);
    match percent {
        None => {
            let text = format!(
                "{} MiB used, no bound: the kernel may end Redis when memory runs out",
                used >> 20
            );
            findings.doubtful(
                "memory",
                text,
                "set maxmemory to less than 75 % of the machine's memory",
            );
        }
        Some(FULL..) => findings.wrong(
            "memory",
            format!("{} % used", percent.unwrap_or_default()),
            "raise maxmemory",
        ),
        Some(FILLING..) => {
            findings.doubtful(
                "memory",
                format!("{} % used", percent.unwrap_or_default()),
                "raise maxmemory, or add workers",
            );
        }
        Some(percent) => findings.fine("memory", format!("{percent} % used")),
    }
    latency_and_clock(bus, findings).await
}

async fn latency_and_clock(bus: &Bus, findings: &mut Findings) -> Result<(), Error> {
    let mut times = Vec::with_capacity(PINGS);
    for _ in 0..PINGS {
        let begun = Instant::now();
        bus.ping().await?;
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    let median = times.get(PINGS / 2).copied().unwrap_or_default();
    let text = format!("{:.1} ms", median.as_secs_f64() * 1e3);
    if median > SLOW {
        findings.doubtful("latency", text, "bring Redis nearer; every webhook waits for it");
    } else {
        findings.fine("latency", text);
    }
    // A script of ours, so that what an ACL forbids shows here.
    let answer = script::run(
        bus.client(),
        &bus.scripts().clock,
        "ask the time",
        vec!["forge:clock".to_owned()],
        Vec::new(),
    )
    .await?;
    let apart = answer
        .number(0)
        .abs_diff(u64::try_from(clock::now_ms()).unwrap_or_default());
    let text = format!("{:.1} s from that of Redis", Duration::from_millis(apart).as_secs_f64());
    if apart > APART {
        findings.doubtful("clock", text, "let both machines follow the same time (NTP)");
    } else {
        findings.fine("clock", text);
    }
    Ok(())
}
