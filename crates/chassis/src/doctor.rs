//! What `<service> check` looks at, and what it says: what is wrong, and how to put it right.

use std::{fmt::Write as _, fs, io, path::Path};

/// What was looked at, and what came of it.
///
/// # Examples
/// ```
/// let mut findings = chassis::Findings::default();
/// findings.fine("clock", "0.1 s from that of Redis");
/// findings.wrong("engine", "cannot be reached", "start it");
/// assert!(!findings.is_fit());
/// assert!(findings.to_string().contains("WRONG  engine"));
/// ```
#[derive(Debug, Default)]
pub struct Findings {
    all: Vec<Finding>,
}

#[derive(Debug)]
struct Finding {
    what: &'static str,
    verdict: Verdict,
    text: String,
    cure: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Fine,
    Doubtful,
    Wrong,
}

/// Below this much free space work will soon fail…
const SCARCE: u64 = 2 << 30;
/// …and below this, at once.
const NOTHING: u64 = 64 << 20;

// === impl Findings ===

impl Findings {
    /// It is as it should be.
    pub fn fine(&mut self, what: &'static str, text: impl Into<String>) {
        self.add(what, Verdict::Fine, text.into(), String::new());
    }

    /// It works, but will not always.
    pub fn doubtful(&mut self, what: &'static str, text: impl Into<String>, cure: impl Into<String>) {
        self.add(what, Verdict::Doubtful, text.into(), cure.into());
    }

    /// The service cannot do its work like this.
    pub fn wrong(&mut self, what: &'static str, text: impl Into<String>, cure: impl Into<String>) {
        self.add(what, Verdict::Wrong, text.into(), cure.into());
    }

    /// Looks at a folder: whether it can be written to, and how much space is left.
    pub fn folder(&mut self, what: &'static str, path: &Path) {
        let free = fs::create_dir_all(path)
            .and_then(|()| can_write(path))
            .and_then(|()| rustix::fs::statvfs(path).map_err(io::Error::from))
            .map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
        let name = path.display();
        match free {
            Err(error) => self.wrong(
                what,
                format!("{name}: {error}"),
                "make it writable for this user, or name another one",
            ),
            Ok(free) if free < NOTHING => self.wrong(what, format!("{name}: {} MiB free", free >> 20), "make room"),
            Ok(free) if free < SCARCE => {
                self.doubtful(what, format!("{name}: {} MiB free", free >> 20), "make room soon");
            }
            Ok(free) => self.fine(what, format!("{name}: {} GiB free", free >> 30)),
        }
    }

    /// Whether the service can do its work.
    pub fn is_fit(&self) -> bool {
        self.all.iter().all(|finding| finding.verdict != Verdict::Wrong)
    }

    /// Says it in the log, for a service that starts anyway.
    pub(crate) fn log(&self) {
        for Finding {
            what,
            verdict,
            text,
            cure,
        } in &self.all
        {
            match verdict {
                Verdict::Fine => tracing::debug!(what, text, "checked"),
                Verdict::Doubtful => tracing::warn!(what, text, cure, "this will not always work"),
                Verdict::Wrong => tracing::error!(what, text, cure, "this cannot work"),
            }
        }
    }

    fn add(&mut self, what: &'static str, verdict: Verdict, text: String, cure: String) {
        self.all.push(Finding {
            what,
            verdict,
            text,
            cure,
        });
    }
}

impl std::fmt::Display for Findings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for finding in &self.all {
            let word = match finding.verdict {
                Verdict::Fine => "ok",
                Verdict::Doubtful => "doubt",
                Verdict::Wrong => "WRONG",
            };
            writeln!(f, "  {word:<6} {:<14} {}", finding.what, finding.text)?;
            if !finding.cure.is_empty() {
                writeln!(f, "  {:<6} {:<14} → {}", "", "", finding.cure)?;
            }
        }
        f.write_char('\n')
    }
}

/// By a file that never has a name, so that not even a crash leaves it behind.
fn can_write(folder: &Path) -> io::Result<()> {
    io::Write::write_all(&mut tempfile::tempfile_in(folder)?, b"can be written")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_cannot_be_written_is_wrong_and_says_how_to_put_it_right() {
        let mut findings = Findings::default();
        findings.folder("data", &std::env::temp_dir());
        assert!(findings.is_fit(), "{findings}");
        findings.folder("logs", Path::new("/proc/nowhere"));
        let text = findings.to_string();
        assert!(
            !findings.is_fit() && text.contains("/proc/nowhere: ") && text.contains("→ make it writable"),
            "{text}"
        );
    }

    #[test]
    fn doubts_do_not_make_a_service_unfit() {
        let mut findings = Findings::default();
        findings.doubtful("redis", "appendonly is off", "turn it on");
        assert!(findings.is_fit());
    }
}
