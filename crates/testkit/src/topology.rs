//! Every way in which a Redis can be there, behind one face.

use crate::{Certificate, Cluster, Redis, Sentinel, port::free_port};
use std::path::PathBuf;

/// How Redis is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topology {
    /// One server over TCP.
    Standalone,
    /// The same over TLS.
    Tls,
    /// The same for a user with a password, who may do only what Forge needs.
    User,
    /// The same over a unix socket.
    Socket,
    /// A primary, two replicas, three sentinels.
    Sentinel,
    /// Three primaries, three replicas.
    Cluster,
}

/// A Redis of some topology.
#[derive(Debug)]
pub struct Server {
    url: String,
    variables: Vec<(&'static str, String)>,
    kind: Kind,
    _certificate: Option<Certificate>,
}

#[derive(Debug)]
enum Kind {
    One(Redis),
    Sentinel(Sentinel),
    Cluster(Cluster),
}

/// What Forge's user may do (`ACL SETUSER`); also in deploy/redis.conf.
pub const ACL: &[&str] = &[
    "~forge:*",
    "~{forge:*",
    "&forge:*",
    "&forge:logs:*",
    "+@all",
    "-@dangerous",
    "+info",
];

// === impl Topology ===

impl Topology {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::Standalone,
        Self::Tls,
        Self::User,
        Self::Socket,
        Self::Sentinel,
        Self::Cluster,
    ];

    /// What `FORGE_TOPOLOGY` says; one server unless it says anything.
    pub fn wanted() -> Self {
        let wanted = std::env::var("FORGE_TOPOLOGY").unwrap_or_else(|_| "standalone".to_owned());
        let found = Self::ALL
            .iter()
            .find(|topology| format!("{topology:?}").eq_ignore_ascii_case(&wanted));
        *found.unwrap_or_else(|| panic!("FORGE_TOPOLOGY={wanted} is none of {:?}", Self::ALL))
    }
}

// === impl Server ===

impl Server {
    /// Starts one and waits until it answers.
    pub fn start(topology: Topology) -> Self {
        match topology {
            Topology::Standalone => Self::one(Redis::start(), Redis::url),
            Topology::Socket => Self::one(Redis::start(), Redis::unix_url),
            Topology::Tls => Self::tls(),
            Topology::User => {
                let user = ["--user", "forge", "on", ">p@ss/word"];
                Self::one(Redis::start_with(&[&user[..], ACL].concat()), |redis| {
                    redis.url().replace("redis://", "redis://forge:p%40ss%2Fword@")
                })
            }
            Topology::Sentinel => {
                let set = Sentinel::start();
                Self::new(set.url(), Kind::Sentinel(set))
            }
            Topology::Cluster => {
                let cluster = Cluster::start();
                Self::new(cluster.url(), Kind::Cluster(cluster))
            }
        }
    }

    fn new(url: String, kind: Kind) -> Self {
        Self {
            url,
            variables: Vec::new(),
            kind,
            _certificate: None,
        }
    }

    fn one(redis: Redis, url: impl FnOnce(&Redis) -> String) -> Self {
        Self::new(url(&redis), Kind::One(redis))
    }

    fn tls() -> Self {
        let made = Certificate::of_localhost();
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let (certificate, key) = (text(made.path()), text(made.key()));
        let port = free_port().to_string();
        let redis = Redis::start_with(&[
            "--tls-port",
            &port,
            "--tls-cert-file",
            &certificate,
            "--tls-key-file",
            &key,
            "--tls-auth-clients",
            "no",
        ]);
        Self {
            url: format!("rediss://localhost:{port}"),
            variables: vec![("SSL_CERT_FILE", certificate)],
            kind: Kind::One(redis),
            _certificate: Some(made),
        }
    }

    /// Its URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Variables that its clients need beside the URL.
    pub fn variables(&self) -> impl Iterator<Item = (&'static str, String)> {
        self.variables.iter().cloned()
    }

    /// Runs a command by `redis-cli`, where it must be run; what it printed.
    pub fn cli(&self, args: &[&str]) -> String {
        match &self.kind {
            Kind::One(redis) => redis.cli(args),
            Kind::Sentinel(set) => set.cli(args),
            Kind::Cluster(cluster) => cluster.cli(args),
        }
    }

    /// Ends it as a crash would: the server, or the primary that has the builds.
    pub fn kill(&mut self) {
        match &mut self.kind {
            Kind::One(redis) => redis.kill(),
            Kind::Sentinel(set) => set.kill_primary(),
            Kind::Cluster(cluster) => cluster.kill_primary_of("forge:builds"),
        }
    }

    /// Starts what was killed, with the data it had.
    pub fn restart(&mut self) {
        match &mut self.kind {
            Kind::One(redis) => redis.restart(),
            Kind::Sentinel(_) => {} // It has started the dead one as a replica.
            Kind::Cluster(cluster) => cluster.restart(),
        }
    }

    /// Removes what a killed server has written down; only one server can lose everything.
    pub fn wipe(&self) {
        match &self.kind {
            Kind::One(redis) => redis.wipe(),
            Kind::Sentinel(_) | Kind::Cluster(_) => panic!("the others would still have it"),
        }
    }
}
