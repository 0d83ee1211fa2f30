//! Projects, and what is built of them.

use super::{Error, Intent, Store, outbox, turns};
use crate::{
    notice::service::{self as notice, Happened},
    service::{Recipe, Service},
};
use bus::clock;
use sqlx::{
    AnyConnection, Row as _,
    any::{AnyQueryResult, AnyRow},
};

/// A repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Project {
    pub(crate) id: i64,
    pub(crate) name: String,
    /// Most builds of it at a time.
    pub(crate) max_builds: Option<i64>,
    pub(crate) created_at: i64,
}

// === impl Project ===

impl Project {
    fn from_row(row: &AnyRow) -> Self {
        Self {
            id: row.get("id"),
            name: row.get("name"),
            max_builds: row.get("max_builds"),
            created_at: row.get("created_at"),
        }
    }
}

// === impl Service ===

impl Service {
    fn from_row(row: &AnyRow) -> Result<Self, Error> {
        let recipe = serde_json::from_str(row.get("recipe")).map_err(|error| Error::Corrupt(error.to_string()))?;
        Ok(Self {
            id: row.get("id"),
            project_id: row.get("project_id"),
            name: row.get("name"),
            recipe,
            created_at: row.get("created_at"),
            changed_at: row
                .get::<Option<i64>, _>("changed_at")
                .unwrap_or_else(|| row.get("created_at")),
        })
    }
}

// === impl Store ===

impl Store {
    /// Projects by their names.
    pub(crate) async fn projects(&self) -> Result<Vec<Project>, Error> {
        let rows = sqlx::query("SELECT * FROM projects ORDER BY name")
            .fetch_all(&self.readers)
            .await?;
        Ok(rows.iter().map(Project::from_row).collect())
    }

    /// A project by its number.
    pub(crate) async fn project(&self, id: i64) -> Result<Option<Project>, Error> {
        let row = sqlx::query("SELECT * FROM projects WHERE id = $1")
            .bind(id)
            .fetch_optional(&self.readers)
            .await?;
        Ok(row.as_ref().map(Project::from_row))
    }

    /// A project by its name.
    pub(crate) async fn project_named(&self, name: &str) -> Result<Option<Project>, Error> {
        let row = sqlx::query("SELECT * FROM projects WHERE name = $1")
            .bind(name)
            .fetch_optional(&self.readers)
            .await?;
        Ok(row.as_ref().map(Project::from_row))
    }

    /// Adds a project.
    ///
    /// # Errors
    /// `Taken` when there is one of this name.
    pub(crate) async fn add_project(&self, name: &str, max_builds: Option<u32>) -> Result<Project, Error> {
        let mut transaction = self.writer.begin().await?;
        let row = sqlx::query(
            "INSERT INTO projects (name, max_builds, created_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING *",
        )
        .bind(name)
        .bind(max_builds.map(i64::from))
        .bind(clock::now_ms())
        .fetch_optional(&mut *transaction)
        .await?;
        let project = row.as_ref().map(Project::from_row).ok_or(Error::Taken)?;
        tell_of_project(&mut transaction, &project, Happened::Created).await?;
        transaction.commit().await?;
        Ok(project)
    }

    /// Changes how many builds of a project there may be at a time; builds that wait may have their turn.
    pub(crate) async fn change_project(&self, id: i64, max_builds: Option<u32>) -> Result<Option<Project>, Error> {
        let mut transaction = self.writer.begin().await?;
        let row = sqlx::query("UPDATE projects SET max_builds = $2 WHERE id = $1 RETURNING *")
            .bind(id)
            .bind(max_builds.map(i64::from))
            .fetch_optional(&mut *transaction)
            .await?;
        turns::release(&mut transaction, id).await?;
        let project = row.as_ref().map(Project::from_row);
        if let Some(project) = &project {
            tell_of_project(&mut transaction, project, Happened::Updated).await?;
        }
        transaction.commit().await?;
        Ok(project)
    }

    /// The services of a project, by its name.
    pub(crate) async fn services_of(&self, project: &str) -> Result<Vec<Service>, Error> {
        let query = "SELECT s.* FROM services s JOIN projects p ON p.id = s.project_id WHERE p.name = $1 ORDER BY s.id";
        let rows = sqlx::query(query).bind(project).fetch_all(&self.readers).await?;
        rows.iter().map(Service::from_row).collect()
    }

    /// All services, or those of one project.
    pub(crate) async fn services(&self, project: Option<i64>) -> Result<Vec<Service>, Error> {
        let query = "SELECT * FROM services WHERE $1 IS NULL OR project_id = $1 ORDER BY id";
        let rows = sqlx::query(query).bind(project).fetch_all(&self.readers).await?;
        rows.iter().map(Service::from_row).collect()
    }

    /// Services that are built by the clock.
    pub(crate) async fn scheduled_services(&self) -> Result<Vec<Service>, Error> {
        let query = "SELECT * FROM services WHERE recipe LIKE '%\"schedules\":[{%' ORDER BY id";
        let rows = sqlx::query(query).fetch_all(&self.readers).await?;
        rows.iter().map(Service::from_row).collect()
    }

    /// A service by its number.
    pub(crate) async fn service(&self, id: i64) -> Result<Option<Service>, Error> {
        let row = sqlx::query("SELECT * FROM services WHERE id = $1")
            .bind(id)
            .fetch_optional(&self.readers)
            .await?;
        row.as_ref().map(Service::from_row).transpose()
    }

