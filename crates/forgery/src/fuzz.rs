//! What reads strangers' bytes, opened for `crates/forgery/fuzz` and for nobody else.
#![expect(clippy::missing_panics_doc, reason = "a panic is how something broken is told")]

use crate::{
    compose,
    lines::{LONGEST_LINE, Lines},
    pipeline::Plan,
    redact::{self, Redactor},
};

/// Tells a text in parts. The first byte says how long the secret is that follows, the next how long the parts are.
pub fn redact(data: &[u8]) {
    let Some((length, rest)) = data.split_first() else {
        return;
    };
    let Some((secret, rest)) = rest.split_at_checked(usize::from(length % 64)) else {
        return;
    };
    let Some((size, text)) = rest.split_first() else { return };
    let Ok(secret) = str::from_utf8(secret).map(str::trim) else {
        return;
    };
    if secret.len() < redact::SHORTEST || secret.contains(['\n', '\r', '*', char::REPLACEMENT_CHARACTER]) {
        return; // Each line of a secret is one of its own; stars are told in its place, U+FFFD in that of broken bytes.
    }
    let (name, Ok(value)) = ("SECRET".to_owned(), secret.parse());
    let (redactor, _) = Redactor::new([(&name, &value)]);
    let mut told = Vec::new();
    let mut lines = Lines::default();
    for part in text.chunks(usize::from(*size).max(1)) {
        lines.push(part, &redactor, |line| told.push(line));
    }
    lines.rest(&redactor, |line| told.push(line));
    for line in told {
        assert!(!line.contains(secret), "{secret:?} is told in {line:?}");
        assert!(line.len() <= LONGEST_LINE * 3, "a line of {} bytes", line.len()); // What is no UTF-8 takes more as text.
    }
}

/// Reads a pipeline; what is wrong is told with a place.
pub fn pipeline(text: &str) {
    if let Err(mistake) = Plan::read(text) {
        assert!(!mistake.to_string().starts_with("0:"), "{mistake}");
    }
}

/// Reads a text as a compose file, and as a Dockerfile.
pub fn compose(text: &str) {
    compose::read_for_fuzzing(text);
}
