//! Every example parses and comes out again with nothing lost.

use crate::util::files;
use contract::{
    BuildEvent, BuildQueueMessage, CancelRequest, DeploymentEvent, DeploymentQueueMessage, LogChunk, Message,
    Notification, WebhookDelivery, WorkerReport,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

fn survives<T: Serialize + DeserializeOwned>(folder: &str) {
    for (name, bytes) in files(folder) {
        let before: Value = serde_json::from_slice(&bytes).unwrap();
        let message: T = serde_json::from_slice(&bytes).unwrap_or_else(|e| panic!("{folder}/{name}: {e}"));
        let after = serde_json::to_value(&message).unwrap();
        assert_eq!(after, before, "{folder}/{name}");
    }
}

#[test]
fn every_build_message_survives_a_round_trip() {
    survives::<BuildQueueMessage>("examples/build-queue-message");
    for (name, bytes) in files("examples/build-queue-message") {
        BuildQueueMessage::parse(&bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}

#[test]
fn every_other_message_survives_a_round_trip() {
    survives::<WebhookDelivery>("examples/webhook-delivery");
    survives::<BuildEvent>("examples/build-event");
    survives::<DeploymentQueueMessage>("examples/deployment-queue-message");
    survives::<DeploymentEvent>("examples/deployment-event");
    survives::<WorkerReport>("examples/worker-report");
    survives::<LogChunk>("examples/log-chunk");
    survives::<Notification>("examples/notification");
}

#[test]
fn a_cancel_request_is_understood_in_both_forms() {
    for (name, bytes) in files("examples/cancel-request") {
        let request: CancelRequest = serde_json::from_slice(&bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(request.build_id.as_str(), "build-1", "{name}");
    }
}

#[test]
fn metadata_can_be_added_to_a_message_that_has_none() {
    let bytes = files("examples/build-queue-message")
        .into_iter()
        .find(|(n, _)| n == "operator-nulls.json")
        .unwrap()
        .1;
    let mut message = BuildQueueMessage::parse(&bytes).unwrap();
    message.metadata_mut().traceparent = Some("00-1-2-01".to_owned());
    let again = BuildQueueMessage::parse(message.to_json().unwrap().as_bytes()).unwrap();
    assert_eq!(again.metadata.unwrap().traceparent.as_deref(), Some("00-1-2-01"));
}
