//! Slack: a message for each thing that happens to something, which changes with it.
//!
//! With an incoming webhook (<https://api.slack.com/messaging/webhooks>) each change is a message of its own; with a bot's
//! token the first message of a build is edited (<https://api.slack.com/methods/chat.update>). Limits:
//! <https://api.slack.com/apis/rate-limits>.

use super::{Telling, Told, cut, escaped};
use crate::{
    client::Answer,
    outcome::Reply,
    wording::{Mood, Words, is_news},
};
use chassis::Secret;
use contract::Notification;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use url::Url;

/// A channel of Slack.
#[derive(Clone, Debug)]
pub(crate) enum Slack {
    /// By an incoming webhook.
    Webhook(Url),
    /// By a bot, in this channel.
    Bot(Bot, String),
}

/// Somebody who may write in channels of Slack.
#[derive(Clone, Debug)]
pub(crate) struct Bot {
    api: Url,
    token: Secret,
}

/// What Slack says of a call.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Said {
    ok: bool,
    error: String,
    /// Names the message in its channel.
    ts: String,
    channel: String,
}

/// Which message is about a thing, and what it says of it.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    ts: String,
    channel: String,
    /// What the channel was called in the settings then.
    #[serde(default)]
    named: String,
    told: Told,
}

/// Most characters of a block of text, by Slack's reference.
const LONGEST: usize = 3_000;

// === impl Slack ===

impl Slack {
    pub(super) const fn secret(&self) -> Option<&Secret> {
        match self {
            Self::Webhook(_) => None,
            Self::Bot(bot, _) => Some(&bot.token),
        }
    }

    pub(super) const fn url(&self) -> &Url {
        match self {
            Self::Webhook(url) => url,
            Self::Bot(bot, _) => &bot.api,
        }
    }

    pub(super) async fn tell(&self, telling: &Telling<'_>) -> Result<Reply, Reply> {
        match self {
            Self::Webhook(url) => post(url, telling).await,
            Self::Bot(bot, channel) => bot.keep_current(telling, channel).await,
        }
    }
}

/// By an incoming webhook.
async fn post(url: &Url, telling: &Telling<'_>) -> Result<Reply, Reply> {
    let notification = telling.notification()?;
    if !is_news(&notification) || telling.notes.is_late(&notification).await? {
        return Ok(Reply::NothingToSay);
    }
    let message = message(&notification);
    let answer = telling.post(url.clone(), Vec::new(), &with(&message, [])).await?;
    if answer.status == 200 {
        telling.notes.told(&notification).await;
    }
    Ok(answer.into())
}

// === impl Bot ===

impl Bot {
    pub(crate) const fn new(api: Url, token: Secret) -> Self {
        Self { api, token }
    }

    /// One of the channels that it may write in.
    pub(crate) const fn channel(self, name: String) -> Slack {
        Slack::Bot(self, name)
    }

    /// Changes the message there is about it, or makes one.
    async fn keep_current(&self, telling: &Telling<'_>, channel: &str) -> Result<Reply, Reply> {
        let notification = telling.notification()?;
        if !is_news(&notification) {
            return Ok(Reply::NothingToSay);
        }
        let uid = &notification.resource.uid;
        let before: Option<Note> = telling.notes.read(uid).await?;
        let before = before.filter(|_| notification.resource.kind != "Endpoint"); // Each of those is a message of its own.
        if before.as_ref().is_some_and(|note| note.told.makes_late(&notification)) {
            return Ok(Reply::NothingToSay);
        }
        // Who was given another channel says it there.
        let before = before.filter(|note| note.named.is_empty() || note.named == channel);
        let message = message(&notification);
        let mut edited = None;
        if let Some(note) = &before {
            let message = with(&message, [("ts", &note.ts), ("channel", &note.channel)]);
            let (answer, said) = self.call(telling, "chat.update", &message).await?;
            // Whoever removed the message, or forbids to edit old ones, gets a new one.
            let gone = [
                "message_not_found",
                "cant_update_message",
                "edit_window_closed",
                "channel_not_found",
                "is_archived",
                "not_in_channel",
            ];
            edited = (!gone.contains(&said.error.as_str())).then_some((answer, said));
        }
        let (answer, said) = if let Some(edited) = edited {
            edited
        } else {
            let message = with(&message, [("channel", channel)]);
            self.call(telling, "chat.postMessage", &message).await?
        };
        if answer.status == 200 && said.ok {
            let note = Note {
                ts: said.ts.clone(),
                channel: said.channel.clone(),
                named: channel.to_owned(),
                told: Told::new(&notification),
            };
            telling.notes.write(uid, &note).await;
        }
        Ok(judge(answer, &said))
    }

