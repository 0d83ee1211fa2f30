//! The whole of Forge as processes on real parts: for the tests in `tests/`, and for `figures`, which
//! measures it.
#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    clippy::print_stderr,
    clippy::indexing_slicing,
    reason = "development only: a part that cannot start must fail the test, loudly"
)]

mod forge;
mod gateway;
mod notifier;
mod sse;

pub use forge::{API_TOKEN, Forge, PATIENCE, QUICK, SINK_SECRET, WEBHOOK_SECRET};
pub use gateway::{Answer, Gateway, push, push_to};
pub use notifier::Notifier;
pub use sse::Sse;
