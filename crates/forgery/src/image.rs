//! What an image is called. Pure.

use contract::{BuildId, BuildQueueMessage};

/// The names of one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names {
    /// Its path in a registry.
    path: String,
    /// The first one is the commit's; it never moves.
    pub(crate) tags: Vec<String>,
}

/// Repository of the names on the engine.
const LOCAL: &str = "forge-build";
/// The longest tag that registries take (OCI distribution specification).
const LONGEST_TAG: usize = 128;

/// Names the image of a build.
pub(crate) fn names(message: &BuildQueueMessage) -> Names {
    named(message, repository(message))
}

/// The repository that a build is named after, if it has one image.
pub(crate) fn repository(message: &BuildQueueMessage) -> &str {
    message.image.as_ref().unwrap_or(&message.project_name).as_str()
}

/// Names one of several images of a build.
pub(crate) fn named(message: &BuildQueueMessage, repository: &str) -> Names {
    let path = repository.split('/').map(component).collect::<Vec<_>>().join("/");
    let more = message.options.iter().flat_map(|options| &options.tags);
    let branch = message.branch.iter().map(|branch| tag(branch.as_str()));
    let mut tags = vec![tag(message.commit_hash.as_str())];
    for another in branch.chain(more.map(ToString::to_string)) {
        if !tags.contains(&another) {
            tags.push(another);
        }
    }
    Names { path, tags }
}

/// Where an installation's images are on the engine, until they get their own names.
pub(crate) fn local_repository(installation: &str) -> String {
    format!("{LOCAL}/{installation}")
}

/// The name of an attempt's image there.
pub(crate) fn local(installation: &str, build: &BuildId, attempt: u32) -> String {
    format!(
        "{}:{}",
        local_repository(installation),
        tag(&format!("{attempt}-{build}"))
    )
}

/// Which attempt a tag of that repository belongs to.
pub(crate) fn attempt_of(local_tag: &str) -> Option<u32> {
    local_tag.split_once('-')?.0.parse().ok()
}

impl Names {
    /// Its repository in a registry, or on the engine alone.
    pub(crate) fn repository(&self, prefix: Option<&str>) -> String {
        match prefix {
            Some(prefix) => format!("{}/{}", prefix.trim_end_matches('/'), self.path),
            None => self.path.clone(),
        }
    }

    /// `repository:tag` of the commit.
    pub(crate) fn reference(&self, repository: &str) -> String {
        let tag = self.tags.first().map_or("latest", String::as_str);
        format!("{repository}:{tag}")
    }
}

/// Whether images of these names would have one.
pub(crate) fn is_alike(one: &str, other: &str) -> bool {
    one.split('/').map(component).eq(other.split('/').map(component))
}

/// A path component of a repository's name: lower case, separators only between others.
fn component(text: &str) -> String {
    let mut name = String::with_capacity(text.len());
    for c in text.to_ascii_lowercase().chars() {
        let separator = !c.is_ascii_alphanumeric();
        if separator && (name.is_empty() || name.ends_with(['-', '_', '.'])) {
            continue;
        }
        name.push(if separator && !"._-".contains(c) { '-' } else { c });
    }
    let name = name.trim_end_matches(['-', '_', '.']);
    if name.is_empty() {
        "x".to_owned()
    } else {
        name.to_owned()
    }
}

/// A tag: letters, digits, `_`, `.`, `-`; does not begin with `.` or `-`.
fn tag(text: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || "._-".contains(c) {
            c
        } else {
            '-'
        }
    };
    let tag: String = text.chars().map(plain).collect();
    let tag: String = tag.trim_start_matches(['.', '-']).chars().take(LONGEST_TAG).collect();
    if tag.is_empty() { "x".to_owned() } else { tag }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::{BuildType, Strategy};

    #[test]
    fn names_and_tags_are_what_registries_take() {
        for (project, branch, prefix, expected) in [
            ("org/repo", "main", Some("r:5000"), "r:5000/org/repo [abcd main]"),
            (
                "Org/Re.Po",
                "feature/Login",
                Some("r/team/"),
                "r/team/org/re.po [abcd feature-Login]",
            ),
            ("_o_/a--b", "dépôt", None, "o/a-b [abcd d-p-t]"),
            ("o/r.", "-x", None, "refused"),
        ] {
            let Ok(branch) = branch.parse() else {
                assert_eq!(expected, "refused");
                continue;
            };
            let url = "https://h/o/r.git".parse().unwrap();
            let mut message = BuildQueueMessage::new(
                "b".parse().unwrap(),
                project.parse().unwrap(),
                BuildType::Dockerfile,
                url,
                "abcd".parse().unwrap(),
                Strategy::Local,
            );
            message.branch = Some(branch);
            message.options = serde_json::from_str(r#"{"tags": ["main"]}"#).unwrap();
            let names = names(&message);
            let tags: Vec<_> = names.tags.iter().take(2).cloned().collect();
            assert_eq!(format!("{} [{}]", names.repository(prefix), tags.join(" ")), expected);
            assert_eq!(names.tags.iter().filter(|tag| *tag == "main").count(), 1);
        }
    }
}
