//! What can be configured.

use crate::{rate::Rate, rules};
use bus::Settings;
use chassis::{Setting, Values};
use contract::{WebhookDelivery, route::List};
use std::{net::SocketAddr, num::NonZeroU32, path::PathBuf, time::Duration};

/// Redis must answer within this time, or the forge is asked to come again.
const PATIENCE: Duration = Duration::from_millis(1_500);

/// The gateway's configuration.
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) listen: SocketAddr,
    pub(crate) max_payload: usize,
    pub(crate) max_in_flight: usize,
    pub(crate) connections: usize,
    pub(crate) by_address: Option<Rate>,
    pub(crate) by_repository: Option<Rate>,
    pub(crate) origins: Vec<chassis::Origin>,
    pub(crate) spool: Option<Spool>,
    pub(crate) bus: Settings,
    pub(crate) list: List<WebhookDelivery>,
    pub(crate) rules: rules::Text,
}

/// Where deliveries wait while Redis is away.
#[derive(Clone, Debug)]
pub(crate) struct Spool {
    pub(crate) folder: PathBuf,
    pub(crate) most: u64,
}

const LISTEN: Setting = Setting::new("server.listen", "Address of the webhook endpoint, or a bare port")
    .env(&["WEBHOOK_LISTEN", "WEBHOOK_PORT"])
    .aliases(&["webhook.server.port", "server.port"])
    .default("0.0.0.0:3001");
const MAX_PAYLOAD: Setting = Setting::new("server.max_payload_size", "Largest body, in bytes or as 25mb")
    .env(&["WEBHOOK_MAX_PAYLOAD_SIZE"])
    .aliases(&["webhook.server.maxPayloadSize", "server.maxPayloadSize"])
    .default("25mb");
const MAX_IN_FLIGHT: Setting = Setting::new(
    "server.max_in_flight",
    "Most bytes of bodies held at once, in bytes or as 256mb",
)
.env(&["WEBHOOK_BODY_MEMORY"])
.default("256mb");
const CONNECTIONS: Setting = Setting::new("server.max_connections", "Most open connections; more wait")
    .env(&["WEBHOOK_MAX_CONNECTIONS"])
    .default("16384");
const LIMITING: Setting = Setting::new("security.enable_rate_limiting", "Refuse who comes too often")
    .env(&["WEBHOOK_ENABLE_RATE_LIMITING"])
    .aliases(&["webhook.security.enableRateLimiting", "security.enableRateLimiting"])
    .default("true");
const WINDOW: Setting = Setting::new(
    "security.rate_limit_window_ms",
    "Window of the rate limits, in milliseconds",
)
.env(&["WEBHOOK_RATE_LIMIT_WINDOW_MS"])
.aliases(&[
    "webhook.security.rateLimiting.windowMs",
    "security.rateLimiting.windowMs",
])
.default("60000");
const MAX: Setting = Setting::new("security.rate_limit_max", "Most requests of an address in a window")
    .env(&["WEBHOOK_RATE_LIMIT_MAX"])
    .aliases(&["webhook.security.rateLimiting.max", "security.rateLimiting.max"])
    .default("60000");
const SLOW: Setting = Setting::new(
    "security.rate_limit_slow_threshold",
    "From so many requests of an address in a window on, each waits 100 ms; 0 for never",
)
.env(&["WEBHOOK_RATE_LIMIT_SLOW_THRESHOLD"])
.aliases(&[
    "webhook.security.rateLimiting.slowDownThreshold",
    "security.rateLimiting.slowDownThreshold",
])
.default("0");
const MAX_REPOSITORY: Setting = Setting::new(
    "security.rate_limit_repository_max",
    "Most deliveries of a repository in a window",
)
.env(&["WEBHOOK_RATE_LIMIT_REPOSITORY_MAX"])
.default("12000");
const ORIGINS: Setting = Setting::new(
    "server.cors_origins",
    "Origins whose pages may ask, comma-separated, or *; none by default",
)
.env(&["WEBHOOK_CORS_ORIGINS"]);
const SPOOL: Setting = Setting::new(
    "spool",
    "Folder where deliveries wait while Redis is away; without one they are refused then",
)
.env(&["WEBHOOK_SPOOL"]);
const SPOOL_SIZE: Setting = Setting::new("spool_max_size", "Most bytes in that folder, in bytes or as 1gb")
    .env(&["WEBHOOK_SPOOL_MAX_SIZE"])
    .default("1gb");
