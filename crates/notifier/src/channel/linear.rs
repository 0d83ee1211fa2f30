//! Linear: tickets that a change names say what has become of it, and move with it.
//!
//! <https://linear.app/developers/graphql>; its limits: <https://linear.app/developers/rate-limiting>. A comment of each thing
//! that happens to a ticket is made with an id that follows from both, so that it is never made twice.

mod moves;

use super::{Telling, Told, cut};
use crate::{outcome::Reply, wording::Words};
use bus::clock;
use chassis::Secret;
use contract::Notification;
use moves::{Now, State};
use reqwest::Method;
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use url::Url;
use uuid::Builder;

/// A workspace.
#[derive(Clone, Debug)]
pub(crate) struct Linear {
    api: Url,
    key: Secret,
    /// Names of states by events, where they are not the usual ones.
    states: Arc<HashMap<String, String>>,
    teams: Arc<Mutex<HashMap<String, Team>>>,
}

/// The states of a team's tickets.
#[derive(Clone, Debug)]
struct Team {
    states: Vec<State>,
    /// Until when they are not asked for again, in milliseconds since the Unix epoch.
    until: i64,
}

/// A ticket.
#[derive(Debug, serde::Deserialize)]
struct Issue {
    id: String,
    team: Named,
    state: Now,
}

#[derive(Debug, serde::Deserialize)]
struct Named {
    id: String,
}

/// Why a question has no answer.
enum Trouble {
    /// There is no such thing.
    Missing,
    /// It is refused, in Linear's words.
    Refused(String),
    Other(Reply),
}

const ISSUE: &str = "query($id: String!) { issue(id: $id) { id team { id } state { id type } } }";
const STATES: &str = "query($id: String!) { team(id: $id) { states { nodes { id name type position } } } }";
const MOVE: &str =
    "mutation($id: String!, $state: String!) { issueUpdate(id: $id, input: { stateId: $state }) { success } }";
const COMMENT: &str = "mutation($id: String!, $issue: String!, $body: String!) {
    commentCreate(input: { id: $id, issueId: $issue, body: $body }) { success } }";
const EDIT: &str =
    "mutation($id: String!, $body: String!) { commentUpdate(id: $id, input: { body: $body }) { success } }";

/// States are asked for again after this, in milliseconds.
const FRESH_MS: i64 = 3_600_000;
/// Teams whose states are kept.
const MOST: usize = 1_000;
/// Most characters of a comment.
const LONGEST: usize = 10_000;
/// Without a word, this is waited after a limit.
const PAUSE: Duration = Duration::from_mins(1);

// === impl Linear ===

impl Linear {
    /// With the URL of the API, and names of states by events where they are not the usual ones.
    pub(crate) fn new(api: Url, key: Secret, states: HashMap<String, String>) -> Self {
        let (states, teams) = (Arc::new(states), Arc::default());
        Self {
            api,
            key,
            states,
            teams,
        }
    }

    pub(super) const fn secret(&self) -> &Secret {
        &self.key
    }

    pub(super) const fn url(&self) -> &Url {
        &self.api
    }

    pub(super) async fn tell(&self, telling: &Telling<'_>) -> Result<Reply, Reply> {
        let notification = telling.notification()?;
        let tickets = notification.data.get("tickets").and_then(Value::as_array);
        let tickets: Vec<_> = tickets.into_iter().flatten().filter_map(Value::as_str).collect();
        if tickets.is_empty() || !is_told(&notification.event_type) {
            return Ok(Reply::NothingToSay);
        }
        let (mut said, mut refused) = (Reply::NothingToSay, None);
        for ticket in tickets {
            match self.about(telling, &notification, ticket).await {
                Ok(true) => said = Reply::Status(200, None, String::new()),
                Ok(false) => {}
                // What is refused of one ticket says nothing of the others.
                Err(Reply::Unfit(why)) => refused = Some(Reply::Unfit(format!("{ticket}: {why}"))),
                Err(reply) => return Err(reply),
            }
        }
        refused.map_or(Ok(said), Err)
    }

    /// Says it at a ticket; whether there was something to say.
    async fn about(&self, telling: &Telling<'_>, notification: &Notification, ticket: &str) -> Result<bool, Reply> {
        let thing = format!("{ticket}/{}", notification.resource.uid);
        let before: Option<Told> = telling.notes.read(&thing).await?;
        if before.is_some_and(|told| told.makes_late(notification)) {
            return Ok(false);
        }
        let found = match self.ask(telling, ISSUE, json!({"id": ticket})).await {
            Ok(data) => data.get("issue").cloned().unwrap_or_default(),
            Err(Trouble::Missing) => return Ok(false), // It looked like a ticket.
            Err(trouble) => return Err(trouble.into()),
        };
        let Ok(issue) = serde_json::from_value::<Issue>(found) else {
            return Ok(false);
        };
        self.shift(telling, notification, &issue).await?;
        self.comment(telling, notification, &issue, &thing).await?;
        telling.notes.write(&thing, &Told::new(notification)).await;
        Ok(true)
    }

    /// Moves a ticket to where it belongs now; never back.
    async fn shift(&self, telling: &Telling<'_>, notification: &Notification, issue: &Issue) -> Result<(), Reply> {
        let event = notification.event_type.as_str();
        let (named, usual) = (self.states.get(event), moves::usual(event));
        if named.is_none() && usual.is_none() {
            return Ok(());
        }
        let states = self.states_of(telling, &issue.team.id).await?;
        let Some(next) = moves::next(&states, &issue.state, named.map(String::as_str), usual) else {
            return Ok(());
        };
        let moved = json!({"id": issue.id, "state": next.id});
        self.ask(telling, MOVE, moved).await.map(drop).map_err(Reply::from)
    }

