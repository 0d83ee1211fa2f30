//! How an image is built, as far as it differs from the usual.

use crate::{ImageReference, RelativePath, Rest, text::text_type, vocabulary::words};
use std::collections::BTreeMap;

text_type! {
    /// The name of a secret; its value is with the builder and never in a message.
    ///
    /// # Examples
    /// ```
    /// use contract::SecretName;
    /// assert!("NPM_TOKEN".parse::<SecretName>().is_ok());
    /// assert!("../token".parse::<SecretName>().is_err());
    /// ```
    SecretName, InvalidSecretName,
    "expected a letter or _, then letters, digits, _ and -, at most 64",
    pattern: "^[A-Za-z_][A-Za-z0-9_-]{0,63}$",
    valid: is_secret_name
}

text_type! {
    /// What an image runs on, as `os/architecture` or `os/architecture/variant`.
    ///
    /// # Examples
    /// ```
    /// use contract::Platform;
    /// assert!("linux/arm64/v8".parse::<Platform>().is_ok());
    /// assert!("linux".parse::<Platform>().is_err());
    /// ```
    Platform, InvalidPlatform,
    "expected os/architecture or os/architecture/variant, such as linux/amd64",
    pattern: "^[a-z0-9]{1,32}/[a-z0-9_]{1,32}(/[a-z0-9]{1,32})?$",
    valid: is_platform
}

text_type! {
    /// A tag of an image (OCI distribution specification).
    ///
    /// # Examples
    /// ```
    /// use contract::ImageTag;
    /// assert!("latest".parse::<ImageTag>().is_ok());
    /// assert!("a/b".parse::<ImageTag>().is_err());
    /// ```
    ImageTag, InvalidImageTag,
    "expected a letter, digit or _, then letters, digits, _ . and -, at most 128",
    pattern: "^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$",
    valid: is_tag
}

words! {
    /// What the steps of a build may reach.
    BuildNetwork, "default, none, host", {
        /// What the engine's builds usually reach: the internet, by a bridge.
        Default = "default",
        /// Nothing.
        None = "none",
        /// Whatever the engine's host reaches; only where the builder allows it.
        Host = "host",
    }
}

/// How an image is built, as far as it differs from the usual; everything is optional.
///
/// # Examples
/// ```
/// use contract::BuildOptions;
/// let options: BuildOptions = serde_json::from_str(r#"{"tags": ["latest"], "secrets": ["NPM_TOKEN"]}"#)?;
/// assert_eq!(options.tags[0].as_str(), "latest");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
#[non_exhaustive]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a choice of its own, on the wire, too"
)]
pub struct BuildOptions {
    /// Secrets that the build may use (`RUN --mount=type=secret,id=NAME`), by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretName>,
    /// Variables for the build, offered as the secret `env`, in the form of a dotenv file; never a place for secrets.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// Writes `environment` into the build context as `.env` besides. It then ends in the layers of the image.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub write_env_file: bool,
    /// What the image is to run on; by default what the engine runs on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<Platform>,
    /// Labels of the image besides those of the builder.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What the steps may reach.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<BuildNetwork>,
    /// Runs every step, whatever the cache has.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_cache: bool,
    /// Asks the registries for newer base images.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub pull: bool,
    /// Images whose layers may be taken from their registries in place of running steps.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cache_from: Vec<ImageReference>,
    /// Makes the image such that others can name it in `cache_from`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub inline_cache: bool,
    /// Tags of the image besides those of its commit and branch.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<ImageTag>,
    /// Registries, as prefixes, that the image is pushed to besides its own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub registries: Vec<String>,
    /// Compose files, in their order; by default the one that Compose would find.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub compose_files: Vec<RelativePath>,
    /// Profiles of the compose file whose services are built, too.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub compose_profiles: Vec<String>,
    /// Builds with Cloud Native Buildpacks where there is no Dockerfile.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub buildpacks: bool,
    /// The builder image of buildpacks; by default the builder's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub builder: Option<ImageReference>,
    /// Everything else, kept.
    #[serde(flatten)]
    pub rest: Rest,
}

// === impl BuildOptions ===

impl BuildOptions {
    /// Whether nothing is unusual.
    pub fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

fn is_secret_name(text: &str) -> bool {
    let first = text
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    first && text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
}

fn is_platform(text: &str) -> bool {
    let part = |part: &str| {
        (1..=32).contains(&part.len())
            && part
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    let mut parts = text.split('/');
    let (os, variant) = (parts.next().unwrap_or_default(), text.split('/').nth(2).unwrap_or("x"));
    (2..=3).contains(&text.split('/').count())
        && text.split('/').all(part)
        && !os.contains('_')
        && !variant.contains('_')
}

fn is_tag(text: &str) -> bool {
    let first = text
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
    first && text.len() <= 128 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}
