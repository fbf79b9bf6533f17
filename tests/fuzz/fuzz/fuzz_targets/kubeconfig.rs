//! `krake_fuzz::kubeconfig` for cargo-fuzz.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| krake_fuzz::kubeconfig::target(data));
