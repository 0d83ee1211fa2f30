//! What is counted.

use chassis::{
    Life,
    metrics::metrics::{counter::Counter, family::Family, histogram::Histogram},
};
use std::time::Duration;

/// The gateway's metrics; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    deliveries: Family<Outcome, Counter>,
    seconds: Histogram,
    /// Of all of them, whatever their outcome: how many, and how long they took in microseconds.
    all: Counter,
    spent: Counter,
}

/// The same, in the words of the older form.
#[derive(Debug, PartialEq)]
pub(crate) struct Totals {
    pub(crate) all: u64,
    /// Proved and understood, whatever followed.
    pub(crate) valid: u64,
    /// All the others.
    pub(crate) invalid: u64,
    /// On their list.
    pub(crate) processed: u64,
    /// Proved and understood, but there was no place for them.
    pub(crate) failed: u64,
    pub(crate) average_ms: f64,
}

/// `outcome="…"`.
type Outcome = [(&'static str, &'static str); 1];

const VALID: &[&str] = &["accepted", "duplicate", "ignored", "pong"];
const FAILED: &[&str] = &["queue_busy", "queue_full", "queue_away"];

// === impl Metrics ===

impl Metrics {
    pub(crate) fn new(life: &Life) -> Self {
        let deliveries = Family::default();
        let seconds = Histogram::new([0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0]);
        life.metrics(|registry| {
            registry.register(
                "gateway_deliveries",
                "Webhook deliveries by outcome",
                Family::clone(&deliveries),
            );
            registry.register("gateway_delivery_seconds", "Time to answer a delivery", seconds.clone());
        });
        Self {
            deliveries,
            seconds,
            all: Counter::default(),
            spent: Counter::default(),
        }
    }

    pub(crate) fn count(&self, outcome: &'static str, spent: Duration) {
        self.deliveries.get_or_create(&[("outcome", outcome)]).inc();
        self.seconds.observe(spent.as_secs_f64());
        self.all.inc();
        self.spent.inc_by(u64::try_from(spent.as_micros()).unwrap_or(u64::MAX));
    }

    pub(crate) fn totals(&self) -> Totals {
        let of = |words: &[&'static str]| -> u64 {
            let count = |word| self.deliveries.get(&[("outcome", word)]).map_or(0, |count| count.get());
            words.iter().copied().map(count).sum()
        };
        let (failed, all) = (of(FAILED), self.all.get());
        let valid = of(VALID) + failed;
        #[expect(clippy::cast_precision_loss, reason = "an average for people")]
        let average_ms = if all == 0 {
            0.0
        } else {
            self.spent.get() as f64 / all as f64 / 1e3
        };
        Totals {
            all,
            valid,
            invalid: all.saturating_sub(valid), // They are counted one after the other.
            processed: of(&["accepted"]),
            failed,
            average_ms,
        }
    }
}
