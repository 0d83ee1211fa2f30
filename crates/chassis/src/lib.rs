#![doc = include_str!("../README.md")]

mod admin;
pub mod config;
mod cors;
mod doctor;
mod failpoints;
pub mod http;
mod launch;
mod life;
mod reread;
mod secret;
mod telemetry;
pub mod tls;
pub mod trace;

pub use admin::metrics_page;
pub use config::{Setting, Values};
pub use cors::{Origin, cors};
pub use doctor::Findings;
pub use failpoints::{crash_point, is_switched_off};
pub use launch::{Asked, Errand, Failure, Service, launch, launch_with};
pub use life::{Latch, Life, Policy};
pub use prometheus_client as metrics;
pub use reread::reread;
pub use secret::Secret;
pub use telemetry::chain;
