//! All rows out of one database, and into another: for backups. Both kinds have the same tables.

use super::{Database, Error, Kind, Store, database};
use futures_util::TryStreamExt as _;
use serde_json::{Map, Value};
use sqlx::{
    Any, AssertSqlSafe, Column as _, Row as _, Transaction, TypeInfo as _, ValueRef as _,
    any::{AnyRow, AnyTypeInfoKind},
};

/// Values of a row by the names of their columns; numbers, texts, or null.
pub(crate) type Row = Map<String, Value>;

/// Every table whose rows are kept, those first that others refer to; by what its rows are ordered; and since which
/// version of the database there is one. What workers say of themselves comes again.
const TABLES: &[(&str, &str, i64)] = &[
    ("projects", "id", 1),
    ("services", "id", 1),
    ("builds", "id", 1),
    ("deployments", "id", 6),
    ("webhooks", "delivery", 1),
    ("outbox", "id", 1),
    ("log_segments", "build_id, at", 4),
    ("tokens", "id", 5),
    ("audit", "id", 5),
    ("replies", "who, key", 5),
    ("workflows", "id", 9),
    ("workflow_commits", "workflow_id, hash", 9),
    ("notices", "event_id", 9),
    ("redeliveries", "delivery", 13),
    ("reviews", "workflow_id, reviewer", 14),
    ("checks", "repository, hash, name, suite", 14),
];
/// The version of a database.
const VERSION: &str = "SELECT coalesce(max(version), 0) FROM _sqlx_migrations";
/// Refers to a row that comes later.
const LATER: &str = "superseded_by";

/// Takes rows in. Nothing of it is there before its end.
pub(crate) struct CopyIn {
    store: Store,
    transaction: Transaction<'static, Any>,
    /// Builds, and those that took their places.
    later: Vec<(i64, i64)>,
}

// === impl Store ===

impl Store {
    /// Opens what is to be copied, as it is.
    ///
    /// # Errors
    /// `Missing` when there is none.
    pub(crate) async fn open_to_copy(database: &Database) -> Result<Self, Error> {
        if !database.is_there() {
            return Err(Error::Missing);
        }
        Self::connect(database).await
    }

    /// The version of the database, and then every row as it is at this moment.
    ///
    /// # Errors
    /// Those of `take`, besides those of the database.
    pub(crate) async fn copy_out(&self, mut take: impl FnMut(Copied<'_>) -> Result<(), Error>) -> Result<(), Error> {
        let mut transaction = self.readers.begin().await?;
        if self.kind == Kind::Postgres {
            for words in [
                "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY",
                "SET LOCAL statement_timeout = 0",
            ] {
                sqlx::query(words).execute(&mut *transaction).await?;
            }
        }
        let version: i64 = sqlx::query_scalar(VERSION).fetch_one(&mut *transaction).await?;
        take(Copied::Version(version))?;
        for (table, order, _) in TABLES.iter().filter(|(_, _, since)| *since <= version) {
            let query = AssertSqlSafe(format!("SELECT * FROM {table} ORDER BY {order}")); // Of the table above.
            let mut rows = sqlx::query(query).fetch(&mut *transaction);
            while let Some(row) = rows.try_next().await? {
                take(Copied::Row(table, values(&row)?))?;
            }
        }
        Ok(())
    }
}

/// What is copied.
pub(crate) enum Copied<'a> {
    /// Comes first.
    Version(i64),
    /// A row of a table.
    Row(&'a str, Row),
}

/// The number that a query gives; 0 where the table is not there.
async fn number(store: &Store, query: String) -> Result<i64, Error> {
    let query = sqlx::query_scalar(AssertSqlSafe(query)); // Of the tables above.
    match query.fetch_one(&store.readers).await {
        Err(error) if database::is_empty(&error) => Ok(0),
        number => Ok(number?),
    }
}

fn values(row: &AnyRow) -> Result<Row, Error> {
    let value = |n: usize| -> Result<Value, Error> {
        let raw = row.try_get_raw(n)?;
        if raw.is_null() {
            return Ok(Value::Null);
        }
        let info = raw.type_info();
        match info.kind() {
            AnyTypeInfoKind::SmallInt | AnyTypeInfoKind::Integer | AnyTypeInfoKind::BigInt => {
                Ok(row.get::<i64, _>(n).into())
            }
            AnyTypeInfoKind::Text => Ok(row.get::<String, _>(n).into()),
            AnyTypeInfoKind::Null
            | AnyTypeInfoKind::Bool
            | AnyTypeInfoKind::Real
            | AnyTypeInfoKind::Double
            | AnyTypeInfoKind::Blob => Err(Error::Corrupt(format!("a value is {}", info.name()))),
        }
    };
    let columns = row.columns().iter().enumerate();
    columns
        .map(|(n, column)| Ok((column.name().to_owned(), value(n)?)))
        .collect()
}

// === impl CopyIn ===

impl CopyIn {
    /// Begins to fill a database that holds nothing yet.
    ///
    /// # Errors
    /// `NotEmpty` when it holds something, `Newer` when this program does not know that version, `Older` when the database
    /// is past it.
    pub(crate) async fn begin(database: &Database, version: i64) -> Result<Self, Error> {
        let store = Store::connect(database).await?;
        if version > store.newest() {
            return Err(Error::Newer(version));
        }
        for table in ["projects", "tokens", "webhooks"] {
            if number(&store, format!("SELECT count(*) FROM {table}")).await? > 0 {
                return Err(Error::NotEmpty);
            }
        }
        let present = number(&store, VERSION.to_owned()).await?;
        if present > version {
            return Err(Error::Older(version, present));
        }
        store.migrate(version).await?;
        let mut transaction = store.writer.begin().await?;
        if store.kind == Kind::Postgres {
            for words in [
                "SET LOCAL statement_timeout = 0",
                "SET LOCAL idle_in_transaction_session_timeout = 0",
            ] {
                sqlx::query(words).execute(&mut *transaction).await?;
            }
        }
        Ok(Self {
            store,
            transaction,
            later: Vec::new(),
        })
    }

