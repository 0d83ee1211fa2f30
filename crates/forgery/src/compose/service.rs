//! What a compose file says of how images are built. Pure.

use super::file;
use crate::image;
use contract::{BuildNetwork, BuildOptions, ImageReference, Platform};
use serde_json::{Map, Value};
use std::{collections::BTreeMap, fmt::Display, str::FromStr};

/// A service that is built.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Service {
    pub(super) name: String,
    /// What other services of the file call its image.
    pub(super) image: Option<String>,
    pub(super) context: String,
    pub(super) dockerfile: Option<String>,
    pub(super) dockerfile_inline: Option<String>,
    pub(super) target: Option<String>,
    pub(super) args: BTreeMap<String, String>,
    pub(super) labels: BTreeMap<String, String>,
    /// By which id the build asks for which secret of the file.
    pub(super) secrets: BTreeMap<String, String>,
    cache_from: Vec<ImageReference>,
    platforms: Vec<Platform>,
    network: Option<BuildNetwork>,
    no_cache: bool,
    pull: bool,
}

/// Where the value of a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A file of the repository.
    File(String),
    /// A secret of the project, by its name.
    Ours(String),
}

/// The services that have a `build` section, as far as their profiles are asked for.
pub(super) fn all(whole: &Value, profiles: &[String]) -> Result<Vec<Service>, String> {
    let services = file::services(whole).ok_or("the compose file has no services")?;
    let mut built: Vec<Service> = Vec::new();
    for (name, service) in services {
        let own: Vec<_> = texts(service.get("profiles"));
        let asked = own.is_empty()
            || own
                .iter()
                .any(|profile| profiles.iter().any(|known| known == profile || known == "*"));
        let Some(build) = service.get("build").filter(|_| asked) else {
            continue;
        };
        let build = build
            .as_object()
            .ok_or_else(|| format!("services.{name}.build is neither a path nor a map"))?;
        if let Some(other) = built.iter().find(|other| image::is_alike(&other.name, name)) {
            return Err(format!(
                "the images of the services {} and {name} would have one name",
                other.name
            ));
        }
        built.push(read(name, service, build).map_err(|error| format!("services.{name}.build: {error}"))?);
    }
    Ok(built)
}

fn read(name: &str, service: &Value, build: &Map<String, Value>) -> Result<Service, String> {
    let mut read = Service {
        name: name.to_owned(),
        image: service.get("image").and_then(Value::as_str).map(tagged),
        context: ".".to_owned(),
        ..Service::default()
    };
    for (key, value) in build {
        let text = || {
            value
                .as_str()
                .map(ToOwned::to_owned)
                .ok_or_else(|| format!("{key}: expected a text"))
        };
        let flag = || value.as_bool().ok_or_else(|| format!("{key}: expected true or false"));
        match key.as_str() {
            "context" => read.context = text()?,
            "dockerfile" => read.dockerfile = Some(text()?),
            "dockerfile_inline" => read.dockerfile_inline = Some(text()?),
            "target" => read.target = Some(text()?),
            "args" => read.args = map(key, value)?,
            "labels" => read.labels = map(key, value)?,
            "secrets" => read.secrets = secrets_of(value)?,
            "cache_from" => read.cache_from = parsed(key, value)?,
            "platforms" => read.platforms = parsed(key, value)?,
            "network" => match text()?.as_str() {
                "none" => read.network = Some(BuildNetwork::None),
                "default" => {}
                other => return Err(format!("network: {other} cannot be honoured by this forgery")),
            },
            "no_cache" => read.no_cache = flag()?,
            "pull" => read.pull = flag()?,
            // What is made besides the image, and what it is called elsewhere: neither changes what is built.
            "cache_to" | "tags" | "provenance" | "sbom" => {}
            _ => return Err(format!("{key} cannot be honoured by this forgery")),
        }
    }
    if let Some(platform) = service.get("platform").filter(|_| read.platforms.is_empty()) {
        read.platforms = parsed("platform", &Value::from(vec![platform.clone()]))?;
    }
    if read.context.contains("://") || read.context.starts_with("git@") {
        return Err(format!("context: {} is not in the repository", read.context));
    }
    Ok(read)
}

// === impl Service ===

impl Service {
    /// Lays what the service says over what the build says.
    pub(super) fn adjust(&self, options: &mut BuildOptions) {
        options.cache_from.extend(self.cache_from.iter().cloned());
        if options.platforms.is_empty() {
            options.platforms.clone_from(&self.platforms);
        }
        options.network = self.network.or(options.network);
        options.no_cache |= self.no_cache;
        options.pull |= self.pull;
    }
}

/// The secrets of the file.
pub(super) fn secrets(whole: &Value) -> BTreeMap<String, Source> {
    let all = whole.get("secrets").and_then(Value::as_object);
    let source = |(name, secret): (&String, &Value)| {
        let text = |key: &str| secret.get(key).and_then(Value::as_str).map(ToOwned::to_owned);
        let source = match (text("file"), text("environment")) {
            (Some(path), _) => Source::File(path),
            (None, Some(variable)) => Source::Ours(variable),
            (None, None) => Source::Ours(text("name").unwrap_or_else(|| name.clone())),
        };
        (name.clone(), source)
    };
    all.into_iter().flatten().map(source).collect()
}

fn secrets_of(value: &Value) -> Result<BTreeMap<String, String>, String> {
    let list = value.as_array().ok_or("secrets: expected a list")?;
    let one = |secret: &Value| {
        let text = |key: &str| secret.get(key).and_then(Value::as_str).map(ToOwned::to_owned);
        let source = secret.as_str().map(ToOwned::to_owned).or_else(|| text("source"));
        let source = source.ok_or("secrets: one without a source")?;
        let id = text("target").and_then(|path| path.rsplit('/').next().map(ToOwned::to_owned));
        Ok((id.unwrap_or_else(|| source.clone()), source))
    };
    list.iter().map(one).collect()
}

fn map(key: &str, value: &Value) -> Result<BTreeMap<String, String>, String> {
    let map = value
        .as_object()
        .ok_or_else(|| format!("{key}: expected a map or a list"))?;
    let one = |(name, value): (&String, &Value)| match value {
        Value::String(text) => Some(Ok((name.clone(), text.clone()))),
        Value::Number(number) => Some(Ok((name.clone(), number.to_string()))),
        Value::Bool(flag) => Some(Ok((name.clone(), flag.to_string()))),
        Value::Null => None, // From the environment of whoever runs Compose: here, from the build's arguments.
        Value::Array(_) | Value::Object(_) => Some(Err(format!("{key}.{name}: expected a text"))),
    };
    map.iter().filter_map(one).collect()
}

fn parsed<T: FromStr<Err: Display>>(key: &str, value: &Value) -> Result<Vec<T>, String> {
    let list = value.as_array().ok_or_else(|| format!("{key}: expected a list"))?;
    let one = |value: &Value| {
        let text = value.as_str().ok_or_else(|| format!("{key}: expected texts"))?;
        text.parse().map_err(|error| format!("{key}: {text}: {error}"))
    };
    list.iter().map(one).collect()
}

fn texts(value: Option<&Value>) -> Vec<String> {
    let list = value.and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str).map(ToOwned::to_owned).collect()
}

/// An image's name as others are compared with it.
pub(super) fn tagged(image: &str) -> String {
    let name = image.rsplit('/').next().unwrap_or(image);
    if name.contains([':', '@']) {
        image.to_owned()
    } else {
        format!("{image}:latest")
    }
}
