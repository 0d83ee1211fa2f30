//! What was written is what is read: while it grows, stored or not, whoever stores it.
#![expect(
    clippy::disallowed_methods,
    clippy::string_slice,
    reason = "tests: their tasks end with them, and their text is ASCII"
)]

use super::*;
use crate::store::Database;
use bus::{Appended, Settings};
use contract::{BuildId, BuildQueueMessage, BuildType, LogLine, Message as _, Stage, Strategy, Stream};
use futures_util::StreamExt as _;
use tempfile::TempDir;
use testkit::Redis;

struct Lab {
    bus: Bus,
    store: Store,
    build: Build,
    folder: TempDir,
    redis: Redis,
}

impl Lab {
    async fn new() -> Self {
        let (redis, folder) = (Redis::start(), tempfile::tempdir().unwrap());
        let store = Store::open(&Database::Folder(folder.path().to_owned())).await.unwrap();
        let url = "https://h/o/r.git".parse().unwrap();
        let (id, project, commit) = ("b".parse().unwrap(), "o/r".parse().unwrap(), "abcdef".parse().unwrap());
        let message = BuildQueueMessage::new(id, project, BuildType::Dockerfile, url, commit, Strategy::Local);
        let payload = message.to_json().unwrap();
        let mut build = Build::queued(message, payload);
        build.started_at = Some(1);
        let build = store.add_build(build, &[]).await.unwrap().unwrap();
        Self {
            bus: Bus::start(Settings::new(redis.url())).unwrap(),
            store,
            build,
            folder,
            redis,
        }
    }

    /// What one prow has.
    fn archive(&self) -> Archive {
        let place = Place::Folder(self.folder.path().join("logs"));
        Archive::open(&place, &self.bus, &self.store, &contract::route::notifications()).unwrap()
    }

    fn open(&self) -> OpenLog {
        OpenLog {
            row: self.build.id,
            id: self.build.message.id.clone(),
        }
    }

    async fn end(&self) {
        let mut ended = self.store.build("b").await.unwrap().unwrap();
        ended.finished_at = Some(2);
        assert!(self.store.advance(&ended, &[]).await.unwrap());
    }

    async fn text(&self, archive: &Archive) -> String {
        let log = archive.log(&self.build).await.unwrap();
        let whole = 0..log.bytes;
        collect(log, whole).await
    }
}

async fn collect(log: Log, range: std::ops::Range<u64>) -> String {
    let parts: Vec<_> = log.text(range).collect().await;
    let bytes: Vec<u8> = parts.into_iter().flat_map(|part| part.unwrap()).collect();
    String::from_utf8(bytes).unwrap()
}

fn chunk(n: u64, lines: u64, width: usize) -> LogChunk {
    let line = |i| LogLine {
        t: 1_700_000_000_000,
        stage: Stage::Building,
        stream: Stream::Stdout,
        step: None,
        text: format!("{n}.{i} {}", "x".repeat(width)),
    };
    serde_json::from_value(serde_json::json!({"attempt": 1, "n": n, "lines": (0..lines).map(line).collect::<Vec<_>>()}))
        .unwrap()
}

/// Writes chunks; the text that they are.
async fn write(bus: &Bus, id: &BuildId, numbers: std::ops::Range<u64>, lines: u64, width: usize) -> String {
    let (writer, mut text) = (bus.log_writer(id), String::new());
    for n in numbers {
        let chunk = chunk(n, lines, width);
        segment::render(&chunk, &mut text);
        while writer.append(&chunk).await.unwrap() == Appended::Full {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    text
}

async fn follow(mut follower: Follower) -> String {
    let mut text = String::new();
    while let Some(line) = follower.next().await.unwrap() {
        text.push_str(&line.text);
        text.push('\n');
    }
    text
}

#[tokio::test]
async fn a_log_reads_the_same_while_it_grows_and_when_all_of_it_is_stored() {
    let lab = Lab::new().await;
    let archive = lab.archive();
    let followers: Vec<_> = (0..4)
        .map(|n| {
            let follower = lab.archive().follower(lab.build.clone(), 0);
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(n * 300)).await;
                follow(follower).await
            })
        })
        .collect();
    let draining = tokio::spawn({
        let (archive, open) = (archive.clone(), lab.open());
        async move { archive.drain(&open).await.unwrap() }
    });
    let (bus, id) = (lab.bus.clone(), lab.build.message.id.clone());
    let writing = tokio::spawn(async move { write(&bus, &id, 1..2_000, 30, 100).await });
    let mut seen = Vec::new();
    while !writing.is_finished() {
        seen.push(lab.text(&archive).await);
    }
    let text = writing.await.unwrap();
    lab.end().await;
    draining.await.unwrap();
    assert!(text.len() > 5_000_000);
    assert!(seen.iter().all(|seen| text.starts_with(seen.as_str())));
    assert!(seen.iter().any(|seen| !seen.is_empty()));
    assert!(lab.text(&archive).await == text);
    for follower in followers {
        assert!(follower.await.unwrap() == text);
    }
    let segments = lab.store.segments(lab.build.id, 0).await.unwrap();
    assert!((5..=20).contains(&segments.len()), "{}", segments.len());
    assert_eq!(lab.redis.cli(&["LLEN", "forge:logs:b"]), "0");
}

