//! Builds that nobody pushed for: of a service, of a commit that is known.

use crate::{
    dispatcher::Kick,
    notice,
    service::Service,
    store::{Build, Error, Store},
};
use contract::{BuildQueueMessage, Message as _};

/// The newest build of a service that was of this branch or tag. Prow reads no repositories; it knows what it was told of.
pub(crate) async fn newest_of_ref(store: &Store, service: i64, name: &str) -> Result<Option<(Build, String)>, Error> {
    let names = if name.starts_with("refs/") {
        vec![name.to_owned()]
    } else {
        vec![format!("refs/heads/{name}"), format!("refs/tags/{name}")]
    };
    for git_ref in names {
        if let Some(build) = store.newest_of_service(service, Some(git_ref.clone())).await? {
            return Ok(Some((build, git_ref)));
        }
    }
    Ok(None)
}

/// Adds a build, and tells others; the one that is there already, where it was asked for twice.
pub(crate) async fn begin(
    store: &Store,
    kick: &Kick,
    service: &Service,
    message: BuildQueueMessage,
    about: Option<String>,
) -> Result<Build, Error> {
    let payload = message.to_json().map_err(|error| Error::Corrupt(error.to_string()))?;
    let id = message.id.clone();
    let mut build = Build::queued(message, payload);
    (build.service, build.about) = (service.name.clone(), about);
    let intents = notice::queued(&build, None)?;
    let begun = store.add_build(build, &intents).await?;
    kick.now();
    match begun {
        Some(build) => Ok(build),
        None => store.build(id.as_str()).await?.ok_or(Error::NotYet("it is not there")),
    }
}
