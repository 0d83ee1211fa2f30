//! What a pipeline says, checked. Pure but for reading the file.

use super::sandbox::WORKSPACE;
use crate::{
    attempt::internal,
    context::confined,
    failure::{BuildFailure, Kind},
    image,
};
use contract::{BuildNetwork, BuildQueueMessage, Pipeline, ProjectName, Step, StepType, pipeline::When};
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use serde::Deserialize;
use serde_saphyr::{Location, Spanned};
use std::{collections::HashMap, io::Read as _, path::Path};

/// A pipeline that can be run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) pipeline: Pipeline,
    /// The steps that each step waits for.
    pub(super) waits: Vec<Vec<usize>>,
    /// The patterns of each step.
    pub(super) patterns: Vec<Patterns>,
}

/// Which branches and files a step is for.
#[derive(Clone, Debug)]
pub(super) struct Patterns {
    pub(super) branch: Option<GlobSet>,
    pub(super) paths: Option<GlobSet>,
}

/// What is wrong with a pipeline, and where: lines and columns begin with 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {text}")]
pub(crate) struct Mistake {
    line: u64,
    column: u64,
    text: String,
}

/// Where the pipeline of a repository is.
pub(crate) const FILES: [&str; 2] = [".forge.yml", ".forge.yaml"];
/// The largest pipeline, in bytes.
const LARGEST: usize = 256 * 1024;
/// The longest script, in bytes: the kernel takes 128 KiB as one argument.
const LONGEST_SCRIPT: usize = 100 * 1024;
const MOST_STEPS: usize = 100;
const MOST_SIDECARS: usize = 10;
const MOST_RETRIES: u8 = 5;

/// Where the things of a pipeline stand in its text.
#[derive(Deserialize)]
struct Places {
    #[serde(default)]
    steps: Vec<Spanned<StepPlaces>>,
}

#[derive(Deserialize)]
struct StepPlaces {
    name: Option<Spanned<String>>,
    #[serde(default)]
    needs: Option<Vec<Spanned<String>>>,
}

/// A mistake, and which step it is in; and what of it, if not the whole.
struct Finding {
    step: Option<usize>,
    spot: Spot,
    text: String,
}

enum Spot {
    Whole,
    Name,
    Need(usize),
}

// === impl Plan ===

impl Plan {
    /// The pipeline of a message, else that of the repository.
    pub(crate) fn find(worktree: &Path, message: &BuildQueueMessage) -> Result<Self, BuildFailure> {
        let refused =
            |file: &str, mistake: Mistake| BuildFailure::new(Kind::PipelineInvalid, format!("{file}:{mistake}"));
        if let Some(text) = &message.pipeline {
            return Self::read(text).map_err(|mistake| refused("pipeline", mistake));
        }
        for name in FILES {
            let Some(path) = confined(worktree, &worktree.join(name)).filter(|path| path.is_file()) else {
                continue;
            };
            let file = std::fs::File::open(&path);
            let mut text = Vec::new();
            file.and_then(|file| file.take(LARGEST as u64 + 1).read_to_end(&mut text))
                .map_err(|error| internal(&format!("cannot read {name}"), &error))?;
            return Self::read(&String::from_utf8_lossy(&text)).map_err(|mistake| refused(name, mistake));
        }
        let text = format!("there is no {} in the repository, and none in the message", FILES[0]);
        Err(BuildFailure::new(Kind::PipelineInvalid, text))
    }

    /// Whether a step is only for some files.
    pub(crate) fn asks_for_paths(&self) -> bool {
        self.patterns.iter().any(|patterns| patterns.paths.is_some())
    }

