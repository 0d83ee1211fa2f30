//! What can be configured.

pub(crate) mod channels;

use crate::{
    book::Usual,
    channel::{Channel, Signer, Webhook},
    endpoint::Endpoint,
    guard::Guard,
    outcome::Schedule,
    tls::Tls,
};
use bus::{Pace, Patience, Settings};
use chassis::{Secret, Setting, Values};
use contract::{Notification, route::List};
use reqwest::header::HeaderName;
use std::time::Duration;

/// The notifier's configuration.
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) usual: Usual,
    pub(crate) guard: Guard,
    pub(crate) max_in_flight: usize,
    /// How many attempts there are at what is refused.
    pub(crate) refused: u32,
    pub(crate) patience: Patience,
    /// For the API; without one there is none.
    pub(crate) token: Option<Secret>,
    pub(crate) bus: Settings,
    pub(crate) notifications: List<Notification>,
}

const URLS: Setting = Setting::new("webhook.url", "Where to send notifications; several, comma-separated")
    .env(&["WEBHOOK_URL"])
    .secret();
const SECRET: Setting = Setting::new(
    "webhook.hmac_secret",
    "Secret that signs them; several, comma-separated, while it is rotated",
)
.env(&["WEBHOOK_HMAC_SECRET"])
.secret();
const CA: Setting = Setting::new(
    "webhook.ca",
    "Who signs the certificates of those at webhook.url, and nobody else, in PEM; those that the system trusts without it",
)
.env(&["WEBHOOK_CA"])
.secret();
const CERTIFICATE: Setting = Setting::new("webhook.client_certificate", "Our certificate for them, in PEM")
    .env(&["WEBHOOK_CLIENT_CERTIFICATE"])
    .secret();
const KEY: Setting = Setting::new("webhook.client_key", "Its key, in PEM")
    .env(&["WEBHOOK_CLIENT_KEY"])
    .secret();
const SCHEDULE: Setting = Setting::new(
    "webhook.schedule",
    "persistent (over three days) or short (six attempts within a quarter of a minute)",
)
.env(&["WEBHOOK_SCHEDULE"])
.default("persistent");
const PREFIX: Setting = Setting::new("webhook.header_prefix", "First part of the older headers")
    .env(&["WEBHOOK_HEADER_PREFIX"])
    .default("X-Forge");
const MAX_IN_FLIGHT: Setting = Setting::new(
    "webhook.max_in_flight",
    "Most attempts at once, 1 to 4096; eight times as many, if receivers take longer than a tenth of a second",
)
.env(&["WEBHOOK_MAX_IN_FLIGHT"])
.default("256");
const AT_ONCE: Setting = Setting::new("webhook.endpoint_in_flight", "Most of them to one endpoint, 1 to 256")
    .env(&["WEBHOOK_ENDPOINT_IN_FLIGHT"])
    .default("8");
const PER_SECOND: Setting = Setting::new(
    "webhook.endpoint_per_second",
    "Most deliveries a second to one endpoint on average; 0: as many as there are",
)
.env(&["WEBHOOK_ENDPOINT_PER_SECOND"])
.default("0");
const ORDERED: Setting = Setting::new(
    "webhook.ordered",
    "Whether what is about one thing is delivered in order, each when the one before it has arrived or is given up",
)
.env(&["WEBHOOK_ORDERED"])
.default("false");
const REFUSED_ATTEMPTS: Setting = Setting::new(
    "webhook.refused_attempts",
    "Attempts at a delivery that is answered by a 4xx that means no (not 408, 410, 425, 429), 1 to 5",
)
.env(&["WEBHOOK_REFUSED_ATTEMPTS"])
.default("1");
const CIRCUIT_FAILURES: Setting = Setting::new(
    "webhook.circuit_failures",
    "After so many failures in a row an endpoint is left alone for a while, 1 to 1000",
)
.env(&["WEBHOOK_CIRCUIT_FAILURES"])
.default("5");
const CIRCUIT_SECONDS: Setting = Setting::new(
    "webhook.circuit_seconds",
    "For how long at first, 1 to 3600; then twice as long each time, up to an hour",
)
.env(&["WEBHOOK_CIRCUIT_SECONDS"])
.default("30");
const NETWORKS: Setting = Setting::new(
    "webhook.allow_networks",
    "Networks (CIDR) that endpoints made by the API may be in although not everybody can reach them, comma-separated",
)
.env(&["WEBHOOK_ALLOW_NETWORKS"]);
const TOKEN: Setting = Setting::new(
    "api.token",
    "Token for the API on the admin port; without one there is no API",
)
.env(&["NOTIFIER_API_TOKEN"])
.secret();
const LIST: Setting = Setting::new("redis.notifications_name", "Name of the list of notifications")
    .env(&["REDIS_NOTIFICATIONS_NAME"])
    .default("forge:notifications");

