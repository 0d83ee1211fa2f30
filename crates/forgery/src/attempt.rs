//! One attempt at one build, stage by stage.

use crate::{
    Config,
    config::Registry,
    context::Context,
    engine::{self, Build, Engine},
    failure::{BuildFailure, Kind},
    git::Checkout,
    image::{self, Names},
    logs::Log,
    metrics::Metrics,
    report::Report,
    roster::Roster,
    workspace::Workspaces,
};
use bus::{Bus, Delivery};
use contract::{BuildEvent, BuildQueueMessage, BuildType, CommitHash, Happening, Image, Stage, StageTime, Strategy};
use std::collections::HashMap;
use tokio::time::Instant;

/// What every attempt works with.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) engine: Engine,
    pub(crate) workspaces: Workspaces,
    /// Whose images and containers these are, on an engine that others may use too.
    pub(crate) installation: String,
    pub(crate) bus: Bus,
    pub(crate) config: Config,
    pub(crate) metrics: Metrics,
    /// What is under way.
    pub(crate) roster: Roster,
}

/// An attempt under way.
pub(crate) struct Attempt<'a> {
    pub(crate) bench: &'a Bench,
    pub(crate) delivery: &'a Delivery<BuildQueueMessage>,
    pub(crate) message: &'a BuildQueueMessage,
    pub(crate) log: Log,
    pub(crate) report: &'a mut Report<BuildEvent>,
    pub(crate) times: &'a mut Vec<StageTime>,
}

// === impl Bench ===

impl Bench {
    /// What the image of an attempt is called on the engine.
    pub(crate) fn local(&self, delivery: &Delivery<BuildQueueMessage>) -> String {
        image::local(&self.installation, &delivery.message().id, delivery.attempt())
    }
}

// === impl Attempt ===