    async fn call(&self, telling: &Telling<'_>, method: &str, body: &Value) -> Result<(Answer, Said), Reply> {
        let url = self.api.join(method).map_err(|error| Reply::Unfit(error.to_string()))?;
        let bearer = ("authorization".to_owned(), format!("Bearer {}", self.token.expose()));
        let answer = telling.post(url, vec![bearer], body).await?;
        let said = serde_json::from_str(&answer.body).unwrap_or_default();
        Ok((answer, said))
    }
}

fn with<const N: usize>(message: &Map<String, Value>, more: [(&str, &str); N]) -> Value {
    let more = more.map(|(name, text)| (name.to_owned(), Value::from(text)));
    Value::Object(message.clone().into_iter().chain(more).collect())
}

/// Slack says 200 to what it refuses, too.
fn judge(answer: Answer, said: &Said) -> Reply {
    if answer.status != 200 || said.ok {
        return answer.into();
    }
    match said.error.as_str() {
        "ratelimited" | "rate_limited" => Reply::Status(429, answer.retry_after, answer.body),
        "internal_error" | "fatal_error" | "service_unavailable" | "request_timeout" => {
            Reply::Status(503, answer.retry_after, answer.body)
        }
        "" => Reply::Nothing("Slack's answer cannot be understood".to_owned()),
        error => Reply::Refused(format!("Slack says {error}")),
    }
}

fn message(notification: &Notification) -> Map<String, Value> {
    let words = Words::new(notification);
    let sign = match words.mood {
        Mood::Pending => ":hourglass_flowing_sand:",
        Mood::Good => ":white_check_mark:",
        Mood::Bad => ":x:",
        Mood::Neutral => ":information_source:",
    };
    let section = |text: &str| json!({"type": "section", "text": {"type": "mrkdwn", "text": cut(text, LONGEST)}});
    let mut blocks = vec![section(&format!("{sign} *{}*", escaped(&words.title)))];
    let facts: Vec<_> = words
        .facts
        .iter()
        .map(|(name, text)| format!("*{name}:* {}", escaped(&cut(text, 500))))
        .collect();
    if !facts.is_empty() {
        blocks.push(section(&facts.join("\n")));
    }
    if !words.tail.is_empty() {
        // The end is what matters.
        let tail = escaped(&words.unfenced_tail());
        let skipped = tail.chars().count().saturating_sub(LONGEST - 10);
        let tail: String = tail.chars().skip(skipped).collect();
        blocks.push(section(&format!("```\n{tail}\n```")));
    }
    let parts = [("text", escaped(&words.title).into()), ("blocks", Value::Array(blocks))];
    parts.map(|(name, part)| (name.to_owned(), part)).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::Message as _;

    #[test]
    fn a_message_says_what_happened_and_means_nothing_to_slack() {
        let mut notification = Notification::from_bytes(include_bytes!(
            "../../../../contracts/examples/notification/build-succeeded.json"
        ))
        .unwrap();
        notification
            .data
            .insert("reason".to_owned(), json!("<!channel> & more".repeat(1_000)));
        let message = message(&notification);
        assert_eq!(message["text"], "Build succeeded: org/repo#42");
        let text = message["blocks"][1]["text"]["text"].as_str().unwrap();
        assert!(text.starts_with("*Reason:* &lt;!channel&gt; &amp; more"), "{text}");
        assert!(text.chars().count() <= LONGEST);
    }

    #[test]
    fn what_slack_refuses_with_200_is_not_taken_for_told() {
        let judged = |status: u16, body: &str| {
            let answer = Answer {
                status,
                retry_after: None,
                reset_after: None,
                body: body.to_owned(),
            };
            let said = serde_json::from_str(&answer.body).unwrap_or_default();
            judge(answer, &said)
        };
        assert!(matches!(judged(200, r#"{"ok":true,"ts":"1"}"#), Reply::Status(200, ..)));
        assert!(matches!(
            judged(200, r#"{"ok":false,"error":"invalid_auth"}"#),
            Reply::Refused(_)
        ));
        assert!(matches!(judged(200, "<html>"), Reply::Nothing(_)));
        assert!(matches!(
            judged(200, r#"{"ok":false,"error":"ratelimited"}"#),
            Reply::Status(429, ..)
        ));
        assert!(matches!(judged(503, ""), Reply::Status(503, ..)));
    }
}
