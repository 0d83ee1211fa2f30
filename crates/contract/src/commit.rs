//! What is built: a commit, and the branch it was on.

use crate::text::text_type;

text_type! {
    /// A git object name, whole or abbreviated.
    ///
    /// # Examples
    /// ```
    /// use contract::CommitHash;
    /// assert!("abc123def456".parse::<CommitHash>().is_ok());
    /// assert!("-f".parse::<CommitHash>().is_err());
    /// ```
    CommitHash, InvalidCommitHash,
    "expected 4 to 64 hexadecimal digits",
    pattern: "^[0-9A-Fa-f]{4,64}$",
    valid: |text| (4..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

text_type! {
    /// A branch name, by the rules of `git check-ref-format`.
    ///
    /// # Examples
    /// ```
    /// use contract::Branch;
    /// assert!("feature/login".parse::<Branch>().is_ok());
    /// assert!("--upload-pack=x".parse::<Branch>().is_err());
    /// ```
    Branch, InvalidBranch,
    "expected a branch name as git accepts it, at most 255 bytes",
    pattern: "^$|^[^-/\\u0000-\\u0020~^:?*\\[\\\\][^\\u0000-\\u0020~^:?*\\[\\\\]{0,254}$",
    valid: is_ref_name
}

impl CommitHash {
    /// True for the all-zero name by which forges say "there is no such commit".
    pub fn is_zero(&self) -> bool {
        self.as_str().bytes().all(|b| b == b'0')
    }

    /// True when the name is whole (SHA-1 or SHA-256), not abbreviated.
    pub fn is_full(&self) -> bool {
        matches!(self.as_str().len(), 40 | 64)
    }

    /// The first 12 digits (or fewer), for people.
    pub fn short(&self) -> &str {
        self.as_str().get(..12).unwrap_or(self.as_str())
    }
}

/// The rules of git-check-ref-format(1) for one name below `refs/heads/`.
fn is_ref_name(text: &str) -> bool {
    let forbidden = |c: char| c <= ' ' || c == '\u{7f}' || "~^:?*[\\".contains(c);
    let part_ok = |part: &str| {
        !part.is_empty() && !part.starts_with('.') && std::path::Path::new(part).extension().is_none_or(|e| e != "lock")
    };
    (1..=255).contains(&text.len())
        && !text.starts_with('-')
        && !text.ends_with('.')
        && !text.contains("..")
        && !text.contains("@{")
        && text != "@"
        && !text.contains(forbidden)
        && text.split('/').all(part_ok)
}
