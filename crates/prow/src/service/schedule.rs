//! When a service is built by the clock. Pure.

use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};
use jiff::{Timestamp, ToSpan as _, tz::TimeZone};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// A time, again and again, and what is built then.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Schedule {
    pub(crate) cron: Times,
    /// A branch or tag of which a commit is known; the newest such commit is built.
    #[schemars(length(min = 1, max = 255))]
    pub(crate) git_ref: String,
}

/// Minute, hour, day of the month, month, day of the week, in UTC: `30 3 * * 1-5` (POSIX, crontab; and `@daily`).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Times {
    text: String,
    cron: Box<Cron>,
}

/// What was due while prow was not there is made up for within so many minutes.
const LATE: i64 = 60;

// === impl Times ===

impl Times {
    /// The newest time that has come, and is not so long ago that it is not made up for.
    pub(crate) fn due(&self, now: Timestamp) -> Option<Timestamp> {
        let now = now.to_zoned(TimeZone::UTC).datetime();
        let minute = now.with().second(0).subsec_nanosecond(0).build().ok()?;
        let times = (0..=LATE).filter_map(|late| minute.checked_sub(late.minutes()).ok());
        let due = times
            .into_iter()
            .find(|time| self.cron.is_time_matching(time).unwrap_or_default())?;
        Some(due.to_zoned(TimeZone::UTC).ok()?.timestamp())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }
}

impl PartialEq for Times {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl TryFrom<String> for Times {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parser = CronParser::builder()
            .seconds(Seconds::Disallowed)
            .year(Year::Disallowed)
            .build();
        let cron = parser.parse(&text).map_err(|error| format!("cron: {error}"))?;
        let cron = Box::new(cron);
        Ok(Self { text, cron })
    }
}

impl From<Times> for String {
    fn from(times: Times) -> Self {
        times.text
    }
}

impl JsonSchema for Times {
    fn schema_name() -> Cow<'static, str> {
        "Cron".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "Minute, hour, day of the month, month, day of the week, in UTC; or @daily and the like.",
            "examples": ["30 3 * * 1-5"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(cron: &str, now: &str) -> Option<String> {
        let times = Times::try_from(cron.to_owned()).unwrap();
        times.due(now.parse().unwrap()).map(|time| time.to_string())
    }

    #[test]
    fn what_was_due_is_made_up_for_within_an_hour_and_only_the_newest() {
        for (cron, now, expected) in [
            ("30 3 * * *", "2026-11-22T03:29:59Z", None),
            ("30 3 * * *", "2026-11-22T03:30:00Z", Some("2026-11-22T03:30:00Z")),
            ("30 3 * * *", "2026-11-22T04:30:59Z", Some("2026-11-22T03:30:00Z")),
            ("30 3 * * *", "2026-11-22T04:31:00Z", None),
            ("*/5 * * * *", "2026-11-22T00:14:00Z", Some("2026-11-22T00:10:00Z")),
            ("55 23 * * *", "2026-11-22T00:14:00Z", Some("2026-11-21T23:55:00Z")),
            ("0 0 * * 1-5", "2026-11-22T00:00:00Z", None),
            ("0 0 * * SUN", "2026-11-22T00:00:00Z", Some("2026-11-22T00:00:00Z")),
            ("@daily", "2026-11-22T00:01:00Z", Some("2026-11-22T00:00:00Z")),
            ("0 0 30 2 *", "2026-02-28T00:00:00Z", None),
        ] {
            assert_eq!(due(cron, now).as_deref(), expected, "{cron} {now}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for bad in [
            "",
            "* * * *",
            "60 * * * *",
            "* * * * * *",
            "* * * * * * 2026",
            "a b c d e",
        ] {
            assert!(Times::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
