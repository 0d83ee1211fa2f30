#![doc = include_str!("../README.md")]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "development only: a part that cannot start must fail the test, loudly"
)]

mod eventually;
mod git;
mod github;
mod process;
mod redis;
mod registry;
mod sink;

pub use eventually::{eventually, within};
pub use git::{Git, Repo};
pub use github::{Hook, push_body};
pub use process::{Process, binary, free_port};
pub use redis::Redis;
pub use registry::Registry;
pub use sink::{Received, Sink};

/// The TLS provider that HTTP clients need; harmless to call again.
pub fn crypto() {
    rustls::crypto::ring::default_provider().install_default().ok();
}
