//! Which names: globs, and regular expressions between slashes; `!` takes away again.

use globset::{GlobBuilder, GlobMatcher};
use regex::Regex;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, fmt, str::FromStr};

/// Patterns of names; the last one that matches decides. None, or only some that take away, begin with all names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub(crate) struct Patterns(Vec<Pattern>);

#[derive(Clone, Debug)]
struct Pattern {
    text: String,
    takes_away: bool,
    matcher: Matcher,
}

#[derive(Clone, Debug)]
enum Matcher {
    /// `*` and `?` stay within a part of a path, `**` does not.
    Glob(GlobMatcher),
    Regex(Regex),
}

/// A pattern that is none.
#[derive(Debug)]
pub(crate) struct NoPattern(String);

/// Most patterns of a list, and the longest.
const MOST: usize = 100;
const LONGEST: usize = 256;

// === impl Patterns ===

impl Patterns {
    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn match_name(&self, name: &str) -> bool {
        let begins_with_all = self.0.iter().all(|pattern| pattern.takes_away);
        let last = self.0.iter().rev().find(|pattern| pattern.matcher.is_match(name));
        last.map_or(begins_with_all, |pattern| !pattern.takes_away)
    }
}

impl JsonSchema for Patterns {
    fn schema_name() -> Cow<'static, str> {
        "Patterns".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "array", "maxItems": MOST, "items": {"type": "string", "minLength": 1, "maxLength": LONGEST},
            "description": "Globs, or regular expressions between slashes; `!` takes away, the last that matches decides."
        })
    }
}

impl TryFrom<Vec<String>> for Patterns {
    type Error = NoPattern;

    fn try_from(texts: Vec<String>) -> Result<Self, Self::Error> {
        if texts.len() > MOST {
            return Err(NoPattern(format!("expected at most {MOST} patterns")));
        }
        texts
            .iter()
            .map(|text| text.parse())
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl From<Patterns> for Vec<String> {
    fn from(patterns: Patterns) -> Self {
        patterns.0.into_iter().map(|pattern| pattern.text).collect()
    }
}

// === impl Pattern ===

impl FromStr for Pattern {
    type Err = NoPattern;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |error: &dyn fmt::Display| NoPattern(format!("{text}: {error}"));
        if text.is_empty() || text.len() > LONGEST {
            return Err(wrong(&format!("expected 1 to {LONGEST} bytes")));
        }
        let positive = text.strip_prefix('!').unwrap_or(text);
        let expression = positive.strip_prefix('/').and_then(|rest| rest.strip_suffix('/'));
        let matcher = if let Some(expression) = expression {
            Matcher::Regex(Regex::new(expression).map_err(|error| wrong(&error))?)
        } else {
            let glob = GlobBuilder::new(positive).literal_separator(true).build();
            Matcher::Glob(glob.map_err(|error| wrong(&error))?.compile_matcher())
        };
        Ok(Self {
            text: text.to_owned(),
            takes_away: positive.len() < text.len(),
            matcher,
        })
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

// === impl Matcher ===

impl Matcher {
    fn is_match(&self, name: &str) -> bool {
        match self {
            Self::Glob(glob) => glob.is_match(name),
            Self::Regex(regex) => regex.is_match(name),
        }
    }
}

impl fmt::Display for NoPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_pattern_that_matches_decides() {
        for (patterns, matching, others) in [
            (&[][..], &["main", "a/b"][..], &[][..]),
            (&["main"], &["main"], &["maintenance", "x/main"]),
            (&["release/*"], &["release/1"], &["release/1/2", "release"]),
            (&["release/**"], &["release/1", "release/1/2"], &["release"]),
            (&["!wip/**"], &["main", "x"], &["wip/x"]),
            (&["**", "!wip/**", "wip/keep"], &["main", "a/b", "wip/keep"], &["wip/x"]),
            (&["/^v[0-9]+$/"], &["v1", "v22"], &["v1-rc", "xv1"]),
            (&["!/rc/"], &["v1"], &["v1-rc2"]),
            (&["{main,dev}"], &["main", "dev"], &["x"]),
        ] {
            let texts: Vec<String> = patterns.iter().map(|text: &&str| (*text).to_owned()).collect();
            let patterns = Patterns::try_from(texts).unwrap();
            for name in matching {
                assert!(patterns.match_name(name), "{patterns:?} {name}");
            }
            for name in others {
                assert!(!patterns.match_name(name), "{patterns:?} {name}");
            }
        }
    }

    #[test]
    fn there_are_at_most_100_patterns_of_256_bytes() {
        let many = |n: usize| Patterns::try_from(vec!["x".to_owned(); n]);
        assert!(many(100).is_ok() && many(101).is_err());
        let long = |n: usize| Patterns::try_from(vec!["x".repeat(n)]);
        assert!(long(256).is_ok() && long(257).is_err() && long(0).is_err());
    }
}
