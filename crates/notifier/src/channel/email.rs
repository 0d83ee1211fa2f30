//! Mail, by SMTP (RFC 5321) with STARTTLS (RFC 3207) or TLS.

use super::{Telling, escaped};
use crate::{
    outcome::Reply,
    wording::{self, Mood, Words, is_news},
};
use contract::Notification;
use lettre::{
    AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor,
    message::{Mailbox, MultiPart},
    transport::smtp::Error,
};
use std::{fmt, time::Duration};
use url::Url;

/// A server that takes mail, and who writes.
#[derive(Clone)]
pub(crate) struct Mail {
    server: AsyncSmtpTransport<Tokio1Executor>,
    url: Url,
    from: Mailbox,
}

/// Some people's mailboxes, by a server.
#[derive(Clone, Debug)]
pub(crate) struct Email {
    mail: Mail,
    to: Vec<Mailbox>,
}

/// How long each step of a conversation may take.
const PATIENCE: Duration = Duration::from_secs(5);

// === impl Mail ===

impl Mail {
    /// With the URL of a server: `smtps://USER:PASSWORD@HOST`, `smtp://HOST?tls=required`, or `smtp://HOST` for one that is
    /// not to be trusted with secrets.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn new(url: &str, from: &str) -> Result<Self, String> {
        let wrong = |error: &dyn fmt::Display| format!("its URL (email.url) is none of a mail server: {error}");
        let server = AsyncSmtpTransport::<Tokio1Executor>::from_url(url).map_err(|error| wrong(&error))?;
        let url = url.parse::<Url>().map_err(|error| wrong(&error))?;
        Ok(Self {
            server: server.timeout(Some(PATIENCE)).build(),
            url,
            from: mailbox(from, "email.from")?,
        })
    }

    /// Those that it is to write to.
    ///
    /// # Errors
    /// When there is nobody, or somebody has no address.
    pub(crate) fn to(self, to: &[String]) -> Result<Email, String> {
        if to.is_empty() {
            return Err("there is nobody to write to (email.to)".to_owned());
        }
        let to = to.iter().map(|text| mailbox(text, "to")).collect::<Result<_, _>>()?;
        Ok(Email { mail: self, to })
    }
}

fn mailbox(text: &str, of: &str) -> Result<Mailbox, String> {
    text.parse()
        .map_err(|error| format!("{text} ({of}) is no address: {error}"))
}

// === impl Email ===

impl Email {
    pub(super) const fn url(&self) -> &Url {
        &self.mail.url
    }

    pub(super) async fn tell(&self, telling: &Telling<'_>) -> Result<Reply, Reply> {
        let notification = telling.notification()?;
        if Words::new(&notification).mood == Mood::Pending || !is_news(&notification) {
            return Ok(Reply::NothingToSay); // Mail is for what has ended.
        }
        self.send(telling, &notification).await
    }

    /// To all at once; one by one if the server refuses that for the sake of one of them. Who has it is noted, so that what
    /// is tried again is not sent to them twice.
    async fn send(&self, telling: &Telling<'_>, notification: &Notification) -> Result<Reply, Reply> {
        let event = notification.event_id.to_string();
        let mut have: Vec<String> = telling.notes.read(&event).await?.unwrap_or_default();
        if have.is_empty() {
            let all = self.send_to(notification, &self.to).await;
            if !matches!(all, Reply::Refused(_)) || self.to.len() == 1 {
                return Ok(all);
            }
        }
        let (mut refused, mut later) = (Vec::new(), None);
        for one in &self.to {
            let address = one.email.to_string();
            if have.contains(&address) {
                continue;
            }
            match self.send_to(notification, std::slice::from_ref(one)).await {
                Reply::Status(..) => {
                    have.push(address);
                    telling.notes.write(&event, &have).await;
                }
                Reply::Refused(why) => refused.push(format!("{address}: {why}")),
                other @ (Reply::NothingToSay | Reply::Nothing(_) | Reply::Unfit(_) | Reply::NotNow(_)) => {
                    later = Some(other);
                }
            }
        }
        if !refused.is_empty() {
            tracing::warn!(refused = refused.join("; "), "not everybody can be written to");
        }
        Ok(match later {
            Some(later) => later,
            None if have.is_empty() => Reply::Refused(refused.join("; ")),
            None => Reply::Status(250, None, String::new()),
        })
    }

    async fn send_to(&self, notification: &Notification, to: &[Mailbox]) -> Reply {
        let message = match self.message(notification, to) {
            Ok(message) => message,
            Err(error) => return Reply::Unfit(error.to_string()),
        };
        match self.mail.server.send(message).await {
            Ok(_) => Reply::Status(250, None, String::new()),
            Err(error) => judge(&error),
        }
    }

    fn message(&self, notification: &Notification, to: &[Mailbox]) -> Result<Message, lettre::error::Error> {
        let words = Words::new(notification);
        // The same notification is the same mail, whatever is sent twice; and mails about a thing are one conversation.
        let host = self.mail.from.email.domain();
        let thread = format!("<{}.forge@{host}>", seal::digest(notification.resource.uid.as_bytes()));
        let mut mail = Message::builder()
            .from(self.mail.from.clone())
            .subject(words.title.clone())
            .message_id(Some(format!("<{}@{host}>", notification.event_id)))
            .in_reply_to(thread.clone())
            .references(thread);
        for to in to {
            mail = mail.to(to.clone());
        }
        let fact = |(name, text): &(&str, String)| {
            let text_of_html = escaped(text);
            (
                format!("{name}: {text}\n"),
                format!("<tr><th align=left>{name}</th><td>{text_of_html}</td></tr>"),
            )
        };
        let (plain, html): (Vec<_>, Vec<_>) = words.facts.iter().map(fact).unzip();
        let project = wording::text(notification, "project").unwrap_or(&notification.resource.namespace);
        let plain = format!(
            "{}\n\n{}\n{project}, {}\n{}",
            words.title,
            plain.concat(),
            notification.timestamp,
            indented(&words.tail),
        );
        let html = format!(
            "<h3>{}</h3><table>{}</table><pre>{}</pre>",
            escaped(&words.title),
            html.concat(),
            escaped(&words.tail.join("\n")),
        );
        mail.multipart(MultiPart::alternative_plain_html(plain, html))
    }
}

impl fmt::Debug for Mail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mail")
            .field("host", &self.url.host_str())
            .finish_non_exhaustive()
    }
}

fn indented(lines: &[String]) -> String {
    lines.iter().flat_map(|line| ["\n    ", line]).collect()
}

/// Codes that mean the login (RFC 4954, section 6): the operator puts that right, and everybody gets the mail then.
const LOGIN: [u16; 5] = [454, 530, 534, 535, 538];

/// What a server's answer means in the terms of all channels: 5yz is for ever, 4yz for now (RFC 5321, 4.2.1).
fn judge(error: &Error) -> Reply {
    let text = chassis::chain(error);
    if error.status().is_some_and(|code| LOGIN.contains(&u16::from(code))) {
        return Reply::Nothing(format!("the mail server does not accept the login: {text}"));
    }
    if error.is_permanent() {
        return Reply::Refused(format!("the mail server refused it: {text}"));
    }
    Reply::Nothing(format!("the mail was not taken: {text}"))
}
