//! A pipeline: `.forge.yml` in a repository, or the text in the field `pipeline` of a build message.

use crate::{
    BuildNetwork, EventType, ImageReference, ImageTag, ProjectName, RelativePath, SecretName, text::text_type,
    vocabulary::words,
};
use serde::{Deserialize, Deserializer, de};
use std::{collections::BTreeMap, fmt, time::Duration};

text_type! {
    /// The name of a step of a pipeline.
    ///
    /// # Examples
    /// ```
    /// use contract::StepName;
    /// assert!("unit tests".parse::<StepName>().is_ok());
    /// assert!("-x".parse::<StepName>().is_err());
    /// ```
    StepName, InvalidStepName,
    "expected a letter or digit, then letters, digits, spaces, . _ - / and :, at most 64",
    pattern: "^[A-Za-z0-9][A-Za-z0-9 ._/:-]{0,63}$",
    valid: is_step_name
}

text_type! {
    /// A name that a sidecar is reached by (RFC 1123, one label).
    ///
    /// # Examples
    /// ```
    /// use contract::HostLabel;
    /// assert!("postgres".parse::<HostLabel>().is_ok());
    /// assert!("Postgres".parse::<HostLabel>().is_err());
    /// ```
    HostLabel, InvalidHostLabel,
    "expected lower-case letters, digits and -, at most 63",
    pattern: "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
    valid: is_label
}

words! {
    /// What a step of a pipeline does.
    StepType, "run, build, push, compose", {
        /// Runs a script in a container.
        Run = "run",
        /// Builds an image from a Dockerfile.
        Build = "build",
        /// Pushes the images that were built before.
        Push = "push",
        /// Builds the images of a compose file.
        Compose = "compose",
    }
}

/// What is done with a commit, step by step.
///
/// A step without `needs` waits for every step above it; one with `needs` waits for those alone, and runs beside others.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Pipeline {
    /// The image that scripts run in unless their step names another.
    #[serde(default)]
    pub image: Option<ImageReference>,
    /// Variables of every script.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// The steps, 1 to 100.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 100)))]
    pub steps: Vec<Step>,
}

/// One step of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Step {
    /// What it is called; no other step of the pipeline has this name.
    pub name: StepName,
    /// What it does; a script by default.
    #[serde(default = "run", rename = "type")]
    pub step_type: StepType,
    /// Steps that must have ended well before; every step above it by default.
    #[serde(default)]
    pub needs: Option<Vec<StepName>>,
    /// When it is done at all; always by default.
    #[serde(default)]
    pub when: When,
    /// Whether it is done, too, after a step that it waits for has failed or was not done: to clean up.
    #[serde(default)]
    pub always: bool,
    /// Whether the pipeline goes on as if it had ended well, when it has not.
    #[serde(default)]
    pub allow_failure: bool,
    /// The longest it may take, such as `90s`, `10m` or `1h`; as long as the build by default.
    #[serde(default)]
    pub timeout: Option<Span>,
    /// How often it is tried again after it failed, 0 to 5.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(range(max = 5)))]
    pub retries: u8,

    /// The script, for `run`: lines for `sh -e`, or a list of them.
    #[serde(default)]
    pub script: Option<Script>,
    /// The image that the script runs in; or, for `build`, what the image is called below the
    /// project's name, without registry and tag.
    #[serde(default)]
    pub image: Option<ImageReference>,
    /// Variables of the script.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Secrets that the script gets as variables, or a build as secrets, by name.
    #[serde(default)]
    pub secrets: Vec<SecretName>,
    /// Folders that are kept from build to build of one branch.
    #[serde(default)]
    pub cache: Vec<Cache>,
    /// Containers that run beside the script.
    #[serde(default)]
    pub services: Vec<Sidecar>,
    /// What the script may reach.
    #[serde(default)]
    pub network: Option<BuildNetwork>,
    /// Files and folders that are kept when the script has ended.
    #[serde(default)]
    pub artifacts: Vec<RelativePath>,

    /// Folder that is the context of `build`, or that the compose file is in.
    #[serde(default)]
    pub context: Option<RelativePath>,
    /// The Dockerfile of `build`, relative to the context.
    #[serde(default)]
    pub dockerfile: Option<RelativePath>,
    /// The stage of the Dockerfile to build.
    #[serde(default)]
    pub target: Option<String>,
    /// Build arguments.
    #[serde(default)]
    pub args: BTreeMap<String, String>,
    /// Tags besides those of commit and branch, for `build` and `compose`.
    #[serde(default)]
    pub tags: Vec<ImageTag>,
    /// Compose files, in their order; by default the one that Compose would find.
    #[serde(default)]
    pub files: Vec<RelativePath>,
    /// Profiles whose services are built, too, for `compose`.
    #[serde(default)]
    pub profiles: Vec<String>,
}

/// When a step is done; every condition that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct When {
    /// The branch or tag is one of these; patterns with `*`, `?`, `**` and `{a,b}`.
    pub branch: Option<OneOrMore<String>>,
    /// What happened is one of these.
    pub event: Option<OneOrMore<EventType>>,
    /// One of the files that were changed is one of these; patterns as above. Where it is not known what was changed, it is
    /// taken to be one of them.
    pub paths: Option<OneOrMore<String>>,
}

