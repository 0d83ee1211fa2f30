//! What others are told. Pure.

pub(crate) mod change;
pub(crate) mod links;
pub(crate) mod service;

use crate::store::{Build, Deployment, Error, Intent, Status};
use bus::clock;
use contract::{BuildStatus, Correlation, Notification, Resource, Terminal};
use serde_json::{Value, json};
use uuid::Uuid;

/// Namespace of notification ids: the same change is the same notification.
const NOTICES: Uuid = Uuid::from_u128(0x6f72_6765_2d6e_5569_8c64_732d_7635_0001);

/// What others are told of a build that was just queued.
pub(crate) fn queued(build: &Build, traceparent: Option<&str>) -> Result<Vec<Intent>, Error> {
    let notice = about(build, None, traceparent.map(ToOwned::to_owned));
    Ok(notice
        .as_ref()
        .map(Intent::notification)
        .transpose()?
        .into_iter()
        .collect())
}

/// The notification that a deployment has just become what it is, if others care.
pub(crate) fn of_deployment(
    deployment: &Deployment,
    before: Option<Status>,
    traceparent: Option<String>,
) -> Option<Notification> {
    if before == Some(deployment.status) {
        return None;
    }
    let word = match deployment.status {
        Status::Queued if before.is_none() => "queued",
        Status::Deploying if deployment.attempt <= 1 => "started",
        Status::Queued | Status::Deploying => return None,
        Status::Success => "succeeded",
        Status::Failed | Status::Cancelled | Status::RolledBack => deployment.status.word(),
    };
    let (message, uid) = (&deployment.message, deployment.message.id.as_str());
    let resource = Resource {
        kind: "Deployment".to_owned(),
        api_version: "forge/v1".to_owned(),
        name: format!("{} {}", message.project_name, message.service),
        namespace: message.project_name.to_string(),
        uid: uid.to_owned(),
    };
    let event_id = Uuid::new_v5(&NOTICES, format!("{uid}\n{word}").as_bytes());
    let mut notice = Notification::new(event_id, format!("deployment.{word}"), clock::now(), resource);
    notice.version = version(deployment.version, before.is_some());
    notice.sequence_hint = notice.version;
    notice.correlation = Correlation {
        correlation_id: message.metadata.correlation_id.clone(),
        deployment_uuid: Some(uid.to_owned()),
        ..Correlation::default()
    };
    notice.data = present(json!({
        "status": deployment.status.word(),
        "previous_status": before.map(Status::word),
        "project": message.project_name,
        "service": message.service,
        "image_tag": deployment.image_tag,
        "image": deployment.image,
        "reason": deployment.reason,
        "detail": deployment.detail.as_ref().filter(|_| deployment.status.has_ended()),
        "failure": deployment.failure,
        "rollback_of": deployment.rollback_of,
        "rollback_to": deployment.rollback_to,
    }));
    notice.metadata.traceparent = traceparent;
    Some(notice)
}

/// The notification that `build` has just become what it is, if others care.
pub(crate) fn about(build: &Build, before: Option<BuildStatus>, traceparent: Option<String>) -> Option<Notification> {
    if before == Some(build.status) {
        return None;
    }
    let word = match build.status {
        BuildStatus::Queued if before.is_none() => "queued",
        BuildStatus::Building if build.attempt <= 1 => "started",
        BuildStatus::Queued | BuildStatus::Building | BuildStatus::Retrying => return None,
        BuildStatus::Ended(Terminal::Success) => "succeeded",
        BuildStatus::Ended(terminal) => terminal.as_str(),
    };
    let uid = build.message.id.as_str();
    let resource = Resource {
        kind: "Build".to_owned(),
        api_version: "forge/v1".to_owned(),
        name: format!("{} {}", build.message.project_name, build.message.commit_hash.short()),
        namespace: build.message.project_name.to_string(),
        uid: uid.to_owned(),
    };
    // One notification per kind of change and build; told twice, it is the same one.
    let event_id = Uuid::new_v5(&NOTICES, format!("{uid}\n{word}").as_bytes());
    let mut notice = Notification::new(event_id, format!("build.{word}"), clock::now(), resource);
    notice.version = version(build.version, before.is_some());
    notice.sequence_hint = notice.version;
    notice.correlation = Correlation {
        correlation_id: build.message.correlation_id().map(ToOwned::to_owned),
        commit: Some(build.message.commit_hash.to_string()),
        ..Correlation::default()
    };
    notice.data = data(build, before);
    notice.metadata.traceparent = traceparent;
    Some(notice)
}

/// The version that a row has with the change: it is counted when that is stored.
fn version(before: i64, changes: bool) -> u64 {
    u64::try_from(before).unwrap_or_default() + u64::from(changes)
}

fn data(build: &Build, before: Option<BuildStatus>) -> contract::Rest {
    let asked = build.message.webhook_data.as_ref();
    let mut failure = build.failure.clone();
    let log_tail = failure.as_mut().map(|failure| std::mem::take(&mut failure.log_tail));
    let log_tail = log_tail.filter(|tail| !tail.is_empty());
    present(json!({
        "status": build.status.as_str(),
        "previous_status": before.map(BuildStatus::as_str),
        "project": build.message.project_name,
        "repository": build.message.source,
        "service": build.service,
        "commit": build.message.commit_hash,
        "branch": build.message.branch,
        "pull_request": asked.and_then(|data| data.pull_request.as_ref()?.number),
        "tickets": asked.and_then(|data| data.rest.get("tickets")),
        "image": build.digest.as_ref().map(|_| &build.image_tag),
        "digest": build.digest,
        "reason": build.reason.as_ref().filter(|_| build.status.terminal().is_some()),
        "failure": failure,
        "log_tail": log_tail,
    }))
}

/// The fields that have a value.
fn present(fields: Value) -> contract::Rest {
    match fields {
        Value::Object(map) => map.into_iter().filter(|(_, value)| !value.is_null()).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => contract::Rest::new(),
    }
}
