//! The log of one attempt: bounded, batched, whole as long as it is stored.
//!
//! A build that prints faster than its log can be stored waits for it, as it would for a terminal. But a log that does
//! not get anywhere, because Redis is away or nobody stores it, holds no build up: it is cut, visibly.

use bus::{Appended, LogWriter};
use contract::{LogChunk, LogLine, Stage, Stream};
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{sync::mpsc, task::JoinHandle, time::Instant};

/// Lines that one message of the engine may have: 32 KiB of the shortest.
const MESSAGE_LINES: usize = 16 * 1_024;
/// Lines that may wait for the sender when a message comes.
const WAITING_LINES: usize = 256;
/// Bytes that may wait for Redis; past it the build waits, too, or the oldest are cut, so that the end is never missing.
const WAITING_BYTES: usize = 1024 * 1024;
/// A log that got nowhere for so long is not waited for.
const STUCK: Duration = Duration::from_secs(5);
/// A batch is sent when it has this many bytes…
const BATCH_BYTES: usize = 32 * 1024;
/// …or this age.
const BATCH_AGE: Duration = Duration::from_millis(100);
/// How long to wait when nothing waits to be sent; nothing happens then.
const IDLE: Duration = Duration::from_hours(1);
/// Pause while Redis is away or nobody stores the log.
const PAUSE: Duration = Duration::from_millis(500);
/// So many of the last lines are told with a failure, of so many characters each.
const TAIL: usize = 20;
const TAIL_CHARS: usize = 400;
/// How long the end of a log is tried to be sent.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// Takes lines.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    to: To,
    stage: Stage,
    /// When there was a line last, in milliseconds since 1970.
    last: Arc<AtomicI64>,
}

#[derive(Clone, Debug)]
enum To {
    /// Redis; and how many lines could not be taken in.
    Redis(mpsc::Sender<LogLine>, Arc<AtomicU64>),
    /// Standard output.
    Person,
}

/// Sends lines in the background until its log is closed.
#[derive(Debug)]
pub(crate) struct LogTask {
    task: JoinHandle<Vec<String>>,
}

struct Sender {
    writer: LogWriter,
    attempt: u32,
    n: u64,
    waiting: VecDeque<LogLine>,
    /// The last lines that were stored.
    tail: VecDeque<LogLine>,
    bytes: usize,
    cut: u64,
    refused: Arc<AtomicU64>,
    /// Nothing is sent before: Redis is away, or nobody stores the log.
    not_before: Instant,
    /// When something was stored last, or there was nothing to be stored.
    moved: Instant,
}

/// Opens the log of an attempt.
pub(crate) fn open(writer: LogWriter, attempt: u32) -> (Log, LogTask) {
    let (lines, receiver) = mpsc::channel(WAITING_LINES + MESSAGE_LINES);
    let refused = Arc::new(AtomicU64::new(0));
    // Redis may lose, with the power, that an attempt began; then another begins under its number, whose chunks must
    // not be taken for those of the first, which may still come.
    let begun = u64::try_from(bus::clock::now_ms()).unwrap_or_default();
    let sender = Sender {
        refused: Arc::clone(&refused),
        writer,
        attempt,
        n: begun,
        waiting: VecDeque::new(),
        tail: VecDeque::new(),
        bytes: 0,
        cut: 0,
        not_before: Instant::now(),
        moved: Instant::now(),
    };
    let task = spawn(sender.run(receiver));
    (Log::new(To::Redis(lines, refused)), LogTask { task })
}

/// A log that a person reads while it is written.
pub(crate) fn shown() -> Log {
    Log::new(To::Person)
}

#[expect(
    clippy::disallowed_methods,
    reason = "awaited by `LogTask::end`, which every attempt calls"
)]
fn spawn<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    tokio::spawn(future)
}

// === impl Log ===

impl Log {
    fn new(to: To) -> Self {
        Self {
            to,
            stage: Stage::Cloning,
            last: Arc::new(AtomicI64::new(bus::clock::now_ms())),
        }
    }

    /// The same log, in another stage.
    pub(crate) fn at(&self, stage: Stage) -> Self {
        Self { stage, ..self.clone() }
    }

