//! The images of one attempt: made on the engine, then brought to where they belong.

use crate::{
    context::Context,
    engine::{self, Answers, Boot, Build},
    failure::{BuildFailure, Kind},
    image::{self, Names},
    logs::Log,
    publish::{Made, Publisher},
    redact::Redactor,
    tools::Tools,
};
use chassis::Secret;
use contract::{BuildOptions, BuildQueueMessage, CommitHash, Image, LogLine};
use std::{
    collections::{BTreeMap, HashMap},
    sync::atomic::{AtomicU32, Ordering},
};

/// Makes the images of one attempt.
pub(crate) struct Maker<'a> {
    pub(crate) tools: &'a Tools,
    /// The run of the engine that the attempt began in.
    pub(crate) boot: &'a Boot,
    pub(crate) message: &'a BuildQueueMessage,
    pub(crate) attempt: u32,
    pub(crate) commit: &'a CommitHash,
    pub(crate) log: &'a Log,
    /// Prefixes of the registries that get them; none, if they stay on the engine.
    pub(crate) targets: &'a [String],
    /// How many names on the engine were used.
    pub(crate) used: AtomicU32,
}

/// An image that is wanted.
pub(crate) struct Wish<'a> {
    pub(crate) context: Context,
    pub(crate) target: Option<&'a str>,
    pub(crate) args: BTreeMap<String, String>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) options: &'a BuildOptions,
    pub(crate) names: Names,
    pub(crate) secrets: BTreeMap<String, Secret>,
    pub(crate) redactor: &'a Redactor,
    /// What its log lines are of, where there are several images.
    pub(crate) part: Option<&'a str>,
}

/// An image that was made; one for each platform that was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Product {
    pub(crate) images: Vec<Made>,
    pub(crate) names: Names,
    pub(crate) id: String,
    pub(crate) size: Option<u64>,
}

/// What became of an image.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// It is on the engine.
    Made(Product),
    /// It is where it belongs.
    Published(Image),
}

/// Label that says which project something belongs to.
const PROJECT: &str = "forge.project";

// === impl Maker ===

impl Maker<'_> {
    /// Builds an image, or one for each platform.
    pub(crate) async fn make(&self, wish: Wish<'_>) -> Result<Product, BuildFailure> {
        let Wish { options, part, .. } = wish;
        let answers = Answers {
            secrets: wish.secrets,
            registry: self.message.is_trusted().then(|| self.tools.registry.clone()),
        };
        let several = options.platforms.len() > 1;
        if several && self.targets.is_empty() {
            let text = "an image for several platforms needs a registry that keeps it: push_artifact";
            return Err(BuildFailure::new(Kind::InvalidMessage, text));
        }
        let mut platforms: Vec<_> = options.platforms.iter().map(Some).collect();
        if platforms.is_empty() {
            platforms.push(None);
        }
        let mut images = Vec::new();
        for platform in platforms {
            if let Some(platform) = platform.filter(|_| several) {
                self.log.say(format!("building for {platform}"));
            }
            let local = self.another_name();
            let build = Build {
                reference: local.clone(),
                target: wish.target,
                args: wish.args.clone(),
                labels: self.labels(&wish.labels),
                context: wish.context.clone(),
                options,
                platform,
                answers: answers.clone(),
                redactor: wish.redactor.clone(),
            };
            let tell = |line| self.log.line(of_part(line, part));
            self.tools.engine.build(build, self.log, tell).await?;
            images.push(Made {
                local,
                platform: platform.cloned(),
            });
        }
        let first = images.first().map_or("", |image| &image.local);
        let (id, size) = self.tools.engine.inspect(first).await?;
        Ok(Product {
            images,
            names: wish.names,
            id,
            size,
        })
    }

    /// Brings an image to every registry that is to have it; or gives it its names on the engine.
    pub(crate) async fn publish(&self, product: &Product) -> Result<Image, BuildFailure> {
        let Product { images, names, .. } = product;
        let publisher = Publisher {
            engine: &self.tools.engine,
            registry: &self.tools.registry,
            log: self.log,
            keep: self.tools.config.keep_images,
        };
        let mut pushed = None;
        for target in self.targets {
            let repository = names.repository(Some(target));
            let digest = publisher.publish(images, &repository, &names.tags).await?;
            pushed.get_or_insert_with(|| Image::new(names.reference(&repository), digest, true, product.size));
        }
        if let Some(image) = pushed {
            return Ok(image);
        }
        let repository = names.repository(None);
        // What strangers build gets no name that others could take it for something else by.
        if let Some(made) = images.first().filter(|_| self.message.is_trusted()) {
            for tag in &names.tags {
                self.tools.engine.tag(&made.local, &repository, tag).await?;
            }
        }
        Ok(Image::new(
            names.reference(&repository),
            product.id.clone(),
            false,
            product.size,
        ))
    }

    /// A name on the engine that no other image of this attempt has.
    pub(crate) fn another_name(&self) -> String {
        let first = image::local(&self.tools.installation, &self.message.id, self.attempt);
        match self.used.fetch_add(1, Ordering::Relaxed) {
            0 => first,
            n => format!("{first}.{n}"),
        }
    }

    /// Labels of whatever this attempt has on the engine. Those of its image must not make it something else.
    pub(crate) fn own_labels(&self) -> HashMap<String, String> {
        let message = self.message;
        let labels = [
            (engine::INSTALLATION, self.tools.installation.clone()),
            (engine::BUILD, message.id.to_string()),
            (engine::ATTEMPT, self.attempt.to_string()),
            (engine::DEPLOYMENT, String::new()),
            (engine::SERVICE, String::new()),
            (PROJECT, message.project_name.to_string()),
        ];
        labels
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }

    /// Labels of the image (OCI image specification, "Annotations"); those that say whose it is win.
    pub(crate) fn labels(&self, own: &BTreeMap<String, String>) -> HashMap<String, String> {
        let message = self.message;
        let usual = [
            ("org.opencontainers.image.source", Some(message.source.to_string())),
            ("org.opencontainers.image.revision", Some(self.commit.to_string())),
            (
                "org.opencontainers.image.created",
                message.created_at.as_ref().map(ToString::to_string),
            ),
            ("org.opencontainers.image.version", self.version()),
        ];
        let fixed = [
            (engine::IMAGE_BUILD, Some(message.id.to_string())),
            (engine::IMAGE_INSTALLATION, Some(self.tools.installation.clone())),
            (PROJECT, Some(message.project_name.to_string())),
        ];
        let asked = message.options.iter().flat_map(|options| options.labels.clone());
        named(usual)
            .chain(own.clone())
            .chain(asked)
            .chain(named(fixed))
            .collect()
    }

    /// The tag that was pushed, if it was one.
    fn version(&self) -> Option<String> {
        let git_ref = self.message.webhook_data.as_ref()?.git_ref.as_deref()?;
        git_ref.strip_prefix("refs/tags/").map(ToOwned::to_owned)
    }
}

fn named<const N: usize>(labels: [(&'static str, Option<String>); N]) -> impl Iterator<Item = (String, String)> {
    let given = labels.into_iter();
    given.filter_map(|(name, value)| Some((name.to_owned(), value?)))
}

/// A line of one of several images.
fn of_part(mut line: LogLine, part: Option<&str>) -> LogLine {
    if let Some(part) = part {
        line.step = Some(match line.step {
            Some(step) => format!("{part}: {step}"),
            None => part.to_owned(),
        });
    }
    line
}