    /// Reads and checks a pipeline.
    pub(crate) fn read(text: &str) -> Result<Self, Mistake> {
        let whole = |text: String| Mistake {
            line: 1,
            column: 1,
            text,
        };
        if text.len() > LARGEST {
            return Err(whole(format!("the pipeline has more than {} KiB", LARGEST / 1024)));
        }
        // Only `true` and `false` are booleans: `y` may be a command.
        let options = serde_saphyr::options! { strict_booleans: true };
        let pipeline: Pipeline = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
            let place = error.location();
            let (line, column) = place.map_or((1, 1), |place| (place.line(), place.column()));
            Mistake {
                line,
                column,
                text: plain(&error),
            }
        })?;
        Self::check(pipeline).map_err(|finding| finding.locate(text))
    }

    fn check(pipeline: Pipeline) -> Result<Self, Finding> {
        let steps = &pipeline.steps;
        if steps.is_empty() || steps.len() > MOST_STEPS {
            return Err(Finding::of_all(format!("expected 1 to {MOST_STEPS} steps")));
        }
        let mut numbers = HashMap::new();
        for (n, step) in steps.iter().enumerate() {
            if numbers.insert(step.name.as_str(), n).is_some() {
                return Err(Finding::at(n, Spot::Name, format!("there are two steps {}", step.name)));
            }
        }
        if let Some((n, text)) = same_image(steps) {
            return Err(Finding::at(n, Spot::Name, text));
        }
        let mut waits = Vec::new();
        for (n, step) in steps.iter().enumerate() {
            let needs = step.needs.iter().flatten().enumerate();
            let found = needs.map(|(k, name)| match numbers.get(name.as_str()) {
                Some(of) if *of != n => Ok(*of),
                Some(_) => Err(Finding::at(n, Spot::Need(k), "a step cannot need itself".to_owned())),
                None => Err(Finding::at(n, Spot::Need(k), format!("there is no step {name}"))),
            });
            let found = found.collect::<Result<Vec<_>, _>>()?;
            waits.push(if step.needs.is_some() { found } else { (0..n).collect() });
        }
        if let Some(n) = circle(&waits) {
            let name = steps.get(n).map_or("", |step| step.name.as_str());
            return Err(Finding::at(
                n,
                Spot::Name,
                format!("the step {name} waits for itself, by way of what it needs"),
            ));
        }
        let mut patterns = Vec::new();
        for (n, step) in steps.iter().enumerate() {
            if let Some(text) = mistake(step, &pipeline) {
                return Err(Finding::at(n, Spot::Whole, text));
            }
            let read = Patterns::read(step);
            patterns.push(read.map_err(|text| Finding::at(n, Spot::Whole, text))?);
        }
        Ok(Self {
            pipeline,
            waits,
            patterns,
        })
    }
}

/// A step whose image would replace that of one before it, if both are always made.
fn same_image(steps: &[Step]) -> Option<(usize, String)> {
    let made = |step: &&Step| step.step_type == StepType::Build && step.when == When::default();
    let name = |step: &Step| match &step.image {
        Some(image) => image.as_str().to_owned(),
        None => step.name.to_string(),
    };
    for (n, step) in steps.iter().enumerate().filter(|(_, step)| made(step)) {
        let mut before = steps.iter().take(n).filter(made);
        if let Some(other) = before.find(|other| image::is_alike(&name(other), &name(step))) {
            let text = format!(
                "the images of the steps {} and {} would have one name",
                other.name, step.name
            );
            return Some((n, text));
        }
    }
    None
}

/// What is wrong with one step, whatever the others are.
fn mistake(step: &Step, pipeline: &Pipeline) -> Option<String> {
    use StepType::{Build, Compose, Run};
    let kind = step.step_type;
    // Which fields mean something for which types only.
    let fields = [
        ("script", step.script.is_some(), &[Run][..]),
        ("image", step.image.is_some(), &[Run, Build]),
        ("env", !step.env.is_empty(), &[Run]),
        ("secrets", !step.secrets.is_empty(), &[Run, Build, Compose]),
        ("cache", !step.cache.is_empty(), &[Run]),
        ("services", !step.services.is_empty(), &[Run]),
        ("network", step.network.is_some(), &[Run, Build]),
        ("artifacts", !step.artifacts.is_empty(), &[Run]),
        ("context", step.context.is_some(), &[Build, Compose]),
        ("dockerfile", step.dockerfile.is_some(), &[Build]),
        ("target", step.target.is_some(), &[Build]),
        ("args", !step.args.is_empty(), &[Build, Compose]),
        ("tags", !step.tags.is_empty(), &[Build, Compose]),
        ("files", !step.files.is_empty(), &[Compose]),
        ("profiles", !step.profiles.is_empty(), &[Compose]),
    ];
    if let Some((field, ..)) = fields.iter().find(|(_, given, kinds)| *given && !kinds.contains(&kind)) {
        return Some(format!("{field} means nothing for a step of the type {kind}"));
    }
    if step.retries > MOST_RETRIES {
        return Some(format!("retries: expected 0 to {MOST_RETRIES}"));
    }
    if step.services.len() > MOST_SIDECARS {
        return Some(format!("services: expected at most {MOST_SIDECARS}"));
    }
    if step.network == Some(BuildNetwork::Host) && !step.services.is_empty() {
        return Some("services have a network of their own: not that of the host".to_owned());
    }
    for (n, one) in step.services.iter().enumerate() {
        if step.services.iter().take(n).any(|other| other.name == one.name) {
            return Some(format!("services: there are two {}", one.name));
        }
    }
    for cache in &step.cache {
        let inside =
            cache.path.starts_with('/') && cache.path.len() > 1 && !cache.path.split('/').any(|part| part == "..");
        if !inside {
            return Some(format!("cache: {} is no path from the root", cache.path));
        }
        if cache.path.trim_end_matches('/') == WORKSPACE {
            return Some(format!("cache: {WORKSPACE} is where the source is"));
        }
    }
    match kind {
        Run => {
            let Some(script) = &step.script else {
                return Some("a step of the type run has a script".to_owned());
            };
            if script.0.trim().is_empty() {
                return Some("script: there is nothing in it".to_owned());
            }
            if script.0.len() > LONGEST_SCRIPT {
                return Some(format!("script: expected at most {} KiB", LONGEST_SCRIPT / 1024));
            }
            let none = step.image.is_none() && pipeline.image.is_none();
            none.then(|| "there is no image to run it in: neither the step nor the pipeline names one".to_owned())
        }
        Build => {
            let name = step.image.as_ref()?;
            let fits = name.as_str().parse::<ProjectName>().is_ok();
            (!fits).then(|| format!("image: {name} is no name of an image without registry and tag, such as org/repo"))
        }
        StepType::Push | Compose => None,
    }
}

