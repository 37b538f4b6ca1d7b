//! Entry point for libFuzzer; see `testing/fuzzing`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzzing::run("kopia_error_correction", data));
