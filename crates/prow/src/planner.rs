//! Which webhook becomes which builds, and ends which. Pure: a webhook and services in, a plan out.

use crate::{
    correlation, notice,
    service::{Concurrency, Forks, Occasion, Service, USUAL},
    ticket,
};
use contract::{
    Branch, BuildId, BuildQueueMessage, BuildType, CloneUrl, CommitHash, DeliveryId, EventType, Metadata, ProjectName,
    Provider, PullRequest, PullRequestData, Repository, SourceEvent, Strategy, WebhookData, WebhookDelivery,
};
use serde::Deserialize;
use uuid::Uuid;

/// What follows from a webhook.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// The same in a sentence.
    pub(crate) result: String,
    pub(crate) builds: Vec<Planned>,
    /// Builds of this commit are repeated.
    pub(crate) again: Option<CommitHash>,
    /// Builds of every service about this end, for nothing can come of them.
    pub(crate) ends: Option<Ending>,
}

/// A build of a service.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) service: String,
    pub(crate) message: Box<BuildQueueMessage>,
    /// A ref, or `pull/<number>`.
    pub(crate) about: String,
    /// What becomes of older builds about the same.
    pub(crate) concurrency: Concurrency,
    /// Why it waits for somebody's approval, if it does.
    pub(crate) held: Option<String>,
}

/// What builds about something are told when it is gone.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    pub(crate) about: String,
    pub(crate) reason: String,
}

/// What must be built, whatever kind of event it came from.
struct Wanted {
    kind: EventType,
    commit: CommitHash,
    branch: Option<Branch>,
    /// A ref, or `pull/<number>`.
    about: String,
    git_ref: String,
    before: String,
    pull_request: Option<PullRequestData>,
    /// The branch or tag by which services choose.
    chosen_by: String,
    is_draft: bool,
    is_from_fork: bool,
    /// Those that it names, such as `ABC-123`.
    tickets: Vec<String>,
}

/// Why nothing is built, and what ends.
struct Nothing {
    reason: String,
    ends: Option<String>,
}

/// Files that a push changed, in the words of GitHub, GitLab and Gitea.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Changes {
    commits: Vec<Change>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Change {
    added: Vec<String>,
    modified: Vec<String>,
    removed: Vec<String>,
}

/// Namespace of build ids, so that the same event always gives the same id.
const BUILDS: Uuid = Uuid::from_u128(0x6f72_6765_2d62_5569_8c64_732d_7635_0001);

/// By these marks in its message a commit asks not to be built.
const SKIP: &[&str] = &["[skip ci]", "[ci skip]", "skip-checks: true"];

/// Actions of pull requests that bring something new to build.
const BUILT_ACTIONS: &[&str] = &["opened", "synchronize", "reopened", "ready_for_review"];

/// Decides what a webhook leads to, for each of these services of its repository.
pub(crate) fn plan(webhook: &WebhookDelivery, services: &[Service]) -> Plan {
    let Some(repository) = &webhook.repository else {
        return Plan::nothing("it belongs to no repository");
    };
    if let Some(commit) = correlation::rerequested(webhook) {
        return Plan {
            again: Some(commit),
            ..Plan::nothing("nothing was built of its commit before")
        };
    }
    let wanted = match &webhook.source {
        SourceEvent::Push {
            git_ref,
            before,
            after,
            deleted,
            message,
        } => push(git_ref, before, after, *deleted, message.as_deref()),
        SourceEvent::PullRequest(pull) => pull_request(pull, webhook, repository),
        SourceEvent::Other => Err(format!("{} events lead to no build", webhook.event).into()),
    };
    let wanted = match wanted {
        Ok(wanted) => wanted,
        Err(Nothing { reason, ends }) => {
            let ends = ends.map(|about| Ending {
                about,
                reason: reason.clone(),
            });
            return Plan {
                ends,
                ..Plan::nothing(reason)
            };
        }
    };
    if services.is_empty() {
        return Plan::nothing("nobody has registered its repository");
    }
    let with_paths = services.iter().any(|service| service.recipe.has_paths());
    let changed = with_paths.then(|| changed_files(webhook)).flatten();
    let mut plan = Plan::default();
    let mut told = Vec::new();
    for service in services {
        match for_service(webhook, repository, &wanted, service, changed.as_deref()) {
            Ok(planned) => {
                told.push(format!("{}: built", service.name));
                plan.builds.push(planned);
            }
            Err(reason) => told.push(format!("{}: {reason}", service.name)),
        }
    }
    plan.result = match (services, plan.builds.as_slice()) {
        ([_only], [_one]) => "build".to_owned(),
        _ => told.join("; "),
    };
    plan
}

