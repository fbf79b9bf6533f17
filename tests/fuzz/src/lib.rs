//! Fuzz targets: every function here takes any bytes, and panics if a law does not hold for them.
//!
//! `tests/replay.rs` runs them on stable Rust, on the inputs in `corpus` and on generated ones; `fuzz/` wraps them for
//! cargo-fuzz. A target's `case` makes an input that is valid or nearly so; [`mutate::mutate`] breaks it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is the verdict of a target")]

pub mod constraint;
pub mod kubeconfig;
pub mod manifest;
pub mod mutate;
pub mod page;
pub mod rest;
pub mod wire;

mod message;

use rand::rngs::StdRng;

/// The longest input that is run, in bytes: laws do not need more, and it bounds the time of a case.
pub const MAX_INPUT: usize = 64 << 10;

/// One target.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, that of its folder in `corpus` and of its module.
    pub name: &'static str,
    /// Checks the laws on an input.
    pub run: fn(&[u8]),
    /// Makes an input that is valid, or nearly so.
    pub case: fn(&mut StdRng) -> Vec<u8>,
    /// Words that mean something to it.
    pub words: &'static [&'static str],
}

/// All targets.
pub const TARGETS: [Target; 6] = [
    Target { name: "rest", run: rest::target, case: rest::case, words: rest::WORDS },
    Target { name: "wire", run: wire::target, case: wire::case, words: &[] },
    Target { name: "constraint", run: constraint::target, case: constraint::case, words: constraint::WORDS },
    Target { name: "page", run: page::target, case: page::case, words: &["=", "-", "_", "alice", "\n"] },
    Target { name: "manifest", run: manifest::target, case: manifest::case, words: manifest::WORDS },
    Target { name: "kubeconfig", run: kubeconfig::target, case: kubeconfig::case, words: kubeconfig::WORDS },
];

/// The JSON form of an encoded message. What passed the check of requests is shown.
fn shown(descriptor: &prost_reflect::MessageDescriptor, encoded: &[u8]) -> serde_json::Value {
    let mut text = Vec::new();
    let options = krake_proto::json::Options::default();
    krake_proto::json::write(descriptor, encoded, options, &mut text).unwrap();
    serde_json::from_slice(&text)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&text)))
}

/// One of `items`.
fn pick<'a, T>(random: &mut StdRng, items: &'a [T]) -> &'a T {
    &items[rand::Rng::random_range(random, 0..items.len())]
}
