//! The Krake API: messages, clients, descriptors, JSON form and constraint grammar.
//!
//! Everything that crosses a process border is defined here, once. [`krake`] holds what is generated from the `.proto`
//! files; [`Resource`] and [`envelope`] are what all kinds have in common; [`error`] is how calls fail; [`json`] is how
//! people and REST clients see it all.

pub mod codec;
pub mod comments;
pub mod condition;
pub mod constraint;
pub mod envelope;
pub mod error;
pub mod finalizer;
pub mod json;
pub mod name;
pub mod observer;
pub mod openapi;
pub mod reachability;
mod redacted;
mod resource;
pub mod rest;
pub mod wire;

pub use resource::{KINDS, Kind, Resource, kind};

use std::sync::LazyLock;

use prost_reflect::DescriptorPool;

/// One module per package, nested as the packages are: [`krake`] from `proto/krake`, [`google`] from the vendored files.
#[allow(missing_docs, unreachable_pub, clippy::all, rustdoc::all)]
mod packages {
    include!(concat!(env!("OUT_DIR"), "/packages.rs"));
}

pub use packages::{google, krake};

/// Numbers of the fields of Krake's messages, generated from `proto/krake`: for code that reads and rewrites encoded
/// messages field by field, for example `numbers::kubernetes::v1::cluster_spec::METRICS`.
pub mod numbers {
    include!(concat!(env!("OUT_DIR"), "/numbers.rs"));
}

/// The encoded `FileDescriptorSet` of the whole API, with comments and custom options: for reflection, JSON and REST.
pub static DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// [`DESCRIPTORS`], decoded.
pub static POOL: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(DESCRIPTORS).expect("the build wrote these descriptors"));
