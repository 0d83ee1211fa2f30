//! Events of builds become their states, recorded with what others are told.

use super::{settle, settled};
use crate::{
    Config,
    archive::Keeper,
    deployment,
    dispatcher::Kick,
    metrics::Metrics,
    notice,
    store::{Build, Deployment, Error, Intent, Store},
    tracker,
};
use bus::{Delivery, Slot};
use chassis::trace;
use contract::{BuildEvent, BuildStatus, Happening, Message as _, Terminal};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span};

/// Takes build events off their list.
#[derive(Clone)]
pub(crate) struct Events {
    store: Store,
    kick: Kick,
    keeper: Keeper,
    metrics: Metrics,
    lost_after: Duration,
}

// === impl Events ===

impl Events {
    pub(crate) fn new(config: &Config, store: &Store, kick: &Kick, keeper: &Keeper, metrics: &Metrics) -> Self {
        Self {
            store: store.clone(),
            kick: kick.clone(),
            keeper: keeper.clone(),
            metrics: metrics.clone(),
            lost_after: config.lost_after(),
        }
    }

    pub(crate) async fn run(self, mut slot: Slot<BuildEvent>, stopping: CancellationToken) {
        loop {
            let delivery = tokio::select! {
                delivery = slot.take() => delivery,
                () = stopping.cancelled() => return,
            };
            chassis::crash_point("prow.event.taken");
            let event = delivery.message();
            let span = tracing::info_span!("fold", build.id = %event.build_id, attempt = event.attempt);
            trace::follow(&span, event.metadata.traceparent.as_deref());
            let recorded = self.record(event).instrument(span.clone()).await;
            chassis::crash_point("prow.folded");
            self.settle(delivery, recorded).instrument(span).await;
        }
    }

    /// An event of a build that nothing tells the beginning of waits for it. Redis may have lost it with the
    /// power, so once it must be lost the event is kept for people to look at.
    async fn settle(&self, delivery: Delivery<BuildEvent>, recorded: Result<(), Error>) {
        match recorded {
            Err(Error::NotYet(why)) if delivery.waited() > self.lost_after => {
                tracing::error!(reason = why, "gave up an event");
                settled(delivery.bury("dead", "", why).await);
            }
            recorded => settle(delivery, recorded).await,
        }
    }

    async fn record(&self, event: &BuildEvent) -> Result<(), Error> {
        // Another prow may change the row meanwhile; then the event is folded into what it made of it.
        while let Some(build) = self.find_or_adopt(event).await? {
            let Some(next) = tracker::fold(&build, event) else {
                return Ok(());
            };
            let traceparent = trace::carry(&Span::current(), event.metadata.traceparent.as_deref());
            let notice = notice::about(&next, Some(build.status), traceparent);
            let intents: Vec<Intent> = notice.iter().map(Intent::notification).collect::<Result<_, _>>()?;
            let deployment = self.deployment(&next).await?;
            if !self.store.advance_and_deploy(&next, &intents, deployment).await? {
                continue;
            }
            self.kick.now();
            if next.status != build.status {
                self.metrics.build(next.status.as_str());
                tracing::info!(from = %build.status, to = %next.status, reason = next.reason, "a build moved");
            }
            self.keeper.follow(&next);
            return Ok(());
        }
        Ok(())
    }

    /// The deployment that follows from a build, if one does.
    async fn deployment(&self, build: &Build) -> Result<Option<(Deployment, Vec<Intent>)>, Error> {
        if build.status != BuildStatus::Ended(Terminal::Success) {
            return Ok(None);
        }
        let Some(service) = self.store.service(build.service_id).await? else {
            return Ok(None);
        };
        match deployment::after(build, &service) {
            None => Ok(None),
            Some(Err(reason)) => {
                tracing::error!(reason, "a build cannot be deployed");
                Ok(None)
            }
            Some(Ok(deployment)) => {
                let notice = notice::of_deployment(&deployment, None, None);
                let told: Vec<Intent> = notice.iter().map(Intent::notification).collect::<Result<_, _>>()?;
                Ok(Some((deployment, told)))
            }
        }
    }

    /// The build of an event; one that a foreign producer queued is added when it starts.
    async fn find_or_adopt(&self, event: &BuildEvent) -> Result<Option<Build>, Error> {
        if let Some(build) = self.store.build(event.build_id.as_str()).await? {
            return Ok(Some(build));
        }
        let Happening::Started { message } = &event.event else {
            if event.attempt > 0 {
                // Somebody has started it, and says so in an event that a dead prow may still hold.
                return Err(Error::NotYet("its build is not known: nothing told that it began"));
            }
            tracing::warn!("an event of a build that was never started is dropped");
            return Ok(None);
        };
        let payload = message.to_json().map_err(|error| Error::Corrupt(error.to_string()))?;
        let build = Build::queued(message.as_ref().clone(), payload);
        let notice = notice::about(&build, None, event.metadata.traceparent.clone());
        let intents: Vec<Intent> = notice.iter().map(Intent::notification).collect::<Result<_, _>>()?;
        self.store.adopt(build, &intents).await?;
        chassis::crash_point("prow.adopted");
        self.store.build(event.build_id.as_str()).await
    }
}
