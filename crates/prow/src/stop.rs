//! Stopping a build, whoever asks for it.

use bus::{Cancelled, Canceller, Error, clock};
use contract::{BuildEvent, CancelOutcome, CancelRequest, Failure, Happening, Message as _};

/// Stops a build wherever it is, by the one script that decides such things; one that is not queued yet never will be.
/// Repeating is harmless.
pub(crate) async fn stop(canceller: &Canceller, request: &CancelRequest) -> Result<Cancelled, Error> {
    let kind = if request.outcome == CancelOutcome::TimedOut {
        "timeout"
    } else {
        request.outcome.as_str()
    };
    let failure = Failure::new(kind, request.reason.as_deref().unwrap_or_default());
    let ended = Happening::ended(request.outcome.terminal(), failure);
    let event = BuildEvent::new(request.build_id.clone(), 0, 0, clock::now(), ended);
    canceller.cancel(request, &event.to_json().unwrap_or_default()).await // Events are always JSON.
}
