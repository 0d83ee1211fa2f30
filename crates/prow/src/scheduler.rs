//! Builds services when their time has come.
//!
//! The name of a build follows from the service and the time, so that several prows, or one that was started again, begin
//! it once.

use crate::{
    begin,
    dispatcher::Kick,
    planner,
    service::{Schedule, Service},
    store::{Error, Store},
};
use jiff::Timestamp;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often it is looked whether something is due.
const EVERY: Duration = Duration::from_secs(10);

/// Looks at the clock.
#[derive(Clone)]
pub(crate) struct Scheduler {
    store: Store,
    kick: Kick,
}

// === impl Scheduler ===

impl Scheduler {
    pub(crate) fn new(store: &Store, kick: &Kick) -> Self {
        Self {
            store: store.clone(),
            kick: kick.clone(),
        }
    }

    pub(crate) async fn run(self, stopping: CancellationToken) {
        while !stopping.is_cancelled() {
            if let Err(error) = self.round(Timestamp::now()).await {
                tracing::warn!(error = %chassis::chain(&error), "cannot build what is due");
            }
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = stopping.cancelled() => {}
            }
        }
    }

    async fn round(&self, now: Timestamp) -> Result<(), Error> {
        for service in self.store.scheduled_services().await? {
            for schedule in &service.recipe.schedules {
                let due = schedule.cron.due(now);
                // What was due before anybody wanted it is not.
                let due = due.filter(|due| due.as_millisecond() > service.changed_at);
                if let Some(due) = due {
                    Box::pin(self.begin(&service, schedule, due)).await?;
                }
            }
        }
        Ok(())
    }

    async fn begin(&self, service: &Service, schedule: &Schedule, due: Timestamp) -> Result<(), Error> {
        let newest = begin::newest_of_ref(&self.store, service.id, &schedule.git_ref).await?;
        let Some((newest, git_ref)) = newest else {
            let (cron, wanted) = (schedule.cron.as_str(), &schedule.git_ref);
            tracing::warn!(
                service = service.name,
                cron,
                git_ref = wanted,
                "nothing was ever built of it: its schedule waits"
            );
            return Ok(());
        };
        let times = format!("{} {} {due}", schedule.cron.as_str(), schedule.git_ref);
        let (project, source) = (newest.message.project_name, newest.message.source);
        let why = planner::Why::Schedule(&times);
        let message = planner::not_pushed(
            project,
            service,
            source,
            newest.message.commit_hash,
            Some(&git_ref),
            why,
        );
        if self.store.build(message.id.as_str()).await?.is_none() {
            let build = begin::begin(&self.store, &self.kick, service, message, Some(git_ref)).await?;
            tracing::info!(build.id = %build.message.id, service = service.name, %due, "queued a build that was due");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Database;
    use std::path::Path;

    async fn store(folder: &Path) -> Store {
        Store::open(&Database::Folder(folder.to_owned())).await.unwrap()
    }

    #[tokio::test]
    async fn what_is_due_is_built_once_of_the_newest_commit_that_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path()).await;
        let scheduler = Scheduler::new(&store, &Kick::default());
        let project = store.add_project("o/r", None).await.unwrap();
        let recipe = r#"{"schedules": [{"cron": "0 3 * * *", "git_ref": "main"}]}"#;
        let recipe = serde_json::from_str(recipe).unwrap();
        let service = store.add_service(project.id, "nightly", &recipe).await.unwrap();
        let builds = async || {
            store
                .builds(&crate::store::Page {
                    limit: 10,
                    ..Default::default()
                })
                .await
                .unwrap()
        };

        // Tomorrow, so that it was wanted before.
        let tomorrow = Timestamp::now() + jiff::SignedDuration::from_hours(24);
        let day = tomorrow.to_string().chars().take(10).collect::<String>();
        let at = |time: &str| format!("{day}T{time}Z").parse::<Timestamp>().unwrap();
        scheduler.round(at("03:00:00")).await.unwrap();
        assert!(builds().await.is_empty(), "nothing is known of its branch");

        let (name, source) = ("o/r".parse().unwrap(), "https://h/o/r.git".parse().unwrap());
        let why = planner::Why::Asked(uuid::Uuid::nil());
        let message = planner::not_pushed(
            name,
            &service,
            source,
            "abcdef".parse().unwrap(),
            Some("refs/heads/main"),
            why,
        );
        begin::begin(
            &store,
            &scheduler.kick,
            &service,
            message,
            Some("refs/heads/main".to_owned()),
        )
        .await
        .unwrap();
        scheduler.round(at("02:59:59")).await.unwrap();
        assert_eq!(builds().await.len(), 1, "it is not due yet");
        for time in ["03:00:00", "03:00:10", "03:59:00"] {
            scheduler.round(at(time)).await.unwrap();
        }
        let built = builds().await;
        assert_eq!(built.len(), 2);
        let metadata = built[0].message.metadata.clone().unwrap();
        assert_eq!(metadata.triggered_by.as_deref(), Some("schedule"));
        assert_eq!(
            (built[0].service.as_str(), built[0].message.commit_hash.as_str()),
            ("nightly", "abcdef")
        );

        // What was due before the recipe said so is not.
        let then = Timestamp::now();
        let now = then.to_zoned(jiff::tz::TimeZone::UTC);
        let recipe = format!(
            r#"{{"schedules": [{{"cron": "{} {} * * *", "git_ref": "main"}}]}}"#,
            now.minute(),
            now.hour()
        );
        store
            .change_service(service.id, &serde_json::from_str(&recipe).unwrap())
            .await
            .unwrap();
        scheduler.round(then).await.unwrap();
        assert_eq!(builds().await.len(), 2);
    }
}