    /// Waits until there was no line for so long.
    pub(crate) async fn silence(&self, limit: Duration) {
        let limit_ms = i64::try_from(limit.as_millis()).unwrap_or(i64::MAX);
        loop {
            let since = bus::clock::now_ms().saturating_sub(self.last.load(Ordering::Relaxed));
            let Ok(left) = u64::try_from(limit_ms.saturating_sub(since)) else {
                return;
            };
            if left == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(left)).await;
        }
    }

    /// A line of our own.
    pub(crate) fn say(&self, text: impl Into<String>) {
        let (t, stage) = (bus::clock::now_ms(), self.stage);
        self.line(LogLine {
            t,
            stage,
            stream: Stream::Forge,
            step: None,
            text: text.into(),
        });
    }

    /// Waits until there is room for the lines of another message, as long as the log gets anywhere.
    pub(crate) async fn room(&self) {
        if let To::Redis(lines, _) = &self.to {
            drop(lines.reserve_many(MESSAGE_LINES).await);
        }
    }

    /// A line of the build. When the sender cannot keep up, it is cut, and counted.
    pub(crate) fn line(&self, line: LogLine) {
        self.last.store(line.t, Ordering::Relaxed);
        match &self.to {
            To::Redis(lines, refused) => {
                if lines.try_send(line).is_err() {
                    refused.fetch_add(1, Ordering::Relaxed);
                }
            }
            To::Person => show(&line),
        }
    }
}

/// Writes a line as people read it: what Forge says stands out from what the build prints.
fn show(line: &LogLine) {
    let step = line.step.as_deref().unwrap_or_default();
    let text = match (line.stream, step) {
        (Stream::Forge, _) => format!("» {}\n", line.text),
        (_, "") => format!("{}\n", line.text),
        (_, step) => format!("{step} | {}\n", line.text),
    };
    // Whoever has gone away does not read it.
    std::io::Write::write_all(&mut std::io::stdout().lock(), text.as_bytes()).ok();
}

// === impl LogTask ===

impl LogTask {
    /// Waits until everything was sent, within bounds; every [`Log`] must have been dropped. The last lines.
    pub(crate) async fn end(mut self) -> Vec<String> {
        match tokio::time::timeout(LAST_WORDS * 2, &mut self.task).await {
            Ok(Ok(tail)) => return tail,
            Ok(Err(error)) => tracing::error!(%error, "the log broke"),
            Err(_elapsed) => self.task.abort(),
        }
        Vec::new()
    }
}

// === impl Sender ===

impl Sender {
    /// The last lines, once there are no more.
    async fn run(mut self, mut lines: mpsc::Receiver<LogLine>) -> Vec<String> {
        let mut batch_begun = Instant::now();
        loop {
            if self.bytes >= WAITING_BYTES && self.moved.elapsed() < STUCK {
                tokio::time::sleep_until(self.not_before).await;
                self.send().await;
                continue; // What comes waits in the channel, and whoever prints it before that.
            }
            let wait = if self.waiting.is_empty() { IDLE } else { BATCH_AGE };
            match tokio::time::timeout_at(batch_begun + wait, lines.recv()).await {
                Ok(Some(line)) => {
                    if self.waiting.is_empty() {
                        batch_begun = Instant::now();
                        self.moved = batch_begun;
                    }
                    self.keep(line);
                    if self.bytes < BATCH_BYTES {
                        continue;
                    }
                }
                Ok(None) => break,
                Err(_old_enough) => {}
            }
            self.send().await;
            batch_begun = Instant::now();
        }
        let give_up = Instant::now() + LAST_WORDS;
        while !self.waiting.is_empty() && Instant::now() < give_up {
            tokio::time::sleep_until(self.not_before).await;
            self.send().await;
        }
        let Self { mut tail, waiting, .. } = self;
        keep_last(&mut tail, waiting.into_iter());
        let text = |line: &LogLine| line.text.chars().filter(|c| !c.is_control()).take(TAIL_CHARS).collect();
        tail.iter().map(text).collect()
    }

    fn keep(&mut self, line: LogLine) {
        self.bytes += cost(&line);
        self.waiting.push_back(line);
        while self.bytes > WAITING_BYTES {
            let Some(oldest) = self.waiting.pop_front() else { break };
            self.bytes -= cost(&oldest);
            self.cut += 1;
        }
    }

