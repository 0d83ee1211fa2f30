//! What becomes of addressees, which others are to know: noted in the step in which it happens, until they were told.

use super::Courier;
use crate::Error;
use fred::interfaces::ListInterface as _;

/// What has become of an addressee, which others are to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// The addressee.
    pub to: String,
    /// `created`, `updated`, `deleted`, `disabled` or `enabled`.
    pub what: String,
    /// Why, if there is a reason.
    pub why: Option<String>,
    /// What people call it, if that was said.
    pub label: Option<String>,
    /// When, in milliseconds since the Unix epoch, by Redis's clock.
    pub at: i64,
    /// As it is kept.
    raw: String,
}

// === impl Courier ===

impl Courier {
    /// What has become of addressees since others were told, the oldest first, 100 at most.
    ///
    /// # Errors
    /// When Redis is unreachable.
    pub async fn announcements(&self) -> Result<Vec<Announcement>, Error> {
        let key = self.key("announce", "");
        let kept = self.bus.client().lrange(&key, 0, 99).await;
        let kept: Vec<String> = kept.map_err(|source| Error::redis(source, "read", &key))?;
        Ok(kept.into_iter().filter_map(Announcement::read).collect())
    }

    /// Others were told.
    ///
    /// # Errors
    /// When Redis is unreachable.
    pub async fn announced(&self, announcement: &Announcement) -> Result<(), Error> {
        let key = self.key("announce", "");
        let gone: Result<i64, _> = self.bus.client().lrem(&key, 1, announcement.raw.as_str()).await;
        gone.map(drop).map_err(|source| Error::redis(source, "forget", &key))
    }
}

// === impl Announcement ===

impl Announcement {
    fn read(raw: String) -> Option<Self> {
        let said: serde_json::Value = serde_json::from_str(&raw).ok()?;
        let text = |name: &str| said.get(name)?.as_str().map(str::to_owned);
        Some(Self {
            to: text("to")?,
            what: text("what")?,
            why: text("why"),
            label: text("label"),
            at: said.get("at")?.as_i64()?,
            raw,
        })
    }
}
