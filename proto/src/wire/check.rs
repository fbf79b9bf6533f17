//! Whether a request may be decoded: its encoding is right, all of it can be shown later, and it does not take many
//! times its size in memory. Looks at the bytes alone and allocates nothing that grows with them.

use prost::encoding::WireType;
use prost_reflect::{Kind, MessageDescriptor};

use super::{Field, Malformed, Raw, fields};
use crate::error::Violation;
use crate::json::path::Path;
use crate::json::shape::{self, Shape, shape};

/// The deepest nesting of messages, from the request. Decoders stop at 100 levels, and answers add some: a list or a
/// watch holds resources two levels down, and unknown groups may add 16 more.
pub const MAX_DEPTH: usize = 80;

/// Memory that any request may take for its elements, in bytes.
const BASE_MEMORY: usize = 6 << 20;
/// Memory that a request may take for its elements, for each byte that it is long. The texts themselves are held in a
/// few copies at the same time, which together makes less than eight times the request.
const MEMORY_PER_BYTE: usize = 4;

/// Memory of a message once it is decoded, without what it holds. A message of the descriptor's decoder is a map of its
/// fields, which comes in nodes of about 900 bytes once there is one.
const MESSAGE_MEMORY: usize = 1024;
/// Memory of a message without any field.
const EMPTY_MESSAGE_MEMORY: usize = 256;
/// Memory of a number, of a string without its characters, or of an unknown field without its content.
const VALUE_MEMORY: usize = 96;

/// Checks an encoded message of the API before it is decoded.
///
/// # Errors
/// The field and what is wrong with it: not an encoding of this message, not UTF-8, nested too deeply, or made of more
/// elements than its size allows. Paths begin at the resource, if the message holds one.
///
/// # Panics
/// If the message is not part of the API.
pub fn check(descriptor: &MessageDescriptor, message: &[u8]) -> Result<(), Violation> {
    let allowed = BASE_MEMORY.saturating_add(message.len().saturating_mul(MEMORY_PER_BYTE));
    Check { remaining: allowed }.message(shape(descriptor), message, &Path::Root(""), 0)
}

struct Check {
    /// Memory that further elements may take, in bytes.
    remaining: usize,
}

impl Check {
    fn message(
        &mut self,
        shape: &Shape,
        message: &[u8],
        path: &Path<'_>,
        depth: usize,
    ) -> Result<(), Violation> {
        if depth > MAX_DEPTH {
            return Err(violation(path, format!("is nested more than {MAX_DEPTH} levels")));
        }
        self.spend(if message.is_empty() { EMPTY_MESSAGE_MEMORY } else { MESSAGE_MEMORY }, path)?;
        for field in fields(message) {
            let field = field.map_err(|error| malformed(path, &error))?;
            match shape.index(field.number) {
                Some(index) => self.known(&shape.fields[index], &field, path, depth)?,
                // A field of a newer peer: kept as it is.
                None => self.spend(VALUE_MEMORY, path)?,
            }
        }
        Ok(())
    }

    fn known(
        &mut self,
        known: &shape::Field,
        field: &Field<'_>,
        parent: &Path<'_>,
        depth: usize,
    ) -> Result<(), Violation> {
        let path = parent.field(known.descriptor.name());
        if let Some(shape) = known.message() {
            let content = field.content().ok_or_else(|| wrong_type(&path, known))?;
            let root = Path::Root("");
            let path = if shape.kind.is_some() { &root } else { &path };
            return self.message(shape, content, path, depth + 1);
        }
        let expected = known.wire_type();
        if field.value.wire_type() == expected {
            self.spend(VALUE_MEMORY, &path)?;
        } else if let (true, Raw::Bytes(packed)) = (known.is_packable(), field.value) {
            self.packed(packed, expected, &path)?;
        } else {
            return Err(wrong_type(&path, known));
        }
        match (&known.kind, field.value) {
            (Kind::String, Raw::Bytes(text)) if std::str::from_utf8(text).is_err() => {
                Err(violation(&path, "is not UTF-8"))
            }
            _ => Ok(()),
        }
    }

    fn packed(&mut self, mut packed: &[u8], wire_type: WireType, path: &Path<'_>) -> Result<(), Violation> {
        while !packed.is_empty() {
            Raw::take(wire_type, &mut packed).map_err(|error| malformed(path, &error))?;
            self.spend(VALUE_MEMORY, path)?;
        }
        Ok(())
    }

    fn spend(&mut self, memory: usize, path: &Path<'_>) -> Result<(), Violation> {
        match self.remaining.checked_sub(memory) {
            Some(remaining) => {
                self.remaining = remaining;
                Ok(())
            }
            None => Err(violation(path, "the request has too many elements for its size; send fewer")),
        }
    }
}

fn violation(path: &Path<'_>, description: impl Into<String>) -> Violation {
    Violation::new(path.to_string(), description)
}

fn malformed(path: &Path<'_>, error: &Malformed) -> Violation {
    violation(path, error.to_string())
}

fn wrong_type(path: &Path<'_>, known: &shape::Field) -> Violation {
    let error = Malformed::new(format!("{} has another type", known.descriptor.full_name()));
    malformed(path, &error)
}
