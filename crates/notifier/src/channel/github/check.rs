//! Check runs of GitHub: a build at its commit, with what went wrong and where. Only an app may make them.
//!
//! <https://docs.github.com/en/rest/checks/runs>.

use super::{Github, Place};
use crate::{
    channel::{Telling, Told, cut},
    client::Answer,
    outcome::Reply,
    wording::{self, Words},
};
use contract::Notification;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;

/// Check runs of all commits of a GitHub.
#[derive(Clone, Debug)]
pub(crate) struct GithubCheck(pub(crate) Github);

/// Which check run is about a build, and what it says of it.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    id: u64,
    told: Told,
}

/// What is said of a place in a file.
#[derive(Debug, PartialEq, Eq)]
struct Annotation<'a> {
    path: &'a str,
    line: u32,
    text: &'a str,
}

/// Most characters of a title; of a text GitHub takes 65,535.
const LONGEST: usize = 250;
/// Most annotations of a request, by GitHub's reference.
const ANNOTATIONS: usize = 50;

// === impl GithubCheck ===

impl GithubCheck {
    pub(in crate::channel) const fn url(&self) -> &Url {
        self.0.url()
    }

    pub(in crate::channel) async fn tell(&self, telling: &Telling<'_>) -> Result<Reply, Reply> {
        let notification = telling.notification()?;
        let (Some(run), Some(place)) = (run(&notification), self.0.place(&notification)) else {
            return Ok(Reply::NothingToSay);
        };
        let uid = &notification.resource.uid;
        let before: Option<Note> = telling.notes.read(uid).await?;
        if before.as_ref().is_some_and(|note| note.told.makes_late(&notification)) {
            return Ok(Reply::NothingToSay);
        }
        let known = match before {
            Some(note) => Some(note.id),
            None => match self
                .find(telling, place, &wording::check_name(&notification), uid)
                .await?
            {
                Ok(found) => found,
                Err(answer) => return Ok(self.0.judge(answer, place, "checks")),
            },
        };
        let answer = match known {
            Some(id) => {
                let path = format!("check-runs/{id}");
                self.0.ask(telling, place, Method::PATCH, &path, Some(&run)).await?
            }
            None => {
                self.0
                    .ask(telling, place, Method::POST, "check-runs", Some(&run))
                    .await?
            }
        };
        let made: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        let id = known.or_else(|| made.get("id")?.as_u64());
        if let (200 | 201, Some(id)) = (answer.status, id) {
            let told = Told::new(&notification);
            telling.notes.write(uid, &Note { id, told }).await;
        }
        Ok(self.0.judge(answer, place, "checks"))
    }

    /// The check run of a build that somebody has made and died before noting it.
    async fn find(
        &self,
        telling: &Telling<'_>,
        place: Place<'_>,
        name: &str,
        uid: &str,
    ) -> Result<Result<Option<u64>, Answer>, Reply> {
        let name: String = url::form_urlencoded::byte_serialize(name.as_bytes()).collect();
        let path = format!("commits/{}/check-runs?filter=all&check_name={name}", place.commit);
        let answer = self.0.ask(telling, place, Method::GET, &path, None).await?;
        if answer.status != 200 {
            return Ok(Err(answer));
        }
        let found: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        let runs = found.get("check_runs").and_then(Value::as_array).into_iter().flatten();
        let ours = runs
            .into_iter()
            .find(|run| run.get("external_id").and_then(Value::as_str) == Some(uid));
        Ok(Ok(ours.and_then(|run| run.get("id")?.as_u64())))
    }
}

