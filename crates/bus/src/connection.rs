//! From a URL to clients: one pool for commands, one client for each blocking reader.

use crate::{Error, ErrorKind, Lease, Settings, news::News, script::Scripts};
use fred::{
    clients::{Client, Pool, SubscriberClient},
    interfaces::ClientLike,
    types::{
        Builder, InfoKind,
        config::{Config, ReconnectError, ReconnectPolicy, TcpConfig, TlsConnector},
    },
};
use std::{sync::Arc, time::Duration};
use tokio::{sync::OnceCell, task::JoinHandle};

/// A connection to Redis; cheap to clone.
#[derive(Clone)]
pub struct Bus {
    shared: Arc<Shared>,
}

struct Shared {
    settings: Settings,
    pool: Own<Pool>,
    scripts: Scripts,
    news: OnceCell<News>,
}

/// A client whose connections end with it; fred's own clients live, and reconnect, for ever.
#[derive(Debug)]
pub(crate) struct Own<C: ClientLike + 'static> {
    client: C,
    resubscribing: Option<JoinHandle<()>>,
}

/// Connections for commands; two, so that one slow command does not delay all others.
const POOL: usize = 2;
/// Messages of channels that may wait for a slow reader. They only wake it up, and a reader is told what
/// it missed. The client reserves memory for all of them, several times per connection: with 65,536 an
/// idle service took half a gibibyte.
const HEARD: usize = 256;
/// How often it is said that Redis is still not there.
const REMINDER: Duration = Duration::from_secs(5);
/// Commands waiting for a connection; past it they fail.
const WAITING_COMMANDS: usize = 10_000;

// === impl Settings ===

impl Settings {
    fn builder(&self, patience: Duration) -> Result<Builder, Error> {
        let wrong = |source| Error::redis(source, "configure", "redis url");
        let url = self.url.expose();
        let mut config = read(url).map_err(wrong)?;
        config.fail_fast = false;
        if url.starts_with("rediss") || url.starts_with("valkeys") {
            config.tls = Some(tls().into());
        }
        let mut builder = Builder::from_config(config);
        builder
            .with_connection_config(|c| {
                c.connection_timeout = Duration::from_secs(3);
                c.internal_command_timeout = Duration::from_secs(3);
                c.max_command_attempts = 1; // A command that was sent is never sent again by itself.
                c.max_command_buffer_len = WAITING_COMMANDS;
                c.reconnect_on_auth_error = true;
                c.tcp = TcpConfig {
                    nodelay: Some(true),
                    ..TcpConfig::default()
                };
                c.reconnect_errors = vec![
                    ReconnectError::ReadOnly,
                    ReconnectError::Loading,
                    ReconnectError::ClusterDown,
                    ReconnectError::MasterDown,
                    ReconnectError::NoReplicas,
                ];
            })
            .with_performance_config(|p| {
                p.default_command_timeout = patience;
                p.broadcast_channel_capacity = HEARD;
            })
            .set_policy(ReconnectPolicy::new_exponential(0, 50, 2_000, 2));
        Ok(builder)
    }
}

// === impl Bus ===

impl Bus {
    /// Starts connecting and returns at once; until it is connected, commands wait and then fail.
    ///
    /// # Errors
    /// When the URL cannot be understood.
    pub fn start(settings: Settings) -> Result<Self, Error> {
        let patience = settings.patience;
        let pool = settings
            .builder(patience)?
            .build_pool(POOL)
            .map_err(|source| Error::redis(source, "configure", "redis"))?;
        drop(pool.connect_pool());
        Ok(Self {
            shared: Arc::new(Shared {
                settings,
                pool: Own::new(pool),
                scripts: Scripts::new(),
                news: OnceCell::new(),
            }),
        })
    }

