//! Bounds on JSON that has not been proved harmless.

use memchr::memchr2;

/// Deepest nesting; that of the deepest real payload is 9.
pub(crate) const DEPTH: usize = 64;

/// Whether arrays and objects are nested at most [`DEPTH`] deep. Says nothing about whether it is JSON.
///
/// `serde_json` skips what nobody asked for without counting, but prow's users parse the whole body.
pub(crate) fn is_shallow(body: &[u8]) -> bool {
    let (mut depth, mut rest) = (0_usize, body);
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'"' => rest = after_string(rest),
            b'[' | b'{' if depth == DEPTH => return false,
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    true
}

/// What follows a string that has begun. Most of a body is strings, so they are not looked at byte by byte.
fn after_string(mut rest: &[u8]) -> &[u8] {
    while let Some(at) = memchr2(b'"', b'\\', rest) {
        let escaped = rest.get(at) == Some(&b'\\');
        rest = rest.get(at + 1 + usize::from(escaped)..).unwrap_or_default();
        if !escaped {
            return rest;
        }
    }
    &[]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nesting_is_counted_outside_of_strings_alone() {
        let nested = |n: usize| format!("{}1{}", "[".repeat(n), "]".repeat(n));
        assert!(is_shallow(nested(DEPTH).as_bytes()) && !is_shallow(nested(DEPTH + 1).as_bytes()));
        let wide = format!("[{}]", "{},".repeat(10_000));
        assert!(is_shallow(wide.as_bytes()));
        let text = format!(r#"{{"a":"\"{}"}}"#, "[".repeat(1_000));
        assert!(is_shallow(text.as_bytes()));
        assert!(!is_shallow("{\"a\":".repeat(1_000_000).as_bytes()));
    }
}
