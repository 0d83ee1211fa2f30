//! What is asked of forgery to run an image, and what its events do to a deployment. Pure.

use crate::{
    service::Service,
    store::{Build, Deployment, Status},
};
use bus::clock;
use contract::{
    BuildStatus, Deploying, DeploymentEvent, DeploymentId, DeploymentQueueMessage, Failure, ImageReference,
    Message as _, Metadata, ProjectName, Terminal, route,
};
use uuid::Uuid;

/// Namespace of deployment ids: the deployment that follows from a build is one, however often its event comes.
const DEPLOYMENTS: Uuid = Uuid::from_u128(0x6f72_6765_2d64_5570_8c64_732d_7635_0001);

/// An image that is to run.
pub(crate) struct Wanted<'a> {
    pub(crate) project: ProjectName,
    pub(crate) service: &'a Service,
    /// As it was asked for.
    pub(crate) image_tag: String,
    /// The same by its digest, where that is known.
    pub(crate) image: ImageReference,
    pub(crate) reason: Option<String>,
    pub(crate) metadata: Metadata,
}

/// The deployment that somebody asks for; another for each seed.
pub(crate) fn by_hand(wanted: Wanted<'_>, seed: Uuid) -> Result<Deployment, String> {
    let id = Uuid::new_v5(&DEPLOYMENTS, seed.as_bytes());
    make(wanted, id)
}

/// The deployment that follows from a build, if one does: its service is deployed by itself, and it is of something that
/// was pushed.
pub(crate) fn after(build: &Build, service: &Service) -> Option<Result<Deployment, String>> {
    let is_success = build.status == BuildStatus::Ended(Terminal::Success);
    let was_pushed = build.about.as_ref().is_some_and(|about| about.starts_with("refs/"));
    let digest = build
        .digest
        .as_ref()
        .filter(|_| is_success && was_pushed && service.recipe.auto_deploy)?;
    let wanted = || {
        let image = pinned(&build.image_tag, Some(digest))?;
        let mut metadata = build.message.metadata.clone().unwrap_or_default();
        metadata.triggered_by = Some("build".to_owned());
        Ok(Wanted {
            project: build.message.project_name.clone(),
            service,
            image_tag: build.image_tag.clone(),
            image,
            reason: Some(format!("build {} succeeded", build.id)),
            metadata,
        })
    };
    let id = Uuid::new_v5(&DEPLOYMENTS, build.message.id.as_str().as_bytes());
    Some(
        wanted()
            .and_then(|wanted| make(wanted, id))
            .map(|deployment| Deployment {
                build_id: Some(build.id),
                ..deployment
            }),
    )
}

/// An image by its digest, where that is known.
pub(crate) fn pinned(tag: &str, digest: Option<&str>) -> Result<ImageReference, String> {
    let name = tag.split('@').next().unwrap_or(tag);
    let repository = match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => name,
    };
    let reference = match digest {
        Some(digest) => format!("{repository}@{digest}"),
        None => tag.to_owned(),
    };
    reference.parse().map_err(|error| format!("image_tag: {error}"))
}

fn make(wanted: Wanted<'_>, id: Uuid) -> Result<Deployment, String> {
    let id: DeploymentId = id.to_string().parse().map_err(|error| format!("id: {error}"))?;
    let name = wanted
        .service
        .name
        .parse()
        .map_err(|error| format!("service: {error}"))?;
    let mut message = DeploymentQueueMessage::new(id, wanted.project, name, wanted.image);
    message.config = wanted.service.recipe.deploy.clone();
    message.created_at = Some(clock::now());
    message.metadata = wanted.metadata;
    message.metadata.processed_by = Some("prow".to_owned());
    let payload = message.to_json().map_err(|error| error.to_string())?;
    let longest = route::deployments().limits.message_bytes;
    if payload.len() > longest {
        return Err(format!("its message would have {} bytes, {longest} fit", payload.len()));
    }
    let mut deployment = Deployment::asked(message, payload, wanted.image_tag);
    deployment.project_id = wanted.service.project_id;
    deployment.service_id = wanted.service.id;
    deployment.reason = wanted.reason;
    Ok(deployment)
}

/// What an event makes of a deployment; `None` when it is late, doubled or unknown.
pub(crate) fn fold(deployment: &Deployment, event: &DeploymentEvent) -> Option<Deployment> {
    let is_new = (event.attempt, event.sequence) > (deployment.attempt, deployment.sequence) || event.attempt == 0;
    if deployment.status.has_ended() || !is_new {
        return None;
    }
    let mut next = deployment.clone();
    if event.attempt > 0 {
        (next.attempt, next.sequence) = (event.attempt, event.sequence);
        let at = event.at.as_millis();
        next.started_at = Some(next.started_at.map_or(at, |known| known.min(at)));
    }
    next.status = Status::Deploying;
    match &event.event {
        Deploying::Started => {
            next.detail = event.worker.as_ref().map(|worker| format!("runs on {worker}"));
            next.progress = 10;
        }
        Deploying::Progress { percent } => next.progress = next.progress.max(i64::from(*percent).min(100)),
        Deploying::Retrying { failure, after_ms } => {
            next.detail = Some(format!("tried again in {} s: {}", after_ms / 1000, failure.message));
            next.failure = Some(failure.clone());
            next.progress = 0;
        }
        Deploying::Released => {
            next.detail = Some("its worker stopped; waits for another".to_owned());
            (next.status, next.progress) = (Status::Queued, 0);
        }
        Deploying::Ended {
            status,
            failure,
            running,
        } => {
            next.finished_at = Some(event.at.as_millis());
            next.status = match status {
                Terminal::Success => Status::Success,
                Terminal::Cancelled | Terminal::Superseded => Status::Cancelled,
                Terminal::Failed | Terminal::TimedOut | Terminal::Lost => Status::Failed,
            };
            next.detail = failure.as_ref().map(|failure| failure.message.clone());
            next.failure.clone_from(failure);
            if let Some(running) = running {
                next.image = running.image.as_ref().map(ToString::to_string);
                next.container = Some(running.container.clone());
                next.progress = 100;
            }
        }
        Deploying::Unknown => return None,
    }
    Some(next)
}

