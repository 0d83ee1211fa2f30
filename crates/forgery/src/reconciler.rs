//! Compares what is on this machine with what is held, and removes what a crash left behind.
//!
//! It looks at state, not at events: containers, images and folders on the one side, leases on the other.
//! The other direction, a lease without anything that runs, is the slot's: it adopts what it holds.

use crate::{attempt::Bench, failure::BuildFailure, image};
use bus::{Holders, Worker};
use contract::{BuildQueueMessage, DeploymentQueueMessage};
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

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
    #[error("work folder: {0}")]
    Folder(#[from] std::io::Error),
}

// === impl Reconciler ===

impl Reconciler {
    pub(crate) fn new(bench: &Arc<Bench>, worker: &Arc<Worker<BuildQueueMessage>>) -> Self {
        Self {
            holders: bench.bus.holders::<BuildQueueMessage>(&bench.config.builds),
            deployments: bench.bus.holders::<DeploymentQueueMessage>(&bench.config.deployments),
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
        let all = self.bench.engine.of_service(&self.bench.installation, None).await?;
        for left in all.iter().filter(|container| !container.is_named) {
            if self.deployments.attempt(&left.deployment).await?.is_none() {
                tracing::warn!(
                    deployment.id = left.deployment,
                    container = left.name,
                    "undoing a deployment that nobody carries out"
                );
                self.bench.engine.undo(left, &all).await?;
            }
        }
        Ok(())
    }

    /// What is there is listed before anybody is asked whose it is: what is started later has an owner.
    async fn round(&self) -> Result<(), Unfinished> {
        self.bench.workspaces.sweep()?;
        if !self.worker.is_calm() {
            return Ok(()); // After an outage of Redis everybody looks dead.
        }
        let installation = &self.bench.installation;
        for (container, build) in self.bench.engine.containers(installation).await? {
            if self.holders.attempt(&build).await?.is_none() {
                tracing::warn!(build.id = build, container, "removing a container that nobody owns");
                self.bench.engine.remove(&container).await?;
            }
        }
        if self.bench.config.deploys {
            self.bring_back().await?;
        }
        let repository = image::local_repository(installation);
        for (tag, build) in self.bench.engine.local_tags(&repository).await? {
            if self.holders.attempt(&build).await? != image::attempt_of(&tag) {
                tracing::info!(build.id = build, tag, "removing an image that nobody will push");
                self.bench.engine.untag(&format!("{repository}:{tag}")).await;
            }
        }
        Ok(())
    }
}
