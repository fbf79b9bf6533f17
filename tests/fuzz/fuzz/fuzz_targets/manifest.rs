//! `krake_fuzz::manifest` for cargo-fuzz.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| krake_fuzz::manifest::target(data));
