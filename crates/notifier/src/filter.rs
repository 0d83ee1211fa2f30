//! Which notifications an endpoint gets. Pure.

use contract::Notification;
use globset::{Glob, GlobSet, GlobSetBuilder};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Patterns as they were given; where there are none, everything matches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Patterns {
    /// Of types of events, such as `build.*`.
    pub(crate) events: Vec<String>,
    /// Of projects, such as `acme/*`.
    pub(crate) projects: Vec<String>,
    /// Of branches, such as `release/*`; what is about no branch matches.
    pub(crate) branches: Vec<String>,
    /// Of statuses, such as `failed`.
    pub(crate) statuses: Vec<String>,
}

/// Patterns that can be asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    events: Option<GlobSet>,
    projects: Option<GlobSet>,
    branches: Option<GlobSet>,
    statuses: Option<GlobSet>,
    /// Whether it was said by name that what becomes of endpoints is wanted.
    endpoints: bool,
}

/// Most patterns of a kind.
const MOST: usize = 50;
/// Most characters of one.
const LONGEST: usize = 200;

// === impl Patterns ===

impl Patterns {
    /// # Errors
    /// What is wrong with them.
    pub(crate) fn compile(&self) -> Result<Filter, String> {
        Ok(Filter {
            events: set("events", &self.events)?,
            projects: set("projects", &self.projects)?,
            branches: set("branches", &self.branches)?,
            statuses: set("statuses", &self.statuses)?,
            endpoints: self.events.iter().any(|pattern| {
                let lower = pattern.to_lowercase();
                lower.starts_with("endpoint")
            }),
        })
    }
}

fn set(what: &str, patterns: &[String]) -> Result<Option<GlobSet>, String> {
    if patterns.is_empty() {
        return Ok(None);
    }
    if patterns.len() > MOST || patterns.iter().any(|pattern| pattern.len() > LONGEST) {
        return Err(format!("{what}: at most {MOST} patterns of {LONGEST} characters"));
    }
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(Glob::new(pattern).map_err(|error| format!("{what}: {error}"))?);
    }
    set.build().map(Some).map_err(|error| format!("{what}: {error}"))
}

// === impl Filter ===

impl Filter {
    /// Whether it was said by name that what becomes of endpoints is wanted.
    pub(crate) const fn names_endpoints(&self) -> bool {
        self.endpoints
    }

    /// Whether this endpoint gets it.
    pub(crate) fn wants(&self, notification: &Notification) -> bool {
        let of = |name: &str| notification.data.get(name).and_then(Value::as_str);
        let project = of("project").unwrap_or(&notification.resource.namespace);
        let matches = |set: &Option<GlobSet>, text: &str| set.as_ref().is_none_or(|set| set.is_match(text));
        let class = notification.event_class.as_deref().unwrap_or_default();
        // Older senders called a service an application.
        let alias = class
            .strip_prefix("Service")
            .map(|change| format!("Application{change}"));
        (matches(&self.events, &notification.event_type)
            || matches(&self.events, class)
            || alias.is_some_and(|alias| matches(&self.events, &alias)))
            && matches(&self.projects, project)
            && of("branch").is_none_or(|branch| matches(&self.branches, branch))
            && matches(&self.statuses, of("status").unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::{Resource, Timestamp};
    use serde_json::json;

    fn notification(kind: &str, data: Value) -> Notification {
        let resource = Resource {
            kind: "Build".into(),
            api_version: "forge/v1".into(),
            name: "n".into(),
            namespace: "acme/app".into(),
            uid: "u".into(),
        };
        let id = "0f0e0d0c-0b0a-4908-8706-050403020100".parse().unwrap();
        let mut notification = Notification::new(id, kind, Timestamp::from_millis(0), resource);
        notification.data = serde_json::from_value(data).unwrap();
        notification
    }

    #[test]
    fn what_every_kind_of_pattern_matches_is_wanted() {
        let failed = notification("build.failed", json!({"status": "failed", "branch": "release/1"}));
        let wants = |patterns: Value| {
            let patterns: Patterns = serde_json::from_value(patterns).unwrap();
            patterns.compile().unwrap().wants(&failed)
        };
        assert!(wants(json!({})));
        assert!(wants(
            json!({"events": ["deployment.*", "build.*"], "projects": ["acme/*"]})
        ));
        assert!(wants(json!({"events": ["*StatusChanged"]})) && !wants(json!({"events": ["*Created"]})));
        assert!(wants(
            json!({"branches": ["main", "release/*"], "statuses": ["failed"]})
        ));
        for other in [
            json!({"events": ["deployment.*"]}),
            json!({"projects": ["other/*"]}),
            json!({"branches": ["main"]}),
            json!({"statuses": ["success"]}),
        ] {
            assert!(!wants(other.clone()), "{other}");
        }
        let branches = Patterns {
            branches: vec!["main".into()],
            ..Patterns::default()
        };
        let none = notification("deployment.failed", json!({"status": "failed"}));
        assert!(branches.compile().unwrap().wants(&none), "what is about no branch");
    }

    #[test]
    fn patterns_that_are_none_or_too_many_are_refused() {
        for events in [vec!["[".to_owned()], vec!["x".repeat(201)], vec!["x".to_owned(); 51]] {
            let patterns = Patterns {
                events,
                ..Patterns::default()
            };
            assert!(patterns.compile().unwrap_err().starts_with("events: "));
        }
    }
}
