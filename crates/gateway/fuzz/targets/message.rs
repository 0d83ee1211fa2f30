//! A message as somebody else may push it: what is taken is the same after another round.
#![no_main]

use contract::{
    BuildEvent, BuildQueueMessage, CancelRequest, EndpointDelivery, Message, Notification, WebhookDelivery,
};
use std::fmt::Debug;

fn round<T: Message + PartialEq + Debug>(data: &[u8]) {
    let Ok(message) = T::from_bytes(data) else { return };
    let text = message.to_json().expect("a message is JSON");
    assert_eq!(
        T::from_bytes(text.as_bytes()).expect("what was written is read"),
        message
    );
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    round::<WebhookDelivery>(data);
    round::<BuildQueueMessage>(data);
    round::<BuildEvent>(data);
    round::<Notification>(data);
    round::<EndpointDelivery>(data);
    if let Ok(request) = serde_json::from_slice::<CancelRequest>(data) {
        let text = serde_json::to_vec(&request).expect("a request is JSON");
        assert_eq!(
            serde_json::from_slice::<CancelRequest>(&text).expect("what was written is read"),
            request
        );
    }
});
