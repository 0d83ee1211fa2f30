//! Configuration: flag over environment over file over default, every error at once.

mod file;
mod values;

pub use file::yaml;
pub use values::Values;
pub(crate) use values::command;

/// One thing that can be configured, and every place it can come from.
///
/// `redis.url` is `--redis-url` as a flag and `redis: {url: …}` in a file. A secret may also be
/// given as the name of a file that holds it, in the variable with `_FILE` appended.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub(crate) key: &'static str,
    pub(crate) about: &'static str,
    pub(crate) env: &'static [&'static str],
    pub(crate) default: Option<&'static str>,
    pub(crate) aliases: &'static [&'static str],
    pub(crate) secret: bool,
}

/// A setting that is missing or wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}; set {places}")]
pub(crate) struct Wrong {
    what: String,
    places: String,
}

// === impl Setting ===

impl Setting {
    /// A setting by its key in a file, and its help text.
    pub const fn new(key: &'static str, about: &'static str) -> Self {
        Self {
            key,
            about,
            env: &[],
            default: None,
            aliases: &[],
            secret: false,
        }
    }

    /// The variables it is read from; the first that is set wins.
    #[must_use]
    pub const fn env(mut self, names: &'static [&'static str]) -> Self {
        self.env = names;
        self
    }

    /// Its value when nothing is given.
    #[must_use]
    pub const fn default(mut self, value: &'static str) -> Self {
        self.default = Some(value);
        self
    }

    /// Older keys that mean the same in a file.
    #[must_use]
    pub const fn aliases(mut self, keys: &'static [&'static str]) -> Self {
        self.aliases = keys;
        self
    }

    /// Never shown; may be given as a file.
    #[must_use]
    pub const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    pub(crate) fn flag(&self) -> String {
        self.key.replace(['.', '_'], "-")
    }

    /// The three places it can come from, for people.
    pub(crate) fn places(&self) -> String {
        let variables = self.env.iter().map(|name| {
            if self.secret {
                format!("{name} or {name}_FILE in the environment")
            } else {
                format!("{name} in the environment")
            }
        });
        let flag = [format!("--{}", self.flag())];
        let file = [format!("{} in the configuration file", self.key)];
        flag.into_iter()
            .chain(variables)
            .chain(file)
            .collect::<Vec<_>>()
            .join(", or ")
    }

    pub(crate) fn wrong(&self, what: impl std::fmt::Display) -> Wrong {
        Wrong {
            what: format!("{}: {what}", self.key),
            places: self.places(),
        }
    }
}
