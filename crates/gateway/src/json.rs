//! One look at a body, byte by byte: whether it is JSON (RFC 8259), how deep it is nested, what it says in the
//! fields that somebody reads, and how it is written inside a JSON string.
//!
//! Nobody else looks at a body on its way: `serde_json` gets the few fields that were asked for.

mod cursor;
mod fields;

use cursor::Cursor;
use fields::Fields;

/// What one look at a body gave.
#[derive(Debug)]
pub(crate) struct Document {
    /// The body again, without the members of objects that nobody asked for.
    pub(crate) fields: Vec<u8>,
    /// What the look began with, and after it the body as the inside of a JSON string.
    pub(crate) escaped: Vec<u8>,
}

/// Whether the value of a member with this name is asked for.
pub(crate) type Wanted = fn(&[u8]) -> bool;

/// Why a body is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Broken,
    TooDeep,
}

/// Reads values within values.
struct Reader<'a> {
    cursor: Cursor<'a>,
    fields: Fields,
    /// Of the arrays and objects around this place, which are objects; the lowest bit is the innermost.
    objects: u64,
    depth: u32,
}

/// Deepest nesting; that of the deepest real payload is 9.
const DEPTH: u32 = u64::BITS;

/// Looks at a body once. Of each object, wherever it is, only the members with a wanted name are kept.
///
/// # Errors
/// A sentence that says why it is no JSON text, or that it is nested too deep.
pub(crate) fn scan(body: &str, beginning: &str, wanted: Wanted) -> Result<Document, String> {
    let mut reader = Reader {
        cursor: Cursor::new(body, beginning),
        fields: Fields::new(wanted),
        objects: 0,
        depth: 0,
    };
    match reader.document() {
        Ok(()) => Ok(Document {
            fields: reader.fields.into_text(),
            escaped: reader.cursor.into_escaped(),
        }),
        Err(Fault::TooDeep) => Err(format!("nested deeper than {DEPTH}")),
        // Line and column: rare enough to look again.
        Err(Fault::Broken) => match serde_json::from_str::<serde::de::IgnoredAny>(body) {
            Err(error) => Err(error.to_string()),
            Ok(_) => Err("not JSON".to_owned()),
        },
    }
}

// === impl Reader ===