impl Attempt<'_> {
    /// Checks out, builds, pushes. Dropping the future stops whatever runs.
    pub(crate) async fn run(mut self) -> Result<Image, BuildFailure> {
        #[cfg(feature = "rehearsal")]
        if let Some(play) = crate::rehearsal::Play::of(&self.bench.config, self.delivery) {
            let workspace = self.bench.workspaces.make();
            let workspace = workspace.map_err(|error| internal("cannot make a workspace", &error))?;
            return play.run(self.delivery, &self.log, workspace).await;
        }
        let registry = self.check()?;
        let workspace = self
            .bench
            .workspaces
            .make()
            .map_err(|error| internal("cannot make a workspace", &error))?;
        let worktree = workspace.path().join("source");
        std::fs::create_dir(&worktree).map_err(|error| internal("cannot make a workspace", &error))?;

        let begun = self.enter(Stage::Cloning);
        self.log.say(format!(
            "cloning {} at {}",
            self.message.source, self.message.commit_hash
        ));
        let commit = Checkout {
            source: self.message.source.clone(),
            commit: self.message.commit_hash.clone(),
            repository: workspace.path().join("repository.git"),
            worktree: worktree.clone(),
            credentials: self.bench.config.credentials.clone(),
        };
        let commit = commit.run().await?;
        chassis::crash_point("forgery.cloned");
        self.leave(Stage::Cloning, begun, 20);

        let begun = self.enter(Stage::Preparing);
        let context = Context::find(&worktree, self.message)?;
        let local = self.bench.local(self.delivery);
        let names = image::names(
            self.message,
            local,
            registry.as_ref().map(|registry| registry.prefix.as_str()),
        );
        self.leave(Stage::Preparing, begun, 30);

        let begun = self.enter(Stage::Building);
        let build = self.build(context, &names, &commit, registry.clone());
        let log = self.log.clone();
        let built = self.bench.engine.build(build, |line| log.line(line)).await?;
        chassis::crash_point("forgery.built");
        self.leave(Stage::Building, begun, 90);

        if !self.delivery.is_ours().await {
            // Whoever has it now may have pushed already; what they reported must stay true.
            return Err(BuildFailure::new(
                Kind::Internal,
                "another worker has taken the build over",
            ));
        }
        let Some(registry) = registry else {
            for tag in &names.tags {
                self.bench.engine.tag(&names.local, &names.repository, tag).await?;
            }
            return Ok(Image::new(names.reference(), built.id, false, built.size));
        };
        let begun = self.enter(Stage::Pushing);
        let digest = self.push(&names, &registry).await?;
        self.leave(Stage::Pushing, begun, 100);
        Ok(Image::new(names.reference(), digest, true, built.size))
    }

    /// Refuses what this forgery cannot do, before it does anything; where to push, if at all.
    fn check(&self) -> Result<Option<Registry>, BuildFailure> {
        let refuse = |kind, text: String| Err(BuildFailure::new(kind, text));
        let config = &self.bench.config;
        if self.message.strategy != Strategy::Local {
            let text = format!(
                "strategy {} is not set up on this forgery; it takes local",
                self.message.strategy
            );
            return refuse(Kind::NotConfigured, text);
        }
        if self.message.build_type != BuildType::Dockerfile {
            let text = format!("builds of type {} are not supported yet", self.message.build_type);
            return refuse(Kind::NotConfigured, text);
        }
        let scheme = self.message.source.scheme();
        if !config.schemes.contains(&scheme) {
            let text = format!("{scheme:?} sources are not allowed here; see git.allow_http and git.allow_file");
            return refuse(Kind::NotConfigured, text);
        }
        if !self.message.push_artifact() {
            return Ok(None);
        }
        let known = config.registry.clone();
        match (self.message.nexus_repo.clone(), known) {
            // A prefix from a message gets our credentials only where it names our own registry.
            (Some(prefix), Some(known)) if host(&prefix) == host(&known.prefix) => {
                Ok(Some(Registry { prefix, ..known }))
            }
            (Some(prefix), _) => Ok(Some(Registry {
                prefix,
                user: None,
                password: None,
            })),
            (None, Some(known)) => Ok(Some(known)),
            (None, None) => refuse(
                Kind::NotConfigured,
                "there is no registry to push to; set REGISTRY".to_owned(),
            ),
        }
    }

    fn build(&self, context: Context, names: &Names, commit: &CommitHash, registry: Option<Registry>) -> Build {
        let message = self.message;
        let created = message.created_at.as_ref().map(ToString::to_string);
        let labels = [
            (engine::IMAGE_BUILD, Some(message.id.to_string())),
            (engine::IMAGE_INSTALLATION, Some(self.bench.installation.clone())),
            ("forge.project", Some(message.project_name.to_string())),
            ("org.opencontainers.image.source", Some(message.source.to_string())),
            ("org.opencontainers.image.revision", Some(commit.to_string())),
            ("org.opencontainers.image.created", created),
        ];
        let labels = labels
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)));
        Build {
            reference: names.local.clone(),
            target: message.target.clone(),
            args: message.build_args.clone().unwrap_or_default().into_iter().collect(),
            labels: labels.collect::<HashMap<_, _>>(),
            context,
            registry,
        }
    }

    async fn push(&self, names: &Names, registry: &Registry) -> Result<String, BuildFailure> {
        let docker = &self.bench.engine;
        let mut digest = String::new();
        for tag in &names.tags {
            docker.tag(&names.local, &names.repository, tag).await?;
            let pushed = docker.push(&names.repository, tag, Some(registry)).await?;
            self.log.say(format!("pushed {}:{tag} as {pushed}", names.repository));
            chassis::crash_point("forgery.pushed");
            digest = pushed;
        }
        if !self.bench.config.keep_images {
            for tag in &names.tags {
                docker.untag(&format!("{}:{tag}", names.repository)).await;
            }
        }
        Ok(digest)
    }

    fn enter(&mut self, stage: Stage) -> Instant {
        self.log = self.log.at(stage);
        self.report.tell(Happening::Stage { stage });
        Instant::now()
    }

    fn leave(&mut self, stage: Stage, begun: Instant, percent: u8) {
        let ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.log.say(format!("{stage} took {ms} ms"));
        self.times.push(StageTime { stage, ms });
        self.report.tell(Happening::Progress { percent });
    }
}

fn host(prefix: &str) -> &str {
    prefix.split('/').next().unwrap_or(prefix)
}

pub(crate) fn internal(what: &str, error: &std::io::Error) -> BuildFailure {
    let full = error.kind() == std::io::ErrorKind::StorageFull;
    BuildFailure::new(
        if full { Kind::DiskFull } else { Kind::Internal },
        format!("{what}: {error}"),
    )
}
