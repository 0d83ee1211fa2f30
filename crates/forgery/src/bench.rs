//! What the service works with: the tools, and what connects it with the others.

use crate::{disk::Room, metrics::Metrics, roster::Roster, tools::Tools};
use bus::Bus;

/// What every slot shares.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) tools: Tools,
    pub(crate) bus: Bus,
    pub(crate) metrics: Metrics,
    /// What is under way.
    pub(crate) roster: Roster,
    /// Whether there is room on the disk for more.
    pub(crate) room: Room,
}
