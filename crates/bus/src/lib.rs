#![doc = include_str!("../README.md")]

mod backoff;
mod batch;
mod cancel;
pub mod clock;
mod connection;
mod courier;
mod dead;
mod delivery;
mod error;
mod examine;
mod holder;
mod keys;
mod lease;
mod logs;
#[cfg(test)]
mod model;
mod news;
mod producer;
mod reaper;
mod script;
mod settings;
mod slot;
mod subscription;
mod unfit;
mod wait;
mod worker;

pub use backoff::pause;
pub use batch::Batch;
pub use cancel::{Cancelled, Canceller};
pub use connection::Bus;
pub use courier::{
    Announcement, Courier, Event, Fate, Health, Intake, MOST_WAITING, Pace, Patience, Record, Report, Round, Stats,
    Taken, Told,
};
pub use dead::{DeadLetter, DeadLetters, Replayed};
pub use delivery::{Delivery, LastWords, Settled, Stop};
pub use error::{Error, ErrorKind};
pub use examine::examine;
pub use holder::Holders;
pub use lease::{InvalidLease, Lease};
pub use logs::{Appended, LogReader, LogWriter};
pub use producer::{COPIES, Depth, Parcel, Producer, Sent};
pub use settings::{SETTINGS, Settings};
pub use slot::Slot;
pub use subscription::{Heard, Subscription};
pub use worker::Worker;
