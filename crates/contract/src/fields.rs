//! Reading a message field by field, so that every wrong field is named at once.

use crate::Rest;
use serde_json::Value;
use std::{fmt, str::FromStr};

/// One field of a message that is missing or wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct FieldError {
    field: String,
    reason: String,
}

/// A message that was refused: not JSON, or with these fields missing or wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidMessage {
    fields: Vec<FieldError>,
}

/// A JSON object that is taken apart; what is not taken is kept as the rest.
pub(crate) struct Fields {
    map: Rest,
    errors: Vec<FieldError>,
}

// === impl FieldError ===

impl FieldError {
    /// Dotted path of the field, `$` for the message as a whole.
    pub fn field(&self) -> &str {
        &self.field
    }

    /// What was expected there.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

// === impl InvalidMessage ===

impl InvalidMessage {
    /// An error about the message as a whole.
    pub fn whole(reason: impl Into<String>) -> Self {
        Self {
            fields: vec![FieldError {
                field: "$".to_owned(),
                reason: reason.into(),
            }],
        }
    }

    /// Every field that is missing or wrong, in the order of the contract.
    pub fn fields(&self) -> impl Iterator<Item = &FieldError> {
        self.fields.iter()
    }
}

impl fmt::Display for InvalidMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, error) in self.fields.iter().enumerate() {
            write!(f, "{}{error}", if n == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl std::error::Error for InvalidMessage {}

impl From<serde_json::Error> for InvalidMessage {
    fn from(error: serde_json::Error) -> Self {
        Self::whole(error.to_string())
    }
}

// === impl Fields ===

impl Fields {
    pub(crate) fn new(map: Rest) -> Self {
        Self {
            map,
            errors: Vec::new(),
        }
    }

    /// Parses bytes that must hold one JSON object.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, InvalidMessage> {
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(map)) => Ok(Self::new(map)),
            Ok(_) => Err(InvalidMessage::whole("expected a JSON object")),
            Err(error) => Err(InvalidMessage::whole(format!("not JSON: {error}"))),
        }
    }

    pub(crate) fn required<T: FromStr<Err: fmt::Display>>(&mut self, name: &str) -> Option<T> {
        if self.is_absent(name) {
            return self.refuse(name, "is required");
        }
        self.optional(name)
    }

    /// Absent, `null` and `""` all mean "not given"; the latter two stay in the rest as they came.
    pub(crate) fn optional<T: FromStr<Err: fmt::Display>>(&mut self, name: &str) -> Option<T> {
        if self.is_absent(name) {
            return None;
        }
        let Some(Value::String(text)) = self.map.shift_remove(name) else {
            return self.refuse(name, "expected a string");
        };
        text.parse().map_err(|reason| self.refuse::<T>(name, reason)).ok()
    }

    /// A value of any other shape that serde can read.
    pub(crate) fn value<T: serde::de::DeserializeOwned>(&mut self, name: &str) -> Option<T> {
        if self.is_absent(name) {
            return None;
        }
        let value = self.map.shift_remove(name)?;
        serde_json::from_value(value)
            .map_err(|reason| self.refuse::<T>(name, reason))
            .ok()
    }

    /// A nested object, read by its own function; its errors carry the path.
    pub(crate) fn object<T>(&mut self, name: &str, read: impl FnOnce(Self) -> Result<T, InvalidMessage>) -> Option<T> {
        if self.is_absent(name) {
            return None;
        }
        let Some(Value::Object(map)) = self.map.shift_remove(name) else {
            return self.refuse(name, "expected an object");
        };
        read(Self::new(map)).map_err(|inner| self.nest(name, inner)).ok()
    }

    pub(crate) fn refuse<T>(&mut self, name: &str, reason: impl fmt::Display) -> Option<T> {
        self.errors.push(FieldError {
            field: name.to_owned(),
            reason: reason.to_string(),
        });
        None
    }

    /// Ends the reading: the rest, or every error.
    pub(crate) fn finish(self) -> Result<Rest, InvalidMessage> {
        if self.errors.is_empty() {
            Ok(self.map)
        } else {
            Err(InvalidMessage { fields: self.errors })
        }
    }

    fn is_absent(&self, name: &str) -> bool {
        match self.map.get(name) {
            None | Some(Value::Null) => true,
            Some(Value::String(text)) => text.is_empty(),
            Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => false,
        }
    }

    fn nest(&mut self, name: &str, inner: InvalidMessage) {
        let path = |field: &str| format!("{name}.{field}");
        self.errors.extend(inner.fields.into_iter().map(|e| FieldError {
            field: path(&e.field),
            ..e
        }));
    }
}
