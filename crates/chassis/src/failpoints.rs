//! Places where a test can end a process, or make it forget a duty. Nothing in what is shipped.
//!
//! With the feature `failpoints` the variable `FAILPOINTS` turns them on, in the grammar of the crate `fail`:
//! `FAILPOINTS="prow.planned=1*return"` ends the process when it gets there for the first time.

/// Ends the process here, as a crash would, if a test says so. Stands between two effects.
#[cfg(feature = "failpoints")]
pub fn crash_point(name: &str) {
    fail::fail_point!(name, |_| {
        tracing::error!(name, "dying here, as FAILPOINTS says");
        std::process::abort()
    });
}

/// Whether a test switched this duty off.
#[cfg(feature = "failpoints")]
pub fn is_switched_off(name: &str) -> bool {
    fail::fail_point!(name, |_| true);
    false
}

/// Reads `FAILPOINTS` for as long as the answer lives.
#[cfg(feature = "failpoints")]
pub(crate) fn read() -> impl Sized {
    fail::FailScenario::setup()
}

/// Nothing.
#[cfg(not(feature = "failpoints"))]
#[inline]
pub const fn crash_point(_name: &str) {}

/// No.
#[cfg(not(feature = "failpoints"))]
#[inline]
pub const fn is_switched_off(_name: &str) -> bool {
    false
}
