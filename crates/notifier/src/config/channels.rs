//! The endpoints that are no webhooks: one of each kind, when it is configured.
//!
//! What is half configured is `degraded`, as a bad URL is: it stops nothing.

use crate::channel::{
    Access, Agent, AgentKind, App, Bot, Channel, Dashboard, Github, GithubCheck, GithubStatus, Linear, Mail, Means,
    Slack,
};
use chassis::{Secret, Setting, Values};
use seal::SigningKey;
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
const GITHUB_APP: Setting = Setting::new(
    "github.app_id",
    "GitHub: number or client id of an app that may write checks (checks: write; statuses: write for statuses)",
)
.env(&["GITHUB_APP_ID"]);
const GITHUB_KEY: Setting = Setting::new("github.app_private_key", "GitHub: the app's private key, as PEM")
    .env(&["GITHUB_APP_PRIVATE_KEY"])
    .secret();
const GITHUB_STATUSES: Setting = Setting::new(
    "github.statuses",
    "GitHub: whether the app writes commit statuses, too, and not check runs alone",
)
.env(&["GITHUB_STATUSES"])
.default("false");
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

const AGENT_URL: Setting = Setting::new("agent.url", "Agent: base URL of its API").env(&["AGENTAPI_BASE_URL"]);
const AGENT_KEY: Setting = Setting::new("agent.key", "Agent: its bearer token")
    .env(&["AGENTAPI_API_KEY"])
    .secret();
const AGENT_KIND: Setting = Setting::new(
    "agent.kind",
    "Agent: tasks (requests to /deploy/code and its like) or messages (coder/agentapi)",
)
.env(&["AGENTAPI_KIND"])
.default("tasks");
const LINEAR_KEY: Setting = Setting::new("linear.key", "Linear: an API key")
    .env(&["LINEAR_API_KEY"])
    .secret();
const LINEAR_API: Setting = Setting::new("linear.api_url", "Linear: URL of its API")
    .env(&["LINEAR_API_URL"])
    .default("https://api.linear.app/graphql");
const LINEAR_STATES: Setting = Setting::new(
    "linear.states",
    "Linear: states that tickets move to, as EVENT=STATE, comma-separated, such as build.succeeded=In Review",
)
.env(&["LINEAR_STATES"]);

const PER_SECOND: Setting = Setting::new(
    "channels.per_second",
    "Most a second that each channel is told, 1 to 1000: most services for people do not take more than one",
)
.env(&["CHANNELS_PER_SECOND"])
.default("1");

pub(crate) const SETTINGS: &[Setting] = &[
    PER_SECOND,
    SLACK_URL,
    SLACK_TOKEN,
    SLACK_CHANNEL,
    SLACK_API,
    EMAIL_URL,
    EMAIL_FROM,
    EMAIL_TO,
    GITHUB_TOKEN,
    GITHUB_APP,
    GITHUB_KEY,
    GITHUB_STATUSES,
    GITHUB_API,
    DASHBOARD_URL,
    DASHBOARD_KEY,
    AGENT_URL,
    AGENT_KEY,
    AGENT_KIND,
    LINEAR_KEY,
    LINEAR_API,
    LINEAR_STATES,
];

/// How many times a second each is told at most.
pub(super) fn per_second(values: &mut Values) -> Option<u32> {
    values.within(&PER_SECOND, 1..=1_000)
}

/// A channel, or what is wrong with its settings.
type Made = Result<Channel, String>;

