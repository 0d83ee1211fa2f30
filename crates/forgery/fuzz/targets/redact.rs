//! What a build prints, in parts, with a secret in it.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| forgery::fuzz::redact(data));
