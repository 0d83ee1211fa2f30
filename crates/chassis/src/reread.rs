//! The configuration, read again while the service runs.
//!
//! It is read on SIGHUP and every few seconds, and what was read is compared: so it does not matter whether a
//! file was written, renamed or mounted anew.

use crate::{Life, Setting, Values};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// How often it is read without being asked.
const EVERY: Duration = Duration::from_secs(5);

/// Calls `apply` whenever `read` reads something else than before, until the service stops.
///
/// What is wrong is logged once and changes nothing; so is whatever else than `changing` has changed, for it holds
/// only after a restart.
pub async fn reread<C: PartialEq + Send + 'static>(
    life: Life,
    mut current: C,
    read: fn(&mut Values) -> Option<C>,
    changing: &'static [Setting],
    mut apply: impl FnMut(&C),
) {
    let stopping = life.stopping();
    let mut hangups = match signal(SignalKind::hangup()) {
        Ok(hangups) => hangups,
        Err(error) => return tracing::error!(%error, "cannot listen for SIGHUP"),
    };
    let mut known = Vec::new();
    let mut told = Vec::new();
    loop {
        let asked = tokio::select! {
            hangup = hangups.recv() => hangup.is_some(),
            () = tokio::time::sleep(EVERY) => false,
            () = stopping.cancelled() => return,
        };
        let gather = life.clone();
        // Files may be slow, or be none at all: a pipe that nobody writes to.
        let reading = tokio::task::spawn_blocking(move || {
            let mut values = gather.values();
            let next = read(&mut values);
            let waiting = gather.changed_since_start(&mut values, changing);
            (next, values.errors(), waiting)
        });
        let (next, errors, waiting) = tokio::select! {
            Ok(read) = reading => read,
            () = stopping.cancelled() => return,
        };
        // Where something cannot be read, nothing is known of what has changed.
        if errors.is_empty() && waiting != told {
            if waiting.is_empty() {
                tracing::info!("settings that had changed are as they were at the start");
            } else {
                tracing::warn!(
                    settings = waiting.join(", "),
                    "these have changed and hold after a restart"
                );
            }
            told = waiting;
        }
        match next {
            Some(next) if errors.is_empty() => {
                let changed = next != current;
                if changed {
                    apply(&next);
                    current = next;
                }
                if changed || asked {
                    tracing::info!(changed, "read the configuration again");
                }
            }
            Some(_) | None if asked || errors != known => {
                tracing::error!(
                    errors = errors.join("; "),
                    "the configuration is wrong now; what was there before holds"
                );
            }
            Some(_) | None => {}
        }
        known = errors;
    }
}
