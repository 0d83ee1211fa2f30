//! Webhooks become decisions, recorded with what follows from them.

use super::settle;
use crate::{
    Config,
    dispatcher::Kick,
    metrics::Metrics,
    notice,
    planner::{self, Decision},
    store::{Build, Error, Intent, Store},
};
use bus::Slot;
use chassis::trace;
use contract::{Message as _, WebhookDelivery};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span};

/// Takes webhooks off their list.
#[derive(Clone)]
pub(crate) struct Webhooks {
    store: Store,
    kick: Kick,
    metrics: Metrics,
    /// The longest message that the list of builds takes, in bytes.
    longest: usize,
}

// === impl Webhooks ===

impl Webhooks {
    pub(crate) fn new(config: &Config, store: &Store, kick: &Kick, metrics: &Metrics) -> Self {
        Self {
            store: store.clone(),
            kick: kick.clone(),
            metrics: metrics.clone(),
            longest: config.builds.limits.message_bytes,
        }
    }

    pub(crate) async fn run(self, mut slot: Slot<WebhookDelivery>, stopping: CancellationToken) {
        loop {
            let delivery = tokio::select! {
                delivery = slot.take() => delivery,
                () = stopping.cancelled() => return,
            };
            let webhook = delivery.message();
            let span = tracing::info_span!("plan", delivery.id = %webhook.id, event = webhook.event);
            trace::follow(&span, webhook.metadata.traceparent.as_deref());
            let recorded = self.record(webhook).instrument(span.clone()).await;
            chassis::crash_point("prow.planned");
            settle(delivery, recorded).instrument(span).await;
        }
    }

    async fn record(&self, webhook: &WebhookDelivery) -> Result<(), Error> {
        let incoming = webhook.metadata.traceparent.as_deref();
        let traceparent = trace::carry(&Span::current(), incoming);
        match planner::plan(webhook) {
            Decision::Ignore(reason) => {
                tracing::info!(reason, "a webhook leads to no build");
                self.metrics.webhook("ignored");
                self.store.record(webhook, &reason, None).await.map(drop)
            }
            Decision::Build(mut message) => {
                message.metadata_mut().traceparent.clone_from(&traceparent);
                let payload = message.to_json().map_err(|error| Error::Corrupt(error.to_string()))?;
                if payload.len() > self.longest {
                    let reason = format!(
                        "its build would be a message of {} bytes, which is too long",
                        payload.len()
                    );
                    tracing::error!(reason, "a webhook leads to no build");
                    self.metrics.webhook("ignored");
                    return self.store.record(webhook, &reason, None).await.map(drop);
                }
                let build = Build::queued(*message, payload);
                let mut intents = vec![Intent::build(&build.message, &build.payload)];
                if let Some(notice) = notice::about(&build, None, traceparent) {
                    intents.push(Intent::notification(&notice)?);
                }
                let recorded = self.store.record(webhook, "build", Some((build, intents))).await?;
                self.kick.now();
                self.metrics
                    .webhook(if recorded.is_some() { "build" } else { "duplicate" });
                if let Some(build) = recorded {
                    tracing::info!(build.id = %build.message.id, project = %build.message.project_name, "queued a build");
                }
                Ok(())
            }
        }
    }
}
