//! The rules of `.dockerignore`. Pure.
//!
//! Source: Docker's documentation of the build context, and its `patternmatcher`: patterns are
//! rooted, the last one that matches wins, `!` takes back, also below an excluded folder.

use globset::{GlobBuilder, GlobMatcher};

/// Which paths of a context are left out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ignore {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    matcher: GlobMatcher,
    takes_back: bool,
}

// === impl Ignore ===

impl Ignore {
    /// Parses a file of patterns.
    pub(crate) fn parse(text: &str) -> Result<Self, globset::Error> {
        let text = text.trim_start_matches('\u{feff}');
        let lines = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        let rules = lines.filter_map(|line| Rule::parse(line).transpose());
        Ok(Self {
            rules: rules.collect::<Result<_, _>>()?,
        })
    }

    /// Whether a path (relative, forward slashes) is left out.
    pub(crate) fn excludes(&self, path: &str) -> bool {
        let parents = path.match_indices('/').filter_map(|(end, _)| path.get(..end));
        let whole: Vec<&str> = parents.chain([path]).collect();
        self.rules.iter().fold(false, |excluded, rule| {
            let matches = whole.iter().any(|part| rule.matcher.is_match(part));
            if matches { !rule.takes_back } else { excluded }
        })
    }

    /// Whether nothing below an excluded folder can be taken back, so that it need not be walked.
    pub(crate) fn is_final(&self) -> bool {
        !self.rules.iter().any(|rule| rule.takes_back)
    }
}

// === impl Rule ===

impl Rule {
    fn parse(line: &str) -> Result<Option<Self>, globset::Error> {
        let (takes_back, pattern) = match line.strip_prefix('!') {
            Some(pattern) => (true, pattern.trim()),
            None => (false, line),
        };
        let parts = pattern.split('/').filter(|part| !part.is_empty() && *part != ".");
        let pattern = parts.collect::<Vec<_>>().join("/");
        if pattern.is_empty() {
            return Ok(None);
        }
        let glob = GlobBuilder::new(&pattern)
            .literal_separator(true)
            .backslash_escape(true)
            .build()?;
        Ok(Some(Self {
            matcher: glob.compile_matcher(),
            takes_back,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_are_dockers() {
        let ignore =
            Ignore::parse("# c\nnode_modules\n*.log\ndocs/*\n!docs/keep.md\n**/*.tmp\n/src/sub/secret\n./build/\n")
                .unwrap();
        for (path, excluded) in [
            ("node_modules/x/y.js", true),
            ("sub/node_modules/x", false),
            ("a.log", true),
            ("sub/a.log", false),
            ("docs/a.md", true),
            ("docs/keep.md", false),
            ("x.tmp", true),
            ("a/b/x.tmp", true),
            ("src/sub/secret", true),
            ("src/sub/secret2", false),
            ("build/out", true),
            ("Dockerfile", false),
        ] {
            assert_eq!(ignore.excludes(path), excluded, "{path}");
        }
    }

    #[test]
    fn everything_but_one_folder() {
        let ignore = Ignore::parse("*\n!app\napp/secret").unwrap();
        assert!(ignore.excludes("x") && !ignore.excludes("app/a/b") && ignore.excludes("app/secret/key"));
        assert!(!ignore.is_final());
    }
}
