//! Webhooks become decisions, recorded with what follows from them.

use super::settle;
use crate::{
    Config,
    config::Unregistered,
    dispatcher::Kick,
    metrics::Metrics,
    notice,
    planner::{self, Plan, Planned},
    service::{Concurrency, Service},
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
    unregistered: Unregistered,
    /// The longest message that the list of builds takes, in bytes.
    longest: usize,
}

/// A build, what becomes of older ones, and what others are told.
type Prepared = (Build, Concurrency, Vec<Intent>);

// === impl Webhooks ===

impl Webhooks {
    pub(crate) fn new(config: &Config, store: &Store, kick: &Kick, metrics: &Metrics) -> Self {
        Self {
            store: store.clone(),
            kick: kick.clone(),
            metrics: metrics.clone(),
            unregistered: config.unregistered,
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

    /// Plans a webhook that was recorded before once more, as its services are configured now. It takes no other build's
    /// place; builds that are known are not built again. What followed, and the builds that are new.
    pub(crate) async fn replay(&self, webhook: &WebhookDelivery) -> Result<(String, Vec<Build>), Error> {
        let mut plan = planner::plan(webhook, &self.services(webhook).await?);
        let mut added = Vec::new();
        for (build, _, intents) in self.again(webhook, &mut plan, None).await? {
            added.extend(self.store.add_build(build, &intents).await?);
        }
        for mut planned in plan.builds {
            planned.concurrency = Concurrency::Queue;
            match self.prepare(planned, None)? {
                Ok((build, _, intents)) => added.extend(self.store.add_build(build, &intents).await?),
                Err(reason) => plan.result = reason,
            }
        }
        self.store.replayed(webhook.id.as_str(), &plan.result, &added).await?;
        self.kick.now();
        Ok((plan.result, added))
    }

    async fn record(&self, webhook: &WebhookDelivery) -> Result<(), Error> {
        let incoming = webhook.metadata.traceparent.as_deref();
        let traceparent = trace::carry(&Span::current(), incoming);
        let said = webhook.to_json().map_err(|error| Error::Corrupt(error.to_string()))?;
        let mut plan = planner::plan(webhook, &self.services(webhook).await?);
        let mut builds = self.again(webhook, &mut plan, traceparent.as_deref()).await?;
        for planned in plan.builds {
            match self.prepare(planned, traceparent.as_deref())? {
                Ok(build) => builds.push(build),
                Err(reason) => {
                    tracing::error!(reason, "a webhook leads to no build");
                    plan.result = reason;
                }
            }
        }
        let wanted = builds.len();
        let added = self
            .store
            .record(webhook, Some(&said), &plan.result, plan.ends.as_ref(), builds)
            .await?;
        self.kick.now();
        self.metrics.webhook(match (wanted, added.as_slice()) {
            (0, _) => "ignored",
            (_, []) => "duplicate",
            _ => "build",
        });
        if wanted == 0 {
            tracing::info!(reason = plan.result, "a webhook leads to no build");
        }
        for build in added {
            tracing::info!(build.id = %build.message.id, project = %build.message.project_name, service = build.service, held = build.held, "queued a build");
        }
        Ok(())
    }

    /// The builds that are repeated, because somebody asks for the checks of their commit again.
    async fn again(
        &self,
        webhook: &WebhookDelivery,
        plan: &mut Plan,
        traceparent: Option<&str>,
    ) -> Result<Vec<Prepared>, Error> {
        let (Some(commit), Some(repository)) = (&plan.again, &webhook.repository) else {
            return Ok(Vec::new());
        };
        let known = self
            .store
            .builds_of_commit(repository.full_name.as_str(), commit)
            .await?;
        let mut told = Vec::new();
        let mut builds = Vec::new();
        for build in known {
            let service = &build.service;
            if build.held.is_some() {
                told.push(format!("{service}: nobody has approved build {}", build.id));
            } else if build.status.terminal().is_none() {
                told.push(format!("{service}: build {} has not ended yet", build.id));
            } else {
                told.push(format!("{service}: build {} is repeated", build.id));
                // By the first of them, so that the same delivery asks for the same, however often it is planned.
                let first = match build.rerun_of {
                    Some(first) => self.store.build_by_number(first).await?.map(|first| first.message.id),
                    None => None,
                };
                let id = planner::asked_again_id(first.as_ref().unwrap_or(&build.message.id), &webhook.id);
                let again = build.again(id, "webhook")?;
                let intents = notice::queued(&again, traceparent)?;
                builds.push((again, Concurrency::Queue, intents));
            }
        }
        if !told.is_empty() {
            plan.result = told.join("; ");
        }
        Ok(builds)
    }

    /// The services of the webhook's repository; where nobody has configured any, the usual one.
    async fn services(&self, webhook: &WebhookDelivery) -> Result<Vec<Service>, Error> {
        let Some(repository) = &webhook.repository else {
            return Ok(Vec::new());
        };
        let services = self.store.services_of(repository.full_name.as_str()).await?;
        Ok(if services.is_empty() && self.unregistered == Unregistered::Auto {
            vec![Service::usual()]
        } else {
            services
        })
    }

    /// A build with its intents, or why there can be none.
    fn prepare(&self, planned: Planned, traceparent: Option<&str>) -> Result<Result<Prepared, String>, Error> {
        let Planned {
            service,
            mut message,
            about,
            concurrency,
            held,
        } = planned;
        message.metadata_mut().traceparent = traceparent.map(ToOwned::to_owned);
        let payload = message.to_json().map_err(|error| Error::Corrupt(error.to_string()))?;
        if payload.len() > self.longest {
            let bytes = payload.len();
            return Ok(Err(format!(
                "{service}: its build would be a message of {bytes} bytes, which is too long"
            )));
        }
        let mut build = Build::queued(*message, payload);
        (build.service, build.about) = (service, Some(about));
        let intents = if let Some(reason) = &held {
            build.reason = Some(reason.clone());
            Vec::new()
        } else {
            notice::queued(&build, traceparent)?
        };
        build.held = held;
        Ok(Ok((build, concurrency, intents)))
    }
}
