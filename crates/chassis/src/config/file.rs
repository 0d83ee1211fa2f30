//! A configuration file: YAML, which also reads JSON, flattened to dotted keys.

use serde_json::Value;
use std::{collections::BTreeMap, path::Path};

/// Reads a file into dotted keys and texts.
pub(crate) fn read(path: &Path) -> Result<BTreeMap<String, String>, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    parse(&text).map_err(|error| format!("{}: {error}", path.display()))
}

/// Reads YAML, or JSON, which is YAML. An error says where it is, not what is there.
///
/// # Errors
/// When it is neither.
pub fn yaml(text: &str) -> Result<Value, String> {
    if text.trim().is_empty() {
        return Ok(Value::Null);
    }
    serde_saphyr::from_str(text).map_err(|error| match error.location() {
        Some(at) => format!("not YAML at line {}, column {}", at.line(), at.column()),
        None => "not YAML".to_owned(),
    })
}

fn parse(text: &str) -> Result<BTreeMap<String, String>, String> {
    let value = yaml(text)?;
    let mut flat = BTreeMap::new();
    flatten("", value, &mut flat)?;
    Ok(flat)
}

fn flatten(prefix: &str, value: Value, flat: &mut BTreeMap<String, String>) -> Result<(), String> {
    let text = match value {
        Value::Null => return Ok(()),
        Value::Bool(b) => b.to_string(),
        Value::Number(n) => n.to_string(),
        Value::String(s) => s,
        Value::Array(items) => items.into_iter().map(item).collect::<Result<Vec<_>, _>>()?.join(","),
        Value::Object(map) => {
            return map.into_iter().try_for_each(|(key, value)| {
                let key = if prefix.is_empty() {
                    key
                } else {
                    format!("{prefix}.{key}")
                };
                flatten(&key, value, flat)
            });
        }
    };
    match flat.insert(prefix.to_owned(), text) {
        None => Ok(()),
        Some(_) => Err(format!("{prefix} is given twice")),
    }
}

fn item(value: Value) -> Result<String, String> {
    match value {
        Value::String(s) => Ok(s),
        Value::Bool(_) | Value::Number(_) => Ok(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => Err("a list may hold only texts and numbers".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_and_json_come_out_the_same() {
        let yaml = parse("redis: {addr: 'localhost:6379', db: 0}\nlist: [a, 2]\nempty:\n").unwrap();
        let json = parse(r#"{"redis": {"addr": "localhost:6379", "db": 0}, "list": ["a", 2]}"#).unwrap();
        assert_eq!(yaml, json);
        assert_eq!(yaml["redis.addr"], "localhost:6379");
        assert_eq!(yaml["list"], "a,2");
    }

    #[test]
    fn a_key_given_twice_is_an_error() {
        assert!(parse("a: 1\na: 2").is_err());
        assert!(parse("a.b: 1\na: {b: 2}").is_err());
    }
}
