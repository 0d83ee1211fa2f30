//! The published schemas agree with the types: both accept and refuse the same examples.

use crate::util::{files, repository};
use serde_json::Value;

fn schema(name: &str) -> jsonschema::Validator {
    let path = repository().join(format!("contracts/schemas/{name}.schema.json"));
    let text = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    jsonschema::validator_for(&serde_json::from_slice(&text).unwrap()).unwrap()
}

#[test]
fn every_example_matches_its_schema() {
    for name in [
        "build-queue-message",
        "webhook-delivery",
        "build-event",
        "deployment-queue-message",
        "deployment-event",
        "cancel-request",
        "log-chunk",
        "notification",
    ] {
        let schema = schema(name);
        for (file, bytes) in files(&format!("examples/{name}")) {
            if file.starts_with("alias") {
                continue; // The older form of a cancel request is understood, but not published.
            }
            let example: Value = serde_json::from_slice(&bytes).unwrap();
            let errors: Vec<_> = schema
                .iter_errors(&example)
                .map(|e| format!("{}: {e}", e.instance_path()))
                .collect();
            assert!(errors.is_empty(), "{name}/{file}: {errors:?}");
        }
    }
}

#[test]
fn the_schema_refuses_what_the_parser_refuses() {
    let schema = schema("build-queue-message");
    for (file, bytes) in files("examples/build-queue-message/invalid") {
        let accepted = serde_json::from_slice::<Value>(&bytes).is_ok_and(|example| schema.is_valid(&example));
        assert!(!accepted, "{file}");
    }
}
