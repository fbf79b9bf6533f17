//! Encoded messages, read and rewritten field by field: the contract's parser.

pub use krake_proto::wire::Malformed;
pub(crate) use krake_proto::wire::{delimited, elements, fields, occurrences, overwrite, singular};
