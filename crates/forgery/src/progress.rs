//! What BuildKit tells while it builds, as log lines; and which step failed.

use bollard::moby::buildkit::v1::{StatusResponse, Vertex};
use contract::{LogLine, Stage, Stream};
use std::collections::{HashMap, HashSet};

/// The longest line; longer ones are split.
const LONGEST_LINE: usize = 32 * 1024;
/// The longest name of a step, in characters; a RUN may be a whole program.
const LONGEST_NAME: usize = 200;

/// Follows the steps of one build.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    names: HashMap<String, String>,
    begun: HashSet<String>,
    ended: HashSet<String>,
    /// The beginning of a line whose end has not come yet, by step and stream.
    open: HashMap<(String, i64), Vec<u8>>,
    failed: Option<(String, String)>,
}

// === impl Progress ===

impl Progress {
    /// The lines that follow from a message.
    pub(crate) fn lines(&mut self, status: &StatusResponse, now: i64) -> Vec<LogLine> {
        let mut lines = Vec::new();
        for vertex in &status.vertexes {
            self.vertex(vertex, now, &mut lines);
        }
        for log in &status.logs {
            self.text(&log.vertex, log.stream, &log.msg, now, &mut lines);
        }
        lines
    }

    /// What is left when the build has ended.
    pub(crate) fn rest(&mut self, now: i64) -> Vec<LogLine> {
        let open: Vec<_> = self.open.drain().collect();
        let lines = open.into_iter().filter(|(_, bytes)| !bytes.is_empty());
        lines
            .map(|((vertex, stream), bytes)| self.line(&vertex, stream, &bytes, now))
            .collect()
    }

    /// The step that failed and its error, if one did.
    pub(crate) fn failed(&self) -> Option<(&str, &str)> {
        self.failed
            .as_ref()
            .map(|(step, error)| (step.as_str(), error.as_str()))
    }

    fn vertex(&mut self, vertex: &Vertex, now: i64, lines: &mut Vec<LogLine>) {
        let name: String = vertex.name.chars().take(LONGEST_NAME).collect();
        self.names.insert(vertex.digest.clone(), name.clone());
        if (vertex.started.is_some() || vertex.cached) && self.begun.insert(vertex.digest.clone()) {
            let cached = if vertex.cached { " (cached)" } else { "" };
            lines.push(own(now, Some(&name), format!("{name}{cached}")));
        }
        if vertex.completed.is_none() || !self.ended.insert(vertex.digest.clone()) {
            return;
        }
        if !vertex.error.is_empty() {
            // A step that was stopped because another failed is not the one that failed.
            if !vertex.error.contains("context canceled") {
                self.failed.get_or_insert_with(|| (name.clone(), vertex.error.clone()));
            }
            lines.push(own(now, Some(&name), format!("failed: {}", vertex.error)));
        }
    }

    fn text(&mut self, vertex: &str, stream: i64, text: &[u8], now: i64, lines: &mut Vec<LogLine>) {
        let key = (vertex.to_owned(), stream);
        let mut bytes = self.open.remove(&key).unwrap_or_default();
        bytes.extend_from_slice(text);
        let mut rest = bytes.as_slice();
        while let Some(end) = rest
            .iter()
            .take(LONGEST_LINE + 1)
            .position(|b| *b == b'\n')
            .or_else(|| (rest.len() > LONGEST_LINE).then_some(LONGEST_LINE))
        {
            let (line, after) = rest.split_at(end);
            lines.push(self.line(vertex, stream, line, now));
            rest = after.strip_prefix(b"\n").unwrap_or(after);
        }
        self.open.insert(key, rest.to_vec());
    }

    fn line(&self, vertex: &str, stream: i64, bytes: &[u8], now: i64) -> LogLine {
        // What a terminal would show after carriage returns: the last part.
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        let shown = bytes.rsplit(|b| *b == b'\r').next().unwrap_or(bytes);
        LogLine {
            t: now,
            stage: Stage::Building,
            stream: if stream == 2 { Stream::Stderr } else { Stream::Stdout },
            step: self.names.get(vertex).cloned(),
            text: String::from_utf8_lossy(shown).into_owned(),
        }
    }
}

fn own(now: i64, step: Option<&str>, text: String) -> LogLine {
    LogLine {
        t: now,
        stage: Stage::Building,
        stream: Stream::Forge,
        step: step.map(ToOwned::to_owned),
        text,
    }
}

/// The exit code in an error of BuildKit, as `exit code: 3`.
pub(crate) fn exit_code(error: &str) -> Option<i64> {
    let (_, after) = error.rsplit_once("exit code: ")?;
    let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::moby::buildkit::v1::VertexLog;

    fn log(text: &[u8]) -> StatusResponse {
        let log = VertexLog {
            vertex: "v".into(),
            stream: 1,
            msg: text.to_vec(),
            ..VertexLog::default()
        };
        StatusResponse {
            logs: vec![log],
            ..StatusResponse::default()
        }
    }

    #[test]
    fn lines_are_whole_whatever_the_parts_they_came_in() {
        let mut progress = Progress::default();
        let mut texts = Vec::new();
        for part in [b"on".as_slice(), b"e\ntwo\n\nth", b"ree\r\n10%\r20%\n", b"\xff end"] {
            texts.extend(progress.lines(&log(part), 0).into_iter().map(|line| line.text));
        }
        texts.extend(progress.rest(0).into_iter().map(|line| line.text));
        assert_eq!(texts, ["one", "two", "", "three", "20%", "\u{fffd} end"]);
    }

    #[test]
    fn a_line_that_is_too_long_is_split_whether_it_ends_or_not() {
        let mut progress = Progress::default();
        let lines = progress.lines(&log(&vec![b'x'; 150_000]), 0);
        assert_eq!(progress.lines(&log(b"\n"), 0).len(), 1, "the rest");
        let mut ended = vec![b'x'; 4 * LONGEST_LINE];
        ended.push(b'\n');
        assert_eq!(progress.lines(&log(&ended), 0).len(), 4);
        assert!(
            lines.len() == 4 && lines.iter().all(|line| line.text.len() == LONGEST_LINE),
            "{}",
            lines.len()
        );
    }

    #[test]
    fn exit_codes_are_read_in_both_forms() {
        assert_eq!(
            exit_code("executor failed running [/bin/sh -c exit 3]: exit code: 3"),
            Some(3)
        );
        assert_eq!(
            exit_code("process \"/bin/sh -c x\" did not complete successfully: exit code: 127"),
            Some(127)
        );
        assert_eq!(exit_code("no such image"), None);
    }
}
