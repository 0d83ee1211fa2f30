//! Where a ticket goes when something happens to what it is about. Pure.

/// A state of a team's tickets.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
pub(super) struct State {
    pub(super) id: String,
    pub(super) name: String,
    /// `triage`, `backlog`, `unstarted`, `started`, `completed`, `canceled`.
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) position: f64,
}

/// The state that a ticket is in.
#[derive(Debug, serde::Deserialize)]
pub(super) struct Now {
    pub(super) id: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
}

/// The kind of state that a ticket is in after an event, unless somebody has named one.
pub(super) fn usual(event: &str) -> Option<&'static str> {
    match event {
        "build.started" | "workflow.opened" => Some("started"),
        "workflow.merged" => Some("completed"),
        _ => None,
    }
}

/// Where a ticket is to be now, if that is somewhere else and not behind where it is.
pub(super) fn next<'a>(states: &'a [State], now: &Now, named: Option<&str>, usual: Option<&str>) -> Option<&'a State> {
    let found = match named {
        Some(name) => states.iter().find(|state| state.name.eq_ignore_ascii_case(name)),
        None => states
            .iter()
            .filter(|state| Some(state.kind.as_str()) == usual)
            .min_by(|a, b| a.position.total_cmp(&b.position)),
    }?;
    let is_ahead = match now.kind.as_str() {
        "completed" | "canceled" => false, // Somebody has decided about it.
        "started" => found.kind == "completed" || named.is_some(),
        _ => true,
    };
    (is_ahead && found.id != now.id).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(id: &str, kind: &str, position: f64) -> State {
        State {
            id: id.to_owned(),
            name: format!("The {id}"),
            kind: kind.to_owned(),
            position,
        }
    }

    #[test]
    fn a_ticket_moves_on_and_never_back() {
        let states = [
            state("todo", "unstarted", 1.0),
            state("review", "started", 3.0),
            state("doing", "started", 2.0),
            state("done", "completed", 4.0),
        ];
        let moved = |id: &str, kind: &str, named: Option<&str>, event: &str| {
            let now = Now {
                id: id.to_owned(),
                kind: kind.to_owned(),
            };
            next(&states, &now, named, usual(event)).map(|state| state.id.clone())
        };
        assert_eq!(
            moved("todo", "unstarted", None, "build.started").as_deref(),
            Some("doing")
        );
        assert_eq!(moved("doing", "started", None, "build.started"), None);
        assert_eq!(
            moved("review", "started", None, "build.started"),
            None,
            "a person is further"
        );
        assert_eq!(
            moved("doing", "started", None, "workflow.merged").as_deref(),
            Some("done")
        );
        assert_eq!(moved("done", "completed", None, "workflow.merged"), None);
        assert_eq!(moved("gone", "canceled", None, "build.started"), None);
        let named = Some("the review");
        assert_eq!(
            moved("doing", "started", named, "build.succeeded").as_deref(),
            Some("review")
        );
        assert_eq!(moved("doing", "started", Some("nowhere"), "build.succeeded"), None);
    }
}