    /// Takes a row in.
    pub(crate) async fn row(&mut self, table: &str, mut row: Row) -> Result<(), Error> {
        let is_name = |name: &String| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        if !TABLES.iter().any(|(known, ..)| *known == table) || !row.keys().all(is_name) {
            return Err(Error::Corrupt(format!("a row of {table}")));
        }
        let number = |row: &Row, name: &str| row.get(name).and_then(Value::as_i64);
        if let (Some(id), Some(later)) = (number(&row, "id"), number(&row, LATER)) {
            self.later.push((id, later));
            row.remove(LATER);
        }
        row.retain(|_, value| !value.is_null());
        let names: Vec<&str> = row.keys().map(String::as_str).collect();
        let places: Vec<String> = (1..=names.len()).map(|n| format!("${n}")).collect();
        let query = format!(
            "INSERT INTO {table} ({}) VALUES ({})",
            names.join(", "),
            places.join(", ")
        );
        let mut query = sqlx::query(AssertSqlSafe(query)); // Names that were looked at above.
        for value in row.values() {
            query = match value {
                Value::Number(number) => query.bind(number.as_i64()),
                Value::String(text) => query.bind(text.clone()),
                Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
                    return Err(Error::Corrupt(format!("a value of {table}: {value}")));
                }
            };
        }
        query.execute(&mut *self.transaction).await?;
        Ok(())
    }

    /// Everything is in; brings it to this version.
    pub(crate) async fn finish(mut self) -> Result<(), Error> {
        for (build, by) in self.later {
            sqlx::query("UPDATE builds SET superseded_by = $2 WHERE id = $1")
                .bind(build)
                .bind(by)
                .execute(&mut *self.transaction)
                .await?;
        }
        if self.store.kind == Kind::Postgres {
            // The next number of each table is the one after the last.
            for (table, ..) in TABLES.iter().filter(|(_, order, _)| *order == "id") {
                let query = format!(
                    "SELECT setval(pg_get_serial_sequence('{table}', 'id'), (SELECT coalesce(max(id), 0) + 1 FROM {table}), false)"
                );
                sqlx::query(AssertSqlSafe(query))
                    .execute(&mut *self.transaction)
                    .await?;
            }
        }
        self.transaction.commit().await?;
        self.store.migrate(i64::MAX).await
    }
}
