//! Running a container to its end, with what it prints as lines of the log.

use crate::{
    engine::{Engine, Exit},
    failure::BuildFailure,
    lines::Lines,
    logs::Log,
    redact::Redactor,
};
use bollard::container::LogOutput;
use contract::{LogLine, Stage, Stream};

/// Runs a container; how it ended.
pub(crate) async fn run(
    engine: &Engine,
    container: &str,
    step: &str,
    log: &Log,
    redactor: &Redactor,
) -> Result<Exit, BuildFailure> {
    let (mut out, mut err) = (Lines::default(), Lines::default());
    let tell = |stream: Stream, text: String| {
        log.line(LogLine {
            t: bus::clock::now_ms(),
            stage: Stage::Building,
            stream,
            step: Some(step.to_owned()),
            text,
        });
    };
    let exit = engine.run_to_end(container, log, |part| {
        let (lines, stream) = if matches!(part, LogOutput::StdErr { .. }) {
            (&mut err, Stream::Stderr)
        } else {
            (&mut out, Stream::Stdout)
        };
        lines.push(&part.into_bytes(), redactor, |text| tell(stream, text));
    });
    let exit = exit.await;
    out.rest(redactor, |text| tell(Stream::Stdout, text));
    err.rest(redactor, |text| tell(Stream::Stderr, text));
    exit
}
