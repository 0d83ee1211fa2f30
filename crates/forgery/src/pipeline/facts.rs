//! What a build is about, as far as `when` asks for it. Pure.

use super::plan::Patterns;
use contract::{BuildQueueMessage, EventType, Step};

/// What a build is about.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// The branch, or the tag.
    pub(crate) branch: Option<String>,
    pub(crate) event: Option<EventType>,
    /// The files that differ from the commit before; unknown, if it is not known which that was.
    pub(crate) changed: Option<Vec<String>>,
}

// === impl Facts ===

impl Facts {
    pub(crate) fn of(message: &BuildQueueMessage, changed: Option<Vec<String>>) -> Self {
        let data = message.webhook_data.as_ref();
        let git_ref = data.and_then(|data| data.git_ref.as_deref());
        let tag = git_ref.and_then(|git_ref| git_ref.strip_prefix("refs/tags/"));
        let branch = message.branch.as_ref().map(ToString::to_string);
        Self {
            branch: branch.or_else(|| tag.map(ToOwned::to_owned)),
            event: data.and_then(|data| data.event_type),
            changed,
        }
    }

    /// Why a step is not done, if it is not.
    pub(super) fn why_skipped(&self, step: &Step, patterns: &Patterns) -> Option<String> {
        if let Some(set) = &patterns.branch {
            match &self.branch {
                Some(branch) if set.is_match(branch) => {}
                Some(branch) => return Some(format!("it is not for the branch {branch}")),
                None => return Some("it is for some branches only, and this build has none".to_owned()),
            }
        }
        if let Some(events) = &step.when.event {
            match self.event {
                Some(event) if events.0.contains(&event) => {}
                Some(event) => return Some(format!("it is not for the event {event}")),
                None => return Some("it is for some events only, and this build has none".to_owned()),
            }
        }
        if let (Some(set), Some(changed)) = (&patterns.paths, &self.changed)
            && !changed.iter().any(|path| set.is_match(path))
        {
            return Some("none of its files has changed".to_owned());
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::Plan;

    #[test]
    fn a_step_is_done_when_every_condition_holds() {
        let plan = Plan::read(
            "image: x\nsteps:\n- name: a\n  script: x\n  when: {branch: ['main', 'release/*'], event: push, paths: 'src/**'}\n",
        )
        .unwrap();
        let refused = |branch: &str, event: EventType, changed: Option<&str>| {
            let facts = Facts {
                branch: Some(branch.to_owned()),
                event: Some(event),
                changed: changed.map(|path| vec![path.to_owned()]),
            };
            facts.why_skipped(&plan.pipeline.steps[0], &plan.patterns[0]).is_some()
        };
        assert!(!refused("main", EventType::Push, Some("src/deep/x.rs")));
        assert!(
            !refused("release/1", EventType::Push, None),
            "what is not known is taken to be so"
        );
        assert!(refused("other", EventType::Push, Some("src/x.rs")));
        assert!(refused("release/1/x", EventType::Push, None), "* is a part of a path");
        assert!(refused("main", EventType::Tag, Some("src/x.rs")));
        assert!(refused("main", EventType::Push, Some("docs/x.md")));
        assert!(
            Facts::default()
                .why_skipped(&plan.pipeline.steps[0], &plan.patterns[0])
                .is_some()
        );
    }
}
