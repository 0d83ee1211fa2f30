//! One run of the engine, from its start to its end.

use super::{CHECK_PATIENCE, Engine};
use crate::failure::{BuildFailure, Kind};
use bollard::{errors::Error, models::BollardDate, query_parameters::InspectNetworkOptions};
use tokio::time::timeout;

/// The network that an engine makes anew when it starts, unless `live-restore` has kept containers running on it. Nothing
/// else in its API says when that was.
const DEFAULT_BRIDGE: &str = "bridge";

/// The run of the engine that something was begun in.
///
/// An engine that is asked to end, as by an update of it, answers until its last moment whoever asked before: steps that
/// it does not start any more "failed with exit code 1", containers that it ends have "ended with exit code 143". To who
/// asks only then it does not answer, or is another one.
#[derive(Debug)]
pub(crate) struct Boot {
    engine: Engine,
    /// When it began; unknown, if the engine has no default bridge (`--bridge=none`), or did not say. Then it is only seen
    /// whether one answers.
    began: Option<BollardDate>,
}

// === impl Engine ===

impl Engine {
    /// The run of the engine that is under way.
    pub(crate) async fn boot(&self) -> Boot {
        Boot {
            engine: self.clone(),
            began: self.began().await.unwrap_or_default(),
        }
    }

    /// When this run of the engine began, if it tells. Asked by a connection of its own, as each call is.
    async fn began(&self) -> Result<Option<BollardDate>, Error> {
        let asked = self
            .docker
            .inspect_network(DEFAULT_BRIDGE, None::<InspectNetworkOptions>);
        let found = timeout(CHECK_PATIENCE, asked)
            .await
            .map_err(|_elapsed| Error::RequestTimeoutError)?;
        match found {
            Ok(network) => Ok(network.created),
            // It answers.
            Err(Error::DockerResponseServerError {
                status_code: 400..=499, ..
            }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

// === impl Boot ===

impl Boot {
    /// What failed while the engine ended failed because of that.
    pub(crate) async fn judge<T>(&self, done: Result<T, BuildFailure>) -> Result<T, BuildFailure> {
        match done {
            Err(failure) if !failure.kind.is_infrastructure() && self.is_over().await => Err(BuildFailure::new(
                Kind::EngineUnavailable,
                format!("the engine was ended meanwhile: {}", failure.message),
            )),
            done => done,
        }
    }

    async fn is_over(&self) -> bool {
        match self.engine.began().await {
            Ok(began) => self.began.is_some() && began != self.began,
            Err(_) => true,
        }
    }
}
