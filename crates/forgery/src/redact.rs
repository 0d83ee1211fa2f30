//! Keeping secrets out of what is told: logs, and sentences about failures.
//!
//! A secret is found as it is, and in the forms that programs give it on the way to a log: base64 (RFC 4648, both
//! alphabets, wherever it begins, and broken into lines wherever that is), percent-encoded (RFC 3986) and escaped as JSON (RFC 8259). Of a secret of several
//! lines each line is one, because logs are read line by line.

use aho_corasick::{AhoCorasick, MatchKind};
use chassis::Secret;
use std::{borrow::Cow, collections::BTreeSet, sync::Arc};

/// Replaces secrets; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Redactor {
    forms: Option<Arc<AhoCorasick>>,
    longest: usize,
    /// Parts of what is so long in base64 that programs break it into lines; any of them may be where a line begins.
    /// In order.
    parts: Arc<[Part]>,
}

/// Shorter ones are found by chance too often, and say little when they are.
pub(crate) const SHORTEST: usize = 6;
const MASK: &[u8] = b"***";
/// Lines of base64 are no shorter than this, in characters: 60, 64 (RFC 7468) and 76 (RFC 2045) are usual.
const BROKEN: usize = 56;
/// So much of them says nothing yet: six bytes.
const PART: usize = 8;
/// One of them.
type Part = [u8; PART];

// === impl Redactor ===

impl Redactor {
    /// A redactor for some secrets; those that are too short to be looked for are named.
    pub(crate) fn new<'a>(secrets: impl IntoIterator<Item = (&'a String, &'a Secret)>) -> (Self, Vec<&'a str>) {
        let (mut forms, mut parts, mut short) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
        for (name, secret) in secrets {
            let lines = secret.expose().lines().map(str::trim);
            let mut any = false;
            for line in lines
                .chain([secret.expose().trim()])
                .filter(|line| line.len() >= SHORTEST)
            {
                forms.extend(forms_of(line.as_bytes()));
                any = true;
            }
            parts.extend(parts_of(secret.expose().trim().as_bytes()));
            if !any {
                short.push(name.as_str());
            }
        }
        forms.retain(|form| form.len() >= SHORTEST);
        let longest = forms.iter().map(Vec::len).max().unwrap_or_default();
        let automaton = (!forms.is_empty())
            .then(|| {
                AhoCorasick::builder()
                    .match_kind(MatchKind::LeftmostLongest)
                    .build(&forms)
                    .ok()
            })
            .flatten();
        let forms = automaton.map(Arc::new);
        let parts = parts.into_iter().collect();
        (Self { forms, longest, parts }, short)
    }

    /// The same without the secrets.
    pub(crate) fn bytes<'a>(&self, text: &'a [u8]) -> Cow<'a, [u8]> {
        match self.without_forms(text) {
            Cow::Borrowed(text) => self.without_parts(text).map_or(Cow::Borrowed(text), Cow::Owned),
            Cow::Owned(text) => Cow::Owned(self.without_parts(&text).unwrap_or(text)),
        }
    }

    /// The same without parts of long base64, if there are any.
    fn without_parts(&self, text: &[u8]) -> Option<Vec<u8>> {
        if self.parts.is_empty() {
            return None;
        }
        let is_one = |window: &&[u8]| {
            let part = window.first_chunk::<PART>();
            part.is_some_and(|part| self.parts.binary_search(part).is_ok())
        };
        let (mut clean, mut until) = (Vec::new(), 0);
        for (at, _) in text.windows(PART).enumerate().filter(|(_, window)| is_one(window)) {
            // They lie one over the other; what they cover together is hidden once.
            if clean.is_empty() || at > until {
                clean.extend_from_slice(text.get(until..at).unwrap_or_default());
                clean.extend_from_slice(MASK);
            }
            until = at + PART;
        }
        if clean.is_empty() {
            return None;
        }
        clean.extend_from_slice(text.get(until..).unwrap_or_default());
        Some(clean)
    }

    fn without_forms<'a>(&self, text: &'a [u8]) -> Cow<'a, [u8]> {
        let Some(forms) = &self.forms else {
            return Cow::Borrowed(text);
        };
        if forms.find(text).is_none() {
            return Cow::Borrowed(text);
        }
        let mut clean = Vec::with_capacity(text.len());
        forms.replace_all_with_bytes(text, &mut clean, |_, _, to| {
            to.extend_from_slice(MASK);
            true
        });
        Cow::Owned(clean)
    }

    /// The same for text.
    pub(crate) fn text(&self, text: &str) -> String {
        String::from_utf8_lossy(&self.bytes(text.as_bytes())).into_owned()
    }

    /// How much of a text whose end is still to come can be told: what is behind may be the beginning of a secret.
    pub(crate) fn settled(&self, text: &[u8], most: usize) -> usize {
        let Some(forms) = &self.forms else {
            return most.min(text.len());
        };
        let mut end = most.min(text.len().saturating_sub(self.longest.saturating_sub(1)));
        // Nor may it end within one.
        for found in forms.find_iter(text) {
            if found.start() >= end {
                break;
            }
            if found.end() > end {
                end = found.start();
            }
        }
        end
    }
}