    /// Adds a service to a project.
    ///
    /// # Errors
    /// `Taken` when the project has one of this name.
    pub(crate) async fn add_service(&self, project: i64, name: &str, recipe: &Recipe) -> Result<Service, Error> {
        let mut transaction = self.writer.begin().await?;
        let row = sqlx::query(
            "INSERT INTO services (project_id, name, recipe, created_at) VALUES ($1, $2, $3, $4)
             ON CONFLICT DO NOTHING RETURNING *",
        )
        .bind(project)
        .bind(name)
        .bind(recipe.to_json())
        .bind(clock::now_ms())
        .fetch_optional(&mut *transaction)
        .await?;
        let service = row.as_ref().map(Service::from_row).ok_or(Error::Taken)??;
        let nothing = Recipe::default();
        tell_of_service(&mut transaction, &service, Happened::Created, Some(&nothing)).await?;
        transaction.commit().await?;
        Ok(service)
    }

    /// Removes a service that nothing was ever built of; `Taken` when something was.
    pub(crate) async fn remove_service(&self, id: i64) -> Result<bool, Error> {
        let mut transaction = self.writer.begin().await?;
        let row = sqlx::query("SELECT * FROM services WHERE id = $1").bind(id);
        let row = row.fetch_optional(&mut *transaction).await?;
        let Some(service) = row.as_ref().map(Service::from_row).transpose()? else {
            return Ok(false);
        };
        tell_of_service(&mut transaction, &service, Happened::Deleted, None).await?;
        let gone = sqlx::query("DELETE FROM services WHERE id = $1").bind(id);
        let gone = removed(gone.execute(&mut *transaction).await)?;
        transaction.commit().await?;
        Ok(gone)
    }

    /// Removes a project that has no services; `Taken` when it has some.
    pub(crate) async fn remove_project(&self, id: i64) -> Result<bool, Error> {
        let mut transaction = self.writer.begin().await?;
        let row = sqlx::query("SELECT * FROM projects WHERE id = $1").bind(id);
        let row = row.fetch_optional(&mut *transaction).await?;
        let Some(project) = row.as_ref().map(Project::from_row) else {
            return Ok(false);
        };
        tell_of_project(&mut transaction, &project, Happened::Deleted).await?;
        let gone = sqlx::query("DELETE FROM projects WHERE id = $1").bind(id);
        let gone = removed(gone.execute(&mut *transaction).await)?;
        transaction.commit().await?;
        Ok(gone)
    }

    /// Changes what a service is built of; builds that wait keep what they have.
    pub(crate) async fn change_service(&self, id: i64, recipe: &Recipe) -> Result<Option<Service>, Error> {
        let mut transaction = self.writer.begin().await?;
        let before = sqlx::query("SELECT * FROM services WHERE id = $1").bind(id);
        let Some(before) = before.fetch_optional(&mut *transaction).await? else {
            return Ok(None);
        };
        let row = sqlx::query("UPDATE services SET recipe = $2, changed_at = $3 WHERE id = $1 RETURNING *")
            .bind(id)
            .bind(recipe.to_json())
            .bind(clock::now_ms())
            .fetch_optional(&mut *transaction)
            .await?;
        let service = row.as_ref().map(Service::from_row).transpose()?;
        if let Some(service) = &service {
            let before = Service::from_row(&before).ok().map(|before| before.recipe);
            tell_of_service(&mut transaction, service, Happened::Updated, before.as_ref()).await?;
        }
        transaction.commit().await?;
        Ok(service)
    }
}

fn removed(done: Result<AnyQueryResult, sqlx::Error>) -> Result<bool, Error> {
    match done {
        Ok(done) => Ok(done.rows_affected() == 1),
        Err(sqlx::Error::Database(error)) if error.is_foreign_key_violation() => Err(Error::Taken),
        Err(error) => Err(error.into()),
    }
}

async fn tell_of_project(connection: &mut AnyConnection, project: &Project, happened: Happened) -> Result<(), Error> {
    let notice = notice::of_project(project, happened);
    outbox::add_once(connection, &Intent::notification(&notice)?).await
}

async fn tell_of_service(
    connection: &mut AnyConnection,
    service: &Service,
    happened: Happened,
    changed: Option<&Recipe>,
) -> Result<(), Error> {
    let project: String = sqlx::query_scalar("SELECT name FROM projects WHERE id = $1")
        .bind(service.project_id)
        .fetch_one(&mut *connection)
        .await?;
    let notice = notice::of_service(service, &project, happened, changed);
    outbox::add_once(connection, &Intent::notification(&notice)?).await
}

/// The number of a project, made if there is none of this name. Until the transaction has ended nobody else changes
/// anything about it: who plans for a project at the same time, in another prow, waits.
pub(super) async fn find_or_add_project(connection: &mut AnyConnection, name: &str) -> Result<i64, Error> {
    let query = "INSERT INTO projects (name, created_at) VALUES ($1, $2)
         ON CONFLICT (name) DO UPDATE SET name = excluded.name RETURNING *";
    let now = clock::now_ms();
    let row = sqlx::query(query)
        .bind(name)
        .bind(now)
        .fetch_one(&mut *connection)
        .await?;
    let project = Project::from_row(&row);
    if project.created_at == now {
        tell_of_project(connection, &project, Happened::Created).await?;
    }
    Ok(project.id)
}

pub(super) async fn find_or_add(connection: &mut AnyConnection, project_id: i64, name: &str) -> Result<i64, Error> {
    let query = "INSERT INTO services (project_id, name, created_at) VALUES ($1, $2, $3)
         ON CONFLICT (project_id, name) DO UPDATE SET name = excluded.name RETURNING *";
    let now = clock::now_ms();
    let query = sqlx::query(query).bind(project_id).bind(name).bind(now);
    let service = Service::from_row(&query.fetch_one(&mut *connection).await?)?;
    if service.created_at == now {
        tell_of_service(connection, &service, Happened::Created, Some(&Recipe::default())).await?;
    }
    Ok(service.id)
}
