//! The one parser of encoded messages: fields as they are on the wire, without decoding them, so that unknown fields
//! survive.
//!
//! What counts as a message is decided here, for admission, storage and the JSON form alike:
//! * Unknown fields are kept, whatever their type. Groups, which proto3 does not use, are skipped as unknown fields.
//! * [`check`](check::check) refuses at the edge what could not be shown later: known fields of another wire type,
//!   strings that are not UTF-8, deep nesting, and requests that would take many times their size in memory.

pub mod check;

use bytes::Bytes;
use prost::encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint};

/// The deepest nesting of groups. Nobody sends them any more.
const MAX_GROUPS: usize = 16;

/// The bytes are not an encoded message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a valid protobuf message: {0}")]
pub struct Malformed(String);

impl Malformed {
    /// With a reason for people.
    pub fn new(reason: impl Into<String>) -> Self {
        Malformed(reason.into())
    }
}

impl From<prost::DecodeError> for Malformed {
    fn from(error: prost::DecodeError) -> Self {
        Malformed(error.to_string())
    }
}

/// One occurrence of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// The field's number.
    pub number: u32,
    /// The whole occurrence, with its key.
    pub raw: &'a [u8],
    /// What it holds.
    pub value: Raw<'a>,
}

impl<'a> Field<'a> {
    /// The content of a length-delimited field; `None` for other wire types.
    pub fn content(&self) -> Option<&'a [u8]> {
        self.value.bytes()
    }
}

/// A value as it is on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Raw<'a> {
    /// A number of variable length.
    Varint(u64),
    /// Eight bytes.
    Fixed64(u64),
    /// Four bytes.
    Fixed32(u32),
    /// A string, bytes, a message, or packed numbers.
    Bytes(&'a [u8]),
    /// A group, which was skipped.
    Group,
}

impl<'a> Raw<'a> {
    /// The bytes of a length-delimited value.
    pub fn bytes(self) -> Option<&'a [u8]> {
        match self {
            Raw::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The bits of a number.
    pub fn bits(self) -> u64 {
        match self {
            Raw::Varint(bits) | Raw::Fixed64(bits) => bits,
            Raw::Fixed32(bits) => bits.into(),
            Raw::Bytes(_) | Raw::Group => 0,
        }
    }

    /// Whether it is the default of its type.
    pub fn is_zero(self) -> bool {
        match self {
            Raw::Bytes(bytes) => bytes.is_empty(),
            other => other.bits() == 0,
        }
    }

    /// How it is written.
    pub fn wire_type(self) -> WireType {
        match self {
            Raw::Varint(_) => WireType::Varint,
            Raw::Fixed64(_) => WireType::SixtyFourBit,
            Raw::Fixed32(_) => WireType::ThirtyTwoBit,
            Raw::Bytes(_) => WireType::LengthDelimited,
            Raw::Group => WireType::StartGroup,
        }
    }

    /// Takes a value of a type from the beginning of `rest`; the elements of a packed list have no keys.
    pub fn take(wire_type: WireType, rest: &mut &'a [u8]) -> Result<Self, Malformed> {
        match wire_type {
            WireType::Varint => Ok(Raw::Varint(decode_varint(rest)?)),
            WireType::SixtyFourBit => {
                let (bytes, after) = rest.split_first_chunk().ok_or_else(cut_off)?;
                *rest = after;
                Ok(Raw::Fixed64(u64::from_le_bytes(*bytes)))
            }
            WireType::ThirtyTwoBit => {
                let (bytes, after) = rest.split_first_chunk().ok_or_else(cut_off)?;
                *rest = after;
                Ok(Raw::Fixed32(u32::from_le_bytes(*bytes)))
            }
            WireType::LengthDelimited => {
                let length = usize::try_from(decode_varint(rest)?).map_err(|_| cut_off())?;
                let (bytes, after) = rest.split_at_checked(length).ok_or_else(cut_off)?;
                *rest = after;
                Ok(Raw::Bytes(bytes))
            }
            WireType::StartGroup | WireType::EndGroup => {
                Err(Malformed("a group begins or ends where a value is expected".to_owned()))
            }
        }
    }
}

fn cut_off() -> Malformed {
    Malformed("the message is cut off".to_owned())
}

/// The occurrences of all fields, in order; after an error nothing more.
pub fn fields(message: &[u8]) -> Fields<'_> {
    Fields { rest: message }
}

