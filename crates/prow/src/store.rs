//! What prow remembers, in SQLite: one writer, some readers.

mod builds;
mod outbox;
mod plans;
mod services;
mod webhooks;

use chassis::Findings;
use sqlx::{
    SqlSafeStr as _, SqlitePool,
    migrate::{Migration, MigrationType, Migrator},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use std::{path::Path, time::Duration};

pub(crate) use builds::{Build, Page};
pub(crate) use outbox::{Intent, Route};
pub(crate) use plans::Approved;
pub(crate) use services::Project;
pub(crate) use webhooks::{Place, Told};

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
    #[error("{0}")]
    NotYet(&'static str),
    #[error("the database holds what cannot be read: {0}")]
    Corrupt(String),
    #[error("there is one of this name already")]
    Taken,
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
        Migrator::with_migrations(migrations()).run(&writer).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .connect_with(options.read_only(true))
            .await?;
        Ok(Self { writer, readers })
    }
}

/// Looks at the database of a folder, without changing it.
pub(crate) async fn examine(folder: &Path, findings: &mut Findings) {
    let known = migrations().len();
    let path = folder.join("prow.db");
    if !path.exists() {
        return findings.fine("database", "not there yet; it is made at the first start");
    }
    let options = SqliteConnectOptions::new()
        .filename(&path)
        .read_only(true)
        .busy_timeout(BUSY);
    let level = async {
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(options)
            .await?;
        sqlx::query_scalar::<_, i64>("SELECT coalesce(max(version), 0) FROM _sqlx_migrations")
            .fetch_one(&pool)
            .await
    };
    match level.await.map(|level| usize::try_from(level).unwrap_or_default()) {
        Ok(level) if level > known => {
            let text = format!("migration {level}, this program knows {known}: a newer one has used it");
            findings.wrong("database", text, "start the newer program, or restore a backup");
        }
        Ok(level) if level < known => findings.fine(
            "database",
            format!("migration {level} of {known}; the next start does the rest"),
        ),
        Ok(level) => findings.fine("database", format!("migration {level} of {known}")),
        Err(error) if error.to_string().contains("no such table") => findings.fine("database", "still empty"),
        Err(error) => findings.wrong(
            "database",
            chassis::chain(&error),
            "see whether it is prow's, and whole",
        ),
    }
}

/// Every step from an empty database to what this version needs.
fn migrations() -> Vec<Migration> {
    let step = |version, name: &'static str, text: &'static str| {
        Migration::new(version, name.into(), MigrationType::Simple, text.into_sql_str(), false)
    };
    vec![
        step(1, "builds", include_str!("../migrations/1-builds.sql")),
        step(2, "sent", include_str!("../migrations/2-sent.sql")),
        step(3, "services", include_str!("../migrations/3-services.sql")),
    ]
}

#[cfg(test)]
mod tests;