/// The notifier's own settings.
pub(crate) const SETTINGS: &[Setting] = &[
    URLS,
    SECRET,
    CA,
    CERTIFICATE,
    KEY,
    SCHEDULE,
    PREFIX,
    MAX_IN_FLIGHT,
    AT_ONCE,
    PER_SECOND,
    ORDERED,
    REFUSED_ATTEMPTS,
    CIRCUIT_FAILURES,
    CIRCUIT_SECONDS,
    NETWORKS,
    TOKEN,
    LIST,
];

/// Who has not said for so long that a delivery is still being tried does not live any more.
pub(crate) const LEASE: Duration = Duration::from_secs(20);
const LONGEST_CIRCUIT: Duration = Duration::from_hours(1);
/// An endpoint that has failed for so long is turned off.
const GIVE_UP: Duration = Duration::from_hours(5 * 24);

// === impl Config ===

impl Config {
    pub(crate) fn read(values: &mut Values) -> Option<Self> {
        let urls: Vec<String> = values.list(&URLS);
        let prefix: Option<String> = values.get(&PREFIX);
        if let Some(Err(error)) = prefix.as_ref().map(|prefix| prefix.parse::<HeaderName>()) {
            values.refuse(&PREFIX, error);
        }
        let mut pem = |setting| values.optional(setting).map(|text: Secret| text.expose().to_owned());
        let tls = Tls {
            ca: pem(&CA),
            certificate: pem(&CERTIFICATE),
            key: pem(&KEY),
        };
        let schedule = values.get(&SCHEDULE);
        let max_in_flight = values.within::<u32>(&MAX_IN_FLIGHT, 1..=4_096);
        let at_once = values.within(&AT_ONCE, 1..=256);
        let per_second = values.get(&PER_SECOND);
        let (ordered, refused) = (values.get(&ORDERED), values.within(&REFUSED_ATTEMPTS, 1..=5));
        let token: Option<Secret> = values.optional(&TOKEN);
        let channels_per_second = channels::per_second(values);
        let (channels, means) = channels::read(values, token.is_some());
        let guard = Guard::new(values.list(&NETWORKS));
        let failures = values.within(&CIRCUIT_FAILURES, 1..=1_000);
        let first = values.within::<u32>(&CIRCUIT_SECONDS, 1..=3_600);
        let name: String = values.get(&LIST)?;
        let notifications = contract::route::notifications()
            .named(&name)
            .map_err(|e| values.refuse(&LIST, e))
            .ok();
        let bus = Settings::read(values)?;
        let signers = signers(values);
        let (prefix, schedule): (String, Schedule) = (prefix?, schedule?);
        let webhook = |url: &String| {
            let webhook = Webhook::new(url, signers.clone(), &prefix);
            // Derived from the URL, so that it is the same after a restart.
            let name: String = seal::digest(url.as_bytes()).chars().take(12).collect();
            Endpoint::new(&name, webhook.map(Channel::Webhook), schedule).by(tls.client(None))
        };
        let others = channels
            .into_iter()
            .map(|(name, channel)| Endpoint::new(name, channel, schedule));
        let endpoints = urls.iter().map(webhook).chain(others).collect();
        Some(Self {
            endpoints,
            usual: Usual {
                schedule,
                prefix,
                pace: Pace {
                    ordered: ordered?,
                    ..Pace::new(at_once?, per_second?)
                },
                channels_per_second: channels_per_second?,
                means,
            },
            guard,
            max_in_flight: usize::try_from(max_in_flight?).unwrap_or(1),
            refused: refused?,
            patience: Patience {
                lease: LEASE,
                failures: failures?,
                first: Duration::from_secs(first?.into()),
                longest: LONGEST_CIRCUIT,
                give_up: GIVE_UP,
                most_of_one: (max_in_flight? / 2).max(1),
            },
            token,
            bus,
            notifications: notifications?,
        })
    }
}

/// What signs the webhooks of the configuration.
fn signers(values: &mut Values) -> Vec<Signer> {
    let secrets: Vec<Secret> = values.list(&SECRET);
    let mut signers: Vec<Signer> = Vec::new();
    for secret in &secrets {
        match secret.expose().parse::<seal::StandardSecret>() {
            Ok(secret) => signers.push(secret.into()),
            Err(error) => values.refuse(&SECRET, error),
        }
    }
    signers
}
