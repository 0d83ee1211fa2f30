//! A body as an event of a forge. The first byte chooses the forge, the first line names the event.
#![no_main]

use contract::Provider;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((choice, data)) = data.split_first() else {
        return;
    };
    let provider = Provider::ALL[usize::from(*choice) % Provider::ALL.len()];
    let line = data.iter().position(|byte| *byte == b'\n').unwrap_or_default();
    let (event, body) = data.split_at(line);
    if let Ok(event) = std::str::from_utf8(event) {
        gateway::fuzz::body(provider, event, body);
    }
});
