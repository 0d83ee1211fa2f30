//! The wire contract, seen from outside: samples, golden examples, schemas.

#[cfg(test)]
mod golden;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod schemas;
#[cfg(test)]
mod util;
