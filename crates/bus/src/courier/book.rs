//! What is written of addressees, by whoever makes them; the courier does not read it.

use super::{Courier, Pace};
use crate::Error;
use fred::{
    interfaces::{HashesInterface as _, KeysInterface as _},
    types::Value,
};
use std::collections::HashMap;

// === impl Courier ===

impl Courier {
    /// What is written of each addressee, by its name; the courier does not read it.
    ///
    /// # Errors
    /// When Redis is unreachable.
    pub async fn book(&self) -> Result<HashMap<String, String>, Error> {
        let key = self.key("book", "");
        let book = self.bus.client().hgetall(&key).await;
        book.map_err(|source| Error::redis(source, "read", &key))
    }

    /// What is written of one of them.
    ///
    /// # Errors
    /// When Redis is unreachable.
    pub async fn written(&self, to: &str) -> Result<Option<String>, Error> {
        let key = self.key("book", "");
        let text = self.bus.client().hget(&key, to).await;
        text.map_err(|source| Error::redis(source, "read", &key))
    }

    /// How often the book was written in, or a pace was set: less than before when Redis has forgotten them.
    ///
    /// # Errors
    /// When Redis is unreachable.
    pub async fn edition(&self) -> Result<i64, Error> {
        let key = self.key("edition", "");
        let edition: Result<Option<i64>, _> = self.bus.client().get(&key).await;
        edition
            .map(Option::unwrap_or_default)
            .map_err(|source| Error::redis(source, "read", &key))
    }

    /// Writes something of an addressee into the book, what people call it, and its pace; whether what is there was still
    /// `before` (nothing, if it is empty).
    ///
    /// # Errors
    /// When Redis is unreachable; then it may or may not have been written.
    pub async fn write(&self, to: &str, label: &str, before: &str, text: &str, pace: Pace) -> Result<bool, Error> {
        let args = [to, before, text, label].map(Value::from);
        let args = args.into_iter().chain(pace.words()).collect();
        let answer = self.run(&self.bus.scripts().courier_book, "write", args).await?;
        Ok(answer.text(0) == "ok")
    }

    /// Strikes an addressee from the book, with all that waits for it; whether what was there was still `before`.
    ///
    /// # Errors
    /// When Redis is unreachable; then it may or may not have been struck.
    pub async fn strike(&self, to: &str, label: &str, before: &str) -> Result<bool, Error> {
        let args = vec![to.into(), before.into(), "".into(), label.into()];
        let answer = self.run(&self.bus.scripts().courier_book, "strike", args).await?;
        Ok(answer.text(0) == "ok")
    }
}
