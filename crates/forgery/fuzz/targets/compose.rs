//! A compose file, and a Dockerfile.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| forgery::fuzz::compose(text));
