//! What can be configured.

use crate::{endpoint::Endpoint, outcome::Schedule};
use bus::Settings;
use chassis::{Secret, Setting, Values};
use contract::{Notification, route::List};

/// The notifier's configuration.
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) schedule: Schedule,
    pub(crate) max_in_flight: usize,
    pub(crate) bus: Settings,
    pub(crate) notifications: List<Notification>,
}

const URLS: Setting =
    Setting::new("webhook.url", "Where to send notifications; several, comma-separated").env(&["WEBHOOK_URL"]);
const SECRET: Setting = Setting::new(
    "webhook.hmac_secret",
    "Secret that signs them; several, comma-separated, while it is rotated",
)
.env(&["WEBHOOK_HMAC_SECRET"])
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
const MAX_IN_FLIGHT: Setting = Setting::new("webhook.max_in_flight", "Most deliveries at once, 1 to 256")
    .env(&["WEBHOOK_MAX_IN_FLIGHT"])
    .default("8");
const LIST: Setting = Setting::new("redis.notifications_name", "Name of the list of notifications")
    .env(&["REDIS_NOTIFICATIONS_NAME"])
    .default("forge:notifications");

/// The notifier's own settings.
pub(crate) const SETTINGS: &[Setting] = &[URLS, SECRET, SCHEDULE, PREFIX, MAX_IN_FLIGHT, LIST];

// === impl Config ===

impl Config {
    pub(crate) fn read(values: &mut Values) -> Option<Self> {
        let urls: Vec<url::Url> = values.list(&URLS);
        let secrets: Vec<Secret> = values.list(&SECRET);
        let prefix: Option<String> = values.get(&PREFIX);
        let schedule = values.get(&SCHEDULE);
        let max_in_flight: Option<usize> = values.get(&MAX_IN_FLIGHT);
        if max_in_flight.is_some_and(|n| !(1..=256).contains(&n)) {
            values.refuse(&MAX_IN_FLIGHT, "expected 1 to 256");
        }
        let name: String = values.get(&LIST)?;
        let notifications = contract::route::notifications()
            .named(&name)
            .map_err(|e| values.refuse(&LIST, e))
            .ok();
        let bus = Settings::read(values)?;
        if !urls.is_empty() && secrets.is_empty() {
            values.refuse(&SECRET, "is required, because notifications are never sent unsigned");
        }
        let mut signers = Vec::new();
        for secret in &secrets {
            match secret.expose().parse::<seal::StandardSecret>() {
                Ok(signer) => signers.push(signer),
                Err(error) => values.refuse(&SECRET, error),
            }
        }
        let prefix = prefix?;
        let endpoints = urls
            .into_iter()
            .map(|url| Endpoint::new(url, signers.clone(), &prefix))
            .collect();
        Some(Self {
            endpoints,
            schedule: schedule?,
            max_in_flight: max_in_flight?,
            bus,
            notifications: notifications?,
        })
    }
}
