//! Messages that cannot be understood: whoever reads them puts them with the dead letters.

use crate::{Bus, Error, delivery::letter, keys::Keys, script};
use contract::{Message, route::List};
use std::time::Duration;

/// Reads a message of a list.
///
/// # Errors
/// Why it cannot be understood.
pub(crate) fn read<T: Message>(list: &List<T>, payload: &[u8]) -> Result<T, String> {
    let limit = list.limits.message_bytes;
    if payload.len() > limit {
        return Err(format!(
            "the message has {} bytes, the list takes at most {limit}",
            payload.len()
        ));
    }
    T::from_bytes(payload).map_err(|invalid| invalid.to_string())
}

/// Takes a message from where it is, a slot or the list, to the dead letters; its record, if it has one that can be read,
/// says so for as long as its list remembers.
///
/// # Errors
/// When Redis is unreachable.
pub(crate) async fn bury(
    bus: &Bus,
    keys: &Keys,
    place: &str,
    payload: &[u8],
    why: &str,
    record: Option<(&str, Duration)>,
) -> Result<(), Error> {
    tracing::warn!(
        list = keys.list(),
        reason = why,
        "buried a message that cannot be worked on"
    );
    let (id, job, ttl) = match record {
        Some((id, remember)) => (id, keys.job(id), remember.as_secs().to_string()),
        None => ("", place.to_owned(), String::new()),
    };
    let args = vec![payload.into(), letter(id, why).into(), ttl.into()];
    script::run(bus.client(), &bus.scripts().poison, "bury", keys.all(place, &job), args)
        .await
        .map(drop)
}