/// Those that are configured, each named by its kind; and what those may use that are made by the API, if there is one.
pub(super) fn read(values: &mut Values, api: bool) -> (Vec<(&'static str, Made)>, Means) {
    let (status, check) = github(values);
    let (bot, slack_bot) = slack_bot(values, api);
    let (mail, email) = email(values, api);
    let channels = [
        ("slack", slack_webhook(values)),
        ("slack-bot", slack_bot),
        ("email", email),
        ("github-status", status),
        ("github-check", check),
        ("dashboard", dashboard(values)),
        ("agent", agent(values)),
        ("linear", linear(values)),
    ];
    let channels = channels
        .into_iter()
        .filter_map(|(name, channel)| Some((name, channel?)));
    (channels.collect(), Means { bot, mail })
}

fn slack_webhook(values: &mut Values) -> Option<Made> {
    let url: Secret = values.optional(&SLACK_URL)?;
    Some(web(url.expose(), "slack.webhook_url").map(|url| Channel::Slack(Slack::Webhook(url))))
}

/// The bot, and the channel it is to write everything in; there need be none if the API names others.
fn slack_bot(values: &mut Values, api: bool) -> (Result<Bot, String>, Option<Made>) {
    let (url, channel): (Option<String>, Option<String>) = (values.get(&SLACK_API), values.optional(&SLACK_CHANNEL));
    let Some(token) = values.optional(&SLACK_TOKEN) else {
        return (Err("there is no bot (slack.token)".to_owned()), None);
    };
    let bot = web(&url.unwrap_or_default(), "slack.api_url").map(|url| Bot::new(base(url), token));
    let made = match (bot.clone(), channel) {
        (Ok(_), None) if api => None,
        (Ok(bot), Some(channel)) => Some(Ok(Channel::Slack(bot.channel(channel)))),
        (Ok(_), None) => Some(Err("it has no channel (slack.channel)".to_owned())),
        (Err(why), _) => Some(Err(why)),
    };
    (bot, made)
}

/// The mail server, and whom it is to write everything to; there need be nobody if the API names others.
fn email(values: &mut Values, api: bool) -> (Result<Mail, String>, Option<Made>) {
    let (from, to): (Option<String>, Vec<String>) = (values.get(&EMAIL_FROM), values.list(&EMAIL_TO));
    let Some(url): Option<Secret> = values.optional(&EMAIL_URL) else {
        return (Err("there is no mail server (email.url)".to_owned()), None);
    };
    let mail = Mail::new(url.expose(), &from.unwrap_or_default());
    let made = match mail.clone() {
        Ok(_) if api && to.is_empty() => None,
        mail => Some(mail.and_then(|mail| Ok(Channel::Email(Box::new(mail.to(&to)?))))),
    };
    (mail, made)
}

/// Commit statuses, by a token or by an app that is to write them; and check runs, which only an app may write.
fn github(values: &mut Values) -> (Option<Made>, Option<Made>) {
    let api: Option<String> = values.get(&GITHUB_API);
    let api = web(&api.unwrap_or_default(), "github.api_url").map(base);
    let (id, key): (Option<String>, Option<Secret>) = (values.optional(&GITHUB_APP), values.optional(&GITHUB_KEY));
    let app = id.map(|id| {
        let key = key.ok_or("its app has no key (github.app_private_key)")?;
        let key = SigningKey::from_pem(key.expose()).map_err(|error| format!("github.app_private_key: {error}"))?;
        Ok::<_, String>(App::new(id, key))
    });
    let token = values.optional(&GITHUB_TOKEN).map(Access::Token);
    let statuses = values.get(&GITHUB_STATUSES).unwrap_or(false);
    let by = |access: Result<Access, String>| Ok::<_, String>(Github::new(api.clone()?, access?));
    let by_app = app.map(|app| by(app.map(Access::App)));
    let status = match token {
        Some(token) => Some(by(Ok(token))),
        None => by_app.clone().filter(|_| statuses),
    };
    (
        status.map(|github| Ok(Channel::GithubStatus(GithubStatus(github?)))),
        by_app.map(|github| Ok(Channel::GithubCheck(GithubCheck(github?)))),
    )
}

fn agent(values: &mut Values) -> Option<Made> {
    let (key, kind): (Option<Secret>, Option<String>) = (values.optional(&AGENT_KEY), values.get(&AGENT_KIND));
    let kind = match kind.as_deref() {
        Some("tasks") => AgentKind::Tasks,
        Some("messages") => AgentKind::Messages,
        Some(_) | None => {
            values.refuse(&AGENT_KIND, "expected tasks or messages");
            return None;
        }
    };
    let url: String = values.optional(&AGENT_URL)?;
    Some(web(&url, "agent.url").map(|url| Channel::Agent(Agent::new(url, key, kind))))
}

fn linear(values: &mut Values) -> Option<Made> {
    let (api, states): (Option<String>, Vec<String>) = (values.get(&LINEAR_API), values.list(&LINEAR_STATES));
    let key: Secret = values.optional(&LINEAR_KEY)?;
    let made = || {
        let state = |text: &String| {
            let parts = text.split_once('=');
            let (event, state) = parts.ok_or_else(|| format!("{text} (linear.states) is no EVENT=STATE"))?;
            Ok::<_, String>((event.trim().to_owned(), state.trim().to_owned()))
        };
        let states = states.iter().map(state).collect::<Result<_, _>>()?;
        let api = web(&api.unwrap_or_default(), "linear.api_url")?;
        Ok(Channel::Linear(Linear::new(api, key, states)))
    };
    Some(made())
}

fn dashboard(values: &mut Values) -> Option<Made> {
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
