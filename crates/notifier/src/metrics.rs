//! What is counted.

use bus::{Fate, Stats};
use chassis::{
    Life,
    metrics::metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
};
use std::sync::atomic::AtomicU64;

/// The notifier's metrics; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    events: Family<[(&'static str, &'static str); 1], Counter>,
    latency: Histogram,
    held: Gauge,
    dead: Gauge,
    left_alone: Gauge,
    lag: Gauge<f64, AtomicU64>,
}

// === impl Metrics ===

impl Metrics {
    pub(crate) fn new(life: &Life) -> Self {
        let events = Family::default();
        let latency = Histogram::new([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0]);
        let (held, dead, left_alone) = (Gauge::default(), Gauge::default(), Gauge::default());
        let lag = Gauge::<f64, AtomicU64>::default();
        life.metrics(|registry| {
            registry.register(
                "notifier_webhook_events",
                "Attempts at deliveries by result",
                Family::clone(&events),
            );
            registry.register(
                "notifier_webhook_latency_seconds",
                "Time until the reply",
                latency.clone(),
            );
            registry.register(
                "notifier_deliveries_in_flight",
                "Deliveries that are being tried, by all notifiers",
                held.clone(),
            );
            registry.register(
                "notifier_deliveries_dead",
                "Dead deliveries that are kept",
                dead.clone(),
            );
            registry.register(
                "notifier_endpoints_left_alone",
                "Endpoints whose circuit is broken, or that asked for it",
                left_alone.clone(),
            );
            registry.register(
                "notifier_due_lag_seconds",
                "For how long the endpoint that has waited for longest could have been sent something",
                lag.clone(),
            );
        });
        Self {
            events,
            latency,
            held,
            dead,
            left_alone,
            lag,
        }
    }

    /// How things stand in Redis.
    pub(crate) fn stand(&self, stats: &Stats) {
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.held.set(number(stats.held));
        self.dead.set(number(stats.dead));
        self.left_alone.set(number(stats.left_alone));
        self.lag.set(stats.lag.as_secs_f64());
    }

    pub(crate) fn count(&self, fate: Fate, seconds: f64) {
        let result = match fate {
            Fate::Done => "success",
            Fate::Again(_) | Fate::Later(_) => "retry",
            Fate::Dead => "error",
        };
        self.events.get_or_create(&[("result", result)]).inc();
        self.latency.observe(seconds);
    }
}
