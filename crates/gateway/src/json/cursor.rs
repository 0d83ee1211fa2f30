//! The words of JSON, passed one by one, each written down as it is written inside a string.

/// A place in a text. It only goes forward. What it returns is `None` where the text is not JSON; then it is of no
/// more use.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
    escaped: Vec<u8>,
}

/// For what a message says besides its body.
const SLACK: usize = 2_048;
/// The lowest bit of each byte of a word, and the highest.
const LOW: u64 = u64::MAX / 0xff;
const HIGH: u64 = LOW << 7;

// === impl Cursor ===

impl<'a> Cursor<'a> {
    /// At the beginning of a text, which is written down after `beginning`.
    pub(super) fn new(text: &'a str, beginning: &str) -> Self {
        // About a tenth of a body are quotation marks.
        let mut escaped = Vec::with_capacity(beginning.len() + text.len() / 4 * 5 + SLACK);
        escaped.extend_from_slice(beginning.as_bytes());
        Self {
            rest: text.as_bytes(),
            escaped,
        }
    }

    pub(super) fn into_escaped(self) -> Vec<u8> {
        self.escaped
    }

    /// The next byte that is no whitespace, if there is one; it is not passed yet.
    #[expect(clippy::inline_always, reason = "measured: a fifth of the time of a whole body")]
    #[inline(always)]
    pub(super) fn next(&mut self) -> Option<u8> {
        loop {
            let (&byte, after) = self.rest.split_first()?;
            if byte > b' ' {
                return Some(byte); // As nearly always: bodies have little whitespace.
            }
            match byte {
                b' ' => self.escaped.push(b' '),
                b'\n' => self.escaped.extend_from_slice(br"\n"),
                b'\r' => self.escaped.extend_from_slice(br"\r"),
                b'\t' => self.escaped.extend_from_slice(br"\t"),
                _ => return Some(byte),
            }
            self.rest = after;
        }
    }

    /// Passes one of `{}[],:`.
    #[inline]
    pub(super) fn pass(&mut self) {
        if let Some((byte, after)) = self.rest.split_first() {
            self.escaped.push(*byte);
            self.rest = after;
        }
    }

    /// Passes a string, and returns it with its quotation marks.
    #[inline]
    pub(super) fn string(&mut self) -> Option<&'a [u8]> {
        let text = self.rest;
        let (_quote, mut rest) = text.split_first()?;
        self.escaped.extend_from_slice(br#"\""#);
        loop {
            rest = self.plain(rest);
            let (byte, after) = rest.split_first()?;
            rest = match byte {
                b'"' => {
                    self.escaped.extend_from_slice(br#"\""#);
                    self.rest = after;
                    return text.get(..text.len() - after.len());
                }
                b'\\' => self.escape(after)?,
                _control => return None,
            };
        }
    }

    /// Writes down what needs no escape, eight bytes at a time, and returns what follows it.
    #[inline]
    fn plain(&mut self, mut rest: &'a [u8]) -> &'a [u8] {
        while let Some((eight, after)) = rest.split_first_chunk() {
            // All of them, then take back what is too much: that is faster than to know first how many they are.
            self.escaped.extend_from_slice(eight);
            let special = special(u64::from_le_bytes(*eight));
            if special != 0 {
                let plain = special.trailing_zeros() as usize / 8;
                self.escaped.truncate(self.escaped.len() - eight.len() + plain);
                return rest.get(plain..).unwrap_or_default();
            }
            rest = after;
        }
        let is_plain = |byte: &u8| *byte >= b' ' && !matches!(byte, b'"' | b'\\');
        let plain = rest.iter().take_while(|byte| is_plain(byte)).count();
        let (plain, rest) = rest.split_at_checked(plain).unwrap_or_default();
        self.escaped.extend_from_slice(plain);
        rest
    }

    /// Passes what follows a backslash.
    #[cold]
    fn escape(&mut self, rest: &'a [u8]) -> Option<&'a [u8]> {
        let (byte, after) = rest.split_first()?;
        match byte {
            b'"' | b'\\' => self.escaped.extend_from_slice(&[b'\\', b'\\', b'\\', *byte]),
            b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.escaped.extend_from_slice(&[b'\\', b'\\', *byte]),
            b'u' => {
                let (digits, after) = after.split_first_chunk::<4>()?;
                self.escaped.extend_from_slice(br"\\u");
                self.escaped.extend_from_slice(digits);
                return digits.iter().all(u8::is_ascii_hexdigit).then_some(after);
            }
            _ => return None,
        }
        Some(after)
    }

    /// Passes a number, and returns it.
    pub(super) fn number(&mut self) -> Option<&'a [u8]> {
        let after = |text: &'a [u8], byte: &[u8]| text.strip_prefix(byte).unwrap_or(text);
        let unsigned = after(self.rest, b"-");
        let mut rest = digits(unsigned)?;
        if unsigned.starts_with(b"0") && unsigned.len() - rest.len() > 1 {
            return None;
        }
        if let Some(fraction) = rest.strip_prefix(b".") {
            rest = digits(fraction)?;
        }
        if let Some(exponent) = rest.strip_prefix(b"e").or_else(|| rest.strip_prefix(b"E")) {
            rest = digits(exponent.strip_prefix(b"+").unwrap_or_else(|| after(exponent, b"-")))?;
        }
        self.pass_to(rest)
    }

    /// Passes `true`, `false` or `null`, and returns it.
    pub(super) fn word(&mut self, word: &str) -> Option<&'a [u8]> {
        let rest = self.rest.strip_prefix(word.as_bytes())?;
        self.pass_to(rest)
    }

    fn pass_to(&mut self, rest: &'a [u8]) -> Option<&'a [u8]> {
        let passed = self.rest.get(..self.rest.len() - rest.len())?;
        self.escaped.extend_from_slice(passed);
        self.rest = rest;
        Some(passed)
    }
}

/// What follows at least one digit.
fn digits(text: &[u8]) -> Option<&[u8]> {
    let count = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    text.get(count..).filter(|_rest| count > 0)
}

/// Marks, in the highest bit of each byte, quotation marks, backslashes and control characters. Above the lowest
/// mark there may be false ones.
#[inline]
const fn special(word: u64) -> u64 {
    /// Bytes that are 0, by the borrow that taking 1 from them makes.
    const fn zeros(word: u64) -> u64 {
        word.wrapping_sub(LOW) & !word
    }
    let controls = word.wrapping_sub(LOW * b' ' as u64) & !word;
    let (quotes, slashes) = (word ^ (LOW * b'"' as u64), word ^ (LOW * b'\\' as u64));
    (controls | zeros(quotes) | zeros(slashes)) & HIGH
}
