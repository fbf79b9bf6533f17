//! `krake_fuzz::rest` for cargo-fuzz.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| krake_fuzz::rest::target(data));
