//! Waiting for something to become true, instead of sleeping.

use std::time::Duration;
use tokio::time::Instant;

/// Waits up to 30 seconds until `check` gives a value.
pub async fn eventually<T>(what: &str, check: impl AsyncFnMut() -> Option<T>) -> T {
    within(Duration::from_secs(30), what, check).await
}

/// Waits until `check` gives a value; panics with `what` when it never does.
pub async fn within<T>(patience: Duration, what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let give_up = Instant::now() + patience;
    loop {
        if let Some(value) = check().await {
            return value;
        }
        assert!(Instant::now() < give_up, "never happened within {patience:?}: {what}");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

/// The same for code that may not be async: blocks up to 30 seconds until `is_so`.
pub fn until(what: &str, is_so: impl Fn() -> bool) {
    let give_up = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < give_up, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(25));
    }
}
