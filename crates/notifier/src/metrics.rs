//! What is counted.

use bus::Fate;
use chassis::{
    Life,
    metrics::metrics::{counter::Counter, family::Family, histogram::Histogram},
};

/// The notifier's metrics; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    events: Family<[(&'static str, &'static str); 1], Counter>,
    latency: Histogram,
}

// === impl Metrics ===

impl Metrics {
    pub(crate) fn new(life: &Life) -> Self {
        let events = Family::default();
        let latency = Histogram::new([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0]);
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
        });
        Self { events, latency }
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
