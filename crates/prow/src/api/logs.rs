//! The log of a build: whole, in part, searched, or followed as it grows.

use super::{
    Shared, builds,
    extract::{ByName, Path, Query},
    problem::Problem,
};
use crate::{
    access::Caller,
    archive::{self, Follower, Line, Log},
};
use aide::{openapi::MediaType, transform::TransformOperation};
use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{
        IntoResponse as _, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use bytes::Bytes;
use contract::BuildStatus;
use futures_util::stream::{self, Stream, StreamExt as _};
use regex::{Regex, RegexBuilder};
use schemars::JsonSchema;
use serde::Deserialize;
use std::{collections::VecDeque, ops::Range, time::Duration};
use tokio::sync::Semaphore;

const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// A pattern may not become a larger automaton, in bytes.
const PATTERN_SIZE: usize = 32 * 1_024;
/// So many segments are searched at once, for whoever: searching takes a processor.
const SEARCHES: usize = 2;
static SEARCHING: Semaphore = Semaphore::const_new(SEARCHES);
/// Longest pattern, in bytes.
const PATTERN_BYTES: usize = 1_000;
/// Most lines that `tail` gives.
const MOST_LINES: u64 = 100_000;

/// Which part of a log.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Wanted {
    /// `1`: server-sent events, a line each, as the log grows. The `id` of each is the byte after it, so that
    /// `Last-Event-ID` resumes; the last event is `end` and says how the build ended.
    #[serde(default)]
    follow: Flag,
    /// Only so many lines from the end, at most 100,000.
    tail: Option<u64>,
    /// Only lines that this regular expression matches.
    #[schemars(length(max = 1_000))]
    grep: Option<String>,
}

/// `1` or `true`, `0` or `false`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(extend("enum" = ["0", "1", "false", "true"]))]
enum Flag {
    #[default]
    #[serde(rename = "0", alias = "false")]
    No,
    #[serde(rename = "1", alias = "true")]
    Yes,
}

/// Follows the log of one build, and then says how the build ended.
struct Followed {
    shared: Shared,
    id: i64,
    /// Only lines that match are told.
    pattern: Option<Regex>,
    follower: Option<Follower>,
}

/// `GET /v1/cicd/builds/:id/logs`: text, or a range of its bytes; `?tail=` lines from the end; `?grep=` lines that
/// match. With `?follow=1` server-sent events whose `id` is the byte after the line, so that `Last-Event-ID` resumes.
pub(super) async fn show(
    State(shared): State<Shared>,
    caller: Caller,
    Path(ByName { id }): Path<ByName>,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let build = builds::find(&shared, &caller, &id).await?;
    let lines = wanted.tail.map(|lines| lines.min(MOST_LINES));
    let pattern = wanted.grep.as_deref().map(compiled).transpose()?;
    let archive = &shared.0.archive;
    if wanted.follow == Flag::Yes {
        let last = headers.get("last-event-id").and_then(|v| v.to_str().ok()?.parse().ok());
        let from = match (last, lines) {
            (Some(last), _) => last,
            (None, Some(lines)) => archive.log(&build).await?.last_lines(lines).await?,
            (None, None) => 0,
        };
        let id = build.id;
        let follower = Some(archive.follower(build, from));
        let events = Followed {
            shared,
            id,
            pattern,
            follower,
        };
        let events = events.events();
        let events = Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
        return Ok(([("x-accel-buffering", "no")], events).into_response());
    }
    let log = archive.log(&build).await?;
    if let Some(pattern) = pattern {
        return searched(log, pattern, lines).await;
    }
    let from = match lines {
        Some(lines) => log.last_lines(lines).await?,
        None => 0,
    };
    let range = headers.get(header::RANGE).and_then(|v| v.to_str().ok());
    if let Some(range) = range.and_then(ranged) {
        return part(log, &range);
    }
    let whole = from..log.bytes;
    Ok(([(header::ACCEPT_RANGES, "bytes")], text(log, whole)).into_response())
}

/// What OpenAPI tells of it, for the answer is no JSON.
pub(super) fn described(operation: TransformOperation<'_>) -> TransformOperation<'_> {
    operation
        .id("getBuildLog")
        .summary("The log of a build")
        .response_with::<200, String, _>(|mut answer| {
            let events = [("text/event-stream".to_owned(), MediaType::default())];
            answer.inner().content.extend(events);
            answer.description("The log, or the lines that were asked for.")
        })
        .response_with::<206, String, _>(|answer| answer.description("The bytes that were asked for."))
}

/// A range of bytes as asked for (RFC 9110, section 14): one that is not understood is as if it were not there.
enum Asked {
    From(u64, Option<u64>),
    Last(u64),
}

fn ranged(range: &str) -> Option<Asked> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    match (first, last) {
        ("", last) => Some(Asked::Last(last.parse().ok()?)),
        (first, "") => Some(Asked::From(first.parse().ok()?, None)),
        (first, last) => {
            let (first, last) = (first.parse().ok()?, last.parse().ok()?);
            (first <= last).then_some(Asked::From(first, Some(last)))
        }
    }
}