/// The check run that a notification makes of its build.
fn run(notification: &Notification) -> Option<Value> {
    if notification.resource.kind != "Build" {
        return None;
    }
    let (status, conclusion) = match wording::change(notification) {
        "queued" => ("queued", None),
        "started" => ("in_progress", None),
        "succeeded" => ("completed", Some("success")),
        "failed" | "lost" => ("completed", Some("failure")),
        "timed_out" => ("completed", Some("timed_out")),
        "cancelled" | "superseded" => ("completed", Some("cancelled")),
        _ => return None,
    };
    let words = Words::new(notification);
    let facts: Vec<_> = words
        .facts
        .iter()
        .map(|(name, text)| format!("- **{name}:** {text}"))
        .collect();
    let annotations: Vec<_> = match conclusion {
        Some("failure" | "timed_out") => words.tail.iter().filter_map(|line| annotation(line)).collect(),
        _ => Vec::new(),
    };
    let annotations: Vec<_> = annotations.iter().take(ANNOTATIONS).map(Annotation::shown).collect();
    let mut run = json!({
        "name": wording::check_name(notification),
        "head_sha": notification.correlation.commit,
        "external_id": notification.resource.uid,
        "status": status,
        "output": {
            "title": cut(&words.title, LONGEST),
            "summary": if facts.is_empty() { words.title.clone() } else { facts.join("\n") },
            "annotations": annotations,
        },
    });
    let fields = run.as_object_mut()?;
    if let Some(link) = &words.link {
        fields.insert("details_url".to_owned(), json!(link));
    }
    if let Some(conclusion) = conclusion {
        fields.insert("conclusion".to_owned(), json!(conclusion));
        fields.insert("completed_at".to_owned(), json!(notification.timestamp));
    }
    if !words.tail.is_empty() {
        let text = format!("```text\n{}\n```", words.unfenced_tail());
        fields
            .get_mut("output")?
            .as_object_mut()?
            .insert("text".to_owned(), json!(text));
    }
    Some(run)
}

/// The place that a line of a compiler or linter names: `path:line[:column][: text]`, `--> path:line:column`.
fn annotation(line: &str) -> Option<Annotation<'_>> {
    let line = line.trim();
    let place = line.strip_prefix("--> ").unwrap_or(line);
    let (path, rest) = place.split_once(':')?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (number, rest) = rest.split_at_checked(digits)?;
    let is_path = path.contains('.')
        && !path.starts_with(['/', '.', '-'])
        && path
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-/+@".contains(&b));
    let ends = rest.is_empty() || rest.starts_with(':');
    let text = rest.trim_start_matches(|c: char| c == ':' || c == ' ' || c.is_ascii_digit());
    let line_number = number.parse().ok().filter(|number| *number > 0);
    (is_path && ends).then_some(())?;
    Some(Annotation {
        path,
        line: line_number?,
        text: if text.is_empty() { line } else { text },
    })
}

// === impl Annotation ===

impl Annotation<'_> {
    fn shown(&self) -> Value {
        json!({
            "path": self.path, "start_line": self.line, "end_line": self.line, "annotation_level": "failure",
            "message": self.text,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::Message as _;

    #[test]
    fn lines_that_name_a_place_are_annotations() {
        let found = |line| annotation(line).map(|found| format!("{} {} {}", found.path, found.line, found.text));
        for (line, expected) in [
            (
                "src/main.c:3:5: error: expected ';'",
                "src/main.c 3 error: expected ';'",
            ),
            ("  --> src/main.rs:7:1", "src/main.rs 7 --> src/main.rs:7:1"),
            ("app.py:12: undefined name 'x'", "app.py 12 undefined name 'x'"),
        ] {
            assert_eq!(found(line).as_deref(), Some(expected));
        }
        for line in [
            "12:30:01 started",
            "http://h:80/x",
            "/etc/passwd:1: x",
            "../x.c:1: y",
            "error: it failed",
            "x.c:0: y",
            "registry.example:5000/x",
        ] {
            assert_eq!(found(line), None, "{line}");
        }
    }

    #[test]
    fn a_build_that_failed_is_a_check_run_that_says_where() {
        let mut notification = Notification::from_bytes(include_bytes!(
            "../../../../../contracts/examples/notification/build-succeeded.json"
        ))
        .unwrap();
        notification.event_type = "build.failed".to_owned();
        notification
            .data
            .insert("log_tail".to_owned(), json!(["x.c:3: no ```", "make: *** [x] Error 1"]));
        let run = run(&notification).unwrap();
        assert_eq!(
            (&run["status"], &run["conclusion"]),
            (&json!("completed"), &json!("failure"))
        );
        assert_eq!(run["output"]["annotations"][0]["path"], "x.c");
        assert_eq!(run["output"]["annotations"].as_array().unwrap().len(), 1);
        assert_eq!(
            run["output"]["text"],
            "```text\nx.c:3: no '''\nmake: *** [x] Error 1\n```"
        );
        notification.event_type = "build.started".to_owned();
        assert_eq!(super::run(&notification).unwrap()["status"], "in_progress");
        notification.event_type = "build.odd".to_owned();
        assert_eq!(super::run(&notification), None);
    }
}
