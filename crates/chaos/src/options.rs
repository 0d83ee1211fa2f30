//! What the command line says.

use std::str::FromStr;

/// How to run.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// How many deliveries are sent.
    pub(crate) n: usize,
    /// Everything that is drawn by lot follows from it.
    pub(crate) seed: u64,
    /// What Redis is.
    pub(crate) redis: Topology,
    /// Where prow remembers; with PostgreSQL there are two prows.
    pub(crate) database: Database,
    /// How many faults are struck.
    pub(crate) faults: usize,
    /// A duty that is switched off, to show that the harness can fail.
    pub(crate) switch_off: Option<String>,
}

/// What Redis is, and how it writes to its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Topology {
    /// One server, `appendfsync everysec`, behind a proxy that can stall.
    EverySecond,
    /// The same with `appendfsync always`.
    Always,
    /// One primary, two replicas, three sentinels.
    Sentinel,
}

/// Where prow remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Database {
    Sqlite,
    Postgres,
}

pub(crate) const USAGE: &str = "usage: chaos [--n DELIVERIES] [--seed NUMBER] [--faults COUNT] \
     [--redis everysec|always|sentinel] [--database sqlite|postgres] [--switch-off DUTY]";

// === impl Options ===

impl Options {
    pub(crate) fn parse(args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            n: 2_000,
            seed: fastrand::u64(..1_000_000),
            redis: Topology::EverySecond,
            database: Database::Sqlite,
            faults: 24,
            switch_off: None,
        };
        let mut args = args;
        while let Some(flag) = args.next() {
            let value = args.next().ok_or(USAGE)?;
            match flag.as_str() {
                "--n" => options.n = number(&value)?,
                "--seed" => options.seed = number(&value)?,
                "--faults" => options.faults = number(&value)?,
                "--redis" => options.redis = value.parse()?,
                "--database" => options.database = value.parse()?,
                "--switch-off" => options.switch_off = Some(value),
                _ => return Err(USAGE.to_owned()),
            }
        }
        Ok(options)
    }
}

fn number<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_not_a_number| USAGE.to_owned())
}

impl FromStr for Topology {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "everysec" => Ok(Self::EverySecond),
            "always" => Ok(Self::Always),
            "sentinel" => Ok(Self::Sentinel),
            _ => Err(USAGE.to_owned()),
        }
    }
}

impl FromStr for Database {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "sqlite" => Ok(Self::Sqlite),
            "postgres" => Ok(Self::Postgres),
            _ => Err(USAGE.to_owned()),
        }
    }
}