fn for_service(
    webhook: &WebhookDelivery,
    repository: &Repository,
    wanted: &Wanted,
    service: &Service,
    changed: Option<&[String]>,
) -> Result<Planned, String> {
    let recipe = &service.recipe;
    recipe.wants(&Occasion {
        kind: wanted.kind,
        name: &wanted.chosen_by,
        draft: wanted.is_draft,
        changed,
    })?;
    let held = match (wanted.is_from_fork, recipe.forks) {
        (false, _) | (true, Forks::BuildWithoutSecrets) => None,
        (true, Forks::Ignore) => return Err("it comes from a fork".to_owned()),
        (true, Forks::Approve) => Some("waits for approval: it comes from a fork".to_owned()),
    };
    let mut message = message(webhook, repository, wanted, service);
    if wanted.is_from_fork {
        message.push_artifact = Some(false); // Anybody could replace an image.
        message.trusted = Some(false);
    }
    Ok(Planned {
        service: service.name.clone(),
        message: Box::new(message),
        about: wanted.about.clone(),
        concurrency: recipe.concurrency(wanted.is_main_branch(repository)),
        held,
    })
}

/// `None` where the forge does not say.
fn changed_files(webhook: &WebhookDelivery) -> Option<Vec<String>> {
    let changes: Changes = serde_json::from_str(&webhook.body).ok()?;
    let files = changes.commits.into_iter();
    let files: Vec<String> = files
        .flat_map(|commit| [commit.added, commit.modified, commit.removed])
        .flatten()
        .collect();
    (!files.is_empty()).then_some(files)
}

fn push(git_ref: &str, before: &str, after: &str, deleted: bool, message: Option<&str>) -> Result<Wanted, Nothing> {
    let commit: CommitHash = after
        .parse()
        .map_err(|error| format!("its commit cannot be built: {error}"))?;
    if deleted || commit.is_zero() {
        return Err(Nothing {
            reason: format!("{git_ref} was deleted"),
            ends: Some(git_ref.to_owned()),
        });
    }
    if let Some(mark) = message.and_then(|text| SKIP.iter().find(|mark| text.contains(*mark))) {
        return Err(format!("the commit's message says {mark}").into());
    }
    let (kind, name, branch) = if let Some(name) = git_ref.strip_prefix("refs/heads/") {
        let branch = name
            .parse()
            .map_err(|error| format!("its branch cannot be built: {error}"))?;
        (EventType::Push, name, Some(branch))
    } else if let Some(name) = git_ref.strip_prefix("refs/tags/") {
        (EventType::Tag, name, None)
    } else {
        return Err(format!("{git_ref} is neither a branch nor a tag").into());
    };
    let (chosen_by, git_ref, before) = (name.to_owned(), git_ref.to_owned(), before.to_owned());
    Ok(Wanted {
        kind,
        commit,
        branch,
        about: git_ref.clone(),
        git_ref,
        before,
        pull_request: None,
        chosen_by,
        is_draft: false,
        is_from_fork: false,
        tickets: ticket::named_in(Some(name), &[message.unwrap_or_default()]),
    })
}

