//! Rules of the users for the payloads of an event: JSON Schemas, a file each.

use contract::Provider;
use jsonschema::Validator;
use serde_json::Value;
use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

/// The texts of the schemas by the names of their files, without `.json`.
pub(crate) type Texts = BTreeMap<String, String>;

/// Compiled schemas: `EVENT.json` for every provider, `PROVIDER.EVENT.json` for one.
#[derive(Debug, Default)]
pub(crate) struct Schemas(HashMap<String, Validator>);

/// Most schemas, and the longest of them.
const MOST: usize = 256;
const LONGEST: u64 = 1 << 20;
/// Most mistakes that are told.
const MISTAKES: usize = 10;

/// Reads every schema of a folder.
pub(crate) fn read(folder: &Path) -> Result<Texts, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut texts = Texts::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let (Some(name), Some("json")) = (
            path.file_stem().and_then(|name| name.to_str()),
            path.extension().and_then(|extension| extension.to_str()),
        ) else {
            continue;
        };
        if path.metadata().map_err(failed)?.len() > LONGEST || texts.len() == MOST {
            return Err(format!("{}: at most {MOST} schemas of 1 MiB each", path.display()));
        }
        texts.insert(name.to_owned(), std::fs::read_to_string(&path).map_err(failed)?);
    }
    Ok(texts)
}

/// The event that a schema's name means.
pub(crate) fn event_of(name: &str) -> &str {
    match name.split_once('.') {
        Some((forge, event)) if forge.parse::<Provider>().is_ok() => event,
        _ => name,
    }
}

// === impl Schemas ===

impl Schemas {
    pub(crate) fn new(texts: &Texts) -> Result<Self, String> {
        let compile = |(name, text): (&String, &String)| {
            let schema: Value = serde_json::from_str(text).map_err(|error| format!("{name}.json: {error}"))?;
            let compiled = jsonschema::validator_for(&schema).map_err(|error| format!("{name}.json: {error}"))?;
            Ok((name.clone(), compiled))
        };
        texts.iter().map(compile).collect::<Result<_, _>>().map(Self)
    }

    /// What is wrong with a body; nothing where there is no schema for it.
    pub(crate) fn mistakes(&self, provider: Provider, event: &str, body: &[u8]) -> Vec<String> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let names = [event.to_owned(), format!("{provider}.{event}")];
        let mut schemas = names.iter().filter_map(|name| self.0.get(name)).peekable();
        if schemas.peek().is_none() {
            return Vec::new();
        }
        let body: Value = match serde_json::from_slice(body) {
            Ok(body) => body,
            Err(error) => return vec![format!("body: {error}")],
        };
        let found = schemas.flat_map(|schema| schema.iter_errors(&body));
        // Where, and what was expected; not what is there.
        let told = found.map(|error| format!("{}: {}", place(&error), error.masked()));
        told.take(MISTAKES).collect()
    }
}

fn place(error: &jsonschema::ValidationError<'_>) -> String {
    let place = error.instance_path().as_str();
    if place.is_empty() {
        "body".to_owned()
    } else {
        place.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schemas(files: &[(&str, &str)]) -> Result<Schemas, String> {
        let texts = files
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        Schemas::new(&texts.collect())
    }

    #[test]
    fn a_body_must_fit_the_schemas_of_its_event_and_no_others() {
        let rule = r#"{"type": "object", "required": ["action", "custom_data"], "properties": {"action": {"type": "string"}}}"#;
        let schemas = schemas(&[("custom", rule), ("gitea.push", r#"{"required": ["pusher"]}"#)]).unwrap();
        let mistakes = |provider, event, body: &str| schemas.mistakes(provider, event, body.as_bytes());
        assert!(mistakes(Provider::Github, "custom", r#"{"action": "x", "custom_data": {}}"#).is_empty());
        let told = mistakes(Provider::Github, "custom", r#"{"action": "hunter2"}"#);
        assert_eq!(told, [r#"body: "custom_data" is a required property"#]);
        let told = mistakes(Provider::Github, "custom", r#"{"action": 7, "custom_data": 1}"#);
        assert_eq!(told, [r#"/action: value is not of type "string""#]);
        assert_eq!(mistakes(Provider::Gitea, "push", "{}").len(), 1);
        assert!(mistakes(Provider::Github, "push", "{}").is_empty());
    }

    #[test]
    fn a_schema_that_is_none_is_refused_by_name() {
        for text in ["{", r#"{"type": 7}"#, r#"{"$ref": "https://example.org/x.json"}"#] {
            let error = schemas(&[("push", text)]).unwrap_err();
            assert!(error.starts_with("push.json: "), "{error}");
        }
    }

    #[test]
    fn a_folder_has_at_most_256_schemas_of_a_mebibyte() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: String, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        (0..MOST).for_each(|n| write(format!("e{n}.json"), "{}"));
        write("README.md".to_owned(), "not a schema");
        assert_eq!(read(folder.path()).unwrap().len(), MOST);
        write("one-more.json".to_owned(), "{}");
        assert!(
            read(folder.path())
                .unwrap_err()
                .contains("at most 256 schemas of 1 MiB each")
        );

        let folder = tempfile::tempdir().unwrap();
        let long = usize::try_from(LONGEST).unwrap();
        std::fs::write(folder.path().join("push.json"), " ".repeat(long + 1)).unwrap();
        assert!(read(folder.path()).unwrap_err().contains("at most"));
    }
}
