//! Compares what is on this machine with what is held, and removes what a crash left behind.
//!
//! It looks at state, not at events: containers, images and folders on the one side, leases on the other.
//! The other direction, a lease without anything that runs, is the slot's: it adopts what it holds.

use crate::{bench::Bench, buildpacks, deploy::Container, failure::BuildFailure, image};
use bus::{Holders, Worker};
use contract::{BuildQueueMessage, DeploymentQueueMessage};
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// What the engine says a container exited with when it does not know, because it was not there.
const DIED_WITH_THE_ENGINE: i64 = 255;
const EVERY: Duration = Duration::from_secs(5);

/// Looks after what has no owner.
#[derive(Clone)]
pub(crate) struct Reconciler {
    bench: Arc<Bench>,
    holders: Holders,
    deployments: Holders,
    worker: Arc<Worker<BuildQueueMessage>>,
}

/// Why a round was not finished; the next one begins anew.
#[derive(Debug, thiserror::Error)]
enum Unfinished {
    #[error(transparent)]
    Engine(#[from] BuildFailure),
    #[error(transparent)]
    Bus(#[from] bus::Error),
}

// === impl Reconciler ===

impl Reconciler {
    pub(crate) fn new(bench: &Arc<Bench>, worker: &Arc<Worker<BuildQueueMessage>>) -> Self {
        Self {
            holders: bench.bus.holders::<BuildQueueMessage>(&bench.tools.config.builds),
            deployments: bench
                .bus
                .holders::<DeploymentQueueMessage>(&bench.tools.config.deployments),
            bench: Arc::clone(bench),
            worker: Arc::clone(worker),
        }
    }

    pub(crate) async fn run(self, stopping: CancellationToken) {
        loop {
            if let Err(error) = self.round().await {
                tracing::warn!(error = %chassis::chain(&error), "cannot look for what has no owner");
            }
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = stopping.cancelled() => return,
            }
        }
    }

    /// A container that never took over and that nobody deploys any more is undone: its worker died, and somebody else
    /// has ended its deployment.
    async fn bring_back(&self) -> Result<(), Unfinished> {
        let all = self
            .bench
            .tools
            .engine
            .of_service(&self.bench.tools.installation, None)
            .await?;
        for left in all.iter().filter(|container| !container.is_named) {
            if self.deployments.attempt(&left.deployment).await?.is_none() {
                tracing::warn!(
                    deployment.id = left.deployment,
                    container = left.name,
                    "undoing a deployment that nobody carries out"
                );
                self.bench.tools.engine.undo(left, &all).await?;
            }
        }
        self.start_again(&all).await
    }

    /// The engine starts again what ran when it died, but not always; whoever was stopped by somebody stays so.
    async fn start_again(&self, all: &[Container]) -> Result<(), Unfinished> {
        let engine = &self.bench.tools.engine;
        for (n, named) in all.iter().enumerate().filter(|(_, container)| container.is_named) {
            let newer = all
                .iter()
                .take(n)
                .any(|other| other.is_named && other.service == named.service);
            if newer || named.runs {
                continue;
            }
            if engine.state(&named.id).await?.ended == Some(DIED_WITH_THE_ENGINE) {
                tracing::warn!(container = named.name, "starting what ran when the engine died");
                engine.start(&named.id).await?;
            }
        }
        Ok(())
    }

    /// What is there is listed before anybody is asked whose it is: what is started later has an owner.
    async fn round(&self) -> Result<(), Unfinished> {
        if let Err(error) = self.bench.tools.workspaces.sweep() {
            tracing::warn!(%error, "cannot remove what a dead process left");
        }
        if !self.worker.is_calm() {
            return Ok(()); // After an outage of Redis everybody looks dead.
        }
        let installation = &self.bench.tools.installation;
        for owned in self.bench.tools.engine.things(installation).await? {
            let living = self.holders.attempt(&owned.build).await?;
            if living.is_none() || owned.attempt.is_some_and(|attempt| living != Some(attempt)) {
                tracing::warn!(build.id = owned.build, thing = ?owned.thing, "removing what nobody owns");
                self.bench.tools.engine.try_to_remove(&owned.thing).await;
            }
        }
        if self.bench.tools.config.deploys {
            self.bring_back().await?;
        }
        let engine = &self.bench.tools.engine;
        let unlabelled = buildpacks::unlabelled(installation);
        for (tag, _) in engine.local_tags(&unlabelled).await? {
            if !engine.has_container(&tag).await? {
                engine.untag(&format!("{unlabelled}:{tag}")).await;
            }
        }
        let repository = image::local_repository(installation);
        for (tag, build) in self.bench.tools.engine.local_tags(&repository).await? {
            if self.holders.attempt(&build).await? != image::attempt_of(&tag) {
                tracing::info!(build.id = build, tag, "removing an image that nobody will push");
                self.bench.tools.engine.untag(&format!("{repository}:{tag}")).await;
            }
        }
        Ok(())
    }
}
