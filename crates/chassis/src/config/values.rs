//! The values that were given, and the errors found while reading them.

use super::{Setting, Wrong, file};
use crate::Service;
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::{
    collections::BTreeMap,
    fmt,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    ops::RangeInclusive,
    path::Path,
    str::FromStr,
};

/// Where the values come from, in order: flags, environment, file; then the defaults.
#[derive(Debug, Default)]
pub struct Values {
    flags: BTreeMap<&'static str, String>,
    environment: BTreeMap<String, String>,
    file: BTreeMap<String, String>,
    errors: Vec<Wrong>,
}

/// The command line of a service: one flag per setting.
pub(crate) fn command(service: &Service, settings: &[Setting]) -> Command {
    let help = |s: &Setting| {
        let mut text = format!("{} [file: {}]", s.about, s.key);
        for name in s.env {
            let or_file = if s.secret {
                format!(", {name}_FILE")
            } else {
                String::new()
            };
            text.extend([" [env: ", name, &or_file, "]"]);
        }
        if let Some(default) = s.default {
            text.extend([" [default: ", default, "]"]);
        }
        text
    };
    let flags = settings.iter().map(|s| {
        Arg::new(s.key)
            .long(s.flag())
            .value_name("VALUE")
            .help(help(s))
            .global(true)
    });
    let errands = service.errands.iter().map(|errand| {
        let argument = Arg::new(errand.argument).value_name(errand.argument).required(true);
        Command::new(errand.name).about(errand.about).arg(argument)
    });
    Command::new(service.name)
        .about(service.about)
        .subcommands(errands)
        .version(env!("CARGO_PKG_VERSION"))
        .arg(
            Arg::new("config")
                .long("config")
                .value_name("FILE")
                .global(true)
                .help("Configuration file, YAML or JSON"),
        )
        .arg(
            Arg::new("print-config")
                .long("print-config")
                .action(ArgAction::SetTrue)
                .help("Print the effective configuration and exit"),
        )
        .arg(
            Arg::new("probe")
                .long("probe")
                .value_name("PATH")
                .help("Ask the running service's admin endpoint, such as /ready; exit 0 if all is well"),
        )
        .args(flags)
        .subcommand(
            Command::new("check")
                .about("Look at everything the service needs, and say what is wrong and how to put it right"),
        )
}

// === impl Values ===

impl Values {
    /// Gathers flags, the given variables and the file that `--config` names.
    pub(crate) fn gather(matches: &ArgMatches, settings: &[Setting], environment: BTreeMap<String, String>) -> Self {
        let flag = |s: &Setting| Some((s.key, matches.get_one::<String>(s.key)?.clone()));
        let mut values = Self {
            flags: settings.iter().filter_map(flag).collect(),
            environment,
            ..Self::default()
        };
        if let Some(path) = matches.get_one::<String>("config") {
            match file::read(Path::new(path)) {
                Ok(file) => values.file = file,
                Err(what) => values.errors.push(Wrong {
                    what,
                    places: "--config to a readable file".to_owned(),
                }),
            }
        }
        let known = |key: &str| settings.iter().any(|s| s.key == key || s.aliases.contains(&key));
        let unknown = values.file.keys().filter(|key| !known(key)).map(|key| Wrong {
            what: format!("{key}: there is no such setting"),
            places: "only keys that --help lists".to_owned(),
        });
        values.errors.extend(unknown.collect::<Vec<_>>());
        values
    }

    /// A setting that must have a value; what is missing or wrong is remembered.
    pub fn get<T: FromStr<Err: fmt::Display>>(&mut self, setting: &Setting) -> Option<T> {
        let Some(text) = self.text(setting) else {
            self.refuse(setting, "is required");
            return None;
        };
        self.parse(setting, &text)
    }

    /// A number that must have a value, from the least to the most that it may be.
    pub fn within<T>(&mut self, setting: &Setting, range: RangeInclusive<T>) -> Option<T>
    where
        T: FromStr<Err: fmt::Display> + PartialOrd + fmt::Display,
    {
        let number = self.get(setting)?;
        if !range.contains(&number) {
            self.refuse(setting, format!("expected {} to {}", range.start(), range.end()));
            return None;
        }
        Some(number)
    }

    /// A setting that may have no value; empty counts as none.
    pub fn optional<T: FromStr<Err: fmt::Display>>(&mut self, setting: &Setting) -> Option<T> {
        let text = self.text(setting)?;
        self.parse(setting, &text)
    }

    /// A comma-separated list; none is empty.
    pub fn list<T: FromStr<Err: fmt::Display>>(&mut self, setting: &Setting) -> Vec<T> {
        let text = self.text(setting).unwrap_or_default();
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        items.filter_map(|item| self.parse(setting, item)).collect()
    }

    /// Remembers that a setting is wrong, whatever its text says.
    pub fn refuse(&mut self, setting: &Setting, what: impl fmt::Display) {
        self.errors.push(setting.wrong(what));
    }

    /// Every error so far, one a line.
    pub fn errors(&self) -> Vec<String> {
        self.errors.iter().map(ToString::to_string).collect()
    }

    /// The effective configuration, as a file that could be read back; secrets are `***`.
    pub(crate) fn describe(&mut self, settings: &[Setting]) -> String {
        let mut lines = String::new();
        for setting in settings {
            let from = self.origin(setting);
            let text = match self.text(setting) {
                None => "null".to_owned(),
                Some(_) if setting.secret => "\"***\"".to_owned(),
                Some(text) => serde_json::Value::String(text).to_string(),
            };
            lines.extend([setting.key, ": ", &text, "  # ", &from, "\n"]);
        }
        lines
    }

