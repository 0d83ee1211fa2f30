//! One deployment on the engine: the new container beside the old, then in its place.
//!
//! It looks at what is there, by labels, and not at what was done: an attempt that died anywhere is gone on with by the
//! next.

use super::{
    containers::{Container, service},
    health,
};
use crate::{
    bench::Bench,
    engine::Volumes,
    failure::{BuildFailure, Kind},
    report::Report,
};
use contract::{Deploying, DeploymentEvent, DeploymentQueueMessage, ImageReference, Running};
use std::time::Duration;

/// A deployment to be carried out on an engine.
pub(super) struct Switch<'a> {
    bench: &'a Bench,
    message: &'a DeploymentQueueMessage,
}

/// A new container that is healthy, and what it takes the place of.
pub(super) struct Ready {
    container: String,
    image: Option<ImageReference>,
    old: Vec<Container>,
    /// It has taken over already; whoever did it died before telling.
    over: bool,
}

/// How long the old container goes on, unless the message says otherwise.
const HANDOVER: Duration = Duration::from_secs(2);
/// How long the old container may take to stop.
const STOP: u32 = 10;
/// The longest until the new one must be healthy.
const HEALTHY: u32 = 60;

// === impl Switch ===

impl<'a> Switch<'a> {
    pub(super) const fn new(bench: &'a Bench, message: &'a DeploymentQueueMessage) -> Self {
        Self { bench, message }
    }

    /// Starts the new container and waits until it is healthy. What ran before still runs, unless both want the same
    /// ports of the host.
    pub(super) async fn prepare(&self, report: &mut Report<DeploymentEvent>) -> Result<Ready, BuildFailure> {
        let (engine, message) = (&self.bench.tools.engine, self.message);
        if let Some(mistake) = message.config.mistake() {
            return Err(BuildFailure::new(Kind::InvalidMessage, format!("config.{mistake}")));
        }
        if let Some(target) = message.rest.get("target").filter(|target| **target != "docker") {
            let text = format!("target {target} is not set up on this forgery; it deploys to docker");
            return Err(BuildFailure::new(Kind::NotConfigured, text));
        }
        engine
            .pull(message.image.as_str(), Some(&self.bench.tools.registry))
            .await?;
        let image = engine.pinned(message.image.as_str()).await?;
        report.tell(Deploying::Progress { percent: 20 });
        let (ours, old) = self.containers().await?;
        for left in &ours {
            if left.is_named && left.runs {
                return Ok(Ready {
                    container: left.name.clone(),
                    image,
                    old,
                    over: true,
                });
            }
            engine.remove(&left.id).await?; // An attempt that died began with it.
        }
        engine.make_network(&self.bench.tools.installation, message).await?;
        let container = engine.create(&self.bench.tools.installation, message).await?;
        engine.join_networks(&container, message).await?;
        report.tell(Deploying::Progress { percent: 30 });
        chassis::crash_point("forgery.deploy.created");
        if !message.config.ports.is_empty() {
            for old in &old {
                engine.stop(&old.id, self.grace()).await?;
            }
        }
        engine.start(&container).await?;
        chassis::crash_point("forgery.deploy.started");
        self.wait(&container).await?;
        report.tell(Deploying::Progress { percent: 60 });
        Ok(Ready {
            container,
            image,
            old,
            over: false,
        })
    }

    /// Gives the new container the service's name, then ends the old one. From here on there is no way back.
    pub(super) async fn take_over(
        &self,
        ready: Ready,
        report: &mut Report<DeploymentEvent>,
    ) -> Result<Running, BuildFailure> {
        let engine = &self.bench.tools.engine;
        if !ready.over {
            engine.give_name(&ready.container, self.message).await?;
        }
        report.tell(Deploying::Progress { percent: 90 });
        chassis::crash_point("forgery.deploy.switched");
        if ready.old.iter().any(|old| old.runs) && self.message.config.ports.is_empty() {
            tokio::time::sleep(self.handover()).await;
        }
        for old in &ready.old {
            engine.stop(&old.id, self.grace()).await?;
            engine.remove_but(&old.id, Volumes::Kept).await?;
        }
        Ok(Running::new(ready.container, ready.image))
    }

    /// Removes what is new and starts what was stopped for it.
    pub(super) async fn bring_back(&self) -> Result<(), BuildFailure> {
        let engine = &self.bench.tools.engine;
        let (ours, old) = self.containers().await?;
        for ours in ours.iter().filter(|ours| !ours.is_named) {
            engine.undo(ours, &old).await?;
        }
        Ok(())
    }

    /// Containers of this deployment, and those of others of the same service, newest first.
    async fn containers(&self) -> Result<(Vec<Container>, Vec<Container>), BuildFailure> {
        let service = service(self.message);
        let found = self
            .bench
            .tools
            .engine
            .of_service(&self.bench.tools.installation, Some(&service))
            .await?;
        let id = self.message.id.as_str();
        Ok(found.into_iter().partition(|found| found.deployment == id))
    }

    async fn wait(&self, container: &str) -> Result<(), BuildFailure> {
        let config = &self.message.config;
        let within = Duration::from_secs(config.healthy_within_seconds.unwrap_or(HEALTHY).into());
        health::wait(&self.bench.tools.engine, container, config.health.as_ref(), within).await
    }

    /// For whoever has asked for the name before the new one had it.
    fn handover(&self) -> Duration {
        let seconds = self.message.config.handover_seconds;
        seconds.map_or(HANDOVER, |seconds| Duration::from_secs(seconds.into()))
    }

    fn grace(&self) -> u32 {
        self.message.config.stop_grace_seconds.unwrap_or(STOP)
    }
}
