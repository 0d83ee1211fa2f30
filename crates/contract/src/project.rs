//! Where the code comes from: the project's name, its clone URL, paths inside it.

use crate::text::text_type;

text_type! {
    /// A repository's name, `org/repo`; deeper groups (`group/subgroup/repo`) are allowed.
    ///
    /// # Examples
    /// ```
    /// use contract::ProjectName;
    /// assert!("org/repo".parse::<ProjectName>().is_ok());
    /// assert!("../../etc".parse::<ProjectName>().is_err());
    /// ```
    ProjectName, InvalidProjectName,
    "expected org/repo: 2 to 8 parts of A-Z a-z 0-9 . _ -, none starting with . or -, at most 255 bytes",
    pattern: "^[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*){1,7}$",
    valid: is_project_name
}

text_type! {
    /// A URL that git can clone from, without any credentials in it.
    ///
    /// Accepted forms: `https://`, `http://`, `ssh://`, `file://` and `user@host:path`. Which of
    /// these a builder follows is its operator's decision; what can never be a plain address
    /// (`ext::…`, an option, a control character, a password) is refused here.
    ///
    /// # Examples
    /// ```
    /// use contract::{CloneUrl, Scheme};
    /// let url: CloneUrl = "https://github.com/org/repo.git".parse()?;
    /// assert_eq!(url.scheme(), Scheme::Https);
    /// assert!("ext::sh -c id".parse::<CloneUrl>().is_err());
    /// assert!("https://me:token@github.com/org/repo.git".parse::<CloneUrl>().is_err());
    /// # Ok::<(), contract::InvalidCloneUrl>(())
    /// ```
    CloneUrl, InvalidCloneUrl,
    "expected an https, http, ssh or file URL, or user@host:path, without credentials, spaces or options",
    pattern: "^(https?://[^@\\s]+|ssh://[^\\s]+|file:///[^\\s]+|[A-Za-z0-9._]+@[A-Za-z0-9.]+[A-Za-z0-9.-]*:[^\\s:]+)$",
    valid: |text| scheme_of(text).is_some()
}

text_type! {
    /// A path below the checkout: relative, forward slashes, never upwards.
    ///
    /// # Examples
    /// ```
    /// use contract::RelativePath;
    /// assert!("services/api".parse::<RelativePath>().is_ok());
    /// assert!("../secret".parse::<RelativePath>().is_err());
    /// ```
    RelativePath, InvalidRelativePath,
    "expected a relative path without .., at most 1024 bytes",
    pattern: "^[^/\\\\\\u0000-\\u001f-][^\\\\\\u0000-\\u001f]{0,1023}$",
    valid: is_relative_path
}

/// The transport that a [`CloneUrl`] asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `https://`.
    Https,
    /// `http://`, plain.
    Http,
    /// `ssh://` or `user@host:path`.
    Ssh,
    /// `file://`.
    File,
}

impl CloneUrl {
    /// The transport this URL asks for.
    pub fn scheme(&self) -> Scheme {
        scheme_of(self.as_str()).unwrap_or(Scheme::File)
    }
}

fn is_project_name(text: &str) -> bool {
    let parts = text.split('/').count();
    let part_ok = |part: &str| {
        !part.is_empty()
            && !part.starts_with(['.', '-'])
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    text.len() <= 255 && (2..=8).contains(&parts) && text.split('/').all(part_ok)
}

fn scheme_of(text: &str) -> Option<Scheme> {
    let clean = !text.is_empty()
        && text.len() <= 2048
        && !text.starts_with('-')
        && !text.chars().any(|c| c.is_whitespace() || c.is_control());
    if !clean {
        return None;
    }
    match text.split_once("://") {
        Some(("https", rest)) => web_address(rest).then_some(Scheme::Https),
        Some(("http", rest)) => web_address(rest).then_some(Scheme::Http),
        Some(("ssh", rest)) => ssh_address(rest).then_some(Scheme::Ssh),
        Some(("file", rest)) => rest.starts_with('/').then_some(Scheme::File),
        Some(_) => None,
        None => scp_address(text).then_some(Scheme::Ssh),
    }
}

/// `host[:port]/path`, no user information.
fn web_address(rest: &str) -> bool {
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    !host.contains('@') && is_host(host) && !path.is_empty()
}

/// `[user@]host[:port]/path`, no password.
fn ssh_address(rest: &str) -> bool {
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, host) = authority.split_once('@').unwrap_or(("git", authority));
    is_user(user) && is_host(host) && !path.is_empty()
}

/// `user@host:path`, the form of scp.
fn scp_address(text: &str) -> bool {
    let Some((authority, path)) = text.split_once(':') else {
        return false;
    };
    let Some((user, host)) = authority.split_once('@') else {
        return false;
    };
    is_user(user) && is_host(host) && !path.is_empty() && !path.starts_with([':', '-'])
}

fn is_user(user: &str) -> bool {
    !user.is_empty() && !user.starts_with('-') && user.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

fn is_host(host: &str) -> bool {
    !host.is_empty()
        && !host.starts_with(['-', '.', ':'])
        && host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b))
}

fn is_relative_path(text: &str) -> bool {
    (1..=1024).contains(&text.len())
        && !text.starts_with(['/', '-'])
        && !text.contains('\\')
        && !text.chars().any(char::is_control)
        && text.split('/').all(|part| part != "..")
}
