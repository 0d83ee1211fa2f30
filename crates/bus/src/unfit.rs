//! Messages that cannot be understood: whoever reads them puts them with the dead letters.

use crate::{Bus, Error, delivery::letter, keys::Keys, script};
use contract::{Message, route::List};

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

/// Takes a message from where it is, a slot or the list, to the dead letters.
///
/// # Errors
/// When Redis is unreachable.
pub(crate) async fn bury(bus: &Bus, keys: &Keys, place: &str, payload: &[u8], why: &str) -> Result<(), Error> {
    tracing::warn!(
        list = keys.list(),
        reason = why,
        "buried a message that cannot be understood"
    );
    let args = vec![payload.into(), letter("", why).into()];
    script::run(
        bus.client(),
        &bus.scripts().poison,
        "bury",
        keys.all(place, place),
        args,
    )
    .await
    .map(drop)
}
