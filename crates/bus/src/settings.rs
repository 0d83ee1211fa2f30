//! How a service finds Redis, and how long it waits for it.

use crate::Lease;
use chassis::{Secret, Setting, Values};
use std::time::Duration;

/// How to reach Redis, and how long to wait for it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `redis://`, `rediss://`, `unix://`, `redis-sentinel://` or `redis-cluster://`; see fred's
    /// `Config::from_url` for the parameters of each. Secret, because a password may be in it.
    pub url: Secret,
    /// The longest a command may take, while Redis is away too.
    pub patience: Duration,
    /// Use a Redis that evicts keys when its memory is full (and so loses work).
    pub allow_eviction: bool,
    /// How long a worker may be silent before others take over what it held.
    pub lease: Lease,
}

const URL: Setting = Setting::new(
    "redis.url",
    "Redis, as redis://, rediss://, unix://, redis-sentinel:// or redis-cluster:// URL",
)
.env(&["REDIS_URL"])
.secret();
const ADDR: Setting = Setting::new("redis.addr", "Redis as host:port, instead of a URL");
const HOST: Setting = Setting::new("redis.host", "Host of Redis, instead of a URL")
    .env(&["REDIS_HOST"])
    .default("127.0.0.1");
const PORT: Setting = Setting::new("redis.port", "Port of Redis, instead of a URL")
    .env(&["REDIS_PORT"])
    .default("6379");
const USERNAME: Setting = Setting::new("redis.username", "User at Redis, instead of a URL").env(&["REDIS_USERNAME"]);
const PASSWORD: Setting = Setting::new("redis.password", "Password at Redis, instead of a URL")
    .env(&["REDIS_PASSWORD"])
    .secret();
const DB: Setting = Setting::new("redis.db", "Database number, instead of a URL")
    .env(&["REDIS_DB"])
    .default("0");
const ALLOW_EVICTION: Setting = Setting::new(
    "redis.allow_eviction",
    "Use a Redis that evicts keys, and so loses builds",
)
.env(&["REDIS_ALLOW_EVICTION"])
.default("false");

const LEASE: Setting = Setting::new(
    "redis.lease_seconds",
    "How long this worker may be silent before others take over what it held, 2 to 300 s",
)
.env(&["REDIS_LEASE_SECONDS"])
.default("20");

/// The settings of [`Settings::read`].
pub const SETTINGS: &[Setting] = &[URL, ADDR, HOST, PORT, USERNAME, PASSWORD, DB, ALLOW_EVICTION, LEASE];

// === impl Settings ===

impl Settings {
    /// The usual settings for a URL.
    pub fn new(url: impl AsRef<str>) -> Self {
        let Ok(url) = url.as_ref().parse();
        Self {
            url,
            patience: Duration::from_secs(5),
            allow_eviction: false,
            lease: Lease::default(),
        }
    }

    /// Reads the settings; a URL wins over its parts.
    pub fn read(values: &mut Values) -> Option<Self> {
        let url = url(values);
        if let Some(Err(error)) = url.as_ref().map(|url| crate::connection::read(url.expose())) {
            let text = "expected a redis://, rediss://, unix://, redis-sentinel:// or redis-cluster:// URL";
            values.refuse(&URL, format_args!("{text} ({})", error.details()));
        }
        let allow_eviction = values.get(&ALLOW_EVICTION);
        let lease = values.get(&LEASE);
        Some(Self {
            allow_eviction: allow_eviction?,
            lease: lease?,
            ..Self::new(url?.expose())
        })
    }
}

fn url(values: &mut Values) -> Option<Secret> {
    let url = values.optional::<Secret>(&URL);
    let addr = values.optional::<String>(&ADDR);
    let host = values.get::<String>(&HOST);
    let port = values.get::<u16>(&PORT);
    let username = values.optional::<String>(&USERNAME).unwrap_or_default();
    let password = values.optional::<Secret>(&PASSWORD);
    let db = values.get::<u8>(&DB);
    let parts = || {
        let address = addr.map_or_else(|| Some(format!("{}:{}", host?, port?)), Some)?;
        let login = match &password {
            Some(password) => format!("{}:{}@", encoded(&username), encoded(password.expose())),
            None => String::new(),
        };
        format!("redis://{login}{address}/{}", db?).parse().ok()
    };
    url.or_else(parts)
}

/// Percent-encodes what may not stand in the user information of a URL (RFC 3986, section 3.2.1).
fn encoded(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    text.bytes()
        .map(|b| {
            if plain(b) {
                char::from(b).to_string()
            } else {
                format!("%{b:02X}")
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_url_of_another_kind_is_none_of_redis() {
        let good = [
            "redis://h",
            "rediss://h:1/2",
            "unix:///s",
            "redis-sentinel://h:1?sentinelServiceName=n",
        ];
        for url in good
            .into_iter()
            .chain(["redis-cluster://h:1", "rediss-cluster://h:1", "redis+unix:///s"])
        {
            assert!(crate::connection::read(url).is_ok(), "{url}");
        }
        for url in ["redi://h", "127.0.0.1:6379", "http://h", "redis:h", ""] {
            assert!(crate::connection::read(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_password_is_encoded_into_the_url() {
        assert_eq!(super::encoded("p@ss/w:rd é"), "p%40ss%2Fw%3Ard%20%C3%A9");
    }
}
