//! Values of the secrets that builds name.
//!
//! A folder has one per project, and a file per secret in it: `<folder>/org/repo/NPM_TOKEN`. So they are kept as Docker
//! and Kubernetes give them to programs, and a project never gets another's.

use crate::failure::{BuildFailure, Kind};
use chassis::Secret;
use contract::{BuildQueueMessage, ProjectName, SecretName};
use std::{collections::BTreeMap, path::PathBuf};

/// Where secrets are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Vault {
    folder: Option<PathBuf>,
}

/// The id of the secret that holds a build's environment.
const ENVIRONMENT: &str = "env";
/// The largest secret that BuildKit takes, in bytes.
const LARGEST: usize = 500 * 1024;

// === impl Vault ===

impl Vault {
    pub(crate) const fn new(folder: Option<PathBuf>) -> Self {
        Self { folder }
    }

    /// The secrets that a build may use, by name. One that is not there, or not ours to give, is an error, not an empty
    /// text; a build that is not trusted goes without any.
    pub(crate) async fn of(&self, message: &BuildQueueMessage) -> Result<BTreeMap<String, Secret>, BuildFailure> {
        let Some(options) = &message.options else {
            return Ok(BTreeMap::new());
        };
        let mut found = self.named(message, &options.secrets).await?;
        if !options.environment.is_empty() {
            let Ok(text) = dotenv(&options.environment).parse();
            found.entry(ENVIRONMENT.to_owned()).or_insert(text);
        }
        Ok(found)
    }

    /// The same, for those that a part of the build names.
    pub(crate) async fn named(
        &self,
        message: &BuildQueueMessage,
        names: &[SecretName],
    ) -> Result<BTreeMap<String, Secret>, BuildFailure> {
        let mut found = BTreeMap::new();
        for name in names.iter().filter(|_| message.is_trusted()) {
            found.insert(name.to_string(), self.read(&message.project_name, name).await?);
        }
        Ok(found)
    }

    async fn read(&self, project: &ProjectName, name: &SecretName) -> Result<Secret, BuildFailure> {
        let missing = |why: String| {
            let text = format!("the secret {name} of {project} {why}");
            BuildFailure::new(Kind::SecretMissing, text)
        };
        let Some(folder) = &self.folder else {
            return Err(missing("is not here: this forgery has none (secrets.dir)".to_owned()));
        };
        // Neither name can lead out of the folder: their types allow no `..`.
        let path = folder.join(project.as_str()).join(name.as_str());
        let bytes = match tokio::fs::read(&path).await {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(missing(format!("is not in {}/{project}", folder.display())));
            }
            Err(error) => return Err(missing(format!("cannot be read: {error}"))),
        };
        if bytes.len() > LARGEST {
            return Err(missing(format!("has more than {} KiB", LARGEST / 1024)));
        }
        let text = String::from_utf8(bytes).map_err(|_binary| missing("is not UTF-8".to_owned()))?;
        let Ok(secret) = text.parse();
        Ok(secret)
    }
}

/// Variables in the form of a dotenv file: in double quotes, and escaped.
pub(crate) fn dotenv(environment: &BTreeMap<String, String>) -> String {
    let line = |(name, value): (&String, &String)| {
        let value = value
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('$', "\\$")
            .replace('`', "\\`")
            .replace('\n', "\\n");
        format!("{name}=\"{value}\"\n")
    };
    environment.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::{BuildOptions, BuildType, Strategy};

    fn message(options: &str) -> BuildQueueMessage {
        let url = "https://h/o/r.git".parse().unwrap();
        let (id, project, commit) = ("b".parse().unwrap(), "o/r".parse().unwrap(), "abcd".parse().unwrap());
        let mut message = BuildQueueMessage::new(id, project, BuildType::Dockerfile, url, commit, Strategy::Local);
        message.options = Some(serde_json::from_str::<Box<BuildOptions>>(options).unwrap());
        message
    }

    #[tokio::test]
    async fn a_build_gets_the_secrets_that_it_names_if_it_is_trusted() {
        let folder = tempfile::tempdir().unwrap();
        for project in ["o/r", "o/other"] {
            std::fs::create_dir_all(folder.path().join(project)).unwrap();
        }
        std::fs::write(folder.path().join("o/r/TOKEN"), "value\n").unwrap();
        std::fs::write(folder.path().join("o/other/FOREIGN"), "foreign").unwrap();
        let vault = Vault::new(Some(folder.path().to_owned()));
        let mut wanted = message(r#"{"secrets": ["TOKEN"], "environment": {"A": "1 \"2\" $3"}}"#);
        let found = vault.of(&wanted).await.unwrap();
        assert_eq!(found["TOKEN"].expose(), "value\n");
        assert_eq!(found["env"].expose(), "A=\"1 \\\"2\\\" \\$3\"\n");
        wanted.trusted = Some(false);
        assert!(!vault.of(&wanted).await.unwrap().contains_key("TOKEN"));
        let missing = vault.of(&message(r#"{"secrets": ["FOREIGN"]}"#)).await.unwrap_err();
        assert_eq!(missing.kind, Kind::SecretMissing);
        assert!(
            missing.message.contains("the secret FOREIGN of o/r is not in"),
            "{missing}"
        );
        let none = Vault::default()
            .of(&message(r#"{"secrets": ["TOKEN"]}"#))
            .await
            .unwrap_err();
        assert!(none.message.contains("secrets.dir"), "{none}");
    }
}
