//! What workers say of themselves becomes rows.

use super::settle;
use crate::store::Store;
use bus::Slot;
use contract::WorkerReport;
use tokio_util::sync::CancellationToken;

/// Takes reports of workers off their list.
#[derive(Clone)]
pub(crate) struct Workers {
    store: Store,
}

// === impl Workers ===

impl Workers {
    pub(crate) fn new(store: &Store) -> Self {
        Self { store: store.clone() }
    }

    pub(crate) async fn run(self, mut slot: Slot<WorkerReport>, stopping: CancellationToken) {
        loop {
            let delivery = tokio::select! {
                delivery = slot.take() => delivery,
                () = stopping.cancelled() => return,
            };
            let recorded = self.store.heard_of(delivery.message()).await;
            settle(delivery, recorded).await;
        }
    }
}
