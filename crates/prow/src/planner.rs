//! Which webhook becomes which build. Pure: a webhook in, a decision out.

use contract::{
    Branch, BuildId, BuildQueueMessage, BuildType, CommitHash, EventType, Metadata, Provider, PullRequest,
    PullRequestData, Repository, SourceEvent, Strategy, WebhookData, WebhookDelivery,
};
use uuid::Uuid;

/// What follows from a webhook.
#[derive(Debug)]
pub(crate) enum Decision {
    /// This build.
    Build(Box<BuildQueueMessage>),
    /// Nothing, for this reason.
    Ignore(String),
}

/// What must be built, whatever kind of event it came from.
struct Wanted {
    kind: EventType,
    commit: CommitHash,
    branch: Option<Branch>,
    /// What the build is about: a ref, or a pull request's number.
    about: String,
    git_ref: String,
    before: String,
    pull_request: Option<PullRequestData>,
}

/// Namespace of build ids, so that the same event always gives the same id.
const BUILDS: Uuid = Uuid::from_u128(0x6f72_6765_2d62_5569_8c64_732d_7635_0001);

/// By these marks in its message a commit asks not to be built.
const SKIP: &[&str] = &["[skip ci]", "[ci skip]", "skip-checks: true"];

/// Actions of pull requests that bring something new to build.
const BUILT_ACTIONS: &[&str] = &["opened", "synchronize", "reopened", "ready_for_review"];

/// Decides what a webhook leads to.
pub(crate) fn plan(webhook: &WebhookDelivery) -> Decision {
    let Some(repository) = &webhook.repository else {
        return Decision::Ignore("it belongs to no repository".to_owned());
    };
    let wanted = match &webhook.source {
        SourceEvent::Push {
            git_ref,
            before,
            after,
            deleted,
            message,
        } => push(git_ref, before, after, *deleted, message.as_deref()),
        SourceEvent::PullRequest(pull) => pull_request(pull, webhook, repository),
        SourceEvent::Other => Err(format!("{} events lead to no build", webhook.event)),
    };
    match wanted {
        Ok(wanted) => Decision::Build(Box::new(message(webhook, repository, wanted))),
        Err(reason) => Decision::Ignore(reason),
    }
}

fn push(git_ref: &str, before: &str, after: &str, deleted: bool, message: Option<&str>) -> Result<Wanted, String> {
    let commit: CommitHash = after
        .parse()
        .map_err(|error| format!("its commit cannot be built: {error}"))?;
    if deleted || commit.is_zero() {
        return Err(format!("{git_ref} was deleted"));
    }
    if let Some(mark) = message.and_then(|text| SKIP.iter().find(|mark| text.contains(*mark))) {
        return Err(format!("the commit's message says {mark}"));
    }
    let (kind, branch) = if let Some(name) = git_ref.strip_prefix("refs/heads/") {
        let branch = name
            .parse()
            .map_err(|error| format!("its branch cannot be built: {error}"))?;
        (EventType::Push, Some(branch))
    } else if git_ref.starts_with("refs/tags/") {
        (EventType::Tag, None)
    } else {
        return Err(format!("{git_ref} is neither a branch nor a tag"));
    };
    let (git_ref, before) = (git_ref.to_owned(), before.to_owned());
    Ok(Wanted {
        kind,
        commit,
        branch,
        about: git_ref.clone(),
        git_ref,
        before,
        pull_request: None,
    })
}

fn pull_request(pull: &PullRequest, webhook: &WebhookDelivery, repository: &Repository) -> Result<Wanted, String> {
    let action = webhook.action.as_deref().unwrap_or_default();
    if !BUILT_ACTIONS.contains(&action) {
        return Err(format!("a pull request that was {action} brings nothing new to build"));
    }
    if pull.head_repository.as_deref() != Some(repository.full_name.as_str()) {
        return Err("it comes from a fork, whose code is not built without approval".to_owned());
    }
    let commit = pull
        .head_sha
        .parse()
        .map_err(|error| format!("its commit cannot be built: {error}"))?;
    let branch = pull
        .head_ref
        .parse()
        .map_err(|error| format!("its branch cannot be built: {error}"))?;
    Ok(Wanted {
        kind: EventType::PullRequest,
        commit,
        branch: Some(branch),
        about: pull.number.to_string(),
        git_ref: pull_ref(webhook.provider, pull),
        before: pull.base_sha.clone(),
        pull_request: Some(PullRequestData::new(pull.number, &*pull.title, &*pull.state)),
    })
}

/// Where a forge keeps the newest commit of a pull request.
fn pull_ref(provider: Provider, pull: &PullRequest) -> String {
    match provider {
        Provider::Github | Provider::Gitea | Provider::Forgejo => format!("refs/pull/{}/head", pull.number),
        Provider::Gitlab => format!("refs/merge-requests/{}/head", pull.number),
        Provider::Bitbucket => format!("refs/heads/{}", pull.head_ref), // It has no refs of pull requests.
    }
}

fn message(webhook: &WebhookDelivery, repository: &Repository, wanted: Wanted) -> BuildQueueMessage {
    let after = wanted.commit.to_string();
    let mut message = BuildQueueMessage::new(
        build_id(repository, &wanted),
        repository.full_name.clone(),
        BuildType::Dockerfile,
        repository.clone_url.clone(),
        wanted.commit,
        Strategy::Local,
    );
    let mut data = WebhookData::new(wanted.kind);
    data.repository = Some(repository.full_name.to_string());
    data.sender.clone_from(&webhook.sender);
    data.git_ref = Some(wanted.git_ref);
    data.before = Some(wanted.before);
    data.after = Some(after);
    data.pull_request = wanted.pull_request;
    let mut metadata = Metadata::default();
    metadata.triggered_by = Some("webhook".to_owned());
    metadata.correlation_id.clone_from(&webhook.metadata.correlation_id);
    metadata.processed_by = Some("prow".to_owned());
    message.branch = wanted.branch;
    message.push_artifact = Some(true);
    message.webhook_data = Some(data);
    message.metadata = Some(metadata);
    message.created_at = Some(webhook.received_at.clone());
    message
}

/// The same event, redelivered or sent through two hooks, is one build.
fn build_id(repository: &Repository, wanted: &Wanted) -> BuildId {
    let parts = [
        repository.full_name.as_str(),
        wanted.kind.as_str(),
        &wanted.about,
        &wanted.before,
        wanted.commit.as_str(),
    ];
    let id = Uuid::new_v5(&BUILDS, parts.join("\n").as_bytes()).to_string();
    #[expect(clippy::expect_used, reason = "a UUID is always a build id")]
    id.parse().expect("a UUID is a build id")
}

#[cfg(test)]
mod tests;
