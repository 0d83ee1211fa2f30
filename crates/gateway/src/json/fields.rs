//! A body without what nobody asked for.

use super::Wanted;

/// The text of a document that is being read, as far as it is wanted.
#[derive(Debug)]
pub(super) struct Fields {
    text: Vec<u8>,
    wanted: Wanted,
    /// Of the arrays and objects that are being written, which have something in them; the lowest bit is the
    /// innermost.
    begun: u64,
    /// While a value is left out: in how many arrays and objects of it this place is.
    left_out: Option<u32>,
}

/// What is usually kept of a push.
const USUAL: usize = 1_024;

// === impl Fields ===

impl Fields {
    pub(super) fn new(wanted: Wanted) -> Self {
        Self {
            text: Vec::with_capacity(USUAL),
            wanted,
            begun: 0,
            left_out: None,
        }
    }

    pub(super) fn into_text(self) -> Vec<u8> {
        self.text
    }

    /// An array or an object begins.
    #[inline]
    pub(super) fn open(&mut self, byte: u8) {
        if let Some(depth) = &mut self.left_out {
            *depth += 1;
            return;
        }
        self.text.push(byte);
        self.begun <<= 1;
    }

    /// It ends.
    #[inline]
    pub(super) fn close(&mut self, byte: u8) {
        match self.left_out {
            Some(0 | 1) => self.left_out = None,
            Some(depth) => self.left_out = Some(depth - 1),
            None => {
                self.text.push(byte);
                self.begun >>= 1;
            }
        }
    }

    /// An element of an array comes next.
    #[inline]
    pub(super) fn element(&mut self) {
        if self.left_out.is_none() {
            self.separate();
        }
    }

    /// A member of an object comes next; its name is in quotation marks.
    #[inline]
    pub(super) fn member(&mut self, quoted: &[u8]) {
        if self.left_out.is_some() {
            return;
        }
        let name = quoted.get(1..quoted.len() - 1).unwrap_or_default();
        // What is spelt with escapes may be any name.
        if !(self.wanted)(name) && !name.contains(&b'\\') {
            self.left_out = Some(0);
            return;
        }
        self.separate();
        self.text.extend_from_slice(quoted);
        self.text.push(b':');
    }

    /// A value with nothing in it.
    #[inline]
    pub(super) fn scalar(&mut self, text: &[u8]) {
        match self.left_out {
            None => self.text.extend_from_slice(text),
            Some(0) => self.left_out = None,
            Some(_) => {}
        }
    }

    fn separate(&mut self) {
        if self.begun & 1 == 1 {
            self.text.push(b',');
        }
        self.begun |= 1;
    }
}
