//! Builds of the type `compose`: an image for every service of a compose file that has a `build` section.
//!
//! Only what building needs is read, by the Compose Specification; keys of a `build` section that cannot be honoured are
//! refused, not dropped.

mod bases;
mod file;
mod interpolate;
mod service;

use crate::{
    attempt::{hiding, options},
    context::{Context, confined},
    failure::{BuildFailure, Kind},
    image,
    images::{Maker, Product, Wish},
    redact::Redactor,
};
use chassis::Secret;
use contract::{BuildOptions, BuildQueueMessage, RelativePath, SecretName};
pub(crate) use file::NAMES;
use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};
use service::{Service, Source};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// What is to be built of a compose file.
#[derive(Clone, Debug)]
pub(crate) struct Project {
    /// The checkout: nothing leads out of it.
    root: PathBuf,
    /// What paths are relative to.
    folder: PathBuf,
    services: Vec<Service>,
    /// Where the values of secrets come from.
    secrets: BTreeMap<String, Source>,
}

/// What the images of all services have in common.
pub(crate) struct Common<'a> {
    /// As what they are asked for.
    pub(crate) asked: &'a BuildQueueMessage,
    pub(crate) maker: &'a Maker<'a>,
    /// What every image may use, by id.
    pub(crate) secrets: BTreeMap<String, Secret>,
    /// What is to be hidden, besides the secrets that the file names.
    pub(crate) hidden: BTreeMap<String, Secret>,
}

/// What a Dockerfile is called in a context that it is not in.
const APART: &str = ".forge.Dockerfile";
/// So many images are built at once.
const AT_ONCE: usize = 4;

// === impl Project ===

impl Project {
    /// Reads the compose files that the message names, or those that Compose would find.
    pub(crate) fn find(worktree: &Path, message: &BuildQueueMessage) -> Result<Self, BuildFailure> {
        let path = message.context_path.as_ref().map_or(".", |path| path.as_str());
        let folder = confined(worktree, &worktree.join(path)).filter(|folder| folder.is_dir());
        let folder = folder.ok_or_else(|| {
            let text = format!("the repository has no folder {path} for the compose file");
            BuildFailure::new(Kind::InvalidMessage, text)
        })?;
        let wanted = options(message);
        let files: Vec<String> = wanted.compose_files.iter().map(RelativePath::to_string).collect();
        // As with `docker compose --file`: of several files the first one's folder is the project's.
        let first = files.first().and_then(|file| Path::new(file).parent());
        let first = first.unwrap_or_else(|| Path::new(""));
        let own = confined(&folder, &folder.join(first))
            .ok_or_else(|| invalid(format!("there is no folder {} for the compose file", first.display())))?;
        let whole = file::read(&folder, &own, &files, &wanted.environment).map_err(invalid)?;
        let services = service::all(&whole, &wanted.compose_profiles).map_err(invalid)?;
        if services.is_empty() {
            return Err(invalid("no service of the compose file has a build section".to_owned()));
        }
        Ok(Self {
            secrets: service::secrets(&whole),
            root: worktree.to_owned(),
            folder: own,
            services,
        })
    }

    /// The secrets of the project that services use, by their own names; none, if the build is not trusted with them.
    async fn named_secrets(&self, maker: &Maker<'_>) -> Result<BTreeMap<String, Secret>, BuildFailure> {
        let mut names = Vec::new();
        for (service, secret) in self
            .services
            .iter()
            .flat_map(|one| one.secrets.values().map(move |name| (one, name)))
        {
            if let Some(Source::Ours(name)) = self.secrets.get(secret) {
                let known: SecretName = name.parse().map_err(|error| {
                    invalid(format!(
                        "the secret {secret} of the service {}: {name}: {error}",
                        service.name
                    ))
                })?;
                names.push(known);
            }
        }
        maker.tools.vault.named(maker.message, &names).await
    }

    /// The value of a secret of the file: of a file of the repository, or one of these.
    fn secret(&self, name: &str, named: &BTreeMap<String, Secret>) -> Result<Option<Secret>, BuildFailure> {
        let missing = || {
            invalid(format!(
                "the secret {name} is not among the secrets of the compose file"
            ))
        };
        let path = match self.secrets.get(name).ok_or_else(missing)? {
            Source::Ours(own) => return Ok(named.get(own).cloned()),
            Source::File(path) => path,
        };
        let file = confined(&self.root, &self.folder.join(path)).filter(|file| file.is_file());
        let file = file.ok_or_else(|| invalid(format!("the secret {name}: there is no file {path}")))?;
        let text = file::bounded(&file, path).map_err(|text| invalid(format!("the secret {name}: {text}")))?;
        let Ok(value) = text.parse();
        Ok(Some(value))
    }

    /// For each service, those whose images its own is built from.
    fn waits(&self) -> Result<Vec<Vec<usize>>, BuildFailure> {
        let mut all = Vec::new();
        for (n, service) in self.services.iter().enumerate() {
            let text = self.dockerfile(service)?;
            let bases = bases::bases(&text);
            let others = self.services.iter().enumerate().filter(|(other, _)| *other != n);
            let of = others.filter(|(_, other)| other.image.as_ref().is_some_and(|image| bases.contains(image)));
            all.push(of.map(|(other, _)| other).collect());
        }
        Ok(all)
    }

