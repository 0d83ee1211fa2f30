//! The Redis that everything goes through, and what can be done to it.

use crate::{options::Topology, proxy::Proxy};
use std::{path::PathBuf, time::Duration};
use testkit::{Redis, Sentinel};
use tokio::time::Instant;

/// Redis, of one kind or the other.
#[derive(Debug)]
pub(crate) enum Server {
    /// One server behind a proxy.
    One {
        redis: Box<Redis>,
        proxy: Proxy,
        every_second: bool,
        /// What it had written down lately, and when; the last is the newest.
        written: Vec<(Instant, Option<(PathBuf, u64)>)>,
    },
    /// A primary with replicas and sentinels.
    Set(Sentinel),
}

/// See redis.conf on `no-appendfsync-on-rewrite` and `appendfsync`.
const UNWRITTEN: Duration = Duration::from_secs(2);
/// With `appendfsync everysec` that much may be lost with the power.
const UNSYNCED: Duration = Duration::from_secs(1);

impl Server {
    pub(crate) async fn start(topology: Topology) -> Self {
        let fsync = match topology {
            Topology::EverySecond => "everysec",
            Topology::Always => "always",
            Topology::Sentinel => return Self::Set(Sentinel::start()),
        };
        let redis = Redis::start_with(&["--appendfsync", fsync, "--maxclients", "5000"]);
        let proxy = Proxy::start(redis.port()).await;
        Self::One {
            redis: Box::new(redis),
            proxy,
            every_second: topology == Topology::EverySecond,
            written: Vec::new(),
        }
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Self::One { proxy, .. } => format!("redis://{}", proxy.address),
            Self::Set(set) => set.url(),
        }
    }

    /// Runs a command past the proxy.
    pub(crate) fn cli(&self, args: &[&str]) -> String {
        match self {
            Self::One { redis, .. } => redis.cli(args),
            Self::Set(set) => set.cli(args),
        }
    }

    /// To be called now and then.
    pub(crate) fn look(&mut self) {
        if let Self::One { redis, written, .. } = self {
            written.push((Instant::now(), redis.written()));
            // The newest of those that are old enough, and all that are not.
            let old = written.iter().filter(|(at, _)| at.elapsed() >= UNSYNCED).count();
            written.drain(..old.saturating_sub(1));
        }
    }

    pub(crate) fn kill(&mut self) {
        match self {
            Self::One { redis, .. } => redis.kill(),
            Self::Set(set) => set.kill_primary(),
        }
    }

    /// How much it may have acknowledged and not written: with `appendfsync everysec` it waits up to two seconds
    /// for a sync that is under way (`aof_delayed_fsync` counts these).
    pub(crate) fn unwritten(&self) -> Duration {
        match self {
            Self::One { every_second: true, .. } => UNWRITTEN,
            Self::One { .. } | Self::Set(_) => Duration::ZERO,
        }
    }

    /// Ends it as a loss of power would; how much of the past is gone.
    pub(crate) fn lose_power(&mut self) -> Duration {
        let Self::One { redis, written, .. } = self else {
            return Duration::ZERO;
        };
        let Some((at, kept)) = written.first().cloned() else {
            return Duration::ZERO;
        };
        redis.lose_power(kept);
        at.elapsed()
    }

    pub(crate) fn restart(&mut self) {
        if let Self::One { redis, .. } = self {
            redis.restart();
        }
    }

    pub(crate) fn stall(&self, stalled: bool) {
        if let Self::One { proxy, .. } = self {
            proxy.stall(stalled);
        }
    }
}
