//! Tokens of the API.

use super::{Error, Store};
use crate::access::Role;
use bus::clock;
use sqlx::{Row as _, any::AnyRow};

/// A token; what it is itself is known only to who has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) id: i64,
    pub(crate) name: String,
    /// By which it is found.
    pub(crate) prefix: String,
    /// SHA-256 of all of it.
    pub(crate) digest: String,
    pub(crate) role: Role,
    pub(crate) projects: Option<Vec<i64>>,
    pub(crate) created_at: i64,
    pub(crate) expires_at: Option<i64>,
    pub(crate) used_at: Option<i64>,
}

// === impl Token ===

impl Token {
    fn from_row(row: &AnyRow) -> Result<Self, Error> {
        let projects: Option<&str> = row.get("projects");
        let projects = projects.map(serde_json::from_str).transpose();
        Ok(Self {
            id: row.get("id"),
            name: row.get("name"),
            prefix: row.get("prefix"),
            digest: row.get("digest"),
            role: row.get::<&str, _>("role").parse().map_err(Error::Corrupt)?,
            projects: projects.map_err(|error| Error::Corrupt(error.to_string()))?,
            created_at: row.get("created_at"),
            expires_at: row.get("expires_at"),
            used_at: row.get("used_at"),
        })
    }
}

// === impl Store ===

impl Store {
    pub(crate) async fn tokens(&self) -> Result<Vec<Token>, Error> {
        let rows = sqlx::query("SELECT * FROM tokens ORDER BY name")
            .fetch_all(&self.readers)
            .await?;
        rows.iter().map(Token::from_row).collect()
    }

    /// A token by the first part of it.
    pub(crate) async fn token(&self, prefix: &str) -> Result<Option<Token>, Error> {
        let row = sqlx::query("SELECT * FROM tokens WHERE prefix = $1")
            .bind(prefix)
            .fetch_optional(&self.readers)
            .await?;
        row.as_ref().map(Token::from_row).transpose()
    }

    /// Adds a token.
    ///
    /// # Errors
    /// `Taken` when there is one of this name.
    pub(crate) async fn add_token(&self, token: &Token) -> Result<Token, Error> {
        let projects = token
            .projects
            .as_ref()
            .and_then(|list| serde_json::to_string(list).ok());
        let row = sqlx::query(
            "INSERT INTO tokens (name, prefix, digest, role, projects, created_at, expires_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING RETURNING *",
        )
        .bind(&token.name)
        .bind(&token.prefix)
        .bind(&token.digest)
        .bind(token.role.word())
        .bind(projects)
        .bind(clock::now_ms())
        .bind(token.expires_at)
        .fetch_optional(&self.writer)
        .await?;
        row.as_ref().map(Token::from_row).ok_or(Error::Taken)?
    }

    /// Removes a token; whether there was one.
    pub(crate) async fn remove_token(&self, id: i64) -> Result<bool, Error> {
        let removed = sqlx::query("DELETE FROM tokens WHERE id = $1")
            .bind(id)
            .execute(&self.writer)
            .await?;
        Ok(removed.rows_affected() == 1)
    }

    /// Says that a token was used.
    pub(crate) async fn token_used(&self, id: i64) -> Result<(), Error> {
        sqlx::query("UPDATE tokens SET used_at = $2 WHERE id = $1")
            .bind(id)
            .bind(clock::now_ms())
            .execute(&self.writer)
            .await?;
        Ok(())
    }
}
