//! What is counted.

use chassis::{
    Life,
    metrics::metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
};

/// Forgery's metrics; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    builds: Family<[(&'static str, &'static str); 1], Counter>,
    pub(crate) running: Gauge,
    seconds: Histogram,
}

// === impl Metrics ===

impl Metrics {
    pub(crate) fn new(life: &Life) -> Self {
        let (builds, running) = (Family::default(), Gauge::default());
        let seconds = Histogram::new([0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 1800.0]);
        life.metrics(|registry| {
            registry.register("forgery_builds", "Attempts by how they ended", Family::clone(&builds));
            registry.register("forgery_running", "Builds that run now", running.clone());
            registry.register("forgery_build_seconds", "Time an attempt took", seconds.clone());
        });
        Self {
            builds,
            running,
            seconds,
        }
    }

    pub(crate) fn count(&self, outcome: &'static str, seconds: f64) {
        self.builds.get_or_create(&[("outcome", outcome)]).inc();
        self.seconds.observe(seconds);
    }
}
