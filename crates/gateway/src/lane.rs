//! Which lane an event waits in.

use crate::provider::Event;
use contract::{QueueType, SourceEvent};

/// Actions by which people ask for the same again.
const AGAIN: &[&str] = &["rerequested", "requested_action"];

/// Whether an event asks for the same again, so that its bytes may well be those of an earlier one.
pub(crate) fn is_asked_for_again(action: Option<&str>) -> bool {
    action.is_some_and(|action| AGAIN.contains(&action))
}

/// The kind of work that an event leads to.
pub(crate) fn of(name: &str, event: &Event) -> QueueType {
    if is_asked_for_again(event.action.as_deref()) {
        return QueueType::Recovery;
    }
    match (&event.source, name) {
        (SourceEvent::Push { .. }, _) | (_, "create" | "delete" | "release") => QueueType::Deployment,
        (SourceEvent::PullRequest(_), _)
        | (
            _,
            "check_run"
            | "check_suite"
            | "status"
            | "merge_group"
            | "pipeline"
            | "repo:commit_status_created"
            | "repo:commit_status_updated",
        ) => QueueType::Validation,
        (
            _,
            "pull_request_review"
            | "pull_request_review_comment"
            | "issue_comment"
            | "note"
            | "installation"
            | "installation_repositories"
            | "pullrequest:approved"
            | "pullrequest:unapproved"
            | "pullrequest:comment_created",
        ) => QueueType::Workflow,
        _ => QueueType::Default,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_work_has_its_lane() {
        let event = |action: Option<&str>, source| Event {
            action: action.map(ToOwned::to_owned),
            repository: None,
            sender: None,
            source,
        };
        let push = SourceEvent::Push {
            git_ref: String::new(),
            before: String::new(),
            after: String::new(),
            deleted: false,
            message: None,
        };
        for (name, event, lane) in [
            ("push", event(None, push.clone()), QueueType::Deployment),
            ("Tag Push Hook", event(None, push), QueueType::Deployment),
            (
                "release",
                event(Some("published"), SourceEvent::Other),
                QueueType::Deployment,
            ),
            (
                "check_run",
                event(Some("created"), SourceEvent::Other),
                QueueType::Validation,
            ),
            (
                "check_run",
                event(Some("rerequested"), SourceEvent::Other),
                QueueType::Recovery,
            ),
            (
                "issue_comment",
                event(Some("created"), SourceEvent::Other),
                QueueType::Workflow,
            ),
            ("new", event(None, SourceEvent::Other), QueueType::Default),
        ] {
            assert_eq!(of(name, &event), lane, "{name}");
        }
    }
}