    /// The text of a service's Dockerfile; one that is not there is missed when its context is.
    fn dockerfile(&self, service: &Service) -> Result<String, BuildFailure> {
        if let Some(text) = &service.dockerfile_inline {
            return Ok(text.clone());
        }
        let name = service.dockerfile.as_deref().unwrap_or("Dockerfile");
        let file = confined(&self.root, &self.folder.join(&service.context).join(name));
        let Some(file) = file.filter(|file| file.is_file()) else {
            let text = format!(
                "there is no {name} in {} for the service {}",
                service.context, service.name
            );
            return Err(BuildFailure::new(Kind::DockerfileMissing, text));
        };
        file::bounded(&file, name).map_err(invalid)
    }
}

fn invalid(text: String) -> BuildFailure {
    BuildFailure::new(Kind::ComposeInvalid, text)
}

/// Builds the image of every service, as a message asks for it: beside each other, but those first that others are built from.
pub(crate) async fn build(project: &Project, common: Common<'_>) -> Result<Vec<Product>, BuildFailure> {
    let waits = project.waits()?;
    let named = project.named_secrets(common.maker).await?;
    let hidden = common.hidden.iter().chain(&named);
    let redactor = hiding(hidden, common.maker.log);
    let mut made: Vec<Option<Product>> = vec![None; project.services.len()];
    let mut begun = vec![false; project.services.len()];
    let mut running = FuturesUnordered::new();
    loop {
        for (n, service) in project.services.iter().enumerate() {
            let of = waits.get(n).map(Vec::as_slice).unwrap_or_default();
            let bases: Option<Vec<_>> = of
                .iter()
                .map(|other| {
                    let base = project.services.get(*other)?.image.clone()?;
                    let product: &Product = made.get(*other)?.as_ref()?;
                    Some((base, product.images.first()?.local.clone()))
                })
                .collect();
            let (Some(bases), Some(begun)) = (bases, begun.get_mut(n)) else {
                continue;
            };
            if !*begun && running.len() < AT_ONCE {
                *begun = true;
                let one = one(project, service, bases, &common, (&named, &redactor));
                running.push(one.map(move |product| (n, product)).boxed());
            }
        }
        let Some((n, product)) = running.next().await else {
            break;
        };
        if let Some(at) = made.get_mut(n) {
            *at = Some(product?);
        }
    }
    drop(running);
    let all: Option<Vec<_>> = made.into_iter().collect();
    all.ok_or_else(|| {
        let text = "the images of the compose file are built from each other, in a circle";
        BuildFailure::new(Kind::ComposeInvalid, text)
    })
}

/// The image of one service.
async fn one(
    project: &Project,
    service: &Service,
    bases: Vec<(String, String)>,
    common: &Common<'_>,
    (named, redactor): (&BTreeMap<String, Secret>, &Redactor),
) -> Result<Product, BuildFailure> {
    let folder = project.folder.join(&service.context);
    let text = project.dockerfile(service)?;
    let name = service.dockerfile.as_deref().unwrap_or("Dockerfile");
    // One that is somewhere else in the repository is sent with the context.
    let is_apart = service.dockerfile_inline.is_some() || confined(&folder, &folder.join(name)).is_none();
    let own = (is_apart || !bases.is_empty()).then(|| bases::with_bases(&text, &bases));
    let name = if is_apart { APART } else { name };
    let context = Context::of(&project.root, &folder, Some(name), own)?;
    let Common { asked, maker, .. } = *common;
    let mut secrets = common.secrets.clone();
    for (id, name) in &service.secrets {
        if let Some(value) = project.secret(name, named)? {
            secrets.insert(id.clone(), value);
        }
    }
    let mut options: BuildOptions = options(asked).clone();
    service.adjust(&mut options);
    // Whoever asks for the build has the last word, as with Compose's --build-arg.
    let mut args = service.args.clone();
    args.extend(asked.build_args.clone().unwrap_or_default());
    let repository = format!("{}/{}", image::repository(asked), service.name);
    maker
        .make(Wish {
            context,
            target: service.target.as_deref(),
            args,
            labels: service.labels.clone(),
            options: &options,
            names: image::named(asked, &repository),
            secrets,
            redactor,
            part: Some(&service.name),
        })
        .await
}

/// Reads a text as a compose file, and as a Dockerfile; whatever it is, nothing breaks.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn read_for_fuzzing(text: &str) {
    let variables = BTreeMap::from([("A".to_owned(), "a".to_owned())]);
    if let Ok(whole) = file::parse("compose.yaml", text, &variables)
        && let Ok(services) = service::all(&whole, &["*".to_owned()])
    {
        for service in services {
            service.adjust(&mut BuildOptions::default());
        }
        service::secrets(&whole);
    }
    let names: Vec<_> = bases::bases(text)
        .into_iter()
        .map(|base| (base, "other".to_owned()))
        .collect();
    bases::with_bases(text, &names);
}
