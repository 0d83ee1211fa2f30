//! The wall clock, read in one place.

use contract::Timestamp;

/// Milliseconds since the Unix epoch.
pub fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// Now, as messages carry it.
pub fn now() -> Timestamp {
    Timestamp::from_millis(now_ms())
}