    /// Waits until Redis is there, then checks that it is fit: version 7 or newer, not evicting.
    ///
    /// # Errors
    /// When it is not fit, or refuses the credentials.
    pub async fn ready(&self) -> Result<(), Error> {
        let connected = self.shared.pool.wait_for_connect();
        tokio::pin!(connected);
        while tokio::time::timeout(REMINDER, &mut connected).await.is_err() {
            tracing::warn!("redis cannot be reached, or refuses the connection; still trying");
        }
        loop {
            match self.client().info::<String>(Some(InfoKind::Default)).await {
                Ok(info) => return self.check(&info),
                Err(source) => {
                    let error = Error::redis(source, "info", "redis");
                    if !error.is_transient() {
                        return Err(error);
                    }
                    tracing::warn!(error = %error, "redis is not ready yet");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }

    /// Waits until Redis is there, for as long as it takes.
    pub(crate) async fn reached(&self) {
        self.shared.pool.wait_for_connect().await.ok(); // Ends early only when the pool does.
    }

    /// Whether Redis answers, within the usual patience.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), Error> {
        self.client()
            .ping::<()>(None)
            .await
            .map_err(|source| Error::redis(source, "ping", "redis"))
    }

    /// Names the run of the Redis that answers; another name means that it was restarted or replaced, and
    /// may have lost the last it was given. Of a Cluster nothing is said: the name never changes.
    ///
    /// # Errors
    /// When Redis is unreachable.
    pub async fn incarnation(&self) -> Result<String, Error> {
        if self.client().is_clustered() {
            return Ok("cluster".to_owned());
        }
        let info = self.client().info::<String>(Some(InfoKind::Server)).await;
        let info = info.map_err(|source| Error::redis(source, "info", "redis"))?;
        Ok(field(&info, "run_id").to_owned())
    }

    pub(crate) fn client(&self) -> &Client {
        self.shared.pool.next()
    }

    /// How long a command may take.
    pub(crate) fn patience(&self) -> Duration {
        self.shared.settings.patience
    }

    /// How long its workers may be silent.
    pub fn lease(&self) -> Lease {
        self.shared.settings.lease
    }

    /// News of all logs, through one connection however many are read.
    pub(crate) async fn news(&self) -> Result<&News, Error> {
        self.shared.news.get_or_try_init(|| News::start(self)).await
    }

    pub(crate) fn scripts(&self) -> &Scripts {
        &self.shared.scripts
    }

    /// A connection of its own, for commands that block it.
    pub(crate) async fn blocking_client(&self) -> Result<Own<Client>, Error> {
        let failed = |source| Error::redis(source, "connect", "redis");
        let client = self.shared.settings.builder(Duration::ZERO)?.build().map_err(failed)?;
        let client = Own::new(client);
        client.init().await.map_err(failed)?;
        Ok(client)
    }

    /// A connection of its own that resubscribes after every reconnect.
    pub(crate) async fn subscriber(&self) -> Result<Own<SubscriberClient>, Error> {
        let failed = |source| Error::redis(source, "connect", "redis");
        let client = self
            .shared
            .settings
            .builder(self.shared.settings.patience)?
            .build_subscriber_client()
            .map_err(failed)?;
        let mut client = Own::new(client);
        client.init().await.map_err(failed)?;
        client.resubscribing = Some(client.manage_subscriptions());
        Ok(client)
    }

    pub(crate) fn check(&self, info: &str) -> Result<(), Error> {
        let unsuitable = |text: String| Err(Error::new(ErrorKind::Unsuitable(text), "check", "redis"));
        let version = field(info, "redis_version");
        let major: u32 = version
            .split('.')
            .next()
            .and_then(|v| v.parse().ok())
            .unwrap_or_default();
        if major < 7 {
            return unsuitable(format!("redis {version} is too old, 7.0 or newer is needed"));
        }
        let policy = field(info, "maxmemory_policy");
        let evicts = policy != "noeviction" && field(info, "maxmemory") != "0";
        if evicts && !self.shared.settings.allow_eviction {
            return unsuitable(format!(
                "redis evicts keys when its memory is full (maxmemory-policy {policy}), which loses builds; \
                 set maxmemory-policy noeviction, or allow it explicitly"
            ));
        }
        Ok(())
    }
}

// === impl Own ===

impl<C: ClientLike + 'static> Own<C> {
    const fn new(client: C) -> Self {
        Self {
            client,
            resubscribing: None,
        }
    }
}

impl<C: ClientLike + 'static> std::ops::Deref for Own<C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.client
    }
}

impl<C: ClientLike + 'static> Drop for Own<C> {
    fn drop(&mut self) {
        if let Some(task) = &self.resubscribing {
            task.abort();
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let client = self.client.clone();
            drop(runtime.spawn(async move { client.quit().await }));
        }
    }
}

impl std::fmt::Debug for Bus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bus").finish_non_exhaustive()
    }
}

/// A field of what INFO answers.
pub(crate) fn field<'a>(info: &'a str, name: &str) -> &'a str {
    let found = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    found.map(str::trim).unwrap_or_default()
}

/// Where a URL leads, without who one is there.
pub(crate) fn place(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("redis", url));
    let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
    let place = place.split('?').next().unwrap_or(place);
    format!("{scheme}://{place}")
}

/// TLS with the system's roots (or those of `SSL_CERT_FILE`); one unreadable root does not spoil it.
fn tls() -> TlsConnector {
    let mut roots = rustls::RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in found.errors {
        tracing::warn!(%error, "a system certificate cannot be read");
    }
    roots.add_parsable_certificates(found.certs);
    let config = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(config)
}

/// Reads a URL as fred does, and `unix://` as others write it.
pub(crate) fn read(url: &str) -> Result<Config, fred::error::Error> {
    let known = ["redis", "rediss", "valkey", "valkeys", "unix"];
    let scheme = url.split("://").next().unwrap_or_default();
    let base = scheme.split(['-', '+']).next().unwrap_or_default();
    if !known.contains(&base) || !url.contains("://") {
        let text = format!("{scheme}:// is none of them");
        return Err(fred::error::Error::new(fred::error::ErrorKind::Config, text));
    }
    let url = url.replacen("unix://", "redis+unix://", usize::from(scheme == "unix"));
    Config::from_url(&url)
}