    async fn comment(
        &self,
        telling: &Telling<'_>,
        notification: &Notification,
        issue: &Issue,
        thing: &str,
    ) -> Result<(), Reply> {
        let (id, body) = (comment_id(thing), comment(notification));
        let edited = json!({"id": id, "body": body});
        match self.ask(telling, EDIT, edited).await {
            Ok(_) => return Ok(()),
            Err(Trouble::Missing | Trouble::Refused(_)) => {} // There is none yet.
            Err(Trouble::Other(reply)) => return Err(reply),
        }
        let made = json!({"id": id, "issue": issue.id, "body": body});
        self.ask(telling, COMMENT, made).await.map(drop).map_err(Reply::from)
    }

    async fn states_of(&self, telling: &Telling<'_>, team: &str) -> Result<Vec<State>, Reply> {
        let now = clock::now_ms();
        if let Some(known) = self.teams().get(team).filter(|known| known.until > now) {
            return Ok(known.states.clone());
        }
        let data = self.ask(telling, STATES, json!({"id": team})).await?;
        let nodes = data.pointer("/team/states/nodes").cloned().unwrap_or_default();
        let states: Vec<State> = serde_json::from_value(nodes).unwrap_or_default();
        let known = Team {
            states: states.clone(),
            until: now + FRESH_MS,
        };
        let mut teams = self.teams();
        if teams.len() >= MOST {
            teams.clear();
        }
        teams.insert(team.to_owned(), known);
        Ok(states)
    }

    /// Asks a question; what stands under `data`.
    async fn ask(&self, telling: &Telling<'_>, query: &str, variables: Value) -> Result<Value, Trouble> {
        // A key stands for itself, a token of OAuth with the word.
        let key = ("authorization".to_owned(), self.key.expose().to_owned());
        let body = json!({"query": query, "variables": variables});
        let asked = telling
            .ask(Method::POST, self.api.clone(), vec![key], Some(&body))
            .await;
        let answer = asked.map_err(Trouble::Other)?;
        let mut said: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        let error = said.pointer("/errors/0");
        let code = error
            .and_then(|error| error.pointer("/extensions/code"))
            .and_then(Value::as_str);
        let message = error.and_then(|error| error.get("message")).and_then(Value::as_str);
        let pause = answer.retry_after.or(answer.reset_after).unwrap_or(PAUSE);
        Err(match (answer.status, code, message) {
            (429, ..) | (_, Some("RATELIMITED"), _) => Trouble::Other(Reply::Status(429, Some(pause), answer.body)),
            (401 | 403, ..) | (_, Some("AUTHENTICATION_ERROR"), _) => {
                Trouble::Other(Reply::Refused("Linear does not accept its key (linear.key)".to_owned()))
            }
            (_, _, Some(message)) if message.starts_with("Entity not found") => Trouble::Missing,
            (_, _, Some(message)) if answer.status < 500 => Trouble::Refused(cut(message, 500)),
            (200, None, None) => match said.get_mut("data").map(Value::take) {
                // Mutations say so besides.
                Some(Value::Object(data)) if data.values().any(|said| said.get("success") == Some(&false.into())) => {
                    Trouble::Refused("that it has not done it".to_owned())
                }
                Some(data) if !data.is_null() => return Ok(data),
                _ => Trouble::Other(Reply::Nothing("Linear's answer cannot be understood".to_owned())),
            },
            _ => Trouble::Other(answer.into()),
        })
    }

    fn teams(&self) -> MutexGuard<'_, HashMap<String, Team>> {
        self.teams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Trouble ===

impl From<Trouble> for Reply {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Missing => Self::Unfit("Linear does not know what it has just told of".to_owned()),
            Trouble::Refused(why) => Self::Unfit(format!("Linear says {why}")),
            Trouble::Other(reply) => reply,
        }
    }
}

/// Whether it is said at tickets that an event has happened.
fn is_told(event: &str) -> bool {
    let (kind, change) = event.split_once('.').unwrap_or_default();
    match kind {
        "build" | "deployment" => change != "queued",
        "workflow" => ["opened", "merged", "closed"].contains(&change),
        _ => false,
    }
}

fn comment(notification: &Notification) -> String {
    let words = Words::new(notification);
    let facts = words.facts.iter().map(|(name, text)| format!("\n- {name}: {text}"));
    let mut text: String = [format!("**{}**", words.title)].into_iter().chain(facts).collect();
    if let Some(url) = notification
        .data
        .get("pull_request")
        .and_then(|pull| pull.get("url")?.as_str())
    {
        text.push_str("\n- ");
        text.push_str(url);
    }
    if !words.tail.is_empty() {
        text.push_str("\n\n```\n");
        text.push_str(&words.unfenced_tail());
        text.push_str("\n```");
    }
    cut(&text, LONGEST)
}

/// Linear takes ids that look random (UUID version 4, RFC 9562); the same thing always has the same.
fn comment_id(thing: &str) -> String {
    let digest = seal::digest(thing.as_bytes());
    let number = digest.get(..32).and_then(|hex| u128::from_str_radix(hex, 16).ok());
    Builder::from_random_bytes(number.unwrap_or_default().to_be_bytes())
        .into_uuid()
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_has_one_id_that_looks_random() {
        let id: uuid::Uuid = comment_id("ABC-1/b").parse().unwrap();
        assert_eq!(id.get_version_num(), 4);
        assert_eq!(comment_id("ABC-1/b"), id.to_string());
        assert_ne!(comment_id("ABC-1/c"), id.to_string());
    }
}
