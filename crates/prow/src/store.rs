//! What prow remembers, in SQLite: one writer, some readers.

mod builds;
mod outbox;

use sqlx::{
    SqlSafeStr as _, SqlitePool,
    migrate::{Migration, MigrationType, Migrator},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use std::{path::Path, time::Duration};

pub(crate) use builds::{Build, Page};
pub(crate) use outbox::{Intent, Route};

/// The database; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    /// One connection: SQLite has one writer at a time anyway.
    writer: SqlitePool,
    readers: SqlitePool,
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
    #[error("the database holds what cannot be read: {0}")]
    Corrupt(String),
}

const READERS: u32 = 4;
const BUSY: Duration = Duration::from_secs(5);

// === impl Store ===

impl Store {
    /// Opens the database in a folder, making and migrating it as needed.
    pub(crate) async fn open(folder: &Path) -> Result<Self, Error> {
        std::fs::create_dir_all(folder).map_err(Error::Folder)?;
        let options = SqliteConnectOptions::new()
            .filename(folder.join("prow.db"))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY);
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(options.clone())
            .await?;
        let init = include_str!("../migrations/1-builds.sql").into_sql_str();
        let migrations = vec![Migration::new(1, "builds".into(), MigrationType::Simple, init, false)];
        Migrator::with_migrations(migrations).run(&writer).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .connect_with(options.read_only(true))
            .await?;
        Ok(Self { writer, readers })
    }
}

#[cfg(test)]
mod tests;
