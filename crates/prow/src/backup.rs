//! `prow backup FILE` and `prow restore FILE`: all of the database in one file, whichever kind it is.
//!
//! The file is gzip (RFC 1952) of JSON lines: a head, a row each, and an end that says how many rows there were, so that a
//! file that was cut is found out. It is as the database was at one moment, while prow goes on. Logs are not in it: they
//! are files, or objects of a bucket, that never change once they are written.

use crate::store::{Copied, CopyIn, Database, Error as StoreError, Row, Store};
use flate2::{Compression, bufread::GzDecoder, write::GzEncoder};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, BufWriter, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

/// It could not be written, or read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0} cannot be used")]
    File(String, #[source] io::Error),
    #[error("{0} is no whole backup: {1}")]
    Broken(String, String),
}

/// A line of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// The first.
    Backup {
        format: u32,
        /// Of the database.
        version: i64,
    },
    Row {
        table: String,
        row: Row,
    },
    /// The last.
    End {
        rows: u64,
    },
}

/// Version of the file's shape.
const FORMAT: u32 = 1;
/// Standard output, or input.
const STANDARD: &str = "-";

/// Writes a backup; what is to be said of it. An unfinished file never has its name.
pub(crate) async fn write(database: &Database, name: &str) -> Result<String, Error> {
    let store = Store::open_to_copy(database).await?;
    if name == STANDARD {
        let rows = copy(&store, io::stdout()).await?;
        return Ok(format!("wrote {rows} rows"));
    }
    let unusable = |error| Error::File(name.to_owned(), error);
    let part = PathBuf::from(format!("{name}.part"));
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600) // It holds what was in webhooks, and digests of tokens.
        .open(&part)
        .map_err(unusable)?;
    let rows = copy(&store, &file).await?;
    file.sync_all().map_err(unusable)?;
    fs::rename(&part, name).map_err(unusable)?;
    let folder = Path::new(name).parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = File::open(folder.unwrap_or_else(|| Path::new("."))).map_err(unusable)?;
    folder.sync_all().map_err(unusable)?;
    Ok(format!("wrote {rows} rows to {name}"))
}

async fn copy(store: &Store, file: impl Write) -> Result<u64, Error> {
    let mut lines = GzEncoder::new(BufWriter::new(file), Compression::fast());
    let mut rows = 0;
    let mut line = |line: &Line| -> Result<(), StoreError> {
        serde_json::to_writer(&mut lines, line).map_err(io::Error::from)?;
        Ok(lines.write_all(b"\n")?)
    };
    store
        .copy_out(|copied| match copied {
            Copied::Version(version) => line(&Line::Backup {
                format: FORMAT,
                version,
            }),
            Copied::Row(table, row) => {
                rows += 1;
                let table = table.to_owned();
                line(&Line::Row { table, row })
            }
        })
        .await?;
    line(&Line::End { rows })?;
    let written = lines.finish().and_then(|mut file| file.flush());
    written.map_err(StoreError::from)?;
    Ok(rows)
}

/// Fills an empty database with a backup; what is to be said of it. All of it, or nothing.
pub(crate) async fn restore(database: &Database, name: &str) -> Result<String, Error> {
    let rows = if name == STANDARD {
        fill(database, name, io::stdin().lock()).await?
    } else {
        let file = File::open(name).map_err(|error| Error::File(name.to_owned(), error))?;
        fill(database, name, BufReader::new(file)).await?
    };
    Ok(format!("read {rows} rows from {name}; logs are where they were"))
}

async fn fill(database: &Database, name: &str, file: impl BufRead) -> Result<u64, Error> {
    let broken = |why: &str| Error::Broken(name.to_owned(), why.to_owned());
    let mut lines = BufReader::new(GzDecoder::new(file)).lines();
    let mut next = || -> Result<Line, Error> {
        let line = lines.next().ok_or_else(|| broken("it has no end"))?;
        let line = line.map_err(|error| broken(&error.to_string()))?;
        serde_json::from_str(&line).map_err(|error| broken(&error.to_string()))
    };
    let version = match next()? {
        Line::Backup {
            format: FORMAT,
            version,
        } => version,
        Line::Backup { format, .. } => return Err(broken(&format!("it has the format {format}, this is {FORMAT}"))),
        Line::Row { .. } | Line::End { .. } => return Err(broken("it does not begin like one")),
    };
    let mut into = CopyIn::begin(database, version).await?;
    let mut taken = 0;
    loop {
        match next()? {
            Line::Row { table, row } => into.row(&table, row).await?,
            Line::End { rows } if rows == taken => break,
            Line::End { rows } => return Err(broken(&format!("it has {taken} of {rows} rows"))),
            Line::Backup { .. } => return Err(broken("it begins twice")),
        }
        taken += 1;
    }
    into.finish().await?;
    Ok(taken)
}

#[cfg(test)]
mod tests;
