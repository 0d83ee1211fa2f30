//! What prow remembers: in SQLite, for one prow; or in PostgreSQL, then there may be several.

mod audit;
mod builds;
mod database;
mod deployments;
mod logs;
mod outbox;
mod plans;
mod retention;
mod services;
mod tokens;
mod turns;
mod webhooks;
mod workflows;

use sqlx::AnyPool;

pub(crate) use audit::{Change, Known};
pub(crate) use builds::{Build, Page};
pub(crate) use database::{Database, examine};
pub(crate) use deployments::{Deployment, Status};
pub(crate) use logs::{Cursor, OpenLog, Segment};
pub(crate) use outbox::{Intent, Route};
pub(crate) use plans::Approved;
pub(crate) use services::Project;
pub(crate) use tokens::Token;
pub(crate) use webhooks::{Place, Told};
pub(crate) use workflows::{Changes, Notice, Workflow};

/// The database; cheap to clone. Both kinds understand the same SQL, but where it says otherwise.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    /// SQLite: one connection, for it has one writer at a time anyway.
    writer: AnyPool,
    readers: AnyPool,
    kind: Kind,
}

/// Which database it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Sqlite,
    Postgres,
}

/// The database cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the data folder cannot be made")]
    Folder(#[source] std::io::Error),
    #[error("the database cannot be migrated")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    #[error("the database failed")]
    Sql(#[from] sqlx::Error),
    #[error("{0}")]
    NotYet(&'static str),
    #[error("the database holds what cannot be read: {0}")]
    Corrupt(String),
    #[error("there is one of this name already")]
    Taken,
}

// === impl Error ===

impl Error {
    /// Whether the database, and not the question, is to blame.
    pub(crate) fn is_away(&self) -> bool {
        matches!(self, Self::Sql(sqlx::Error::PoolTimedOut | sqlx::Error::Io(_)))
    }
}

/// Text as every database takes it: PostgreSQL knows no NUL.
fn text(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

#[cfg(test)]
mod tests;