    /// Sends one batch; what cannot be sent stays.
    async fn send(&mut self) {
        if Instant::now() < self.not_before {
            return; // Lines are still taken in, so that the newest are never the ones that are cut.
        }
        let Some(first) = self.waiting.front().cloned() else {
            return;
        };
        self.cut += self.refused.swap(0, Ordering::Relaxed);
        let mut lines = Vec::new();
        if self.cut > 0 {
            let text = format!(
                "[{} lines were cut here, because the log could not be stored in time]",
                self.cut
            );
            lines.push(LogLine {
                text,
                stream: Stream::Forge,
                step: None,
                ..first
            });
        }
        let mut bytes = 0;
        let fits = |line: &&LogLine| {
            bytes += cost(line);
            bytes <= BATCH_BYTES
        };
        let sent = self.waiting.iter().take_while(fits).count().max(1);
        let told = lines.len();
        lines.extend(self.waiting.drain(..sent));
        let chunk = LogChunk::new(self.attempt, self.n + 1, lines);
        let appended = self.writer.append(&chunk).await;
        let lines = chunk.lines.into_iter().skip(told);
        match appended {
            Ok(Appended::At(_)) => {
                self.n += 1;
                self.cut = 0;
                self.moved = Instant::now();
                let bytes = &mut self.bytes;
                keep_last(&mut self.tail, lines.inspect(|line| *bytes -= cost(line)));
            }
            Ok(Appended::Full) => self.wait(lines),
            Err(error) if error.is_transient() => {
                tracing::debug!(error = %error, "cannot send the log yet");
                self.wait(lines);
            }
            Err(error) => {
                tracing::warn!(error = %chassis::chain(&error), "a part of a log cannot be sent");
                self.cut += u64::try_from(sent).unwrap_or_default();
                self.bytes -= lines.map(|line| cost(&line)).sum::<usize>();
            }
        }
    }

    /// These lines are sent later.
    fn wait(&mut self, lines: impl DoubleEndedIterator<Item = LogLine>) {
        lines.rev().for_each(|line| self.waiting.push_front(line));
        self.not_before = Instant::now() + PAUSE;
    }
}

/// Adds lines to the last ones.
fn keep_last(tail: &mut VecDeque<LogLine>, lines: impl Iterator<Item = LogLine>) {
    for line in lines {
        if tail.len() == TAIL {
            tail.pop_front();
        }
        tail.push_back(line);
    }
}

