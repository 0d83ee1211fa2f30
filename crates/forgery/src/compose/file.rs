//! Compose files: found, read, their variables filled in, merged, `extends` resolved.

use super::interpolate::interpolate;
use crate::context::confined;
use serde_json::{Map, Value};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// What Compose looks for, in its order; and what it merges over the first that it finds.
pub(crate) const NAMES: [&str; 4] = [
    "compose.yaml",
    "compose.yml",
    "docker-compose.yml",
    "docker-compose.yaml",
];
const OVERRIDES: [&str; 4] = [
    "compose.override.yaml",
    "compose.override.yml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
];
/// The largest file, in bytes.
const LARGEST: u64 = 1024 * 1024;
/// Most services of a file.
const MOST: usize = 100;
/// All texts of a file, with the values of variables in them, in bytes.
const LARGEST_FILLED: usize = 4 * 1024 * 1024;
/// How far `extends` may lead.
const DEEPEST: usize = 16;

/// All files as one; their names are relative to one folder, and `.env` is in that of the project.
pub(super) fn read(
    folder: &Path,
    project: &Path,
    files: &[String],
    environment: &BTreeMap<String, String>,
) -> Result<Value, String> {
    let variables = variables(project, environment)?;
    let files = if files.is_empty() {
        usual(folder)?
    } else {
        files.to_vec()
    };
    let mut whole = Value::Object(Map::new());
    for file in &files {
        let mut part = one(folder, file, &variables)?;
        if let Some(include) = part.get("include") {
            return Err(format!(
                "{file}: include ({include}) cannot be honoured by this forgery"
            ));
        }
        let count = services(&part).map_or(0, Map::len);
        if count > MOST {
            return Err(format!("{file} has more than {MOST} services"));
        }
        let names: Vec<String> = services(&part)
            .map(|services| services.keys().cloned().collect())
            .unwrap_or_default();
        for name in names {
            let resolved = resolve(folder, file, &part, &name, &variables, 0)?;
            if let Some(services) = part.get_mut("services").and_then(Value::as_object_mut) {
                services.insert(name, resolved);
            }
        }
        merge(&mut whole, part);
    }
    Ok(whole)
}

pub(super) fn services(file: &Value) -> Option<&Map<String, Value>> {
    file.get("services")?.as_object()
}

/// The file that Compose would find, and its override.
fn usual(folder: &Path) -> Result<Vec<String>, String> {
    let is_there = |name: &&&str| folder.join(**name).is_file();
    let first = NAMES
        .iter()
        .find(is_there)
        .ok_or_else(|| format!("there is no {}", NAMES.join(", ")))?;
    let over = OVERRIDES.iter().find(is_there);
    Ok([Some(first), over]
        .into_iter()
        .flatten()
        .map(ToString::to_string)
        .collect())
}

