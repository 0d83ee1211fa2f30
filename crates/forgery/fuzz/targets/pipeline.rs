//! The text of a pipeline.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| forgery::fuzz::pipeline(text));
