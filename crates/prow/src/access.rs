//! Who may do what. Pure.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What somebody may do; each may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    /// See builds, logs, deployments.
    Viewer,
    /// And begin, stop, repeat and approve them.
    Deployer,
    /// And change projects, services, tokens and queues.
    Admin,
}

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// Name of the token.
    pub(crate) name: String,
    /// Number of the token; that of the configuration has none.
    pub(crate) token: Option<i64>,
    pub(crate) role: Role,
    /// Numbers of the projects that it is for; all without them.
    pub(crate) projects: Option<Vec<i64>>,
}

// === impl Role ===

impl Role {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Deployer => "deployer",
            Self::Admin => "admin",
        }
    }
}

impl std::str::FromStr for Role {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        [Self::Viewer, Self::Deployer, Self::Admin]
            .into_iter()
            .find(|role| role.word() == word)
            .ok_or_else(|| format!("{word:?} is no role"))
    }
}

// === impl Caller ===

impl Caller {
    /// Whether a project is one of theirs.
    pub(crate) fn sees(&self, project: i64) -> bool {
        self.projects
            .as_ref()
            .is_none_or(|projects| projects.contains(&project))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_may_do_what_those_before_it_may() {
        assert!(Role::Viewer < Role::Deployer && Role::Deployer < Role::Admin);
        for role in [Role::Viewer, Role::Deployer, Role::Admin] {
            assert_eq!(role.word().parse(), Ok(role));
        }
        assert!("root".parse::<Role>().is_err());
    }

    #[test]
    fn who_is_limited_to_projects_sees_no_others() {
        let caller = |projects| Caller {
            name: String::new(),
            token: None,
            role: Role::Admin,
            projects,
        };
        assert!(caller(None).sees(7));
        assert!(caller(Some(vec![7])).sees(7));
        assert!(!caller(Some(vec![7])).sees(8));
        assert!(!caller(Some(Vec::new())).sees(7));
    }
}
