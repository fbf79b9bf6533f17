//! The Krake API: messages, clients, descriptors, JSON form and constraint grammar.
//!
//! Everything that crosses a process border is defined here, once. [`krake`] holds what is generated from the `.proto`
//! files; [`Resource`] and [`envelope`] are what all kinds have in common; [`error`] is how calls fail; [`json`] is how
//! people and REST clients see it all.

pub mod codec;
pub mod comments;
pub mod constraint;
pub mod envelope;
pub mod error;
pub mod finalizer;
pub mod json;
pub mod name;
pub mod openapi;
mod redacted;
mod resource;
pub mod rest;
pub mod wire;

pub use resource::{KINDS, Kind, Resource, kind};

use std::sync::LazyLock;

use prost_reflect::DescriptorPool;

/// Generated from `proto/krake`, one module per package.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod krake {
    /// What all kinds share.
    pub mod meta {
        /// Package `krake.meta.v1`.
        pub mod v1 {
            tonic::include_proto!("krake.meta.v1");
        }
    }
    /// Metrics and elections.
    pub mod core {
        /// Package `krake.core.v1`.
        pub mod v1 {
            tonic::include_proto!("krake.core.v1");
        }
    }
    /// Applications and clusters.
    pub mod kubernetes {
        /// Package `krake.kubernetes.v1`.
        pub mod v1 {
            tonic::include_proto!("krake.kubernetes.v1");
        }
    }
}

/// Numbers of the fields of Krake's messages, generated from `proto/krake`: for code that reads and rewrites encoded
/// messages field by field, for example `numbers::kubernetes::v1::cluster_spec::METRICS`.
pub mod numbers {
    include!(concat!(env!("OUT_DIR"), "/numbers.rs"));
}

/// Generated from the vendored Google files.
#[allow(missing_docs, unreachable_pub, clippy::all, rustdoc::all)]
pub mod google {
    /// Package `google.api`.
    pub mod api {
        tonic::include_proto!("google.api");
    }
    /// Package `google.rpc`.
    pub mod rpc {
        tonic::include_proto!("google.rpc");
    }
}

/// The encoded `FileDescriptorSet` of the whole API, with comments and custom options: for reflection, JSON and REST.
pub static DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// [`DESCRIPTORS`], decoded.
pub static POOL: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(DESCRIPTORS).expect("the build wrote these descriptors"));