/// See [`fields`].
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = field(&mut self.rest);
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

fn field<'a>(rest: &mut &'a [u8]) -> Result<Field<'a>, Malformed> {
    let start = *rest;
    let (number, wire_type) = decode_key(rest)?;
    let value = if wire_type == WireType::StartGroup {
        skip_group(number, rest)?;
        Raw::Group
    } else {
        Raw::take(wire_type, rest)?
    };
    Ok(Field { number, raw: &start[..start.len() - rest.len()], value })
}

/// Skips the rest of a group whose key was read, up to the end that has its number.
fn skip_group(number: u32, rest: &mut &[u8]) -> Result<(), Malformed> {
    let mut open = vec![number];
    while let Some(innermost) = open.last() {
        match decode_key(rest)? {
            (number, WireType::EndGroup) if number == *innermost => {
                open.pop();
            }
            (_, WireType::EndGroup) => return Err(Malformed("a group ends that did not begin".to_owned())),
            (_, WireType::StartGroup) if open.len() == MAX_GROUPS => {
                return Err(Malformed(format!("groups are nested more than {MAX_GROUPS} deep")));
            }
            (number, WireType::StartGroup) => open.push(number),
            (_, wire_type) => {
                Raw::take(wire_type, rest)?;
            }
        }
    }
    Ok(())
}

/// `content` as the length-delimited field `number`.
pub fn delimited(number: u32, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() + 8);
    encode_key(number, WireType::LengthDelimited, &mut out);
    encode_varint(content.len() as u64, &mut out);
    out.extend_from_slice(content);
    out
}

/// `message` without the fields `numbers`, followed by `with`, which holds encoded fields.
///
/// # Errors
/// When `message` is no encoded message.
pub fn overwrite(message: &[u8], numbers: &[u32], with: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut out = Vec::with_capacity(message.len() + with.len());
    for field in fields(message) {
        let field = field?;
        if !numbers.contains(&field.number) {
            out.extend_from_slice(field.raw);
        }
    }
    out.extend_from_slice(with);
    Ok(out)
}

/// All occurrences of one field, as they are.
///
/// # Errors
/// When `message` is no encoded message.
pub fn occurrences(message: &[u8], number: u32) -> Result<Vec<u8>, Malformed> {
    let mut out = Vec::new();
    for field in fields(message) {
        let field = field?;
        if field.number == number {
            out.extend_from_slice(field.raw);
        }
    }
    Ok(out)
}

/// The elements of a repeated message field.
///
/// # Errors
/// When `message` is no encoded message.
pub fn elements(message: &[u8], number: u32) -> Result<Vec<Bytes>, Malformed> {
    let mut found = Vec::new();
    for field in fields(message) {
        let field = field?;
        if field.number == number {
            found.extend(field.content().map(Bytes::copy_from_slice));
        }
    }
    Ok(found)
}

/// The content of a singular message field: several occurrences are merged, as every protobuf parser does.
/// `None` if there is none.
///
/// # Errors
/// When `message` is no encoded message.
pub fn singular(message: &[u8], number: u32) -> Result<Option<Vec<u8>>, Malformed> {
    let mut merged: Option<Vec<u8>> = None;
    for field in fields(message) {
        let field = field?;
        if field.number == number {
            merged.get_or_insert_default().extend_from_slice(field.content().unwrap_or_default());
        }
    }
    Ok(merged)
}

#[cfg(test)]
mod tests;
