//! Entry point for libFuzzer; see `testing/fuzzing`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzzing::run("protocol_packed", data));