/// A step that waits for itself, if there is one.
fn circle(waits: &[Vec<usize>]) -> Option<usize> {
    let mut done = vec![false; waits.len()];
    loop {
        let all_done = |of: &Vec<usize>| of.iter().all(|n| done.get(*n) == Some(&true));
        let ready = |(n, of): (usize, &Vec<usize>)| (done.get(n) == Some(&false) && all_done(of)).then_some(n);
        let Some(next) = waits.iter().enumerate().find_map(ready) else {
            return done.iter().position(|done| !done);
        };
        if let Some(done) = done.get_mut(next) {
            *done = true;
        }
    }
}

// === impl Patterns ===

impl Patterns {
    fn read(step: &Step) -> Result<Self, String> {
        let set = |what: &str, patterns: &[String]| {
            let mut set = GlobSetBuilder::new();
            for pattern in patterns {
                let glob = GlobBuilder::new(pattern).literal_separator(true).build();
                set.add(glob.map_err(|error| format!("when.{what}: {error}"))?);
            }
            set.build().map_err(|error| format!("when.{what}: {error}"))
        };
        let given = |what, patterns: &Option<contract::pipeline::OneOrMore<String>>| {
            patterns.as_ref().map(|patterns| set(what, &patterns.0)).transpose()
        };
        Ok(Self {
            branch: given("branch", &step.when.branch)?,
            paths: given("paths", &step.when.paths)?,
        })
    }
}

// === impl Finding ===

impl Finding {
    const fn of_all(text: String) -> Self {
        Self {
            step: None,
            spot: Spot::Whole,
            text,
        }
    }

    const fn at(step: usize, spot: Spot, text: String) -> Self {
        Self {
            step: Some(step),
            spot,
            text,
        }
    }

    /// Finds the place in the text: it was read once, so it can be read again.
    fn locate(self, text: &str) -> Mistake {
        let place = || -> Option<Location> {
            let places: Places = serde_saphyr::from_str(text).ok()?;
            let step = places.steps.get(self.step?)?;
            let spot = match self.spot {
                Spot::Whole => None,
                Spot::Name => step.value.name.as_ref().map(|name| name.referenced),
                Spot::Need(n) => step
                    .value
                    .needs
                    .as_ref()
                    .and_then(|needs| Some(needs.get(n)?.referenced)),
            };
            Some(spot.unwrap_or(step.referenced))
        };
        let (line, column) = place().map_or((1, 1), |place| (place.line(), place.column()));
        Mistake {
            line,
            column,
            text: self.text,
        }
    }
}

