//! What builds are made with, whoever asks for them.

use crate::{Config, checkout::Sources, engine::Engine, registry::Registry, secrets::Vault, workspace::Workspaces};
use chassis::Failure;

/// What every attempt works with.
#[derive(Debug)]
pub(crate) struct Tools {
    pub(crate) engine: Engine,
    pub(crate) workspaces: Workspaces,
    pub(crate) sources: Sources,
    pub(crate) registry: Registry,
    pub(crate) vault: Vault,
    /// Whose images and containers these are, on an engine that others may use too.
    pub(crate) installation: String,
    pub(crate) config: Config,
}

// === impl Tools ===

impl Tools {
    /// Looks for all that is needed.
    pub(crate) async fn find(config: Config, installation: String) -> Result<Self, Failure> {
        let unfit = |what: &str, error: &dyn std::error::Error| {
            Failure::Dependency(format!("{what}: {}", chassis::chain(error)))
        };
        let workspaces = Workspaces::open(&config.work_dir)
            .map_err(|error| unfit(&format!("work folder {}", config.work_dir.display()), &error))?;
        Ok(Self {
            engine: Engine::connect().await.map_err(|error| unfit("engine", &error))?,
            sources: Sources::open(&config.git, workspaces.folder().join("ssh"))
                .map_err(|error| unfit(&format!("mirrors {}", config.git.mirrors.display()), &error))?,
            registry: Registry::new(&config.registry).map_err(|error| unfit("registry", &error))?,
            workspaces,
            vault: Vault::new(config.secrets_dir.clone()),
            installation,
            config,
        })
    }
}
