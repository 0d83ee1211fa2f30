//! Header lines. The first byte chooses the forge.
#![no_main]

use contract::Provider;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((choice, lines)) = data.split_first() else {
        return;
    };
    gateway::fuzz::head(Provider::ALL[usize::from(*choice) % Provider::ALL.len()], lines);
});
