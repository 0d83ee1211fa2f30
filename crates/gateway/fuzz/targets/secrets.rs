//! A file of secrets.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| gateway::fuzz::secrets(text));