fn pull_request(pull: &PullRequest, webhook: &WebhookDelivery, repository: &Repository) -> Result<Wanted, Nothing> {
    let action = webhook.action.as_deref().unwrap_or_default();
    let about = format!("pull/{}", pull.number);
    if !BUILT_ACTIONS.contains(&action) {
        return Err(Nothing {
            reason: format!("a pull request that was {action} brings nothing new to build"),
            ends: (action == "closed").then_some(about),
        });
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
        about,
        git_ref: pull_ref(webhook.provider, pull),
        before: pull.base_sha.clone(),
        pull_request: Some(PullRequestData::new(pull.number, &*pull.title, &*pull.state)),
        chosen_by: pull.base_ref.clone(),
        is_draft: pull.draft,
        is_from_fork: pull.head_repository.as_deref() != Some(repository.full_name.as_str()),
        tickets: notice::change::tickets(webhook, pull),
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

fn message(
    webhook: &WebhookDelivery,
    repository: &Repository,
    wanted: &Wanted,
    service: &Service,
) -> BuildQueueMessage {
    let after = wanted.commit.to_string();
    let mut message = BuildQueueMessage::new(
        build_id(repository, wanted, service),
        repository.full_name.clone(),
        BuildType::Dockerfile,
        repository.clone_url.clone(),
        wanted.commit.clone(),
        Strategy::Local,
    );
    service.recipe.apply(&service.name, &mut message);
    let mut data = WebhookData::new(wanted.kind);
    data.repository = Some(repository.full_name.to_string());
    data.sender.clone_from(&webhook.sender);
    data.git_ref = Some(wanted.git_ref.clone());
    data.before = Some(wanted.before.clone());
    data.after = Some(after);
    data.pull_request.clone_from(&wanted.pull_request);
    if !wanted.tickets.is_empty() {
        data.rest.insert("tickets".to_owned(), wanted.tickets.clone().into());
    }
    let mut metadata = Metadata::default();
    metadata.triggered_by = Some("webhook".to_owned());
    metadata.correlation_id.clone_from(&webhook.metadata.correlation_id);
    metadata.processed_by = Some("prow".to_owned());
    message.branch.clone_from(&wanted.branch);
    message.push_artifact = Some(true);
    message.webhook_data = Some(data);
    message.metadata = Some(metadata);
    message.created_at = Some(webhook.received_at.clone());
    message
}

/// The same event, redelivered or sent through two hooks, is one build of each service as it is configured.
fn build_id(repository: &Repository, wanted: &Wanted, service: &Service) -> BuildId {
    let about = wanted.about.strip_prefix("pull/").unwrap_or(&wanted.about);
    let mut parts = vec![
        repository.full_name.as_str(),
        wanted.kind.as_str(),
        about,
        &wanted.before,
        wanted.commit.as_str(),
    ];
    let recipe = service.recipe.to_json();
    if service.name != USUAL || recipe != "{}" {
        parts.extend([service.name.as_str(), &recipe]);
    }
    id_of(&parts)
}

/// Why there is a build that nobody pushed for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Why<'a> {
    /// Somebody asked for it; another for each seed.
    Asked(Uuid),
    /// This time has come.
    Schedule(&'a str),
}

/// A build that nobody pushed for.
pub(crate) fn not_pushed(
    project: ProjectName,
    service: &Service,
    source: CloneUrl,
    commit: CommitHash,
    git_ref: Option<&str>,
    why: Why<'_>,
) -> BuildQueueMessage {
    let (mark, triggered_by) = match why {
        Why::Asked(seed) => (seed.to_string(), "api"),
        Why::Schedule(times) => (format!("schedule {times}"), "schedule"),
    };
    let id = id_of(&[project.as_str(), &service.name, &mark]);
    let mut message = BuildQueueMessage::new(id, project, BuildType::Dockerfile, source, commit, Strategy::Local);
    service.recipe.apply(&service.name, &mut message);
    message.branch = git_ref.and_then(|git_ref| git_ref.strip_prefix("refs/heads/")?.parse().ok());
    let mut metadata = Metadata::correlated(message.id.as_str());
    metadata.triggered_by = Some(triggered_by.to_owned());
    metadata.processed_by = Some("prow".to_owned());
    message.push_artifact = Some(true);
    message.metadata = Some(metadata);
    message.created_at = Some(bus::clock::now());
    message
}

/// The name of the `n`th repetition of a build.
pub(crate) fn rerun_id(first: &BuildId, n: i64) -> BuildId {
    id_of(&[first.as_str(), "rerun", &n.to_string()])
}

/// The name of the repetition of a build that a delivery asks for.
pub(crate) fn asked_again_id(first: &BuildId, delivery: &DeliveryId) -> BuildId {
    id_of(&[first.as_str(), "rerequested", delivery.as_str()])
}

fn id_of(parts: &[&str]) -> BuildId {
    let id = Uuid::new_v5(&BUILDS, parts.join("\n").as_bytes()).to_string();
    #[expect(clippy::expect_used, reason = "a UUID is always a build id")]
    id.parse().expect("a UUID is a build id")
}

// === impl Plan ===

impl Plan {
    fn nothing(reason: impl Into<String>) -> Self {
        Self {
            result: reason.into(),
            ..Self::default()
        }
    }
}

// === impl Wanted ===

impl Wanted {
    /// Whether every commit of it matters, and not only the newest.
    fn is_main_branch(&self, repository: &Repository) -> bool {
        let is_main = |name: &str| match &repository.default_branch {
            Some(main) => main == name,
            None => matches!(name, "main" | "master"),
        };
        self.kind == EventType::Tag || self.kind == EventType::Push && is_main(&self.chosen_by)
    }
}

// === impl Nothing ===

impl From<String> for Nothing {
    fn from(reason: String) -> Self {
        Self { reason, ends: None }
    }
}

#[cfg(test)]
mod tests;
