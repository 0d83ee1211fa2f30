//! The lists and logs against a real Redis; one test for each thing that attacking the design taught.
#![expect(clippy::disallowed_methods, reason = "tests wait and spawn freely")]

#[cfg(test)]
mod batch;
#[cfg(test)]
mod bounds;
#[cfg(test)]
mod cancel;
#[cfg(test)]
mod connection;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod dead;
#[cfg(test)]
mod lists;
#[cfg(test)]
mod logs;
#[cfg(test)]
mod topologies;
#[cfg(test)]
mod util;
