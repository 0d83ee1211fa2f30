//! Builds of the type `pipeline`: steps, in the order that they need each other.
//!
//! ```text
//! text ─▶ plan (what waits for what) ─▶ run: what is ready ─▶ a container per script, all on one volume
//!                                                          └▶ images, by the builder of every other build
//! ```

mod facts;
mod plan;
mod run;
mod sandbox;
mod step;

pub(crate) use facts::Facts;
pub(crate) use plan::{FILES, Plan};
pub(crate) use run::{Scene, run};
