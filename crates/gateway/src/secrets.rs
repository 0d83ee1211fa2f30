//! Which secrets a delivery may be proved with.

use crate::proof::Known;
use chassis::Secret;
use contract::Provider;
use serde_json::Value;
use std::collections::HashMap;

/// Secrets by provider, owner and repository; several for one of them while they are rotated.
#[derive(Debug, Default)]
pub(crate) struct Secrets {
    /// Those of every provider.
    usual: Vec<Known>,
    of: HashMap<Provider, Own>,
}

#[derive(Debug, Default)]
struct Own {
    usual: Vec<Known>,
    /// By repository or by what is above it: `owner`, `group/subgroup`; in lower case.
    scoped: HashMap<String, Vec<Known>>,
}

// === impl Secrets ===

impl Secrets {
    /// From the setting, and from the text of a file: `{provider: {default | owner | owner/repository: secret or
    /// list of secrets}}`, in YAML or JSON.
    ///
    /// # Errors
    /// When the file says something else, or names an empty secret.
    pub(crate) fn new(usual: &[Secret], file: Option<&str>) -> Result<Self, String> {
        let mut secrets = Self {
            usual: usual.iter().filter_map(Known::new).collect(),
            of: HashMap::new(),
        };
        let whole = file.map_or(Ok(Value::Null), chassis::config::yaml)?;
        if file.is_some() && whole.is_null() {
            return Err("the file is empty".to_owned()); // As it is while somebody writes it anew.
        }
        for (name, scopes) in entries(&whole, "the file")? {
            let provider: Provider = name.parse().map_err(|error| format!("{name}: {error}"))?;
            let own = secrets.of.entry(provider).or_default();
            for (scope, given) in entries(scopes, name)? {
                let known =
                    known(given).ok_or_else(|| format!("{name}.{scope}: expected a secret, or a list of them"))?;
                if scope == "default" {
                    own.usual = known;
                } else {
                    own.scoped.insert(scope.to_ascii_lowercase(), known);
                }
            }
        }
        Ok(secrets)
    }

    /// Whether any delivery of this provider can be proved.
    pub(crate) fn knows(&self, provider: Provider) -> bool {
        let own = self.of.get(&provider);
        !self.usual.is_empty() || own.is_some_and(|own| !own.usual.is_empty() || !own.scoped.is_empty())
    }

    /// Whether it matters which repository a delivery of this provider is about.
    pub(crate) fn depend_on_the_repository(&self, provider: Provider) -> bool {
        self.of.get(&provider).is_some_and(|own| !own.scoped.is_empty())
    }

    /// The secrets of a repository: its own, else those of the nearest group or owner above it, else the
    /// provider's, else everybody's. Those that are more general do not hold where there are others.
    pub(crate) fn of(&self, provider: Provider, repository: Option<&str>) -> &[Known] {
        let Some(own) = self.of.get(&provider) else {
            return &self.usual;
        };
        let name = repository.unwrap_or_default().to_ascii_lowercase();
        let mut scopes = std::iter::successors(Some(name.as_str()), |name| above(name));
        match scopes.find_map(|scope| own.scoped.get(scope)) {
            Some(scoped) => scoped,
            None if own.usual.is_empty() => &self.usual,
            None => &own.usual,
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        let own = |own: &Own| own.usual.len() + own.scoped.values().map(Vec::len).sum::<usize>();
        self.usual.len() + self.of.values().map(own).sum::<usize>()
    }
}

/// The group or owner above a repository or a group.
fn above(name: &str) -> Option<&str> {
    name.rsplit_once('/').map(|(above, _)| above)
}

fn entries<'a>(value: &'a Value, what: &str) -> Result<Vec<(&'a String, &'a Value)>, String> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Object(map) => Ok(map.iter().collect()),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(format!("{what}: expected names and what belongs to them"))
        }
    }
}

/// `None` when one of them is no text, or empty.
fn known(given: &Value) -> Option<Vec<Known>> {
    let all = given
        .as_array()
        .map_or_else(|| std::slice::from_ref(given), Vec::as_slice);
    let one = |value: &Value| Known::new(&value.as_str()?.parse().ok()?);
    let all: Option<Vec<_>> = all.iter().map(one).collect();
    all.filter(|all| !all.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proof::Proof;

    const FILE: &str = "
github:
  default: g
  Acme: [old, new]
  acme/shop: s
gitlab:
  acme: t
  acme/group: o
";

    fn accepts(secrets: &Secrets, provider: Provider, repository: &str) -> String {
        let all = ["u", "g", "old", "new", "s", "t", "o"].into_iter();
        let proved = |secret: &&str| {
            let proof = Proof::Token(secret.as_bytes().to_vec());
            let of = secrets.of(provider, Some(repository));
            of.iter().any(|known| proof.is_by(known, b"", 0))
        };
        all.filter(proved).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_nearest_secrets_hold_and_no_others() {
        let usual: Secret = "u".parse().unwrap();
        let secrets = Secrets::new(&[usual], Some(FILE)).unwrap();
        for (provider, repository, good) in [
            (Provider::Github, "acme/shop", "s"),
            (Provider::Github, "ACME/other", "old new"),
            (Provider::Github, "else/where", "g"),
            (Provider::Gitlab, "acme/other/deep", "t"),
            (Provider::Gitlab, "acme/group/deep", "o"),
            (Provider::Gitlab, "Acme/Group/deep/deeper", "o"),
            (Provider::Gitlab, "acme/groups", "t"),
            (Provider::Gitlab, "else/where", "u"),
            (Provider::Gitea, "acme/shop", "u"),
        ] {
            assert_eq!(accepts(&secrets, provider, repository), good, "{provider} {repository}");
        }
        assert!(secrets.depend_on_the_repository(Provider::Github));
        assert!(!secrets.depend_on_the_repository(Provider::Gitea));
        assert_eq!(secrets.len(), 7);
    }

    #[test]
    fn without_a_secret_nothing_is_known_and_an_empty_one_is_none() {
        let empty: Secret = "".parse().unwrap();
        let secrets = Secrets::new(&[empty], None).unwrap();
        assert!(!secrets.knows(Provider::Github));
        let secrets = Secrets::new(&[], Some("gitlab: {default: x}")).unwrap();
        assert!(secrets.knows(Provider::Gitlab) && !secrets.knows(Provider::Github));
    }

    #[test]
    fn a_file_that_says_something_else_is_refused_without_showing_what() {
        for (file, why) in [
            ("", "the file is empty"),
            ("[]", "the file: expected names"),
            ("cvs: {default: x}", "cvs: expected one of"),
            ("github: hunter2", "github: expected names"),
            ("github: {default: ''}", "github.default: expected a secret"),
            ("github: {acme: []}", "github.acme: expected a secret"),
            ("github: {acme: [hunter2, 7]}", "github.acme: expected a secret"),
        ] {
            let error = Secrets::new(&[], Some(file)).unwrap_err();
            assert!(error.starts_with(why) && !error.contains("hunter2"), "{file}: {error}");
        }
    }
}