/// How a secret may be written.
fn forms_of(secret: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = vec![secret.to_vec(), json(secret)];
    for upper in [true, false] {
        let encoded = percent(secret, upper);
        forms.push(String::from_utf8_lossy(&encoded).replace("%20", "+").into_bytes());
        forms.push(encoded);
    }
    for before in 0..3 {
        forms.extend(base64(secret, before));
    }
    forms
}

/// Every part of its base64, if that is so long that it is broken into lines.
fn parts_of(secret: &[u8]) -> impl Iterator<Item = Part> {
    let whole = (0..3).flat_map(|before| base64(secret, before));
    let long = whole.filter(|form| form.len() > BROKEN);
    long.flat_map(|form| {
        let parts = form.windows(PART).filter_map(|window| window.first_chunk().copied());
        parts.collect::<Vec<_>>()
    })
}

/// What of its base64 does not depend on what stands around it, when so many bytes (by three) stand before.
fn base64(secret: &[u8], before: usize) -> [Vec<u8>; 2] {
    let mut padded = vec![0; before];
    padded.extend_from_slice(secret);
    let text = seal::bytes_to_base64(&padded);
    // Each character has six bits: the first ones are those of what stands before, the last those of what follows.
    let (begin, end) = ((before * 8).div_ceil(6), padded.len() * 8 / 6);
    let standard = text.as_bytes().get(begin..end).unwrap_or_default().to_vec();
    let url_safe = standard.iter().map(|byte| match byte {
        b'+' => b'-',
        b'/' => b'_',
        other => *other,
    });
    [url_safe.collect(), standard]
}

fn percent(secret: &[u8], upper: bool) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(secret.len() * 3);
    for byte in secret {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            encoded.push(*byte);
        } else if upper {
            encoded.extend(format!("%{byte:02X}").into_bytes());
        } else {
            encoded.extend(format!("%{byte:02x}").into_bytes());
        }
    }
    encoded
}

