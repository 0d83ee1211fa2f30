#![doc = include_str!("../README.md")]

mod backoff;
mod cancel;
mod connection;
mod delivery;
mod error;
mod keys;
mod logs;
mod producer;
mod reaper;
mod script;
mod slot;
mod subscription;
mod worker;

pub use backoff::pause;
pub use cancel::{Cancelled, Canceller};
pub use connection::{Bus, Settings};
pub use delivery::{Delivery, LastWords, Settled, Stop};
pub use error::{Error, ErrorKind};
pub use logs::{Appended, LogReader, LogWriter};
pub use producer::{Producer, Sent};
pub use slot::Slot;
pub use subscription::{Heard, Subscription};
pub use worker::{BEAT, LEASE, Worker};
