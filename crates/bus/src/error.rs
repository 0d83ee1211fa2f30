//! What can go wrong between a service and Redis.

use fred::error::ErrorKind as FredKind;

/// Failures on the way to Redis and back.
const LOST: &[FredKind] = &[
    FredKind::IO,
    FredKind::Timeout,
    FredKind::Canceled,
    FredKind::Backpressure,
    FredKind::Cluster,
    FredKind::Sentinel,
    FredKind::Routing,
];
/// Answers of a Redis that is starting, failing over, or cannot write just now.
const ELSEWHERE: &[&str] = &[
    "LOADING",
    "READONLY",
    "MASTERDOWN",
    "NOREPLICAS",
    "CLUSTERDOWN",
    "BUSY",
    "TRYAGAIN",
    "MISCONF",
];

/// An operation on the bus failed.
#[derive(Debug, thiserror::Error)]
#[error("{operation} on {key}: {kind}")]
pub struct Error {
    kind: ErrorKind,
    operation: &'static str,
    key: String,
    #[source]
    source: Option<fred::error::Error>,
}

/// What kind of failure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Redis could not be reached, or did not answer in time; nothing is known about the effect.
    #[error("redis is unreachable")]
    Unreachable,
    /// The list is at its bound.
    #[error("the list is full: {0}")]
    Full(String),
    /// More is sent at once than Redis keeps up with; this was not sent.
    #[error("too much at once: {0}")]
    Busy(String),
    /// The message is longer than its list allows.
    #[error("the message has {bytes} bytes, the list takes at most {limit}")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The list's bound.
        limit: usize,
    },
    /// Redis is out of memory.
    #[error("redis is out of memory")]
    OutOfMemory,
    /// Redis refused the name or password.
    #[error("redis refused the credentials")]
    Unauthorized,
    /// This Redis cannot be used.
    #[error("{0}")]
    Unsuitable(String),
    /// Redis answered with something else than expected.
    #[error("unexpected answer: {0}")]
    Protocol(String),
}

// === impl Error ===

impl Error {
    pub(crate) fn new(kind: ErrorKind, operation: &'static str, key: &str) -> Self {
        Self {
            kind,
            operation,
            key: key.to_owned(),
            source: None,
        }
    }

    pub(crate) fn redis(source: fred::error::Error, operation: &'static str, key: &str) -> Self {
        let details = source.details();
        let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| details.starts_with(prefix));
        let kind = if *source.kind() == FredKind::Auth {
            ErrorKind::Unauthorized
        } else if LOST.contains(source.kind()) || starts(ELSEWHERE) || is_the_clients(&source) {
            ErrorKind::Unreachable
        } else if starts(&["OOM"]) {
            ErrorKind::OutOfMemory
        } else {
            ErrorKind::Protocol(details.to_owned())
        };
        Self {
            kind,
            operation,
            key: key.to_owned(),
            source: Some(source),
        }
    }

    /// The same failure, for another message that it befell.
    pub(crate) fn again(&self) -> Self {
        Self {
            kind: self.kind.clone(),
            operation: self.operation,
            key: self.key.clone(),
            source: self.source.clone(),
        }
    }

    /// What kind of failure.
    pub const fn kind(&self) -> &ErrorKind {
        &self.kind
    }

    /// True when the same call may succeed later.
    pub const fn is_transient(&self) -> bool {
        matches!(
            self.kind,
            ErrorKind::Unreachable | ErrorKind::Full(_) | ErrorKind::Busy(_) | ErrorKind::OutOfMemory
        )
    }
}

/// The client has no kind for some of its own failures, such as "Failed to route command." while it
/// reconnects. Redis begins every error with a code in capitals, the client none.
fn is_the_clients(error: &fred::error::Error) -> bool {
    let code = error.details().split(' ').next().unwrap_or_default();
    *error.kind() == FredKind::Unknown && !code.chars().all(|c| c.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_on_the_way_may_be_tried_again_and_what_redis_refuses_may_not() {
        for (kind, text, transient) in [
            (FredKind::Unknown, "Failed to route command.", true),
            (FredKind::Unknown, "Too many failed write attempts", true),
            (
                FredKind::Unknown,
                "OOM command not allowed when used memory > 'maxmemory'",
                true,
            ),
            (
                FredKind::Unknown,
                "LOADING Redis is loading the dataset in memory",
                true,
            ),
            (FredKind::Unknown, "ERR user_script:3: attempt to index nil", false),
            (FredKind::InvalidArgument, "WRONGTYPE Operation against a key", false),
            (FredKind::Auth, "WRONGPASS invalid username-password pair", false),
        ] {
            let error = Error::redis(fred::error::Error::new(kind, text), "test", "key");
            assert_eq!(error.is_transient(), transient, "{text}");
        }
    }
}
