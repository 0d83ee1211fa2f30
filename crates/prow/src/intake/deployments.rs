//! Events of deployments become their states, recorded with what others are told.

use super::settle;
use crate::{
    deployment,
    dispatcher::Kick,
    notice,
    store::{Error, Intent, Store},
};
use bus::Slot;
use chassis::trace;
use contract::DeploymentEvent;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span};

/// Takes events of deployments off their list.
#[derive(Clone)]
pub(crate) struct Deployments {
    store: Store,
    kick: Kick,
}

// === impl Deployments ===

impl Deployments {
    pub(crate) fn new(store: &Store, kick: &Kick) -> Self {
        Self {
            store: store.clone(),
            kick: kick.clone(),
        }
    }

    pub(crate) async fn run(self, mut slot: Slot<DeploymentEvent>, stopping: CancellationToken) {
        loop {
            let delivery = tokio::select! {
                delivery = slot.take() => delivery,
                () = stopping.cancelled() => return,
            };
            let event = delivery.message();
            let span = tracing::info_span!("fold", deployment.id = %event.deployment_id, attempt = event.attempt);
            trace::follow(&span, event.metadata.traceparent.as_deref());
            let recorded = self.record(event).instrument(span.clone()).await;
            chassis::crash_point("prow.deployment.folded");
            settle(delivery, recorded).instrument(span).await;
        }
    }

    async fn record(&self, event: &DeploymentEvent) -> Result<(), Error> {
        let traceparent = trace::carry(&Span::current(), event.metadata.traceparent.as_deref());
        record(&self.store, &self.kick, event, traceparent).await
    }
}

/// Folds an event into its deployment, and tells others; one that is late, or of a deployment of nobody's, changes nothing.
pub(crate) async fn record(
    store: &Store,
    kick: &Kick,
    event: &DeploymentEvent,
    traceparent: Option<String>,
) -> Result<(), Error> {
    // Another prow may change the row meanwhile; then the event is folded into what it made of it.
    while let Some(known) = store.deployment_named(event.deployment_id.as_str()).await? {
        let Some(next) = deployment::fold(&known, event) else {
            return Ok(());
        };
        let notice = notice::of_deployment(&next, Some(known.status), traceparent.clone());
        let intents: Vec<Intent> = notice.iter().map(Intent::notification).collect::<Result<_, _>>()?;
        if store.advance_deployment(&next, &intents).await? {
            kick.now();
            if next.status != known.status {
                let (from, to) = (known.status.word(), next.status.word());
                tracing::info!(from, to, detail = next.detail, "a deployment moved");
            }
            return Ok(());
        }
    }
    Ok(())
}
