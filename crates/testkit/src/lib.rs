#![doc = include_str!("../README.md")]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "development only: a part that cannot start must fail the test, loudly"
)]

mod certificate;
mod cluster;
mod ecr;
mod engine;
mod eventually;
mod git;
mod github;
mod github_api;
mod images;
mod mail;
mod node;
mod port;
mod postgres;
mod process;
mod recorder;
mod redis;
mod registry;
mod s3;
mod sentinel;
mod sink;
mod ssh;
mod tls;
mod topology;

pub use certificate::Certificate;
pub use cluster::Cluster;
pub use ecr::Elastic;
pub use engine::Engine;
pub use eventually::{eventually, until, within};
pub use git::{Git, Repo};
pub use github::{Hook, push_body};
pub use github_api::GithubApi;
pub use images::{builder_image, nginx_image};
pub use mail::Mail;
pub use node::node;
pub use port::free_port;
pub use postgres::Postgres;
pub use process::{Process, binary};
pub use recorder::{Asked, Recorder, Reply};
pub use redis::Redis;
pub use registry::Registry;
pub use s3::S3;
pub use sentinel::Sentinel;
pub use sink::{Received, Sink};
pub use ssh::Ssh;
pub use topology::{ACL, Server, Topology};

/// The TLS provider that HTTP clients need; harmless to call again.
pub fn crypto() {
    rustls::crypto::ring::default_provider().install_default().ok();
}
