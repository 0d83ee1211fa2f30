//! What prow remembers: in SQLite, for one prow; or in PostgreSQL, then there may be several.

mod audit;
mod builds;
mod copy;
mod database;
mod deployments;
mod leases;
mod logs;
mod merging;
mod outbox;
mod plans;
mod retention;
mod services;
mod tokens;
mod turns;
mod webhooks;
mod workers;
mod workflows;

use sqlx::AnyPool;
use tokio::sync::broadcast;

pub(crate) use audit::{Change, Known};
pub(crate) use builds::{Build, Page};
pub(crate) use copy::{Copied, CopyIn, Row};
pub(crate) use database::{Database, examine};
pub(crate) use deployments::{Deployment, Status};
pub(crate) use logs::{Cursor, OpenLog, Segment};
pub(crate) use outbox::{Intent, Route};
pub(crate) use plans::Approved;
pub(crate) use services::Project;
pub(crate) use tokens::Token;
pub(crate) use webhooks::{Place, Told};
pub(crate) use workers::REMEMBERED;
pub(crate) use workflows::{Notice, Which, Workflow};

/// The database; cheap to clone. Both kinds understand the same SQL, but where it says otherwise.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    /// SQLite: one connection, for it has one writer at a time anyway.
    writer: AnyPool,
    readers: AnyPool,
    kind: Kind,
    changed: broadcast::Sender<Changed>,
}

/// What has become another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Changed {
    /// By its name for ever.
    Build(String),
    Deployment(String),
}

/// Hears of what this prow changes, once it has been committed.
pub(crate) type Changes = broadcast::Receiver<Changed>;

/// Changes that may wait until they are told.
const CHANGES: usize = 1_024;

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
    #[error("there is no database")]
    Missing,
    #[error("the database holds something already: only an empty one is filled")]
    NotEmpty,
    #[error("a newer prow wrote it: its database has version {0}")]
    Newer(i64),
    #[error("it is of version {0}, and this database has version {1} already: take one that was never used")]
    Older(i64, i64),
    #[error("a file cannot be written or read")]
    File(#[from] std::io::Error),
}

// === impl Store ===

impl Store {
    /// What is changed from now on.
    pub(crate) fn watch(&self) -> Changes {
        self.changed.subscribe()
    }

    fn have_changed(&self, builds: &[Build]) {
        for build in builds {
            self.tell(Changed::Build(build.message.id.to_string()));
        }
    }

    fn deployments_have_changed(&self, deployments: &[Deployment]) {
        for deployment in deployments {
            self.tell(Changed::Deployment(deployment.message.id.to_string()));
        }
    }

    fn tell(&self, changed: Changed) {
        self.changed.send(changed).ok(); // There may be nobody who listens.
    }
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
