//! Lines of what a program prints, whatever the parts in which it comes: whole, bounded, without secrets.

use crate::redact::Redactor;
use memchr::memchr;

/// The longest line; longer ones are split.
pub(crate) const LONGEST_LINE: usize = 32 * 1024;

/// Puts the lines of one stream together.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// The beginning of a line whose end has not come yet.
    open: Vec<u8>,
}

// === impl Lines ===

impl Lines {
    /// Takes the next part, and tells the lines that are whole by now.
    pub(crate) fn push(&mut self, part: &[u8], redactor: &Redactor, mut tell: impl FnMut(String)) {
        let mut rest = part;
        while let Some(end) = memchr(b'\n', rest) {
            let (line, after) = rest.split_at(end);
            if self.open.is_empty() {
                whole(line, redactor, &mut tell);
            } else {
                self.open.extend_from_slice(line);
                whole(&self.open, redactor, &mut tell);
                self.open.clear();
            }
            rest = after.get(1..).unwrap_or_default();
        }
        self.open.extend_from_slice(rest);
        while self.open.len() > LONGEST_LINE {
            // What stands at the end may be the beginning of a secret.
            let end = redactor.settled(&self.open, LONGEST_LINE);
            if end == 0 {
                break;
            }
            let later = self.open.split_off(end);
            whole(&self.open, redactor, &mut tell);
            self.open = later;
        }
    }

    /// What is left when nothing more comes.
    pub(crate) fn rest(&mut self, redactor: &Redactor, mut tell: impl FnMut(String)) {
        if !self.open.is_empty() {
            whole(&std::mem::take(&mut self.open), redactor, &mut tell);
        }
    }
}

/// Tells a line, in parts if it is too long.
fn whole(line: &[u8], redactor: &Redactor, tell: &mut impl FnMut(String)) {
    // What a terminal would show after carriage returns: the last part.
    let end = line.iter().rposition(|byte| *byte != b'\r').map_or(0, |last| last + 1);
    let line = line.get(..end).unwrap_or(line);
    let shown = line.rsplit(|byte| *byte == b'\r').next().unwrap_or(line);
    let clean = redactor.bytes(shown);
    if clean.len() <= LONGEST_LINE {
        return tell(String::from_utf8_lossy(&clean).into_owned());
    }
    for part in clean.chunks(LONGEST_LINE) {
        tell(String::from_utf8_lossy(part).into_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(parts: &[&[u8]], redactor: &Redactor) -> Vec<String> {
        let (mut lines, mut told) = (Lines::default(), Vec::new());
        for part in parts {
            lines.push(part, redactor, |line| told.push(line));
        }
        lines.rest(redactor, |line| told.push(line));
        told
    }

    #[test]
    fn lines_are_whole_whatever_the_parts_they_came_in() {
        let parts = [b"on".as_slice(), b"e\ntwo\n\nth", b"ree\r\r\n10%\r20%\n", b"\xff end"];
        let told = lines(&parts, &Redactor::default());
        assert_eq!(told, ["one", "two", "", "three", "20%", "\u{fffd} end"]);
    }

    #[test]
    fn a_line_that_is_too_long_is_split_whether_it_ends_or_not() {
        let long = vec![b'x'; 150_000];
        for end in [b"".as_slice(), b"\n"] {
            let told = lines(&[&long, end], &Redactor::default());
            assert_eq!(told.concat().len(), 150_000);
            assert!(told.iter().all(|line| line.len() <= LONGEST_LINE), "{}", told.len());
        }
    }

    #[test]
    fn a_secret_is_hidden_where_a_part_ends_and_where_a_line_is_split() {
        let (name, secret) = ("S".to_owned(), "hush-hush".parse().unwrap());
        let (redactor, _) = Redactor::new([(&name, &secret)]);
        assert_eq!(lines(&[b"a hush", b"-hu", b"sh b\n"], &redactor), ["a *** b"]);
        for before in LONGEST_LINE - 12..LONGEST_LINE + 2 {
            let text = [vec![b'x'; before], b"hush-hush".to_vec(), vec![b'y'; 40_000]].concat();
            for parts in [vec![text.as_slice()], text.chunks(1_000).collect()] {
                let told = lines(&parts, &redactor).concat();
                assert_eq!(told.len(), text.len() - 6, "{before}");
                assert!(!told.contains("hush"), "{before}");
            }
        }
    }
}
