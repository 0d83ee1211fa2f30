//! Live logs: numbered, gap-free, bounded, resumable.

use crate::util::Lab;
use bus::Appended;
use contract::{BuildId, LogChunk, LogLine, Stage, Stream};
use std::time::Duration;

fn chunk(attempt: u32, n: u64) -> LogChunk {
    let text = format!("{attempt}/{n}");
    LogChunk::new(
        attempt,
        n,
        vec![LogLine {
            t: 0,
            stage: Stage::Building,
            stream: Stream::Stdout,
            step: None,
            text,
        }],
    )
}

fn texts(chunks: &[(u64, LogChunk)]) -> Vec<String> {
    chunks
        .iter()
        .map(|(seq, chunk)| format!("{seq} {}", chunk.lines[0].text))
        .collect()
}

#[tokio::test]
async fn chunks_are_numbered_once_whatever_is_sent_again() {
    let lab = Lab::new().await;
    let build: BuildId = "b".parse().unwrap();
    let writer = lab.bus.log_writer(&build);
    for (attempt, n, number) in [
        (1, 1, 1),
        (1, 2, 2),
        (1, 2, 2),
        (1, 1, 2),
        (2, 1, 3),
        (1, 9, 3),
        (2, 2, 4),
    ] {
        assert_eq!(
            writer.append(&chunk(attempt, n)).await.unwrap(),
            Appended::At(number),
            "{attempt}/{n}"
        );
    }
    let mut reader = lab.bus.log_reader(&build, 0).await.unwrap();
    assert_eq!(
        texts(&reader.next().await.unwrap()),
        ["1 1/1", "2 1/2", "3 2/1", "4 2/2"]
    );
}

#[tokio::test]
async fn a_reader_resumes_where_it_was_although_the_list_was_trimmed() {
    let lab = Lab::new().await;
    let build: BuildId = "b".parse().unwrap();
    let writer = lab.bus.log_writer(&build);
    for n in 1..=10 {
        writer.append(&chunk(1, n)).await.unwrap();
    }
    let mut reader = lab.bus.log_reader(&build, 0).await.unwrap();
    assert_eq!(reader.next().await.unwrap().len(), 10);
    reader.stored(4).await.unwrap();
    reader.stored(7).await.unwrap();
    reader.stored(5).await.unwrap();
    let mut resumed = lab.bus.log_reader(&build, 7).await.unwrap();
    assert_eq!(texts(&resumed.next().await.unwrap()), ["8 1/8", "9 1/9", "10 1/10"]);
    reader.stored(99).await.unwrap();
    writer.append(&chunk(1, 11)).await.unwrap();
    assert_eq!(texts(&resumed.next().await.unwrap()), ["11 1/11"]);
    assert_eq!(texts(&reader.next().await.unwrap()), ["11 1/11"]);
}

#[tokio::test]
async fn a_log_that_nobody_stores_refuses_more_and_loses_nothing() {
    let lab = Lab::new().await;
    let build: BuildId = "b".parse().unwrap();
    let writer = lab.bus.log_writer(&build);
    let mut n = 0;
    while writer.append(&chunk(1, n + 1)).await.unwrap() != Appended::Full {
        n += 1;
    }
    assert_eq!(n, 512);
    let mut reader = lab.bus.log_reader(&build, 0).await.unwrap();
    let mut read = 0;
    while read < n {
        let chunks = reader.next().await.unwrap();
        read = chunks.last().unwrap().0;
    }
    reader.stored(read).await.unwrap();
    assert_eq!(writer.append(&chunk(1, n + 1)).await.unwrap(), Appended::At(n + 1));
}

#[tokio::test]
async fn a_reader_is_woken_and_goes_on_through_killed_connections() {
    let lab = Lab::new().await;
    let build: BuildId = "b".parse().unwrap();
    let (writer, mut reader) = (lab.bus.log_writer(&build), lab.bus.log_reader(&build, 0).await.unwrap());
    let reading = tokio::spawn(async move {
        let mut all = Vec::new();
        while all.len() < 60 {
            match reader.next().await {
                Ok(chunks) => all.extend(texts(&chunks)),
                Err(error) => assert!(error.is_transient(), "{error}"),
            }
        }
        all
    });
    for n in 1..=60 {
        if n % 20 == 0 {
            lab.redis.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]);
            lab.redis.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
        }
        while writer.append(&chunk(1, n)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let all = tokio::time::timeout(Duration::from_secs(20), reading)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(all, (1..=60).map(|n| format!("{n} 1/{n}")).collect::<Vec<_>>());
}
