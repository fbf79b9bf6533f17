//! A narrow door for the fuzz targets in `tests/fuzz`: the pure functions that take bytes of callers. No part of the
//! service's interface.
//!
//! Always compiled, since a cargo feature would make a second build of the workspace, and code that plain checks skip.

use bytes::Bytes;
use krake_proto::Kind;
use krake_proto::error::Violation;
use krake_proto::krake::meta::v1::View;
use krake_proto::wire::Malformed;
use prost_reflect::MessageDescriptor;

use crate::admission;
use crate::object::mask::{self, MaskError};
use crate::object::projection;
use crate::object::sections;
use crate::object::value;

pub use crate::registry::fuzz::{Selector, page_token, read_page_token};

/// An encoded object as sections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sections(sections::Sections);

impl Sections {
    /// Splits an encoded object.
    ///
    /// # Errors
    /// When it is no encoded object.
    pub fn parse(message: &Bytes) -> Result<Self, Malformed> {
        sections::Sections::parse(message).map(Sections)
    }

    /// The object as it is stored, and the length that was foretold for it, in bytes.
    pub fn encode(&self) -> (Bytes, usize) {
        (self.0.encode(), self.0.encoded_len())
    }

    /// The object as callers see it at a revision.
    pub fn encode_at(&self, resource_version: i64) -> Bytes {
        self.0.encode_at(resource_version)
    }

    /// The content of `spec`.
    pub fn spec(&self) -> Option<&Bytes> {
        self.0.spec.as_ref()
    }
}

/// `target` with the field at `path` taken from `source`: what an update with a mask does.
///
/// # Errors
/// When the path names no field, or either is no encoded message.
pub fn copy(
    target: &[u8],
    source: &[u8],
    descriptor: &MessageDescriptor,
    path: &[&str],
) -> Result<Vec<u8>, MaskError> {
    mask::copy(target, source, descriptor, path)
}

/// `target` with the populated fields of `source`: what an update without a mask does.
///
/// # Errors
/// When either is no encoded message.
pub fn merge(target: &[u8], source: &[u8], descriptor: &MessageDescriptor) -> Result<Vec<u8>, Malformed> {
    mask::merge(target, source, descriptor)
}

/// An object as the basic view shows it.
///
/// # Errors
/// When it is no encoded message.
pub fn basic_view(message: Bytes, descriptor: &MessageDescriptor) -> Result<Bytes, Malformed> {
    projection::project(message, descriptor, View::Basic)
}

/// The stored form of a message of this name.
pub fn store(name: &str, message: &[u8]) -> Bytes {
    value::encode(name, message)
}

/// The message in a stored value, which must be of this name; `None` if it is not.
pub fn stored(name: &str, value: &Bytes) -> Option<Bytes> {
    value::decode(name, value).ok()
}

/// Admits an encoded spec in the namespace `ns`: returns it as it would be stored.
///
/// # Errors
/// What is wrong with it, by field.
pub fn admit(kind: &Kind, descriptor: &MessageDescriptor, spec: &[u8]) -> Result<Vec<u8>, Vec<Violation>> {
    admission::spec(kind, descriptor, "ns", spec)
}
