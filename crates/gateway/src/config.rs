//! What can be configured.

use bus::Settings;
use chassis::{Secret, Setting, Values};
use contract::{WebhookDelivery, route::List};
use std::{net::SocketAddr, time::Duration};

/// Redis must answer within this time, or the forge is asked to come again.
const PATIENCE: Duration = Duration::from_millis(1_500);

/// The gateway's configuration.
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) listen: SocketAddr,
    pub(crate) secrets: Vec<Secret>,
    pub(crate) max_payload: usize,
    pub(crate) max_in_flight: usize,
    pub(crate) bus: Settings,
    pub(crate) list: List<WebhookDelivery>,
}

const LISTEN: Setting = Setting::new("server.listen", "Address of the webhook endpoint, or a bare port")
    .env(&["WEBHOOK_LISTEN", "WEBHOOK_PORT"])
    .aliases(&["webhook.server.port", "server.port"])
    .default("0.0.0.0:3001");
const SECRET: Setting = Setting::new(
    "security.secret",
    "Secret of the webhooks; several, comma-separated, while it is rotated",
)
.env(&["GITHUB_WEBHOOK_SECRET", "WEBHOOK_SECRET"])
.aliases(&["webhook.security.secret"])
.secret();
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
const LIST: Setting = Setting::new("redis.webhooks_name", "Name of the list that webhooks go to")
    .env(&["REDIS_WEBHOOKS_NAME"])
    .default("forge:webhooks");

/// The gateway's own settings.
pub(crate) const SETTINGS: &[Setting] = &[LISTEN, SECRET, MAX_PAYLOAD, MAX_IN_FLIGHT, LIST];

/// A size in bytes: `1024`, `64kb`, `25mb`, `1gb` (powers of 1,024, as the origin's files mean them).
struct Size(usize);

// === impl Config ===

impl Config {
    pub(crate) fn read(values: &mut Values) -> Option<Self> {
        let listen = values.get::<String>(&LISTEN)?;
        let listen = chassis::http::address(&listen, 3001)
            .map_err(|error| values.refuse(&LISTEN, error))
            .ok();
        let secrets = values.list(&SECRET);
        let max_payload = values.get::<Size>(&MAX_PAYLOAD);
        let max_in_flight = values.get::<Size>(&MAX_IN_FLIGHT);
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
        let bus = Settings {
            patience: PATIENCE,
            ..bus
        };
        Some(Self {
            listen: listen?,
            secrets,
            max_payload,
            max_in_flight,
            bus,
            list: list?,
        })
    }
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