fn part(log: Log, asked: &Asked) -> Result<Response, Problem> {
    let bytes = log.bytes;
    let range = match *asked {
        Asked::From(first, last) => first..last.map_or(bytes, |last| last.saturating_add(1).min(bytes)),
        Asked::Last(n) => bytes.saturating_sub(n)..bytes,
    };
    if range.is_empty() {
        return Err(Problem::RangeNotSatisfiable(bytes));
    }
    let shown = format!("bytes {}-{}/{bytes}", range.start, range.end - 1);
    Ok((
        StatusCode::PARTIAL_CONTENT,
        [(header::CONTENT_RANGE, shown)],
        text(log, range),
    )
        .into_response())
}

fn text(log: Log, range: Range<u64>) -> Response {
    plain(Body::from_stream(log.text(range)))
}

fn plain(body: Body) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, body).into_response()
}

fn compiled(pattern: &str) -> Result<Regex, Problem> {
    if pattern.len() > PATTERN_BYTES {
        return Err(Problem::Unprocessable(format!(
            "grep: expected at most {PATTERN_BYTES} bytes"
        )));
    }
    let compiled = RegexBuilder::new(pattern)
        .size_limit(PATTERN_SIZE)
        .dfa_size_limit(PATTERN_SIZE)
        .build();
    compiled.map_err(|error| Problem::Unprocessable(format!("grep: {error}")))
}

/// The lines that match; the last so many of them, where a number is given.
async fn searched(log: Log, pattern: Regex, lines: Option<u64>) -> Result<Response, Problem> {
    let whole = 0..log.bytes;
    let found = log.text(whole).then(move |text| {
        let pattern = pattern.clone();
        async move { search(text?, pattern).await }
    });
    let Some(lines) = lines else {
        return Ok(plain(Body::from_stream(found)));
    };
    let (lines, mut last) = (usize::try_from(lines).unwrap_or(usize::MAX), VecDeque::new());
    let mut found = std::pin::pin!(found);
    while let Some(text) = found.next().await {
        last.extend(
            String::from_utf8_lossy(&text?)
                .split_inclusive('\n')
                .map(ToOwned::to_owned),
        );
        last.drain(..last.len().saturating_sub(lines));
    }
    Ok(plain(Body::from(last.into_iter().collect::<String>())))
}

/// Not where others wait for their turn. Who has left stops it at the next segment.
async fn search(text: Bytes, pattern: Regex) -> Result<Bytes, archive::Error> {
    let _turn = SEARCHING.acquire().await.map_err(std::io::Error::other)?;
    let found = tokio::task::spawn_blocking(move || matching(&text, &pattern)).await;
    Ok(found.map_err(std::io::Error::other)?)
}

/// Parts of a log end where lines do.
fn matching(text: &Bytes, pattern: &Regex) -> Bytes {
    let text = String::from_utf8_lossy(text);
    let lines = text.split_inclusive('\n');
    lines
        .filter(|line| pattern.is_match(line.trim_end_matches('\n')))
        .collect::<String>()
        .into()
}

// === impl Followed ===

impl Followed {
    fn events(self) -> impl Stream<Item = Result<Event, Problem>> {
        stream::try_unfold(self, async |mut followed| {
            let event = followed.next().await?;
            Ok(event.map(|event| (event, followed)))
        })
    }

    async fn next(&mut self) -> Result<Option<Event>, Problem> {
        let Some(follower) = &mut self.follower else {
            return Ok(None);
        };
        while let Some(Line { end, text }) = follower.next().await? {
            if self.pattern.as_ref().is_none_or(|pattern| pattern.is_match(&text)) {
                return Ok(Some(Event::default().id(end.to_string()).data(text)));
            }
        }
        self.follower = None;
        let build = self.shared.0.store.build_by_number(self.id).await?;
        let status = build.map_or(BuildStatus::Queued, |build| build.status);
        Ok(Some(Event::default().event("end").data(status.as_str())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_are_not_understood_are_not_there() {
        for (text, expected) in [
            ("bytes=0-9", Some((0, Some(9)))),
            ("bytes=5-", Some((5, None))),
            ("bytes=-5", Some((5, Some(u64::MAX)))),
            ("bytes=9-5", None),
            ("bytes=-", None),
            ("bytes=a-b", None),
            ("bytes=0-1,3-4", None),
            ("lines=0-1", None),
            ("bytes=99999999999999999999-", None),
        ] {
            let got = ranged(text).map(|asked| match asked {
                Asked::From(first, last) => (first, last),
                Asked::Last(n) => (n, Some(u64::MAX)),
            });
            assert_eq!(got, expected, "{text}");
        }
    }

    #[test]
    fn lines_are_matched_one_by_one() {
        let pattern = Regex::new("^b$|x").unwrap();
        assert_eq!(matching(&Bytes::from("a\nb\nax\n"), &pattern), "b\nax\n");
    }
}
