//! The log of a build: whole, or followed as it grows.

use super::{Shared, builds, problem::Problem};
use axum::{
    body::Body,
    extract::{Path, Query, State},
    http::{HeaderMap, header},
    response::{
        IntoResponse as _, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use contract::BuildId;
use futures_util::stream::{self, Stream};
use serde::Deserialize;
use std::{io::SeekFrom, path::PathBuf, time::Duration};
use tokio::{
    fs::File,
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncSeekExt as _, BufReader},
    sync::watch,
};

const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long a follower waits before it looks for itself.
const IDLE: Duration = Duration::from_secs(1);
const PART: usize = 64 * 1024;

#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    follow: Option<String>,
}

/// Follows one log from a byte on.
struct Follower {
    shared: Shared,
    id: BuildId,
    path: PathBuf,
    offset: u64,
    news: Option<watch::Receiver<u64>>,
    file: Option<BufReader<File>>,
    state: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Following,
    Ended,
}

/// `GET /v1/cicd/builds/:id/logs`; with `?follow=1` as server-sent events whose `id` is the byte
/// after the line, so that `Last-Event-ID` resumes.
pub(super) async fn show(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let build = builds::find(&shared, &id).await?;
    let path = shared.0.archive.path(&build.message.id);
    if !matches!(wanted.follow.as_deref(), Some("1" | "true")) {
        return whole(path, build.log_bytes).await;
    }
    let offset = headers
        .get("last-event-id")
        .and_then(|v| v.to_str().ok()?.parse().ok())
        .unwrap_or(0);
    let follower = Follower {
        id: build.message.id,
        state: Phase::Following,
        news: None,
        file: None,
        shared,
        path,
        offset,
    };
    let events = Sse::new(follower.events()).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    Ok(([("x-accel-buffering", "no")], events).into_response())
}

/// The file as it is, streamed.
async fn whole(path: PathBuf, bytes: i64) -> Result<Response, Problem> {
    let kind = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    if bytes == 0 {
        return Ok((kind, "").into_response());
    }
    let file = File::open(path).await?.take(u64::try_from(bytes).unwrap_or_default());
    let parts = stream::try_unfold(file, async |mut file| {
        let mut part = Vec::with_capacity(PART);
        let read = (&mut file).take(PART as u64).read_to_end(&mut part).await?;
        Ok::<_, std::io::Error>((read > 0).then_some((part, file)))
    });
    Ok((kind, Body::from_stream(parts)).into_response())
}

// === impl Follower ===

impl Follower {
    fn events(self) -> impl Stream<Item = Result<Event, Problem>> {
        stream::try_unfold(self, async |mut follower| {
            let event = follower.next().await?;
            Ok(event.map(|event| (event, follower)))
        })
    }

    async fn next(&mut self) -> Result<Option<Event>, Problem> {
        if self.state == Phase::Ended {
            return Ok(None);
        }
        loop {
            if let Some(line) = self.line().await? {
                return Ok(Some(self.event(line)));
            }
            // Asked before reading once more: what is complete now has all its lines in the file.
            let build = self
                .shared
                .0
                .store
                .build(self.id.as_str())
                .await?
                .ok_or(Problem::NotFound)?;
            if let Some(line) = self.line().await? {
                return Ok(Some(self.event(line)));
            }
            let nothing_to_come = build.finished_at.is_some() && (build.log_done || build.started_at.is_none());
            if nothing_to_come {
                self.state = Phase::Ended;
                return Ok(Some(Event::default().event("end").data(build.status.as_str())));
            }
            self.wait().await;
        }
    }

    fn event(&self, line: String) -> Event {
        Event::default().id(self.offset.to_string()).data(line)
    }

    /// The next whole line of the file, if there is one.
    async fn line(&mut self) -> Result<Option<String>, Problem> {
        if self.file.is_none() {
            let Ok(mut file) = File::open(&self.path).await else {
                return Ok(None);
            };
            file.seek(SeekFrom::Start(self.offset)).await?;
            self.file = Some(BufReader::with_capacity(PART, file));
        }
        let Some(file) = &mut self.file else { return Ok(None) };
        let mut line = String::new();
        let read = file.read_line(&mut line).await?;
        if !line.ends_with('\n') {
            self.file = None; // Half a line, or nothing yet: read again from where it began.
            return Ok(None);
        }
        self.offset += u64::try_from(read).unwrap_or_default();
        line.truncate(line.len() - 1);
        Ok(Some(line))
    }

    async fn wait(&mut self) {
        if self.news.is_none() {
            self.news = self.shared.0.archive.news(&self.id);
        }
        let changed = async {
            match &mut self.news {
                Some(news) => news.changed().await.is_ok(),
                None => std::future::pending().await,
            }
        };
        if let Ok(false) = tokio::time::timeout(IDLE, changed).await {
            self.news = None;
        }
    }
}
