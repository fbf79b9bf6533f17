//! `krake_fuzz::page` for cargo-fuzz.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| krake_fuzz::page::target(data));
