//! How fast webhooks are taken in, beside what else could take them in, measured in one run: printed, not asserted.
//!
//! Every intake runs alone on one processor core; the load and Redis have the other. What counts is what an
//! intake does with a second of its core, so that a busy machine changes the duration and not the result.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    reason = "a program for the shell; what fails must stop it"
)]

mod baseline;
mod body;
mod intake;
mod load;

use body::Template;
use intake::{Intake, Kind};
use load::Load;
use std::time::Duration;
use testkit::Redis;

/// What signs every delivery.
const SECRET: &str = "It's a Secret to Everybody";
/// Open connections.
const CONNECTIONS: usize = 64;
/// How long each measurement takes, and the most it sends.
const LASTS: Duration = Duration::from_secs(6);
const SENDS: usize = 400_000;
/// Most deliveries to an intake that starts a process for each and does not wait for it.
const STARTS: usize = 4_000;

/// What was measured of one intake under one size of body.
struct Figures {
    kind: Kind,
    per_second: f64,
    per_core_second: f64,
    /// At half of the rate it can take: 50, 99 and 99.9 of 100 within so many milliseconds.
    within_ms: [f64; 3],
    peak_mib: f64,
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["baseline", port, redis] => {
            let baseline = baseline::run(port.parse().unwrap(), redis.parse().unwrap());
            tokio::runtime::Runtime::new().unwrap().block_on(baseline); // As the gateway has it.
        }
        [] => runtime.block_on(measure(&Kind::ALL)),
        names => {
            let named = Kind::ALL.into_iter().filter(|kind| names.contains(&kind.name()));
            runtime.block_on(measure(&named.collect::<Vec<_>>()));
        }
    }
}

async fn measure(kinds: &[Kind]) {
    for kilobytes in [10, 200] {
        println!("\nsigned push bodies of {kilobytes} kB, {CONNECTIONS} connections, one core");
        println!("intake       accepted/s  per core-s  µs each   p50 ms   p99 ms  p99.9 ms  peak MiB  gateway is");
        let template = Template::new(kilobytes * 1_000);
        let mut first = None;
        for kind in kinds {
            let figures = one(*kind, &template).await;
            let ratio = *first.get_or_insert(figures.per_core_second) / figures.per_core_second;
            println!(
                "{:<11} {:>11.0} {:>11.0} {:>8.1} {:>8.2} {:>8.2} {:>9.2} {:>9.1} {ratio:>9.2} ×",
                figures.kind.name(),
                figures.per_second,
                figures.per_core_second,
                1e6 / figures.per_core_second,
                figures.within_ms[0],
                figures.within_ms[1],
                figures.within_ms[2],
                figures.peak_mib,
            );
        }
    }
}

async fn one(kind: Kind, template: &Template) -> Figures {
    let redis = Redis::start_with(&["--save", "", "--appendonly", "no"]);
    let intake = Intake::start(kind, &redis).await;
    let drained = tokio::spawn(intake::drain(redis.port()));
    let most = if kind == Kind::Webhook { STARTS } else { SENDS };
    let load = |rate, most| Load {
        port: intake.port(),
        template,
        connections: CONNECTIONS,
        most,
        lasts: LASTS,
        rate,
    };
    load(None, most / 10).run(0).await; // Whatever is done once is done.
    let before = intake.core();
    let full = load(None, most).run(SENDS).await;
    let core = intake.core().saturating_sub(before);
    let half = load(Some(full.per_second() / 2.0), most).run(2 * SENDS).await;
    drained.abort();
    Figures {
        kind,
        per_second: full.per_second(),
        per_core_second: full.accepted() / core.as_secs_f64(),
        within_ms: half.percentiles_ms(),
        peak_mib: intake.peak_mib(),
    }
}
