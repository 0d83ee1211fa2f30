//! What is said to people of a notification, whatever way it goes. Pure.

use contract::Notification;
use serde_json::Value;

/// The service that a project has if it names none.
const USUAL: &str = "default";

/// A notification in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Words {
    /// How it went.
    pub(crate) mood: Mood,
    /// Such as `Build failed: acme/app 3f2a9c1 on main`.
    pub(crate) title: String,
    /// What there is to say besides, a name and a text each.
    pub(crate) facts: Vec<(&'static str, String)>,
    /// Where people see it.
    pub(crate) link: Option<String>,
    /// The last lines of the log, if it failed.
    pub(crate) tail: Vec<String>,
}

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// It goes on.
    Pending,
    Good,
    Bad,
    /// It ended, and neither way.
    Neutral,
}

/// The part of an event's type after the point.
pub(crate) fn change(notification: &Notification) -> &str {
    notification.event_type.split_once('.').map_or("", |(_, change)| change)
}

/// Whether people want to be told: they do not of every change of a repository or a setting.
pub(crate) fn is_news(notification: &Notification) -> bool {
    match notification.resource.kind.as_str() {
        "Build" | "Deployment" => true,
        "Endpoint" => ["disabled", "test"].contains(&change(notification)),
        _ => false,
    }
}

/// What builds of a service are called as checks of their commits: `forge`, or `forge/<service>` where it has a name.
pub(crate) fn check_name(notification: &Notification) -> String {
    let service = text(notification, "service").filter(|service| *service != USUAL);
    service.map_or_else(|| "forge".to_owned(), |service| format!("forge/{service}"))
}

/// A text of what a notification carries.
pub(crate) fn text<'a>(notification: &'a Notification, name: &str) -> Option<&'a str> {
    notification.data.get(name).and_then(Value::as_str)
}

/// Where people see what it is about; nothing that a browser takes for something else than a page.
fn link(notification: &Notification) -> Option<String> {
    let kind = notification.resource.kind.to_lowercase();
    let link = notification.data.get("links")?.get(kind)?.as_str()?;
    let is_web = ["https://", "http://"].iter().any(|scheme| link.starts_with(scheme));
    is_web.then(|| link.to_owned())
}

// === impl Words ===

impl Words {
    pub(crate) fn new(notification: &Notification) -> Self {
        let change = change(notification);
        let mood = match change {
            "queued" | "started" => Mood::Pending,
            "succeeded" => Mood::Good,
            "failed" | "timed_out" | "lost" | "disabled" => Mood::Bad,
            _ => Mood::Neutral,
        };
        let mut title = format!(
            "{} {}: {}",
            notification.resource.kind,
            change.replace('_', " "),
            notification.resource.name
        );
        if let Some(branch) = text(notification, "branch") {
            title.push_str(" on ");
            title.push_str(branch);
        }
        let facts = [
            ("Reason", "reason"),
            ("Failure", "failure"),
            ("Detail", "detail"),
            ("Image", "image"),
            ("Commit", "commit"),
        ];
        let mut facts: Vec<_> = facts
            .into_iter()
            .filter_map(|(name, key)| Some((name, text(notification, key)?.to_owned())))
            .collect();
        // Of a build it has parts.
        if let Some(Value::Object(failure)) = notification.data.get("failure") {
            let of = |key: &str| match failure.get(key)? {
                Value::String(text) => Some(text.clone()),
                Value::Number(number) => Some(number.to_string()),
                Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
            };
            let parts = [("Failure", "kind"), ("Step", "step"), ("Exit code", "exit_code")];
            facts.extend(parts.into_iter().filter_map(|(name, key)| Some((name, of(key)?))));
        }
        let link = link(notification);
        facts.extend(link.iter().map(|link| ("See", link.clone())));
        let tail = notification.data.get("log_tail").and_then(Value::as_array);
        let tail = tail.into_iter().flatten().filter_map(Value::as_str);
        Self {
            mood,
            title,
            facts,
            link,
            tail: tail.map(ToOwned::to_owned).collect(),
        }
    }

    /// The end of the log, in which nothing ends a block of Markdown that it stands in.
    pub(crate) fn unfenced_tail(&self) -> String {
        self.tail.join("\n").replace("```", "'''")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::Message as _;
    use serde_json::json;

    #[test]
    fn a_notification_is_a_title_and_what_is_known() {
        let mut notification = Notification::from_bytes(include_bytes!(
            "../../../contracts/examples/notification/build-succeeded.json"
        ))
        .unwrap();
        notification.event_type = "build.timed_out".to_owned();
        notification.data.insert("branch".to_owned(), json!("main"));
        notification.data.insert("reason".to_owned(), json!("it took too long"));
        let words = Words::new(&notification);
        assert_eq!(words.title, "Build timed out: org/repo#42 on main");
        assert_eq!(words.mood, Mood::Bad);
        assert_eq!(words.facts[0], ("Reason", "it took too long".to_owned()));
        let links = json!({"build": "https://ci.example.org/7"});
        notification.data.insert("links".to_owned(), links);
        notification.data.insert(
            "failure".to_owned(),
            json!({"kind": "build_failed", "step": "test", "exit_code": 3}),
        );
        let words = Words::new(&notification);
        let facts: Vec<_> = words
            .facts
            .iter()
            .map(|(name, text)| format!("{name} {text}"))
            .collect();
        for expected in [
            "Failure build_failed",
            "Step test",
            "Exit code 3",
            "See https://ci.example.org/7",
        ] {
            assert!(facts.iter().any(|fact| fact == expected), "{expected}: {facts:?}");
        }
        notification
            .data
            .insert("links".to_owned(), json!({"build": "javascript:x"}));
        assert_eq!(Words::new(&notification).link, None);
        notification.event_type = "nonsense".to_owned();
        assert_eq!(Words::new(&notification).mood, Mood::Neutral);
    }
}