impl Reader<'_> {
    fn document(&mut self) -> Result<(), Fault> {
        loop {
            let has_begun = self.value()?;
            if !has_begun {
                self.closings()?;
                if self.depth == 0 {
                    let is_all = self.cursor.next().is_none();
                    return if is_all { Ok(()) } else { Err(Fault::Broken) };
                }
                self.cursor.pass(); // A comma.
            }
            if self.is_in_object() {
                self.name()?;
            } else {
                self.fields.element();
            }
        }
    }

    /// Reads a value, or the beginning of one that has others in it; then it is true.
    #[inline]
    fn value(&mut self) -> Result<bool, Fault> {
        let byte = self.cursor.next().ok_or(Fault::Broken)?;
        let text = match byte {
            b'"' => self.cursor.string(),
            b'{' | b'[' => return self.open(byte),
            b'-' | b'0'..=b'9' => self.cursor.number(),
            b't' => self.cursor.word("true"),
            b'f' => self.cursor.word("false"),
            b'n' => self.cursor.word("null"),
            _ => None,
        };
        self.fields.scalar(text.ok_or(Fault::Broken)?);
        Ok(false)
    }

    fn open(&mut self, byte: u8) -> Result<bool, Fault> {
        if self.depth == DEPTH {
            return Err(Fault::TooDeep);
        }
        self.depth += 1;
        self.objects = self.objects << 1 | u64::from(byte == b'{');
        self.cursor.pass();
        self.fields.open(byte);
        let next = self.cursor.next().ok_or(Fault::Broken)?;
        Ok(next != self.closing())
    }

    /// Passes what closes after a value, up to the comma before the next one or the end.
    #[inline]
    fn closings(&mut self) -> Result<(), Fault> {
        while self.depth > 0 {
            let byte = self.cursor.next().ok_or(Fault::Broken)?;
            if byte == b',' {
                return Ok(());
            }
            if byte != self.closing() {
                return Err(Fault::Broken);
            }
            self.depth -= 1;
            self.objects >>= 1;
            self.cursor.pass();
            self.fields.close(byte);
        }
        Ok(())
    }

    /// Reads the name of a member, and the colon after it.
    #[inline]
    fn name(&mut self) -> Result<(), Fault> {
        if self.cursor.next() != Some(b'"') {
            return Err(Fault::Broken);
        }
        let name = self.cursor.string().ok_or(Fault::Broken)?;
        if self.cursor.next() != Some(b':') {
            return Err(Fault::Broken);
        }
        self.cursor.pass();
        self.fields.member(name);
        Ok(())
    }

    const fn is_in_object(&self) -> bool {
        self.objects & 1 == 1
    }

    const fn closing(&self) -> u8 {
        if self.is_in_object() { b'}' } else { b']' }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::IgnoredAny;

    const TEXTS: &[&str] = &[
        "null",
        "0",
        "-0",
        "01",
        "-",
        "1.",
        "1.5",
        ".5",
        "1e5",
        "1E+5",
        "1e",
        "1e-",
        "--1",
        "+1",
        "0x10",
        "1 2",
        "",
        " ",
        "tru",
        "truex",
        "NaN",
        "[",
        "]",
        "[]",
        "[,]",
        "[1,]",
        "[1 2]",
        "[1,2]",
        "{",
        "}",
        "{}",
        "{,}",
        "[}",
        "{]",
        "[]]",
        "{}{}",
        r#"{"a"}"#,
        r#"{"a":}"#,
        r#"{"a":1,}"#,
        r#"{"a":1 "b":2}"#,
        "{a:1}",
        "{1:1}",
        r#"{"a":1,"a":2}"#,
        " \t\r\n{ \"a\" : [ 1 , { } ] }\n",
        "\u{feff}{}",
        "\u{c}1",
        r#"""#,
        r#""a"#,
        r#""\"#,
        r#""\""#,
        r#""\\""#,
        r#""\u00e9\ud800""#,
        r#""\u00g0""#,
        r#""\u00"#,
        r#""\x""#,
        r#""\/\b\f\n\r\t""#,
        "\"\u{1}\"",
        "\"1234567\u{1f}\"",
        "\"\u{7f}é€😀\"",
        "\"123456789\\\"12345678\\\\1234567\\n\"",
        "\"12345678",
        "\"1234567\"",
        "\"12345678\"",
        "nul",
        "[1]x",
    ];

    fn all(_name: &[u8]) -> bool {
        true
    }

    /// What is kept of a body, and what of it would have been read from the whole.
    fn kept(body: &str, wanted: Wanted) -> String {
        String::from_utf8(scan(body, "", wanted).unwrap().fields).unwrap()
    }

    #[test]
    fn it_takes_what_serde_takes_and_writes_what_serde_writes() {
        for text in TEXTS {
            let expected = serde_json::from_str::<IgnoredAny>(text);
            let found = scan(text, "begun ", all);
            assert_eq!(found.is_ok(), expected.is_ok(), "{text:?}");
            if let Ok(document) = found {
                let escaped = String::from_utf8(document.escaped).unwrap();
                let expected = serde_json::to_string(text).unwrap();
                assert_eq!(format!("\"{}\"", escaped.strip_prefix("begun ").unwrap()), expected);
            }
        }
    }

    #[test]
    fn nesting_is_counted_outside_of_strings_alone() {
        let nested = |n: usize| format!("{}1{}", "[".repeat(n), "]".repeat(n));
        assert!(scan(&nested(64), "", all).is_ok());
        assert_eq!(scan(&nested(65), "", all).unwrap_err(), "nested deeper than 64");
        let wide = format!("[{}1]", "{},".repeat(10_000));
        assert!(scan(&wide, "", all).is_ok());
        let text = format!(r#"{{"a":"\"{}"}}"#, "[".repeat(1_000));
        assert!(scan(&text, "", all).is_ok());
        assert!(scan(&"{\"a\":".repeat(1_000_000), "", all).is_err());
    }

    #[test]
    fn members_that_nobody_asked_for_are_left_out() {
        let wanted: Wanted = |name| matches!(name, b"a" | b"b");
        for (body, expected) in [
            (r#"{"x":1,"a":2,"y":{"a":3},"b":[4],"z":[]}"#, r#"{"a":2,"b":[4]}"#),
            (r#"{"x":{"y":[{"a":1}]}}"#, "{}"),
            (
                r#"{ "a" : { "x" : 1 , "b" : "\"," } , "x" : [ ] }"#,
                r#"{"a":{"b":"\","}}"#,
            ),
            (
                r#"{"a":[{"x":1},{"b":null},[true,{}],-1.5e3]}"#,
                r#"{"a":[{},{"b":null},[true,{}],-1.5e3]}"#,
            ),
            (r#"{"a":1,"a":2}"#, r#"{"a":1,"a":2}"#),
            // Spelt in another way it is the same name.
            (r#"{"\u0061":1,"\u0078":2}"#, r#"{"\u0061":1,"\u0078":2}"#),
            (r#"[{"x":1,"b":2},"x"]"#, r#"[{"b":2},"x"]"#),
            ("7", "7"),
        ] {
            assert_eq!(kept(body, wanted), expected, "{body}");
        }
        let deep = format!(r#"{}"b":1{}"#, r#"{"a":"#.repeat(63) + "{", "}".repeat(64));
        assert_eq!(kept(&deep, wanted), deep);
    }
}