/// What a line takes as JSON, about; the worst escaping, six for one, still fits a chunk.
fn cost(line: &LogLine) -> usize {
    128 + line.text.len() + line.step.as_ref().map_or(0, String::len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bus::{Bus, Settings};
    use contract::BuildId;
    use testkit::Redis;

    fn line(n: usize) -> LogLine {
        LogLine {
            t: 0,
            stage: Stage::Building,
            stream: Stream::Stdout,
            step: None,
            text: format!("{n} {}", "x".repeat(1_000)),
        }
    }

    fn bus(redis: &Redis) -> Bus {
        testkit::crypto();
        let mut settings = Settings::new(redis.url());
        settings.patience = Duration::from_secs(1);
        Bus::start(settings).unwrap()
    }

    #[tokio::test]
    async fn a_log_that_comes_faster_than_it_can_be_stored_is_cut_visibly() {
        let mut redis = Redis::start();
        let (bus, id): (_, BuildId) = (bus(&redis), "b".parse().unwrap());
        bus.ready().await.unwrap();
        redis.kill();
        let (log, task) = open(bus.log_writer(&id), 1);
        for n in 0..20_000 {
            log.line(line(n));
            tokio::task::yield_now().await; // The sender keeps what it can.
        }
        redis.restart();
        bus.ready().await.unwrap();
        drop(log);
        let (_, lines) = read_while(&bus, &id, task.end()).await;
        let (told, kept): (Vec<_>, Vec<_>) = lines.into_iter().partition(|line| line.stream == Stream::Forge);
        let count = |line: &LogLine| line.text.strip_prefix('[')?.split(' ').next()?.parse::<usize>().ok();
        let cut: usize = told.iter().map(|line| count(line).unwrap()).sum();
        assert_eq!(kept.len() + cut, 20_000, "each line is there, or counted");
        let bytes: usize = kept.iter().map(cost).sum();
        let most = WAITING_BYTES + (WAITING_LINES + MESSAGE_LINES + 1) * cost(&line(0));
        assert!(bytes <= most, "{bytes} bytes waited");
    }

    /// What is there by now, which is taken away.
    async fn stored(reader: &mut bus::LogReader) -> Vec<LogLine> {
        let mut lines = Vec::new();
        loop {
            let chunks = reader.ready().await.unwrap();
            let Some((last, _)) = chunks.last() else { return lines };
            reader.stored(*last).await.unwrap();
            lines.extend(chunks.into_iter().flat_map(|(_, chunk)| chunk.lines));
        }
    }

    /// Reads a log until something else has ended, and to its end.
    async fn read_while<T>(bus: &Bus, id: &BuildId, other: impl Future<Output = T>) -> (T, Vec<LogLine>) {
        let mut reader = bus.log_reader(id, 0).await.unwrap();
        let (mut other, mut lines) = (Box::pin(other), Vec::new());
        loop {
            tokio::select! {
                done = &mut other => {
                    lines.extend(stored(&mut reader).await);
                    return (done, lines);
                }
                () = tokio::time::sleep(Duration::from_millis(20)) => lines.extend(stored(&mut reader).await),
            }
        }
    }

    /// Prints in messages of the engine, which wait for room; how many lines came.
    async fn print(log: Log, messages: usize) -> usize {
        for message in 0..messages {
            log.room().await;
            (0..MESSAGE_LINES).for_each(|n| log.line(line(message + n)));
        }
        messages * MESSAGE_LINES
    }

    #[tokio::test]
    async fn a_build_waits_for_a_log_that_is_stored_and_no_line_is_cut() {
        let redis = Redis::start();
        let (bus, id): (_, BuildId) = (bus(&redis), "b".parse().unwrap());
        bus.ready().await.unwrap();
        let (log, task) = open(bus.log_writer(&id), 1);
        let (printed, lines) = read_while(&bus, &id, async {
            let printed = print(log, 4).await;
            task.end().await;
            printed
        })
        .await;
        assert_eq!(lines.len(), printed);
        assert!(lines.iter().all(|line| line.stream == Stream::Stdout), "none was cut");
    }

    #[tokio::test]
    async fn a_failure_has_the_last_20_lines_of_400_characters() {
        let redis = Redis::start();
        let (bus, id): (_, BuildId) = (bus(&redis), "b".parse().unwrap());
        bus.ready().await.unwrap();
        let (log, task) = open(bus.log_writer(&id), 1);
        // More than one chunk, so that they are those of the last, and of none before it.
        (0..200).for_each(|n| log.line(line(n)));
        log.say("the \u{7}end");
        drop(log);
        let (tail, _) = read_while(&bus, &id, task.end()).await;
        assert_eq!(tail.len(), TAIL);
        assert_eq!(
            tail.last().unwrap(),
            "the end",
            "nothing that a terminal would ring for"
        );
        let texts: Vec<_> = (181..200)
            .map(|n| line(n).text.chars().take(TAIL_CHARS).collect::<String>())
            .collect();
        assert_eq!(tail[..19], texts);
    }

    #[tokio::test]
    async fn a_log_that_gets_nowhere_holds_no_build_up() {
        let mut redis = Redis::start();
        let (bus, id): (_, BuildId) = (bus(&redis), "b".parse().unwrap());
        bus.ready().await.unwrap();
        redis.kill();
        let (log, task) = open(bus.log_writer(&id), 1);
        let printed = tokio::time::timeout(STUCK * 4, print(log, 20)).await;
        assert!(
            printed.is_ok(),
            "it waits as long as this may be a moment, and not for each message"
        );
        drop(task);
    }

    #[tokio::test]
    async fn of_what_waits_the_oldest_lines_are_cut() {
        let redis = Redis::start();
        let id = "b".parse().unwrap();
        let mut sender = Sender {
            writer: bus(&redis).log_writer(&id),
            attempt: 1,
            n: 0,
            waiting: VecDeque::new(),
            tail: VecDeque::new(),
            bytes: 0,
            cut: 0,
            refused: Arc::default(),
            not_before: Instant::now(),
            moved: Instant::now(),
        };
        (0..5_000).for_each(|n| sender.keep(line(n)));
        assert!(sender.bytes <= WAITING_BYTES);
        assert_eq!(sender.bytes, sender.waiting.iter().map(cost).sum::<usize>());
        assert_eq!(sender.waiting.len() as u64 + sender.cut, 5_000);
        assert!(
            sender.waiting.back().unwrap().text.starts_with("4999 "),
            "the end is never missing"
        );
    }
}
