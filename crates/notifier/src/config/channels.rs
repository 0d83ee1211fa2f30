//! The endpoints that are no webhooks: one of each kind, when it is configured.
//!
//! What is half configured is `degraded`, as a bad URL is: it stops nothing.

use crate::channel::{Channel, Dashboard, Email, GithubStatus, Slack};
use chassis::{Secret, Setting, Values};
use lettre::message::Mailbox;
use url::Url;

const SLACK_URL: Setting = Setting::new("slack.webhook_url", "Slack: an incoming webhook")
    .env(&["SLACK_WEBHOOK_URL"])
    .secret();
const SLACK_TOKEN: Setting = Setting::new(
    "slack.token",
    "Slack: a bot's token (chat:write), whose messages change with their builds",
)
.env(&["SLACK_TOKEN", "SLACK_BOT_TOKEN"])
.secret();
const SLACK_CHANNEL: Setting =
    Setting::new("slack.channel", "Slack: the channel that the bot writes in").env(&["SLACK_CHANNEL"]);
const SLACK_API: Setting = Setting::new("slack.api_url", "Slack: base URL of its API")
    .env(&["SLACK_API_URL"])
    .default("https://slack.com/api/");
const EMAIL_URL: Setting = Setting::new(
    "email.url",
    "Mail: the server, as smtps://USER:PASSWORD@HOST or smtp://USER:PASSWORD@HOST?tls=required",
)
.env(&["SMTP_URL", "EMAIL_URL"])
.secret();
const EMAIL_FROM: Setting = Setting::new("email.from", "Mail: who writes")
    .env(&["EMAIL_FROM"])
    .default("Forge <forge@localhost>");
const EMAIL_TO: Setting = Setting::new("email.to", "Mail: to whom, comma-separated").env(&["EMAIL_TO"]);
const GITHUB_TOKEN: Setting = Setting::new(
    "github.token",
    "GitHub: a token that may write commit statuses (statuses: write)",
)
.env(&["GITHUB_STATUS_TOKEN"])
.secret();
const GITHUB_API: Setting = Setting::new(
    "github.api_url",
    "GitHub: base URL of its API; https://HOST/api/v3/ of an own one",
)
.env(&["GITHUB_API_URL"])
.default("https://api.github.com/");
const DASHBOARD_URL: Setting = Setting::new(
    "dashboard.url",
    "Dashboard: base URL of its API, to which /webhooks/deployments/ID/status is added",
)
.env(&["DASHBOARD_URL", "API_URL"]);
const DASHBOARD_KEY: Setting = Setting::new("dashboard.key", "Dashboard: what it expects as x-api-key")
    .env(&["DASHBOARD_KEY", "API_KEY"])
    .secret();

pub(crate) const SETTINGS: &[Setting] = &[
    SLACK_URL,
    SLACK_TOKEN,
    SLACK_CHANNEL,
    SLACK_API,
    EMAIL_URL,
    EMAIL_FROM,
    EMAIL_TO,
    GITHUB_TOKEN,
    GITHUB_API,
    DASHBOARD_URL,
    DASHBOARD_KEY,
];

/// Those that are configured, each named by its kind.
pub(super) fn read(values: &mut Values) -> Vec<(&'static str, Result<Channel, String>)> {
    [
        ("slack", slack_webhook(values)),
        ("slack-bot", slack_bot(values)),
        ("email", email(values)),
        ("github-status", github_status(values)),
        ("dashboard", dashboard(values)),
    ]
    .into_iter()
    .filter_map(|(name, channel)| Some((name, channel?)))
    .collect()
}

fn slack_webhook(values: &mut Values) -> Option<Result<Channel, String>> {
    let url: Secret = values.optional(&SLACK_URL)?;
    Some(web(url.expose(), "slack.webhook_url").map(|url| Channel::Slack(Slack::webhook(url))))
}

fn slack_bot(values: &mut Values) -> Option<Result<Channel, String>> {
    let (api, channel): (Option<String>, Option<String>) = (values.get(&SLACK_API), values.optional(&SLACK_CHANNEL));
    let token: Secret = values.optional(&SLACK_TOKEN)?;
    let made = || {
        let channel = channel.ok_or("it has no channel (slack.channel)")?;
        let api = web(&api.unwrap_or_default(), "slack.api_url")?;
        Ok(Channel::Slack(Slack::bot(base(api), token, channel)))
    };
    Some(made())
}

fn email(values: &mut Values) -> Option<Result<Channel, String>> {
    let (from, to): (Option<String>, Vec<String>) = (values.get(&EMAIL_FROM), values.list(&EMAIL_TO));
    let url: Secret = values.optional(&EMAIL_URL)?;
    let made = || {
        let mailbox = |text: &String, of: &str| {
            text.parse::<Mailbox>()
                .map_err(|error| format!("{text} ({of}) is no address: {error}"))
        };
        let from = mailbox(&from.unwrap_or_default(), "email.from")?;
        let to = to
            .iter()
            .map(|text| mailbox(text, "email.to"))
            .collect::<Result<_, _>>()?;
        Ok(Channel::Email(Box::new(Email::new(url.expose(), from, to)?)))
    };
    Some(made())
}

fn github_status(values: &mut Values) -> Option<Result<Channel, String>> {
    let api: Option<String> = values.get(&GITHUB_API);
    let token: Secret = values.optional(&GITHUB_TOKEN)?;
    let api = web(&api.unwrap_or_default(), "github.api_url").map(base);
    Some(api.map(|api| Channel::GithubStatus(GithubStatus::new(api, token))))
}

fn dashboard(values: &mut Values) -> Option<Result<Channel, String>> {
    let key: Option<Secret> = values.optional(&DASHBOARD_KEY);
    let url: String = values.optional(&DASHBOARD_URL)?;
    let made = || {
        let key = key.ok_or("it has no key (dashboard.key)")?;
        let url = web(&url, "dashboard.url")?;
        Ok(Channel::Dashboard(Dashboard::new(url, key)))
    };
    Some(made())
}

fn web(text: &str, of: &str) -> Result<Url, String> {
    let url: Url = text
        .parse()
        .map_err(|error| format!("its URL ({of}) is none: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(format!("its URL ({of}) begins neither with https:// nor with http://"));
    }
    Ok(url)
}

/// With a path that others can be added to.
fn base(mut url: Url) -> Url {
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    url
}