/// The event that ends a deployment which nobody carries out.
pub(crate) fn ended(deployment: &Deployment, status: Terminal, reason: &str) -> DeploymentEvent {
    let event = Deploying::ended(status, Failure::new(status.as_str(), reason));
    DeploymentEvent::new(deployment.message.id.clone(), 0, 0, clock::now(), event)
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::{Running, Timestamp};

    fn deployment() -> Deployment {
        let service = Service {
            project_id: 1,
            id: 2,
            ..Service::usual()
        };
        let wanted = Wanted {
            project: "o/r".parse().unwrap(),
            service: &service,
            image_tag: "h:5000/o/r:main".to_owned(),
            image: pinned("h:5000/o/r:main", Some("sha256:ab")).unwrap(),
            reason: None,
            metadata: Metadata::default(),
        };
        by_hand(wanted, Uuid::now_v7()).unwrap()
    }

    fn event(attempt: u32, sequence: u32, event: Deploying) -> DeploymentEvent {
        DeploymentEvent::new(
            "d".parse().unwrap(),
            attempt,
            sequence,
            Timestamp::from_millis(5),
            event,
        )
    }

    fn success() -> Deploying {
        Deploying::Ended {
            status: Terminal::Success,
            failure: None,
            running: Some(Running::new("c", Some("h:5000/o/r@sha256:ab".parse().unwrap()))),
        }
    }

    #[test]
    fn an_image_is_pinned_by_its_digest_where_that_is_known() {
        for (tag, digest, expected) in [
            ("h:5000/o/r:main", Some("sha256:ab"), "h:5000/o/r@sha256:ab"),
            ("h:5000/o/r", Some("sha256:ab"), "h:5000/o/r@sha256:ab"),
            ("h:5000/o/r@sha256:cd", Some("sha256:ab"), "h:5000/o/r@sha256:ab"),
            ("h:5000/o/r:main", None, "h:5000/o/r:main"),
        ] {
            assert_eq!(pinned(tag, digest).unwrap().as_str(), expected);
        }
        assert!(pinned("two words", None).is_err());
        assert_eq!(deployment().message.image.as_str(), "h:5000/o/r@sha256:ab");
    }

    #[test]
    fn events_move_a_deployment_and_late_ones_do_not() {
        let begun = fold(&deployment(), &event(1, 1, Deploying::Started)).unwrap();
        assert_eq!((begun.status, begun.progress), (Status::Deploying, 10));
        let further = fold(&begun, &event(1, 4, Deploying::Progress { percent: 60 })).unwrap();
        assert_eq!(fold(&further, &event(1, 3, Deploying::Progress { percent: 30 })), None);
        let ended = fold(&further, &event(1, 5, success())).unwrap();
        assert_eq!(
            (ended.status, ended.progress, ended.finished_at),
            (Status::Success, 100, Some(5))
        );
        assert_eq!(ended.runs(), "h:5000/o/r@sha256:ab");
        assert_eq!(
            fold(&ended, &event(2, 1, Deploying::Started)),
            None,
            "it has ended, for ever"
        );
    }

    #[test]
    fn a_deployment_that_is_given_back_waits_again_and_one_that_never_ran_can_end() {
        let begun = fold(&deployment(), &event(1, 1, Deploying::Started)).unwrap();
        let back = fold(&begun, &event(1, 2, Deploying::Released)).unwrap();
        assert_eq!((back.status, back.progress), (Status::Queued, 0));
        let cancelled = fold(&deployment(), &ended(&deployment(), Terminal::Cancelled, "by hand")).unwrap();
        assert_eq!(
            (cancelled.status, cancelled.detail.as_deref()),
            (Status::Cancelled, Some("by hand"))
        );
        for terminal in [Terminal::Failed, Terminal::TimedOut, Terminal::Lost] {
            let failed = fold(&begun, &ended(&begun, terminal, "why")).unwrap();
            assert_eq!(failed.status, Status::Failed);
        }
    }

    #[test]
    fn what_was_pushed_and_built_is_deployed_where_its_service_says_so() {
        let url = "https://h/o/r.git".parse().unwrap();
        let (id, project, commit) = ("b".parse().unwrap(), "o/r".parse().unwrap(), "abcdef".parse().unwrap());
        let message = contract::BuildQueueMessage::new(
            id,
            project,
            contract::BuildType::Dockerfile,
            url,
            commit,
            contract::Strategy::Local,
        );
        let mut build = Build::queued(message, String::new());
        build.status = BuildStatus::Ended(Terminal::Success);
        (build.digest, build.about) = (Some("sha256:ab".to_owned()), Some("refs/heads/main".to_owned()));
        let mut service = Service::usual();
        assert!(after(&build, &service).is_none(), "nobody asked for it");
        service.recipe.auto_deploy = true;
        let first = after(&build, &service).unwrap().unwrap();
        let again = after(&build, &service).unwrap().unwrap();
        assert_eq!(first.message.id, again.message.id, "it is one deployment");
        assert_eq!(first.message.image.as_str(), "o/r@sha256:ab");
        build.about = Some("pull/7".to_owned());
        assert!(after(&build, &service).is_none(), "a pull request is not deployed");
        (build.about, build.status) = (Some("refs/heads/main".to_owned()), BuildStatus::Ended(Terminal::Failed));
        assert!(after(&build, &service).is_none());
    }
}
