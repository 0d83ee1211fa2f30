//! How fast notifications are delivered, beside what else could deliver them, measured in one run: printed, not asserted.
//!
//! What delivers runs alone on one processor core; Redis, the receiver and what sends have the other.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a program for the shell; what fails must stop it"
)]

mod baseline;
mod receiver;
mod scale;
mod sender;

use receiver::Receiver;
use sender::{Kind, Sender};
use std::time::Duration;
use testkit::Redis;
use tokio::time::Instant;

/// What signs every delivery.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// How many are delivered to one endpoint, and to many.
const DELIVERIES: usize = 20_000;
const ENDPOINTS: usize = 1_000;
/// Attempts at once, for all that are compared.
const AT_ONCE: usize = 64;
/// For the time from sending to receiving: so many, one after another.
const ONE_BY_ONE: usize = 200;
const PAUSE: Duration = Duration::from_millis(10);

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["baseline", port, number] => {
            let baseline = baseline::run(port.parse().unwrap(), number.parse().unwrap());
            tokio::runtime::Runtime::new().unwrap().block_on(baseline); // As the notifier has it.
        }
        ["many"] => runtime.block_on(scale::many()),
        ["half-dead"] => runtime.block_on(scale::half_dead()),
        [] => runtime.block_on(measure(&Kind::ALL)),
        names => {
            let named = Kind::ALL.into_iter().filter(|kind| names.contains(&kind.name()));
            runtime.block_on(measure(&named.collect::<Vec<_>>()));
        }
    }
}

async fn measure(kinds: &[Kind]) {
    println!(
        "{DELIVERIES} deliveries that wait, {AT_ONCE} attempts at once, one core; and one by one, sent to received"
    );
    println!(
        "{:<26}{:>12}{:>12}{:>9}{:>9}{:>9}{:>10}",
        "", "delivered/s", "per core-s", "µs each", "p50 ms", "p99 ms", "peak MiB"
    );
    for kind in kinds {
        one(*kind, 1).await;
        if *kind == Kind::Notifier {
            one(*kind, ENDPOINTS).await;
        }
    }
}

/// Measures one, with so many endpoints, and prints it.
async fn one(kind: Kind, endpoints: usize) {
    let redis = Redis::start_with(&["--save", "", "--appendonly", "no"]);
    let receiver = Receiver::start().await;
    let notifications = DELIVERIES / endpoints;
    sender::fill(kind, &redis, notifications);
    let begun = Instant::now();
    let mut sender = Sender::start(kind, &redis, receiver.port(), endpoints);
    receiver.has(1).await;
    let (first, core) = (Instant::now(), sender.core());
    receiver.has(DELIVERIES).await;
    let (lasted, core) = (
        first.elapsed().as_secs_f64(),
        sender.core().saturating_sub(core).as_secs_f64(),
    );
    let peak = sender.peak_mib();
    let mut within = Vec::new();
    if kind != Kind::Baseline && endpoints == 1 {
        for n in 0..ONE_BY_ONE {
            tokio::time::sleep(PAUSE).await;
            let sent = Instant::now();
            sender::send(kind, &redis, DELIVERIES + n);
            receiver.has(DELIVERIES + n + 1).await;
            within.push(sent.elapsed());
        }
    }
    within.sort();
    let at = |part: usize| {
        let found = within.get(within.len() * part / 100);
        found.map_or_else(|| "-".to_owned(), |time| format!("{:.2}", time.as_secs_f64() * 1e3))
    };
    let name = match endpoints {
        1 => kind.name().to_owned(),
        many => format!("{}, {many} endpoints", kind.name()),
    };
    let count = DELIVERIES as f64;
    println!(
        "{name:<26}{:>12.0}{:>12.0}{:>9.1}{:>9}{:>9}{peak:>10.1}   (began after {:.1} s)",
        count / lasted,
        count / core,
        core * 1e6 / count,
        at(50),
        at(99),
        (first - begun).as_secs_f64(),
    );
    sender.stop();
}
