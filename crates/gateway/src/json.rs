//! One look at a body that was proved, byte by byte: whether it is JSON (RFC 8259), how deep it is nested, what it
//! says in the fields that somebody reads, and how it is written inside a JSON string.
//!
//! `serde_json` then gets the few fields that were asked for. Who has schemas or secrets of single repositories pays
//! for one more look.

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
mod tests;