fn json(secret: &[u8]) -> Vec<u8> {
    let quoted = serde_json::Value::from(String::from_utf8_lossy(secret)).to_string();
    let inner = quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    inner.unwrap_or_default().as_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn redactor(secrets: &[&str]) -> Redactor {
        let secrets: Vec<(String, Secret)> = secrets
            .iter()
            .map(|text| ("S".to_owned(), text.parse().unwrap()))
            .collect();
        Redactor::new(secrets.iter().map(|(name, secret)| (name, secret))).0
    }

    #[test]
    fn a_secret_is_hidden_in_every_form() {
        let secret = "p&ss w/rd\"+ü1";
        let redactor = redactor(&[secret]);
        for prefix in ["", "x", "xy", "user:", "user1:"] {
            let whole = format!("{prefix}{secret}{prefix}");
            let encoded = seal::bytes_to_base64(whole.as_bytes());
            let clean = redactor.text(&format!("<{encoded}>"));
            assert!(clean.contains("***"), "{prefix}: {encoded} became {clean}");
        }
        for (form, expected) in [
            (secret.to_owned(), "<***>"),
            (serde_json::json!(secret).to_string(), "<\"***\">"),
            ("p%26ss%20w%2Frd%22%2B%C3%BC1".to_owned(), "<***>"),
            ("p%26ss+w%2frd%22%2b%c3%bc1".to_owned(), "<***>"),
        ] {
            assert_eq!(redactor.text(&format!("<{form}>")), expected);
        }
        assert_eq!(redactor.text("nothing"), "nothing");
    }

    #[test]
    fn each_line_of_a_key_is_hidden_and_what_is_too_short_is_named() {
        let redactor = redactor(&["-----BEGIN KEY-----\nMIIEabcdef\nxyz\n-----END KEY-----\n"]);
        assert_eq!(redactor.text("a MIIEabcdef b xyz"), "a *** b xyz");
        let (name, secret) = ("PIN".to_owned(), "1234".parse().unwrap());
        let (none, short) = Redactor::new([(&name, &secret)]);
        assert_eq!((none.text("1234"), short), ("1234".to_owned(), vec!["PIN"]));
    }

    #[test]
    fn base64_that_is_broken_into_lines_is_hidden_wherever_they_begin() {
        let token = "q7Rk".repeat(5) + &"Zx_92-".repeat(10);
        let key = format!(
            "-----BEGIN KEY-----\n{}\n-----END KEY-----\n",
            "MIIEabcdefgh/+01\n".repeat(40)
        );
        for secret in [token.as_str(), &key] {
            let redactor = redactor(&[secret]);
            let secret = secret.trim();
            for (before, width) in [("", 76), ("user:", 76), ("longer-user:", 64), ("u", 60), ("", 57)] {
                let encoded = seal::bytes_to_base64(format!("{before}{secret}").as_bytes());
                let inner = base64(secret.as_bytes(), before.len() % 3)[1].clone();
                for line in encoded.as_bytes().chunks(width) {
                    let clean = redactor.bytes(line);
                    let left = clean.split(|byte| *byte == b'*').map(<[u8]>::len).max().unwrap();
                    let shown = clean
                        .windows(PART)
                        .any(|part| inner.windows(PART).any(|other| other == part));
                    assert!(!shown, "{before} {width}: {}", String::from_utf8_lossy(&clean));
                    assert!(left < 24, "{before} {width}: {}", String::from_utf8_lossy(&clean));
                }
            }
        }
    }

    proptest! {
        #[test]
        fn no_form_of_a_secret_gets_through_wherever_it_stands(
            secret in "[ -~]{6,40}", before in "[ -~]{0,20}", after in "[ -~]{0,20}",
        ) {
            prop_assume!(secret.trim().len() >= SHORTEST);
            let secret = secret.trim();
            let redactor = redactor(&[secret]);
            let plain = redactor.text(&format!("{before}{secret}{after}"));
            prop_assert!(!plain.contains(secret), "{plain}");
            let encoded = seal::bytes_to_base64(format!("{before}{secret}{after}").as_bytes());
            let offset = before.len() % 3;
            let core = base64(secret.as_bytes(), offset)[1].clone();
            prop_assume!(core.len() >= SHORTEST);
            let clean = redactor.text(&encoded);
            prop_assert!(!clean.contains(&*String::from_utf8(core).unwrap()), "{clean}");
        }

        #[test]
        fn what_is_told_of_an_unfinished_line_never_cuts_a_secret(
            secret in "[a-c]{6,9}", text in "[a-c]{0,60}", parts in proptest::collection::vec(1..9_usize, 1..30),
        ) {
            let redactor = redactor(&[&secret]);
            let whole = format!("{text}{secret}{text}");
            let (mut held, mut told) = (Vec::new(), Vec::new());
            let mut rest = whole.as_bytes();
            for part in parts {
                let (now, later) = rest.split_at(part.min(rest.len()));
                rest = later;
                held.extend_from_slice(now);
                let end = redactor.settled(&held, usize::MAX);
                told.extend_from_slice(&redactor.bytes(&held[..end]));
                held.drain(..end);
            }
            held.extend_from_slice(rest);
            told.extend_from_slice(&redactor.bytes(&held));
            prop_assert_eq!(String::from_utf8(told).unwrap(), redactor.text(&whole));
        }
    }
}
