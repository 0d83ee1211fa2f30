//! A part of a log: text on one side, a packed object on the other.

use contract::{BuildId, LogChunk, Timestamp};
use flate2::{Compression, bufread::MultiGzDecoder, write::GzEncoder};
use std::{
    fmt::Write as _,
    io::{self, Read as _, Write as _},
};

/// Fast, and a tenth of a log's size.
const LEVEL: u32 = 4;
/// Names of packed objects end so.
const PACKED: &str = ".gz";
/// Nothing that prow has written unpacks to more.
const LARGEST: u64 = 64 * 1_024 * 1_024;

/// `<time> <stage> <text>`, a line each; how many.
pub(super) fn render(chunk: &LogChunk, text: &mut String) -> u64 {
    for line in &chunk.lines {
        let at = Timestamp::from_millis(line.t);
        let clean = line.text.replace(['\n', '\r'], " ");
        writeln!(text, "{at} {:<9} {clean}", line.stage.as_str()).ok(); // Writing to a String cannot fail.
    }
    u64::try_from(chunk.lines.len()).unwrap_or_default()
}

/// Where a segment is kept. Two prows that store the same at once give it the same name only if it is the same.
pub(super) fn name(id: &BuildId, at: u64, text: &str) -> String {
    let digest = seal::digest(text.as_bytes());
    format!("{id}/{at:012}-{digest:.16}{PACKED}")
}

/// As gzip (RFC 1952), so that `zcat` reads it.
pub(super) fn pack(text: &str) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 8), Compression::new(LEVEL));
    encoder.write_all(text.as_bytes())?;
    encoder.finish()
}

/// The text of an object. Logs that an older prow has written are not packed.
pub(super) fn unpack(name: &str, object: &[u8]) -> io::Result<String> {
    let mut text = String::new();
    if name.ends_with(PACKED) {
        MultiGzDecoder::new(object).take(LARGEST).read_to_string(&mut text)?;
    } else {
        text.push_str(&String::from_utf8_lossy(object));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_packed_is_unpacked() {
        let text = "a line\n".repeat(10_000) + "ü\n";
        let packed = pack(&text).unwrap();
        assert!(packed.len() < text.len() / 10);
        assert_eq!(unpack("x.gz", &packed).unwrap(), text);
        assert_eq!(unpack("x.log", b"plain\n").unwrap(), "plain\n");
        assert!(
            unpack("x.gz", &packed[..packed.len() / 2]).is_err(),
            "half of it is an error"
        );
    }

    #[test]
    fn segments_of_different_text_have_different_names() {
        let id: BuildId = "b".parse().unwrap();
        assert_eq!(name(&id, 7, "a"), name(&id, 7, "a"));
        assert_ne!(name(&id, 7, "a"), name(&id, 7, "b"));
        assert!(name(&id, 7, "a").starts_with("b/000000000007-"));
    }
}