/// A folder that is kept.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Cache {
    /// Steps that name the same one share it.
    pub name: HostLabel,
    /// Where it is in the container, from the root.
    pub path: String,
}

/// A container beside a script.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Sidecar {
    /// By which the script reaches it.
    pub name: HostLabel,
    /// Its image.
    pub image: ImageReference,
    /// Its variables.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Its command, in place of the image's.
    #[serde(default)]
    pub command: Vec<String>,
    /// A command for its shell that succeeds once it is ready, in place of the image's health check.
    #[serde(default)]
    pub ready: Option<String>,
    /// The longest until it is ready; a minute by default.
    #[serde(default)]
    pub timeout: Option<Span>,
}

/// A span of time, as `90`, `90s`, `10m` or `1h`; at most a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

/// Lines of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script(pub String);

/// One of something, or a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OneOrMore<T>(pub Vec<T>);

/// The longest span, in seconds: a day.
const LONGEST_SPAN: u64 = 86_400;
/// The longest name of a step.
const LONGEST_NAME: usize = 64;

const fn run() -> StepType {
    StepType::Run
}

// === impl Step ===

impl Step {
    /// What the image of a `build` is called, if it says so.
    pub fn repository(&self) -> Option<ProjectName> {
        self.image.as_ref()?.as_str().parse().ok()
    }
}

// === impl Span ===

impl std::str::FromStr for Span {
    type Err = InvalidSpan;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let factor = match text.strip_prefix(digits) {
            Some("" | "s") => 1,
            Some("m") => 60,
            Some("h") => 3_600,
            _ => return Err(InvalidSpan),
        };
        let number: u64 = digits.parse().map_err(|_not| InvalidSpan)?;
        let seconds = number.checked_mul(factor).ok_or(InvalidSpan)?;
        let fits = (1..=LONGEST_SPAN).contains(&seconds);
        fits.then(|| Self(Duration::from_secs(seconds))).ok_or(InvalidSpan)
    }
}

/// The text is no span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a time such as 90s, 10m or 1h, at most a day")]
#[non_exhaustive]
pub struct InvalidSpan;

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

// === impl Script ===

impl<'de> Deserialize<'de> for Script {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        OneOrMore::<String>::deserialize(from).map(|lines| Self(lines.0.join("\n")))
    }
}

// === impl OneOrMore ===

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMore<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader<T>(std::marker::PhantomData<T>);

        impl<'de, T: Deserialize<'de>> de::Visitor<'de> for Reader<T> {
            type Value = Vec<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, or a list of them")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                T::deserialize(de::value::StrDeserializer::new(text)).map(|one| vec![one])
            }

            // `true` is a command, and `1` a tag: what looks like another type in YAML is a text here.
            fn visit_bool<E: de::Error>(self, flag: bool) -> Result<Self::Value, E> {
                self.visit_str(if flag { "true" } else { "false" })
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
                self.visit_str(&number.to_string())
            }

            // `1.10` is not `1.1`, and nobody can tell any more which it was.
            fn visit_f64<E: de::Error>(self, _: f64) -> Result<Self::Value, E> {
                Err(E::custom(
                    "a number with a point is not taken for a text: put it in quotes",
                ))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut all = Vec::new();
                while let Some(next) = list.next_element()? {
                    all.push(next);
                }
                if all.is_empty() {
                    return Err(de::Error::custom("expected at least one"));
                }
                Ok(all)
            }
        }

        from.deserialize_any(Reader(std::marker::PhantomData)).map(Self)
    }
}

#[cfg(feature = "schema")]
mod schema {
    use super::{OneOrMore, Script, Span};
    use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
    use std::borrow::Cow;

    impl JsonSchema for Span {
        fn schema_name() -> Cow<'static, str> {
            "Span".into()
        }

        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            json_schema!({
                "description": "A time such as 90s, 10m or 1h, at most a day; a number is in seconds.",
                "anyOf": [
                    {"type": "string", "pattern": "^[0-9]+[smh]?$"},
                    {"type": "integer", "minimum": 1, "maximum": super::LONGEST_SPAN},
                ],
            })
        }
    }

    impl JsonSchema for Script {
        fn schema_name() -> Cow<'static, str> {
            "Script".into()
        }

        fn json_schema(generator: &mut SchemaGenerator) -> Schema {
            OneOrMore::<String>::json_schema(generator)
        }
    }

    impl<T: JsonSchema> JsonSchema for OneOrMore<T> {
        fn schema_name() -> Cow<'static, str> {
            format!("OneOrMore{}", T::schema_name()).into()
        }

        fn json_schema(generator: &mut SchemaGenerator) -> Schema {
            let one = generator.subschema_for::<T>();
            json_schema!({"anyOf": [one.clone(), {"type": "array", "items": one, "minItems": 1}]})
        }
    }
}

fn is_step_name(text: &str) -> bool {
    let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    first
        && text.len() <= LONGEST_NAME
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b" ._/:-".contains(&b))
}

fn is_label(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let ends = [text.bytes().next(), text.bytes().last()];
    (1..=63).contains(&text.len())
        && ends.iter().all(|end| end.is_some_and(plain))
        && text.bytes().all(|b| plain(b) || b == b'-')
}