/// The error without its place and without the excerpt of the text.
fn plain(error: &serde_saphyr::Error) -> String {
    let text = error.without_snippet().to_string();
    let first = text.lines().next().unwrap_or_default();
    let without_place = first.rfind(" at line ").and_then(|end| first.get(..end));
    without_place.unwrap_or(first).trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_wait_for_those_above_unless_they_say_what_they_need() {
        let plan = Plan::read(
            "image: busybox\nsteps:\n\
             - {name: a, script: x}\n\
             - {name: b, script: [x, y]}\n\
             - {name: c, script: x, needs: []}\n\
             - {name: d, type: build, needs: [a]}\n\
             - {name: e, type: push}\n",
        )
        .unwrap();
        assert_eq!(plan.waits, [vec![], vec![0], vec![], vec![0], vec![0, 1, 2, 3]]);
        assert_eq!(plan.pipeline.steps[1].script.as_ref().unwrap().0, "x\ny");
    }

    #[test]
    fn what_is_wrong_is_said_with_line_and_column() {
        let head = "image: busybox\nsteps:\n";
        for (text, place, says) in [
            ("- name: a\n  scrip: x\n", "4:3", "scrip"),
            (
                "- name: a\n  script: x\n- name: a\n  script: y\n",
                "5:9",
                "there are two steps a",
            ),
            ("- name: a\n  script: x\n  needs: [b]\n", "5:11", "there is no step b"),
            ("- name: a\n  script: x\n  needs: [a]\n", "5:11", "cannot need itself"),
            (
                "- {name: a, script: x, needs: [b]}\n- {name: b, script: x, needs: [a]}\n",
                "3:10",
                "waits for itself",
            ),
            ("- name: a\n", "3:3", "has a script"),
            (
                "- name: a\n  type: push\n  script: x\n",
                "3:3",
                "script means nothing for a step of the type push",
            ),
            ("- name: a\n  type: cook\n", "4:9", "run, build, push, compose"),
            ("- name: a\n  script: x\n  timeout: soon\n", "5:12", "90s, 10m or 1h"),
            ("- name: a\n  script: x\n  retries: 6\n", "3:3", "0 to 5"),
            ("- name: a\n  script: x\n  when: {branch: '[a'}\n", "3:3", "when.branch"),
            (
                "- name: a\n  script: x\n  cache: [{name: c, path: ../x}]\n",
                "3:3",
                "no path from the root",
            ),
            (
                "- name: a\n  type: build\n  image: reg:5/x:y\n",
                "3:3",
                "without registry and tag",
            ),
            ("- name: a\n  script: ' '\n", "3:3", "nothing in it"),
            (
                "- name: a\n  script: x\n  cache: [{name: c, path: /workspace/}]\n",
                "3:3",
                "where the source is",
            ),
            (
                "- {name: Image A, type: build}\n- {name: image a, type: build}\n",
                "4:10",
                "would have one name",
            ),
            ("  []\n", "1:1", "1 to 100 steps"),
            ("- name: a\n  script: 'x\n", "", "quote"),
        ] {
            let mistake = Plan::read(&format!("{head}{text}")).unwrap_err().to_string();
            assert!(
                mistake.starts_with(place) && mistake.contains(says),
                "{text}: {mistake}"
            );
        }
        let none = Plan::read("steps:\n- {name: a, script: x}\n").unwrap_err();
        assert!(none.text.contains("no image to run it in"), "{none}");
        let large = Plan::read(&"#".repeat(LARGEST + 1)).unwrap_err();
        assert!(large.text.contains("256 KiB"), "{large}");
    }

    #[test]
    fn the_schema_for_editors_and_the_parser_agree_on_the_examples() {
        let contracts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../contracts");
        let read = |path: &Path| std::fs::read_to_string(path).unwrap();
        let schema = serde_json::from_str(&read(&contracts.join("schemas/pipeline.schema.json"))).unwrap();
        let schema = jsonschema::validator_for(&schema).unwrap();
        for (folder, good) in [("examples/pipeline", true), ("examples/pipeline/invalid", false)] {
            let mut seen = 0;
            for entry in std::fs::read_dir(contracts.join(folder)).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    continue;
                }
                let text = read(&path);
                let value: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
                assert_eq!(
                    Plan::read(&text).is_ok(),
                    good,
                    "{}: {:?}",
                    path.display(),
                    Plan::read(&text).err()
                );
                assert_eq!(schema.is_valid(&value), good, "{}", path.display());
                seen += 1;
            }
            assert!(seen > 0, "{folder}");
        }
    }

    #[test]
    fn a_bomb_of_aliases_is_refused() {
        use std::fmt::Write as _;
        let mut text = "steps:\n- {name: a, script: &a0 [x, x, x, x, x, x, x, x, x, x]}\n".to_owned();
        for n in 1..9 {
            let list = vec![format!("*a{}", n - 1); 10].join(", ");
            writeln!(text, "- {{name: a{n}, needs: &a{n} [{list}]}}").unwrap();
        }
        let bomb = Plan::read(&text).unwrap_err();
        assert!(!bomb.text.contains("unknown field"), "{bomb}");
    }
}
