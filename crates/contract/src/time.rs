//! A point in time, as RFC 3339 text.

use crate::text::schema_of_text;
use std::str::FromStr;

/// A point in time; the text is kept exactly as it was given (offset, precision and all).
///
/// Source of the format: RFC 3339, section 5.6.
///
/// # Examples
/// ```
/// use contract::Timestamp;
/// let t: Timestamp = "2026-02-18T10:11:12.123456789+03:30".parse()?;
/// assert_eq!(t.as_str(), "2026-02-18T10:11:12.123456789+03:30");
/// assert_eq!(t.as_millis(), 1_771_396_872_123);
/// # Ok::<(), contract::InvalidTimestamp>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Timestamp {
    text: String,
    millis: i64,
}

/// The text is not an RFC 3339 date and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a date and time as in RFC 3339, such as 2024-01-01T00:00:00Z")]
#[non_exhaustive]
pub struct InvalidTimestamp;

// === impl Timestamp ===

impl Timestamp {
    /// Milliseconds since the Unix epoch to a timestamp in UTC; out of range becomes the epoch.
    pub fn from_millis(millis: i64) -> Self {
        let at = jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        Self {
            text: format!("{at:.3}"),
            millis: at.as_millisecond(),
        }
    }

    /// The text as it was given.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(&self) -> i64 {
        self.millis
    }
}

impl FromStr for Timestamp {
    type Err = InvalidTimestamp;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rfc3339 =
            text.len() >= 20 && !text.contains('[') && text.as_bytes().get(10).is_some_and(|b| b"Tt ".contains(b));
        let parsed = if rfc3339 {
            text.parse::<jiff::Timestamp>().ok()
        } else {
            None
        };
        let at = parsed.ok_or(InvalidTimestamp)?;
        Ok(Self {
            text: text.to_owned(),
            millis: at.as_millisecond(),
        })
    }
}

impl TryFrom<String> for Timestamp {
    type Error = InvalidTimestamp;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Timestamp> for String {
    fn from(value: Timestamp) -> Self {
        value.text
    }
}

impl std::fmt::Display for Timestamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

schema_of_text!(
    Timestamp,
    "^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})$",
    "a date and time as in RFC 3339"
);
