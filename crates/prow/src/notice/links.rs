//! Where people find what a notification is about: on a page of the operator's own, or in the API.

use contract::route;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

/// Addresses with `{id}`, `{project}` and `{commit}` in them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Links {
    pub(crate) build: Option<String>,
    pub(crate) deployment: Option<String>,
}

// === impl Links ===

impl Links {
    /// The notification with its address as `data.links`; nothing, if there is none for it, or no room.
    pub(crate) fn add(&self, payload: &str) -> Option<String> {
        if *self == Self::default() {
            return None;
        }
        let mut notification: Value = serde_json::from_str(payload).ok()?;
        let (kind, template) = match notification.pointer("/resource/kind")?.as_str()? {
            "Build" => ("build", self.build.as_ref()?),
            "Deployment" => ("deployment", self.deployment.as_ref()?),
            _ => return None,
        };
        let text = |pointer: &str| {
            notification
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let link = template
            .replace("{id}", &encoded(text("/resource/uid")))
            .replace("{project}", &encoded(text("/resource/namespace")))
            .replace("{commit}", &encoded(text("/correlation/commit")));
        let data = notification.get_mut("data")?.as_object_mut()?;
        data.insert("links".to_owned(), json!({ kind: link }));
        let linked = notification.to_string();
        (linked.len() <= route::notifications().limits.message_bytes).then_some(linked)
    }
}

/// What is wrong with an address, if anything is.
pub(crate) fn mistake(template: &str) -> Option<&'static str> {
    let is_web = ["https://", "http://"]
        .iter()
        .any(|scheme| template.starts_with(scheme));
    let fits = is_web && template.contains("{id}") && template.len() <= 500 && !template.contains(char::is_whitespace);
    (!fits).then_some("expected an address such as https://ci.example.org/builds/{id}")
}

/// What stands in a path as it is (RFC 3986, section 2.3), and what parts it.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, PLAIN).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::{Message as _, Notification};

    const SUCCEEDED: &str = include_str!("../../../../contracts/examples/notification/build-succeeded.json");

    #[test]
    fn a_build_has_the_address_that_the_operator_gave() {
        let links = Links {
            build: Some("https://ci.example.org/{project}/{id}?at={commit}".to_owned()),
            deployment: None,
        };
        let plain: Value = serde_json::from_str(SUCCEEDED).unwrap();
        let linked: Value = serde_json::from_str(&links.add(SUCCEEDED).unwrap()).unwrap();
        let link = linked["data"]["links"]["build"].as_str().unwrap();
        let (uid, namespace) = (
            plain["resource"]["uid"].as_str(),
            plain["resource"]["namespace"].as_str(),
        );
        assert!(
            link.contains(uid.unwrap()) && link.contains(namespace.unwrap()),
            "{link}"
        );
        assert_eq!(linked["eventId"], plain["eventId"]);
        assert!(Notification::from_bytes(linked.to_string().as_bytes()).is_ok());
        assert_eq!(Links::default().add(SUCCEEDED), None);
        let deployments = Links {
            deployment: links.build,
            build: None,
        };
        assert_eq!(deployments.add(SUCCEEDED), None);
    }

    #[test]
    fn what_is_no_address_is_refused() {
        assert_eq!(mistake("https://ci.example.org/b/{id}"), None);
        for odd in [
            "ci.example.org/{id}",
            "https://ci.example.org/",
            "javascript:{id}",
            "https://a b/{id}",
        ] {
            assert!(mistake(odd).is_some(), "{odd}");
        }
        assert_eq!(encoded("a b/ü?"), "a%20b/%C3%BC%3F");
    }
}
