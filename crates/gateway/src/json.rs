//! Bounds on JSON that has not been proved harmless.

/// Deepest nesting; that of the deepest real payload is 9.
pub(crate) const DEPTH: usize = 64;

/// Whether arrays and objects are nested at most [`DEPTH`] deep. Says nothing about whether it is JSON.
///
/// `serde_json` skips what nobody asked for without counting, but prow's users parse the whole body.
pub(crate) fn is_shallow(body: &[u8]) -> bool {
    // Few brackets cannot be deep; counting them takes a tenth of the time of following them.
    let opening = body.iter().filter(|byte| matches!(byte, b'[' | b'{')).count();
    opening <= DEPTH || depth(body) <= DEPTH
}

fn depth(body: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string) = (0_usize, 0, false);
    let mut bytes = body.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => in_string = !in_string,
            b'\\' if in_string => {
                bytes.next();
            }
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
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