const LIST: Setting = Setting::new("redis.webhooks_name", "Name of the list that webhooks go to")
    .env(&["REDIS_WEBHOOKS_NAME"])
    .default("forge:webhooks");

/// The gateway's own settings.
pub(crate) const SETTINGS: &[Setting] = &[
    LISTEN,
    MAX_PAYLOAD,
    MAX_IN_FLIGHT,
    CONNECTIONS,
    LIMITING,
    WINDOW,
    MAX,
    SLOW,
    MAX_REPOSITORY,
    ORIGINS,
    SPOOL,
    SPOOL_SIZE,
    LIST,
];

/// A size in bytes: `1024`, `64kb`, `25mb`, `1gb` (powers of 1,024, as the origin's files mean them).
struct Size(usize);

// === impl Config ===

impl Config {
    pub(crate) fn read(values: &mut Values) -> Option<Self> {
        let rules = rules::Text::read(values);
        let listen = values.get::<String>(&LISTEN)?;
        let listen = chassis::http::address(&listen, 3001)
            .map_err(|error| values.refuse(&LISTEN, error))
            .ok();
        let max_payload = values.get::<Size>(&MAX_PAYLOAD);
        let max_in_flight = values.get::<Size>(&MAX_IN_FLIGHT);
        let connections = values.get::<NonZeroU32>(&CONNECTIONS);
        let rates = rates(values);
        let spool_size = values.get::<Size>(&SPOOL_SIZE);
        let bus = Settings::read(values);
        let name = values.get::<String>(&LIST)?;
        let list = contract::route::webhooks()
            .named(&name)
            .map_err(|error| values.refuse(&LIST, error))
            .ok();
        let (bus, max_payload, max_in_flight) = (bus?, max_payload?.0, max_in_flight?.0);
        if max_payload > max_in_flight {
            values.refuse(&MAX_IN_FLIGHT, "must not be less than server.max_payload_size");
        }
        let (by_address, by_repository) = rates?;
        let most = u64::try_from(spool_size?.0).unwrap_or(u64::MAX);
        let spool = values.optional::<PathBuf>(&SPOOL).map(|folder| Spool { folder, most });
        Some(Self {
            listen: listen?,
            max_payload,
            max_in_flight,
            connections: usize::try_from(connections?.get()).unwrap_or(usize::MAX),
            by_address,
            by_repository,
            origins: values.list(&ORIGINS),
            spool,
            bus: Settings {
                patience: PATIENCE,
                ..bus
            },
            list: list?,
            rules: rules?,
        })
    }
}

/// The limits of an address and of a repository.
fn rates(values: &mut Values) -> Option<(Option<Rate>, Option<Rate>)> {
    let enabled: bool = values.get(&LIMITING)?;
    let window = values.get::<NonZeroU32>(&WINDOW);
    let (of_address, of_repository) = (values.get(&MAX), values.get(&MAX_REPOSITORY));
    let slow_from = values.get(&SLOW);
    let window = Duration::from_millis(window?.get().into());
    let rate = |most, slow_from| {
        enabled.then_some(Rate {
            most,
            window,
            slow_from,
        })
    };
    Some((rate(of_address?, slow_from?), rate(of_repository?, 0)))
}

impl std::str::FromStr for Size {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim().to_ascii_lowercase();
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = match text.strip_prefix(digits) {
            Some("" | "b") => 1,
            Some("k" | "kb") => 1 << 10,
            Some("m" | "mb") => 1 << 20,
            Some("g" | "gb") => 1 << 30,
            _ => 0,
        };
        let bytes = digits.trim().parse::<usize>().ok().and_then(|n| n.checked_mul(unit));
        bytes
            .filter(|bytes| *bytes > 0)
            .map(Self)
            .ok_or("expected a size such as 25mb")
    }
}

#[cfg(test)]
mod tests {
    use super::Size;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        let bytes = |text: &str| text.parse::<Size>().map(|s| s.0).ok();
        assert_eq!(bytes("25mb"), Some(25 << 20));
        assert_eq!(bytes("10 KB"), Some(10 << 10));
        assert_eq!(bytes("1024"), Some(1024));
        for bad in ["", "0", "mb", "-1", "9x", "99999999999999999999gb"] {
            assert_eq!(bytes(bad), None, "{bad}");
        }
    }
}
