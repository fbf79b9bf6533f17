//! Encoded messages, read and rewritten field by field: the contract's parser.

pub(crate) use krake_proto::wire::{
    Malformed, delimited, elements, fields, occurrences, overwrite, singular,
};
