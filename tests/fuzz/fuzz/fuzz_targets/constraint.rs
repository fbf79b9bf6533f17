//! `krake_fuzz::constraint` for cargo-fuzz.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| krake_fuzz::constraint::target(data));