/// The variables of `.env` beside the compose file, and those of the build, which win.
fn variables(folder: &Path, environment: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, String> {
    let Some(path) = confined(folder, &folder.join(".env")).filter(|path| path.is_file()) else {
        return Ok(environment.clone());
    };
    with_dotenv(&bounded(&path, ".env")?, environment)
}

/// Each value may have variables of lines above in it.
fn with_dotenv(text: &str, environment: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, String> {
    let (mut known, mut room) = (environment.clone(), LARGEST_FILLED);
    for line in text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let line = line.strip_prefix("export ").unwrap_or(line);
        let Some((name, value)) = line.split_once('=') else {
            continue;
        };
        let value = dotenv_value(value.trim(), &known);
        take(&mut room, &value).map_err(|error| format!(".env: {error}"))?;
        if !environment.contains_key(name.trim()) {
            known.insert(name.trim().to_owned(), value);
        }
    }
    Ok(known)
}

/// Of all texts of a file there may be so much.
fn take(room: &mut usize, text: &str) -> Result<(), String> {
    let left = room.checked_sub(text.len());
    *room = left.ok_or_else(|| format!("its texts have more than {} MiB", LARGEST_FILLED / (1024 * 1024)))?;
    Ok(())
}

/// A value of `.env` (Compose, "Environment file syntax"): in single quotes as it is, else with variables in it; what is
/// behind the quotes, or after ` #`, is a comment.
fn dotenv_value(text: &str, known: &BTreeMap<String, String>) -> String {
    let quoted = |quote: char| text.strip_prefix(quote)?.split_once(quote).map(|(inner, _)| inner);
    if let Some(inner) = quoted('\'') {
        return inner.to_owned();
    }
    let plain = || text.split(" #").next().unwrap_or(text).trim_end();
    let value = quoted('"').unwrap_or_else(plain);
    // A $ that names nothing is one of its own here.
    interpolate(value, known).unwrap_or_else(|_odd| value.to_owned())
}

/// One file, with its variables filled in and its short forms made long.
fn one(folder: &Path, name: &str, variables: &BTreeMap<String, String>) -> Result<Value, String> {
    let path = confined(folder, &folder.join(name)).filter(|path| path.is_file());
    let path = path.ok_or_else(|| format!("there is no {name}"))?;
    let text = bounded(&path, name)?;
    parse(name, &text, variables)
}

/// The same of its text.
pub(super) fn parse(name: &str, text: &str, variables: &BTreeMap<String, String>) -> Result<Value, String> {
    let mut value: Value = serde_saphyr::from_str(text).map_err(|error| match error.location() {
        Some(at) => format!("{name}:{}:{}: {}", at.line(), at.column(), error.without_snippet()),
        None => format!("{name}: {}", error.without_snippet()),
    })?;
    let mut room = LARGEST_FILLED;
    fill(&mut value, variables, &mut room).map_err(|error| format!("{name}: {error}"))?;
    let services = value.get_mut("services").and_then(Value::as_object_mut);
    for service in services.into_iter().flat_map(Map::values_mut) {
        lengthen(service);
    }
    Ok(value)
}

pub(super) fn bounded(path: &Path, name: &str) -> Result<String, String> {
    let size = std::fs::metadata(path).map_or(0, |file| file.len());
    if size > LARGEST {
        return Err(format!("{name} has more than {} KiB", LARGEST / 1024));
    }
    std::fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))
}

