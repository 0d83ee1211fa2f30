//! What becomes of endpoints is told like everything else: it is noted in Redis in the step in which it happens, and sent
//! from there until it was.

use crate::{book::Book, channel::LOG};
use bus::{Announcement, Producer, clock};
use contract::{Notification, Resource, Timestamp};
use serde_json::json;
use std::{sync::Arc, time::Duration};
use uuid::Uuid;

/// Tells others what has become of endpoints; cheap to clone.
#[derive(Clone)]
pub(crate) struct Announcer {
    pub(crate) book: Arc<Book>,
    pub(crate) notifications: Producer<Notification>,
}

/// Lines of logs are wanted for so long, unless somebody says so again.
const WANTED: Duration = Duration::from_mins(1);
/// Namespace of the ids: told twice, it is the same.
const ENDPOINTS: Uuid = Uuid::from_u128(0x6f72_6765_2d65_5569_8c64_732d_7635_0001);

// === impl Announcer ===

impl Announcer {
    /// Says that lines of logs are wanted, while somebody is there who shows them.
    pub(crate) async fn want_logs(&self) {
        let pages = self.book.pages();
        for endpoint in pages.all().iter().filter(|endpoint| endpoint.hears(LOG)) {
            if let Err(error) = self.want_logs_for(endpoint.name()).await {
                tracing::warn!(error = %chassis::chain(&error), "cannot say that lines of logs are wanted");
            }
        }
    }

    async fn want_logs_for(&self, endpoint: &str) -> Result<(), bus::Error> {
        let known = self.book.courier.addressee(endpoint).await?;
        let open = known.get("open").and_then(|open| open.parse().ok()).unwrap_or(0_i64);
        if known.contains_key("off") || open > clock::now_ms() {
            return Ok(()); // It shows none now.
        }
        self.book.courier.want("logs", WANTED).await
    }

    /// Tells all that is to be told.
    pub(crate) async fn announce(&self) {
        if let Err(error) = self.try_announce().await {
            tracing::warn!(error = %chassis::chain(&error), "cannot tell yet what has become of endpoints");
        }
    }

    async fn try_announce(&self) -> Result<(), bus::Error> {
        for announcement in self.book.courier.announcements().await? {
            self.notifications.send(&self.notice(&announcement)).await?;
            chassis::crash_point("notifier.announced");
            self.book.courier.announced(&announcement).await?;
        }
        Ok(())
    }

    fn notice(&self, said: &Announcement) -> Notification {
        let pages = self.book.pages();
        let host = pages.find(&said.to).map(|endpoint| endpoint.host());
        let resource = Resource {
            kind: "Endpoint".to_owned(),
            api_version: "forge/v1".to_owned(),
            name: said.label.as_deref().or(host).unwrap_or(&said.to).to_owned(),
            namespace: String::new(),
            uid: said.to.clone(),
        };
        let id = Uuid::new_v5(
            &ENDPOINTS,
            format!("{}\n{}\n{}", said.to, said.what, said.at).as_bytes(),
        );
        let at = Timestamp::from_millis(said.at);
        let mut notice = Notification::new(id, format!("endpoint.{}", said.what), at, resource);
        notice.version = u64::try_from(said.at).unwrap_or_default();
        notice.sequence_hint = notice.version;
        notice.data.insert("status".to_owned(), json!(said.what));
        if let Some(why) = &said.why {
            notice.data.insert("reason".to_owned(), json!(why));
        }
        notice
    }
}
