//! What BuildKit tells while it builds, as log lines; and which step failed.

use crate::{lines::Lines, redact::Redactor};
use bollard::moby::buildkit::v1::{StatusResponse, Vertex, VertexLog};
use contract::{LogLine, Stage, Stream};
use std::collections::{HashMap, HashSet};

/// The longest name of a step, in characters; a RUN may be a whole program.
const LONGEST_NAME: usize = 200;
const STREAMS: [Stream; 2] = [Stream::Stdout, Stream::Stderr];

/// Follows the steps of one build.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    names: HashMap<String, String>,
    begun: HashSet<String>,
    ended: HashSet<String>,
    /// Lines whose end has not come yet, by stream of a step.
    open: HashMap<String, [Lines; 2]>,
    failed: Option<(String, String)>,
    redactor: Redactor,
}

// === impl Progress ===

impl Progress {
    pub(crate) fn new(redactor: Redactor) -> Self {
        Self {
            redactor,
            ..Self::default()
        }
    }

    /// The lines that follow from a message.
    pub(crate) fn lines(&mut self, status: &StatusResponse, now: i64) -> Vec<LogLine> {
        let mut lines = Vec::new();
        for vertex in &status.vertexes {
            self.vertex(vertex, now, &mut lines);
        }
        for log in &status.logs {
            self.text(log, now, &mut lines);
        }
        lines
    }

    /// What is left when the build has ended.
    pub(crate) fn rest(&mut self, now: i64) -> Vec<LogLine> {
        let mut told = Vec::new();
        for (vertex, streams) in std::mem::take(&mut self.open) {
            for (mut lines, stream) in streams.into_iter().zip(STREAMS) {
                let step = self.names.get(&vertex);
                lines.rest(&self.redactor, |text| told.push(line(now, stream, step, text)));
            }
        }
        told
    }

    /// The step that failed and its error, if one did.
    pub(crate) fn failed(&self) -> Option<(&str, &str)> {
        self.failed
            .as_ref()
            .map(|(step, error)| (step.as_str(), error.as_str()))
    }

    fn vertex(&mut self, vertex: &Vertex, now: i64, lines: &mut Vec<LogLine>) {
        let name: String = self.redactor.text(&vertex.name).chars().take(LONGEST_NAME).collect();
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
                let error = self.redactor.text(&vertex.error);
                self.failed.get_or_insert_with(|| (name.clone(), error));
            }
            let text = self.redactor.text(&format!("failed: {}", vertex.error));
            lines.push(own(now, Some(&name), text));
        }
    }

    fn text(&mut self, log: &VertexLog, now: i64, told: &mut Vec<LogLine>) {
        if !self.open.contains_key(&log.vertex) {
            self.open.insert(log.vertex.clone(), Default::default());
        }
        let Some([out, err]) = self.open.get_mut(&log.vertex) else {
            return;
        };
        let (lines, stream) = if log.stream == 2 {
            (err, Stream::Stderr)
        } else {
            (out, Stream::Stdout)
        };
        let step = self.names.get(&log.vertex);
        lines.push(&log.msg, &self.redactor, |text| {
            told.push(line(now, stream, step, text));
        });
    }
}

fn line(now: i64, stream: Stream, step: Option<&String>, text: String) -> LogLine {
    LogLine {
        t: now,
        stage: Stage::Building,
        stream,
        step: step.cloned(),
        text,
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

    #[test]
    fn what_a_step_prints_goes_by_its_name_and_stream_without_secrets() {
        let (name, secret) = ("S".to_owned(), "hush-hush".parse().unwrap());
        let mut progress = Progress::new(Redactor::new([(&name, &secret)]).0);
        let vertex = Vertex {
            digest: "v".into(),
            name: "RUN it".into(),
            ..Vertex::default()
        };
        let log = |stream, text: &[u8]| VertexLog {
            vertex: "v".into(),
            stream,
            msg: text.to_vec(),
            ..VertexLog::default()
        };
        let status = StatusResponse {
            vertexes: vec![vertex],
            logs: vec![
                log(1, b"o"),
                log(2, b"err hush-h"),
                log(1, b"ut\nend"),
                log(2, b"ush\n"),
            ],
            ..StatusResponse::default()
        };
        let mut told = progress.lines(&status, 0);
        told.extend(progress.rest(0));
        let told: Vec<_> = told
            .iter()
            .map(|line| format!("{:?} {} {}", line.stream, line.step.as_deref().unwrap(), line.text))
            .collect();
        assert_eq!(
            told,
            ["Stdout RUN it out", "Stderr RUN it err ***", "Stdout RUN it end"]
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
