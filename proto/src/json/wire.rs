//! The fields of an encoded message, found by number.

use prost::encoding::{WireType, decode_key, decode_varint};
use prost_reflect::Kind;

use super::Malformed;
use super::shape::{Field, Shape};

/// One occurrence of a field; packed lists are taken apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found<'a> {
    /// Index of the field in its shape.
    pub(super) field: usize,
    pub(super) raw: Raw<'a>,
}

/// A value as it is on the wire.
#[derive(Debug, Clone, Copy)]
pub(super) enum Raw<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

impl<'a> Raw<'a> {
    pub(super) fn bytes(self) -> Option<&'a [u8]> {
        match self {
            Raw::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The bits of a number.
    pub(super) fn bits(self) -> u64 {
        match self {
            Raw::Varint(bits) | Raw::Fixed64(bits) => bits,
            Raw::Fixed32(bits) => bits.into(),
            Raw::Bytes(_) => 0,
        }
    }

    /// Whether it is the default of its type.
    pub(super) fn is_zero(self) -> bool {
        match self {
            Raw::Bytes(bytes) => bytes.is_empty(),
            other => other.bits() == 0,
        }
    }

    fn wire_type(self) -> WireType {
        match self {
            Raw::Varint(_) => WireType::Varint,
            Raw::Fixed64(_) => WireType::SixtyFourBit,
            Raw::Fixed32(_) => WireType::ThirtyTwoBit,
            Raw::Bytes(_) => WireType::LengthDelimited,
        }
    }
}

/// Every known field of the message whose encoding is `parts`, ordered by field; of a oneof only the member that was
/// written last.
pub(super) fn scan<'a>(shape: &Shape, parts: &[&'a [u8]]) -> Result<Vec<Found<'a>>, Malformed> {
    let mut found = scan_all(shape, parts)?;
    let mut dropped = Vec::new();
    for (place, one) in found.iter().enumerate() {
        let Some(oneof) = &shape.fields[one.field].oneof else { continue };
        let replaced = found[place + 1..]
            .iter()
            .any(|later| later.field != one.field && shape.fields[later.field].oneof.as_ref() == Some(oneof));
        if replaced {
            dropped.push(place);
        }
    }
    for place in dropped.into_iter().rev() {
        found.remove(place);
    }
    found.sort_by_key(|found| found.field);
    Ok(found)
}

/// Every known field of the message whose encoding is `parts`, in the order of the wire.
pub(super) fn scan_all<'a>(shape: &Shape, parts: &[&'a [u8]]) -> Result<Vec<Found<'a>>, Malformed> {
    let mut found = Vec::new();
    for part in parts {
        let mut rest = *part;
        while !rest.is_empty() {
            let (number, wire_type) = decode_key(&mut rest).map_err(|error| Malformed(error.to_string()))?;
            let raw = raw(wire_type, &mut rest)?;
            let Some(index) = shape.index(number) else { continue };
            let field = &shape.fields[index];
            let expected = wire_type_of(&field.kind);
            if raw.wire_type() == expected {
                found.push(Found { field: index, raw });
            } else if let (true, Raw::Bytes(packed)) = (is_packable(field), raw) {
                let mut packed = packed;
                while !packed.is_empty() {
                    found.push(Found { field: index, raw: self::raw(expected, &mut packed)? });
                }
            }
            // Anything else is a field of a newer peer.
        }
    }
    Ok(found)
}

fn raw<'a>(wire_type: WireType, rest: &mut &'a [u8]) -> Result<Raw<'a>, Malformed> {
    let varint = |rest: &mut &'a [u8]| decode_varint(rest).map_err(|error| Malformed(error.to_string()));
    match wire_type {
        WireType::Varint => Ok(Raw::Varint(varint(rest)?)),
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
            let length = usize::try_from(varint(rest)?).map_err(|_| cut_off())?;
            let (bytes, after) = rest.split_at_checked(length).ok_or_else(cut_off)?;
            *rest = after;
            Ok(Raw::Bytes(bytes))
        }
        WireType::StartGroup | WireType::EndGroup => {
            Err(Malformed("groups are not part of proto3".to_owned()))
        }
    }
}

fn cut_off() -> Malformed {
    Malformed("the message is cut off".to_owned())
}

fn is_packable(field: &Field) -> bool {
    field.is_list && !matches!(field.kind, Kind::String | Kind::Bytes | Kind::Message(_))
}

fn wire_type_of(kind: &Kind) -> WireType {
    match kind {
        Kind::String | Kind::Bytes | Kind::Message(_) => WireType::LengthDelimited,
        Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => WireType::SixtyFourBit,
        Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => WireType::ThirtyTwoBit,
        _ => WireType::Varint,
    }
}
