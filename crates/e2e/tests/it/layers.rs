//! Who may import whom, and where each heavy dependency lives.

use serde_json::Value;
use std::{collections::BTreeMap, process::Command};

/// Normal and build dependencies of every package of the workspace, by name.
fn dependencies() -> BTreeMap<String, Vec<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let of = |package: &Value| {
        let all = package["dependencies"].as_array().unwrap().iter();
        (
            text(&package["name"]),
            all.filter(|d| d["kind"] != "dev").map(|d| text(&d["name"])).collect(),
        )
    };
    metadata["packages"].as_array().unwrap().iter().map(of).collect()
}

#[test]
fn services_share_mechanisms_and_messages_but_never_import_each_other() {
    let service: &[&str] = &["bus", "chassis", "contract", "seal"];
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("contract", &[][..]),
        ("chassis", &[]),
        ("seal", &[]),
        ("bus", &["chassis", "contract"]),
        ("gateway", service),
        ("prow", service),
        ("forgery", service),
        ("notifier", service),
        ("testkit", &["contract", "seal"]),
        ("e2e", &["bus", "chassis", "contract", "seal", "testkit"]),
        ("bench", &["seal", "testkit"]),
        ("chaos", &["bus", "chassis", "contract", "forgery", "seal", "testkit"]),
    ]);
    let all = dependencies();
    assert_eq!(
        all.keys().map(String::as_str).collect::<Vec<_>>(),
        allowed.keys().copied().collect::<Vec<_>>()
    );
    for (name, imports) in &all {
        for import in imports.iter().filter(|import| all.contains_key(*import)) {
            assert!(
                allowed[name.as_str()].contains(&import.as_str()),
                "{name} must not import {import}"
            );
        }
    }
}

#[test]
fn each_heavy_dependency_has_one_home() {
    for (dependency, home) in [
        ("fred", "bus"),
        ("ring", "seal"),
        ("bollard", "forgery"),
        ("gix", "forgery"),
        ("sqlx", "prow"),
        ("clap", "chassis"),
        ("opentelemetry", "chassis"),
        ("tracing-opentelemetry", "chassis"),
        ("prometheus-client", "chassis"),
    ] {
        let importers: Vec<_> = dependencies()
            .into_iter()
            .filter(|(name, all)| name != "bench" && all.iter().any(|d| d == dependency)) // Its baselines are not ours.
            .collect();
        assert_eq!(
            importers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
            [home],
            "{dependency}"
        );
    }
}

/// Every test that the table of bounds names is there.
#[test]
fn each_bound_names_a_test_that_exists() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap();
    let text = std::fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let (_, table) = text.split_once("## Bounds").unwrap();
    let (table, _) = table.split_once("## Proof").unwrap();
    let lines = table.lines().filter(|line| line.starts_with("| ")).skip(2);
    // In the last column, one or several.
    let last = lines.filter_map(|line| line.trim_end_matches(" |").rsplit(" | ").next());
    let named: Vec<&str> = last.flat_map(|names| names.split('`').skip(1).step_by(2)).collect();
    let mut sources = String::new();
    let mut folders = vec![root.join("crates")];
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                sources += &std::fs::read_to_string(path).unwrap();
            }
        }
    }
    assert!(named.len() > 20, "{named:?}");
    for name in named {
        assert!(
            sources.contains(&format!("fn {name}(")),
            "{name} is named in ARCHITECTURE.md and does not exist"
        );
    }
}
