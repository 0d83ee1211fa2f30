//! What is remembered for addressees: what they were told of a thing, and what they want more than the usual.

use super::Courier;
use crate::Error;
use fred::{interfaces::KeysInterface as _, types::Expiration};
use std::time::Duration;

/// How long what was noted of a thing is kept.
const NOTED: Duration = Duration::from_hours(7 * 24);

// === impl Courier ===

impl Courier {
    /// What was noted of a thing for an addressee.
    ///
    /// # Errors
    /// When Redis is unreachable.
    pub async fn noted(&self, to: &str, thing: &str) -> Result<Option<String>, Error> {
        let key = self.key("note:", &format!("{to}/{thing}"));
        let text = self.bus.client().get(&key).await;
        text.map_err(|source| Error::redis(source, "read", &key))
    }

    /// Notes something of a thing for an addressee, for a week.
    ///
    /// # Errors
    /// When Redis is unreachable.
    pub async fn note(&self, to: &str, thing: &str, text: &str) -> Result<(), Error> {
        let seconds = NOTED.as_secs().to_string();
        let args = vec![to.into(), thing.into(), text.into(), seconds.into()];
        self.run(&self.bus.scripts().courier_note, "note", args).await.map(drop)
    }

    /// Says that somebody wants more than the usual, for a while.
    ///
    /// # Errors
    /// When Redis is unreachable.
    pub async fn want(&self, what: &str, for_: Duration) -> Result<(), Error> {
        let key = self.key("want:", what);
        let expires = Some(Expiration::EX(i64::try_from(for_.as_secs()).unwrap_or(i64::MAX)));
        let set = self.bus.client().set(&key, 1, expires, None, false).await;
        set.map_err(|source| Error::redis(source, "write", &key))
    }

    /// Whether somebody does.
    ///
    /// # Errors
    /// When Redis is unreachable.
    pub async fn is_wanted(&self, what: &str) -> Result<bool, Error> {
        let key = self.key("want:", what);
        let found = self.bus.client().exists(&key).await;
        found.map_err(|source| Error::redis(source, "read", &key))
    }
}