    /// What tells these settings, by their names, from what they are at another time; secrets cannot be read from it.
    pub(crate) fn fingerprints(&mut self, settings: &[Setting]) -> BTreeMap<&'static str, u64> {
        let mut of = |setting: &Setting| {
            let mut hasher = DefaultHasher::new();
            self.text(setting).hash(&mut hasher);
            (setting.key, hasher.finish())
        };
        settings.iter().map(&mut of).collect()
    }

    fn parse<T: FromStr<Err: fmt::Display>>(&mut self, setting: &Setting, text: &str) -> Option<T> {
        let refused = |error: T::Err| {
            if setting.secret {
                self.refuse(setting, error);
            } else {
                self.refuse(setting, format_args!("{text:?}: {error}"));
            }
        };
        text.parse().map_err(refused).ok()
    }

    fn text(&mut self, setting: &Setting) -> Option<String> {
        let text = self
            .flags
            .get(setting.key)
            .cloned()
            .or_else(|| self.variable(setting))
            .or_else(|| self.in_file(setting))
            .or_else(|| setting.default.map(ToOwned::to_owned))?;
        (!text.is_empty()).then_some(text)
    }

    /// The first of its variables that is set and not empty, or the content of the file it names.
    fn variable(&mut self, setting: &Setting) -> Option<String> {
        let set = |name: &str| self.environment.get(name).filter(|text| !text.is_empty()).cloned();
        if let Some(text) = setting.env.iter().find_map(|name| set(name)) {
            return Some(text);
        }
        let path = setting
            .env
            .iter()
            .filter(|_| setting.secret)
            .find_map(|name| set(&format!("{name}_FILE")))?;
        match std::fs::read_to_string(&path) {
            Ok(text) => Some(text.trim_end_matches(['\r', '\n']).to_owned()),
            Err(error) => {
                self.refuse(setting, format!("{path}: {error}"));
                None
            }
        }
    }

    fn in_file(&self, setting: &Setting) -> Option<String> {
        let keys = [setting.key].into_iter().chain(setting.aliases.iter().copied());
        keys.into_iter().find_map(|key| self.file.get(key).cloned())
    }

    fn origin(&mut self, setting: &Setting) -> String {
        if self.flags.contains_key(setting.key) {
            format!("--{}", setting.flag())
        } else if self.variable(setting).is_some() {
            "environment".to_owned()
        } else if self.in_file(setting).is_some() {
            "file".to_owned()
        } else {
            "default".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    const PORT: Setting = Setting::new("server.port", "Port")
        .env(&["FORGE_PORT", "PORT"])
        .default("80")
        .aliases(&["webhook.port"]);
    const TOKEN: Setting = Setting::new("token", "Token").env(&["TOKEN"]).secret();
    const SETTINGS: &[Setting] = &[PORT, TOKEN];

    fn values(args: &[&str], env: &[(&str, &str)]) -> Values {
        let args = ["test"].iter().chain(args);
        let service = Service {
            name: "test",
            about: "",
            admin_listen: "",
            grace_seconds: "",
            settings: &[],
            errands: &[],
        };
        let matches = command(&service, SETTINGS).try_get_matches_from(args).unwrap();
        Values::gather(
            &matches,
            SETTINGS,
            env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        )
    }

    fn file(text: &str) -> (std::path::PathBuf, String) {
        let path = std::env::temp_dir().join(format!("chassis-{}-{:p}", std::process::id(), &raw const *text));
        std::fs::File::create(&path)
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
        let name = path.to_string_lossy().into_owned();
        (path, name)
    }

    #[test]
    fn a_flag_beats_a_variable_beats_a_file_beats_the_default() {
        let (_, path) = file("webhook: {port: 83}");
        let flag = ["--config", &path, "--server-port", "81"];
        assert_eq!(values(&flag, &[("PORT", "82")]).get(&PORT), Some(81));
        assert_eq!(values(&flag[..2], &[("PORT", "82")]).get(&PORT), Some(82));
        assert_eq!(
            values(&flag[..2], &[("PORT", "82"), ("FORGE_PORT", "84")]).get(&PORT),
            Some(84)
        );
        assert_eq!(values(&flag[..2], &[]).get(&PORT), Some(83));
        assert_eq!(values(&[], &[]).get(&PORT), Some(80));
    }

    #[test]
    fn all_errors_come_at_once_and_name_all_three_places() {
        let (_, path) = file("prot: 1");
        let mut values = values(&["--config", &path, "--server-port", "x"], &[]);
        values.get::<u16>(&PORT);
        values.get::<String>(&TOKEN);
        assert_eq!(
            values.errors(),
            [
                "prot: there is no such setting; set only keys that --help lists",
                "server.port: \"x\": invalid digit found in string; set --server-port, or FORGE_PORT in the environment, \
                 or PORT in the environment, or server.port in the configuration file",
                "token: is required; set --token, or TOKEN or TOKEN_FILE in the environment, \
                 or token in the configuration file",
            ]
        );
    }

    #[test]
    fn a_secret_may_be_a_file_and_is_never_printed() {
        let (_, path) = file("s3cret\n");
        let mut values = values(&[], &[("TOKEN_FILE", &path)]);
        assert_eq!(values.get::<String>(&TOKEN).as_deref(), Some("s3cret"));
        let printed = values.describe(SETTINGS);
        assert_eq!(
            printed,
            "server.port: \"80\"  # default\ntoken: \"***\"  # environment\n"
        );
    }
}
