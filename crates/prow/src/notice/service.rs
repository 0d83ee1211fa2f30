//! What others are told of projects and services. Pure.

use super::{NOTICES, present};
use crate::{
    service::{Recipe, Service},
    store::Project,
};
use bus::clock;
use contract::{Notification, Resource};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use uuid::Uuid;

/// What has happened to one.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Happened {
    Created,
    Updated,
    Deleted,
}

/// That something has happened to a project.
pub(crate) fn of_project(project: &Project, happened: Happened) -> Notification {
    let data = json!({"project": project.name, "max_builds": project.max_builds});
    notice("Project", project.id, (&project.name, &project.name), happened, data)
}

/// That something has happened to a service of the project of this name. Of its recipe it is told which parts have changed,
/// and not how: they may say more than everybody is to know.
pub(crate) fn of_service(
    service: &Service,
    project: &str,
    happened: Happened,
    changed: Option<&Recipe>,
) -> Notification {
    let data = json!({"project": project, "service": service.name});
    let name = format!("{project} {}", service.name);
    let mut notice = notice("Service", service.id, (&name, project), happened, data);
    notice.spec_delta = changed.map(|before| json!({"recipe": differences(before, &service.recipe)}));
    notice
}

/// The parts of a recipe that are others than before.
fn differences(before: &Recipe, after: &Recipe) -> Vec<String> {
    let parts = |recipe: &Recipe| serde_json::from_str::<Map<String, Value>>(&recipe.to_json()).unwrap_or_default();
    let (before, after) = (parts(before), parts(after));
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let changed = names.into_iter().filter(|name| before.get(*name) != after.get(*name));
    changed.cloned().collect()
}

fn notice(kind: &str, id: i64, (name, namespace): (&str, &str), happened: Happened, data: Value) -> Notification {
    let word = match happened {
        Happened::Created => "created",
        Happened::Updated => "updated",
        Happened::Deleted => "deleted",
    };
    let uid = Uuid::new_v5(&NOTICES, format!("{kind}\n{id}\n{name}").as_bytes()).to_string();
    let resource = Resource {
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        kind: kind.to_owned(),
        api_version: "forge/v1".to_owned(),
        uid: uid.clone(),
    };
    let event_id = match happened {
        Happened::Updated => Uuid::new_v4(), // As often as somebody changes it.
        Happened::Created | Happened::Deleted => Uuid::new_v5(&NOTICES, format!("{uid}\n{word}").as_bytes()),
    };
    let what = format!("{}.{word}", kind.to_lowercase());
    let mut notice = Notification::new(event_id, what, clock::now(), resource);
    notice.version = u64::try_from(clock::now_ms()).unwrap_or_default();
    notice.sequence_hint = notice.version;
    notice.data = present(data);
    notice.data.insert("status".to_owned(), json!(word));
    notice
}