#[tokio::test]
async fn any_part_of_a_log_is_found() {
    let lab = Lab::new().await;
    let (archive, id) = (lab.archive(), lab.build.message.id.clone());
    let mut text = write(&lab.bus, &id, 1..300, 10, 1_000).await;
    let draining = tokio::spawn({
        let (archive, open) = (archive.clone(), lab.open());
        async move { archive.drain(&open).await.unwrap() }
    });
    testkit::eventually("some of it is stored", async || {
        let cursor = lab.store.log_cursor(lab.build.id).await.unwrap().unwrap();
        (cursor.bytes > 2_000_000).then_some(())
    })
    .await;
    draining.abort();
    text += &write(&lab.bus, &id, 300..310, 10, 10).await; // Only Redis has these.
    let whole = u64::try_from(text.len()).unwrap();
    for range in [
        0..whole,
        0..1,
        whole - 1..whole,
        999_999..2_500_001,
        5..5,
        whole..whole + 9,
    ] {
        let (from, to) = (
            usize::try_from(range.start).unwrap(),
            usize::try_from(range.end).unwrap(),
        );
        let log = archive.log(&lab.build).await.unwrap();
        assert_eq!(log.bytes, whole);
        assert!(
            collect(log, range.clone()).await == text[from..to.min(text.len())],
            "{range:?}"
        );
    }
    for lines in [0, 1, 50, 100, 101, 1_000, 2_999, 3_000, 3_090, 100_000] {
        let log = archive.log(&lab.build).await.unwrap();
        let from = log.last_lines(lines).await.unwrap();
        let all: Vec<&str> = text.split_inclusive('\n').collect();
        let expected: String = all[all.len().saturating_sub(usize::try_from(lines).unwrap())..].concat();
        assert!(collect(log, from..whole).await == expected, "the last {lines} lines");
    }
    lab.end().await;
    archive.drain(&lab.open()).await.unwrap();
    let follower = archive.follower(lab.build.clone(), 2_000_000);
    let followed = follow(follower).await;
    let from = text[2_000_000..].find('\n').unwrap() + 2_000_001;
    let line_begin = text[..2_000_000].rfind('\n').unwrap() + 1;
    assert!(followed == text[line_begin..] || followed == text[from..]);
}

#[tokio::test]
async fn when_the_prow_that_stores_a_log_dies_another_goes_on_with_it() {
    let lab = Lab::new().await;
    let id = lab.build.message.id.clone();
    let (first, second) = (lab.archive(), lab.archive());
    let text = write(&lab.bus, &id, 1..50, 10, 100).await;
    let draining = tokio::spawn({
        let (archive, open) = (first.clone(), lab.open());
        async move { archive.drain(&open).await }
    });
    testkit::eventually("the first has it", async || {
        lab.store.free_logs().await.unwrap().is_empty().then_some(())
    })
    .await;
    second.drain(&lab.open()).await.unwrap(); // It leaves it alone.
    assert!(!lab.store.log_cursor(lab.build.id).await.unwrap().unwrap().done);
    draining.abort();
    lab.end().await;
    assert!(
        lab.store
            .hold_log(lab.build.id, &first.holder, Duration::ZERO)
            .await
            .unwrap()
    );
    testkit::eventually("the first is taken for dead", async || {
        (!lab.store.free_logs().await.unwrap().is_empty()).then_some(())
    })
    .await;
    second.drain(&lab.open()).await.unwrap();
    assert_eq!(lab.text(&second).await, text);
    assert!(lab.store.log_cursor(lab.build.id).await.unwrap().unwrap().done);
}

#[tokio::test]
async fn two_prows_that_store_a_log_at_once_store_it_once() {
    let lab = Lab::new().await;
    let id = lab.build.message.id.clone();
    let text = write(&lab.bus, &id, 1..400, 10, 500).await;
    lab.end().await;
    let archive = lab.archive();
    let cursor = lab.store.log_cursor(lab.build.id).await.unwrap().unwrap();
    let stale = Segment {
        at: 0,
        bytes: 3,
        lines: 1,
        name: "stale".to_owned(),
    };
    archive.drain(&lab.open()).await.unwrap();
    let late = lab.store.add_segment(lab.build.id, cursor, 1, &stale).await.unwrap();
    assert!(!late, "it goes on where the log does not end any more");
    assert!(lab.text(&archive).await == text);
}

#[tokio::test]
async fn logs_are_forgotten_with_their_objects_and_before_their_builds() {
    let lab = Lab::new().await;
    let archive = lab.archive();
    write(&lab.bus, &lab.build.message.id, 1..10, 5, 50).await;
    lab.end().await;
    archive.drain(&lab.open()).await.unwrap();
    let objects = || std::fs::read_dir(lab.folder.path().join("logs/b")).map_or(0, Iterator::count);
    assert_eq!(objects(), 1);
    for (_, segment) in lab.store.old_segments(3).await.unwrap() {
        archive.forget(&segment).await.unwrap();
        archive.forget(&segment).await.unwrap(); // Whoever dies before it is recorded does it again.
        lab.store.forget_segment(lab.build.id, &segment).await.unwrap();
    }
    assert_eq!((objects(), lab.text(&archive).await.as_str()), (0, ""));
    assert_eq!(follow(archive.follower(lab.build.clone(), 0)).await, "");
    assert_eq!(lab.store.forget_builds(3).await.unwrap(), 1);
}
