//! The JSON form of the API, which people and REST clients read and write: of every message, by its descriptor.
//!
//! Names are those of the `.proto` files. Defaults are printed; absent messages and absent `optional` scalars are
//! `null`, and `null` in input is the same as leaving a field out. Enum values go without their prefix, 64-bit integers
//! are numbers, times are `2023-02-28T10:48:54.123456+00:00` (input: RFC 3339), durations `30s`. A `Document` is the
//! JSON value that it holds. The options of `krake/meta/v1/options.proto` do the rest: `kind` (with `flat`),
//! `tagged_union`, `shown_as`, `null_if_empty`, `sensitive`, `rest_default` and `lower_case`.

mod canonical;
mod compact;
mod document;
mod fault;
pub(crate) mod flat;
mod parse;
pub(crate) mod path;
mod read;
pub(crate) mod scalar;
pub(crate) mod shape;
#[cfg(test)]
mod tests;
mod time;
mod update;
mod wire;
mod write;
#[cfg(test)]
mod write_tests;

pub use canonical::{CANONICAL_VERSION, canonical};
pub use document::{document, document_value};
pub use parse::{ParseError, parse, parse_written};
pub use update::{complete, fill_rest_defaults, is_incomplete, mask, strip_output};

use prost::{Message, Name};
use prost_reflect::{DynamicMessage, MessageDescriptor};
use serde_json::Value;

use crate::POOL;
use crate::error::Violation;
use crate::wire::Malformed;

/// Stands in place of a secret.
pub const REDACTED: &str = "<redacted>";

/// Maximum nesting of a document, in levels: far more than any manifest has, and no danger to a stack.
pub const MAX_DEPTH: usize = 64;

/// How messages are shown. The default shows everything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Show [`REDACTED`] in place of every sensitive field that is set.
    pub redact: bool,
}

/// Treatment of input fields that the message does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// Each is a violation, with a suggestion if a field of the message has a similar name.
    Refuse,
    /// They are dropped.
    Ignore,
}

/// The JSON form of a message of the API.
///
/// Document text that is not JSON, which the state service does not store, is shown as a string.
///
/// # Panics
/// If `M` is not part of the API.
pub fn to_value<M: Message + Name>(message: &M, options: Options) -> Value {
    let mut text = Vec::new();
    write(&descriptor::<M>(), &message.encode_to_vec(), options, &mut text)
        .expect("a message is encoded rightly");
    serde_json::from_slice(&text).expect("the JSON form is JSON")
}

/// Appends the JSON form of an encoded message of the API to `out`, on one line. Fields that are not known are left
/// out.
///
/// # Errors
/// When `encoded` is not an encoding of the message; `out` then ends anywhere.
///
/// # Panics
/// If the message is not part of the API.
pub fn write(
    descriptor: &MessageDescriptor,
    encoded: &[u8],
    options: Options,
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    write::message(shape::shape(descriptor), &[encoded], options, out)
}

/// Reads the JSON form of a message of the API. `kind`'s `api` and `kind` may be left out, but must be right if given.
///
/// # Errors
/// The violations, each with the path of the field from the message, for example `spec.constraints.cluster.labels[0]`;
/// of many the first, see [`Violations`](crate::error::Violations). Of a flat kind the path is that in the body.
/// Faults of the message as a whole have the message's name as their field. Texts never hold values of sensitive fields.
///
/// # Panics
/// If `M` is not part of the API.
pub fn from_value<M: Message + Name + Default>(value: &Value, unknown: Unknown) -> Result<M, Vec<Violation>> {
    let dynamic = read(&descriptor::<M>(), value, unknown)?;
    Ok(dynamic.transcode_to().expect("a message decodes as itself"))
}

/// [`from_value`] for a message that is known by its descriptor.
///
/// # Errors
/// As [`from_value`].
///
/// # Panics
/// If the message is not part of the API.
pub fn read(
    descriptor: &MessageDescriptor,
    value: &Value,
    unknown: Unknown,
) -> Result<DynamicMessage, Vec<Violation>> {
    read::message(descriptor, value, unknown, read::Documents::Values)
}

/// [`read`] for what [`parse`] returned: documents are strings that hold their text.
///
/// # Errors
/// As [`from_value`].
///
/// # Panics
/// If the message is not part of the API.
pub fn read_parsed(
    descriptor: &MessageDescriptor,
    parsed: &Value,
    unknown: Unknown,
) -> Result<DynamicMessage, Vec<Violation>> {
    read::message(descriptor, parsed, unknown, read::Documents::Texts)
}

fn descriptor<M: Name>() -> MessageDescriptor {
    POOL.get_message_by_name(&M::full_name()).expect("the message is part of the API")
}
