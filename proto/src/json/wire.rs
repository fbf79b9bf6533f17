//! The fields of an encoded message that a shape knows, by their place in it.

use std::collections::HashMap;

use super::shape::Shape;
use crate::wire::{Malformed, Raw, fields};

/// One occurrence of a field; packed lists are taken apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found<'a> {
    /// Index of the field in its shape.
    pub(super) field: usize,
    pub(super) raw: Raw<'a>,
}

/// Every known field of the message whose encoding is `parts`, ordered by field; of a oneof only the member that was
/// written last.
pub(super) fn scan<'a>(shape: &Shape, parts: &[&'a [u8]]) -> Result<Vec<Found<'a>>, Malformed> {
    let mut found = scan_all(shape, parts)?;
    keep_last_members(shape, &mut found);
    found.sort_by_key(|found| found.field);
    Ok(found)
}

/// Removes what a later member of the same oneof replaces.
fn keep_last_members(shape: &Shape, found: &mut Vec<Found<'_>>) {
    // From the end: the member that each oneof has, until another one is met.
    let mut members: HashMap<&str, (usize, bool)> = HashMap::new();
    let mut replaced = Vec::new();
    for (place, one) in found.iter().enumerate().rev() {
        let Some(oneof) = &shape.fields[one.field].oneof else { continue };
        let (member, is_replaced) = members.entry(oneof).or_insert((one.field, false));
        *is_replaced |= *member != one.field;
        if *is_replaced {
            replaced.push(place);
        }
    }
    let mut place = 0;
    found.retain(|_| {
        let keep = replaced.last() != Some(&place);
        if !keep {
            replaced.pop();
        }
        place += 1;
        keep
    });
}

/// Every known field of the message whose encoding is `parts`, in the order of the wire.
pub(super) fn scan_all<'a>(shape: &Shape, parts: &[&'a [u8]]) -> Result<Vec<Found<'a>>, Malformed> {
    let mut found = Vec::new();
    for part in parts {
        for field in fields(part) {
            let field = field?;
            let Some(index) = shape.index(field.number) else { continue };
            let known = &shape.fields[index];
            let expected = known.wire_type();
            if field.value.wire_type() == expected {
                found.push(Found { field: index, raw: field.value });
            } else if let (true, Raw::Bytes(mut packed)) = (known.is_packable(), field.value) {
                while !packed.is_empty() {
                    found.push(Found { field: index, raw: Raw::take(expected, &mut packed)? });
                }
            }
            // Another type is not admitted; what was stored before that rule is left out.
        }
    }
    Ok(found)
}
