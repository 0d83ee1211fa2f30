//! What is counted.

use chassis::{
    Life,
    metrics::metrics::{counter::Counter, family::Family, histogram::Histogram},
};

/// The gateway's metrics; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    deliveries: Family<Outcome, Counter>,
    seconds: Histogram,
}

/// `outcome="…"`.
type Outcome = [(&'static str, &'static str); 1];

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
        Self { deliveries, seconds }
    }

    pub(crate) fn count(&self, outcome: &'static str, seconds: f64) {
        self.deliveries.get_or_create(&[("outcome", outcome)]).inc();
        self.seconds.observe(seconds);
    }
}
