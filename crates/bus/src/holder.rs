//! Who holds a message now: for those who repair what a crash left behind.

use crate::{Bus, Error, keys::Keys, script};
use contract::{Message, route::List};
use fred::{
    interfaces::KeysInterface as _,
    types::{SetOptions, Value},
};

/// Asks about the messages of one list.
#[derive(Clone, Debug)]
pub struct Holders {
    pub(crate) bus: Bus,
    pub(crate) keys: Keys,
}

impl Bus {
    /// Asks who holds what of this list.
    pub fn holders<T: Message>(&self, list: &List<T>) -> Holders {
        Holders {
            bus: self.clone(),
            keys: Keys::new(list),
        }
    }
}

// === impl Holders ===

impl Holders {
    /// The attempt at this message that a living worker runs now, if any.
    ///
    /// # Errors
    /// When Redis is unreachable.
    pub async fn attempt(&self, id: &str) -> Result<Option<u32>, Error> {
        let (attempt, _, lives) = self.running(id).await?;
        Ok(Some(attempt).filter(|attempt| lives && *attempt > 0))
    }

    /// A name for this list's whole installation, made once and kept in Redis: what carries it on a machine
    /// that several installations share belongs to this one.
    ///
    /// # Errors
    /// When Redis is unreachable.
    pub async fn installation(&self) -> Result<String, Error> {
        let key = self.keys.installation();
        let failed = |source| Error::redis(source, "name the installation", &key);
        let fresh: String = uuid::Uuid::new_v4().simple().to_string().chars().take(12).collect();
        let unless_there = Some(SetOptions::NX);
        let client = self.bus.client();
        let _made: Value = client
            .set(&key, fresh, None, unless_there, false)
            .await
            .map_err(failed)?;
        client.get(&key).await.map_err(failed)
    }

    pub(crate) async fn running(&self, id: &str) -> Result<(u32, String, bool), Error> {
        let keys = vec![self.keys.workers().to_owned(), self.keys.job(id)];
        let answer = script::run(self.bus.client(), &self.bus.scripts().holds, "look", keys, Vec::new()).await?;
        let attempt = answer.text(0).parse().unwrap_or_default();
        Ok((attempt, answer.text(1), answer.text(2) == "1"))
    }
}