fn fill(value: &mut Value, variables: &BTreeMap<String, String>, room: &mut usize) -> Result<(), String> {
    match value {
        Value::String(text) => {
            if text.contains('$') {
                *text = interpolate(text, variables)?;
            }
            take(room, text)?;
        }
        Value::Array(list) => list.iter_mut().try_for_each(|one| fill(one, variables, room))?,
        Value::Object(map) => map.values_mut().try_for_each(|one| fill(one, variables, room))?,
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
    Ok(())
}

/// `build: folder` means `build: {context: folder}`; lists of `NAME=value` mean maps.
fn lengthen(service: &mut Value) {
    let Some(service) = service.as_object_mut() else { return };
    if let Some(Value::String(context)) = service.get("build") {
        let long = Map::from_iter([("context".to_owned(), Value::String(context.clone()))]);
        service.insert("build".to_owned(), Value::Object(long));
    }
    let Some(build) = service.get_mut("build").and_then(Value::as_object_mut) else {
        return;
    };
    for name in ["args", "labels"] {
        if let Some(Value::Array(list)) = build.get(name) {
            let pair = |text: &Value| match text.as_str()?.split_once('=') {
                Some((name, value)) => Some((name.to_owned(), Value::String(value.to_owned()))),
                None => Some((text.as_str()?.to_owned(), Value::Null)),
            };
            let map: Map<_, _> = list.iter().filter_map(pair).collect();
            build.insert(name.to_owned(), Value::Object(map));
        }
    }
}

/// A service with what it extends below it.
fn resolve(
    folder: &Path,
    file: &str,
    whole: &Value,
    name: &str,
    variables: &BTreeMap<String, String>,
    depth: usize,
) -> Result<Value, String> {
    if depth > DEEPEST {
        return Err(format!(
            "{file}: the service {name} extends itself, or more than {DEEPEST} others in a row"
        ));
    }
    let found = services(whole).and_then(|services| services.get(name));
    let mut own = found
        .cloned()
        .ok_or_else(|| format!("{file}: there is no service {name}"))?;
    let extends_another = own.get("extends").is_some();
    let build = own.get_mut("build").and_then(Value::as_object_mut);
    if let Some(build) = build.filter(|_| depth > 0) {
        // Paths of another file are relative to where it is.
        let context = build.get("context").and_then(Value::as_str);
        if let Some(context) = context.or_else(|| (!extends_another).then_some(".")) {
            let context = beside(file, context);
            build.insert("context".to_owned(), Value::String(context));
        }
    }
    let Some(extends) = own.as_object_mut().and_then(|own| own.remove("extends")) else {
        return Ok(own);
    };
    let text = |key: &str| extends.get(key).and_then(Value::as_str);
    let base = extends.as_str().or_else(|| text("service"));
    let base = base.ok_or_else(|| format!("{file}: the service {name} extends no service"))?;
    let mut below = match text("file") {
        None => resolve(folder, file, whole, base, variables, depth + 1)?,
        Some(other) => {
            let other = beside(file, other);
            let their = one(folder, &other, variables)?;
            resolve(folder, &other, &their, base, variables, depth + 1)?
        }
    };
    merge(&mut below, own);
    Ok(below)
}

/// A path that is relative to a file's folder, relative to where that file's path is.
fn beside(file: &str, path: &str) -> String {
    let folder = Path::new(file).parent().map_or_else(PathBuf::new, Path::to_owned);
    folder.join(path).to_string_lossy().into_owned()
}

/// Lays one file over another: maps are merged, lists are joined, anything else is replaced (Compose Specification,
/// "Merge").
fn merge(below: &mut Value, above: Value) {
    match (below, above) {
        (Value::Object(below), Value::Object(above)) => {
            for (name, value) in above {
                merge(below.entry(name).or_insert(Value::Null), value);
            }
        }
        (Value::Array(below), Value::Array(above)) => {
            for value in above {
                if !below.contains(&value) {
                    below.push(value);
                }
            }
        }
        (below, above) => *below = above,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_env_files_are_those_that_compose_reads() {
        let known = BTreeMap::from([("B".to_owned(), "b".to_owned())]);
        for (text, expected) in [
            ("plain # comment", "plain"),
            ("no#comment", "no#comment"),
            ("\"quoted # inside\" # c", "quoted # inside"),
            ("'as it is: $B' # c", "as it is: $B"),
            ("${B}/more", "b/more"),
            ("\"$B-x\"", "b-x"),
            ("pa$ss $", "pa$ss $"),
        ] {
            assert_eq!(dotenv_value(text, &known), expected, "{text}");
        }
    }

    #[test]
    fn values_that_grow_from_line_to_line_are_bounded() {
        let wins = BTreeMap::from([("A".to_owned(), "asked".to_owned())]);
        let known = with_dotenv("A=file\nB=${A}!\nC=1\nC=2\n", &wins).unwrap();
        assert_eq!([&known["A"], &known["B"], &known["C"]], ["asked", "asked!", "2"]);
        let text = format!("X={}\n{}", "x".repeat(60_000), "Y=${X}\n".repeat(100_000));
        let error = with_dotenv(&text, &BTreeMap::new()).unwrap_err();
        assert!(error.contains(".env: its texts have more than 4 MiB"), "{error}");
    }

    #[test]
    fn a_service_has_the_platform_that_it_says() {
        let text = "services: {a: {platform: linux/arm64, build: .}}\n";
        let whole = parse("compose.yaml", text, &BTreeMap::new()).unwrap();
        let services = super::super::service::all(&whole, &[]).unwrap();
        let mut options = contract::BuildOptions::default();
        services[0].adjust(&mut options);
        assert_eq!(options.platforms.len(), 1);
    }
}
