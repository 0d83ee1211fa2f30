//! What is counted.

use chassis::{
    Life,
    metrics::metrics::{counter::Counter, family::Family},
};

type Labelled = Family<[(&'static str, &'static str); 1], Counter>;

/// Prow's metrics; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    webhooks: Labelled,
    builds: Labelled,
}

// === impl Metrics ===

impl Metrics {
    pub(crate) fn new(life: &Life) -> Self {
        let (webhooks, builds) = (Labelled::default(), Labelled::default());
        life.metrics(|registry| {
            registry.register("prow_webhooks", "Webhooks by what they led to", webhooks.clone());
            registry.register("prow_builds", "Changes of builds by their new status", builds.clone());
        });
        Self { webhooks, builds }
    }

    pub(crate) fn webhook(&self, result: &'static str) {
        self.webhooks.get_or_create(&[("result", result)]).inc();
    }

    pub(crate) fn build(&self, status: &'static str) {
        self.builds.get_or_create(&[("status", status)]).inc();
    }
}
