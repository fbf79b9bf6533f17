//! Encoded messages to JSON text, field by field from the wire: nothing is decoded that is not shown.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use prost::Message;
use prost_reflect::Kind;

use super::shape::{Field, Form, Shape};
use super::wire::{Found, scan, scan_all};
use super::{Options, REDACTED, document, flat, scalar, time};
use crate::krake::meta::v1::Document;
use crate::wire::{Malformed, Raw};

/// Writes the JSON form of the message whose encoding is `parts`, one after the other.
pub(super) fn message(
    shape: &Shape,
    parts: &[&[u8]],
    options: Options,
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    match shape.form {
        Form::Fields => fields(shape, parts, options, out),
        Form::Timestamp | Form::Duration => {
            let (seconds, nanos) = seconds_and_nanos(shape, parts)?;
            let show = if shape.form == Form::Timestamp { time::show } else { time::show_duration };
            string(&show(seconds, nanos), out);
            Ok(())
        }
        Form::Document => document_text(shape, parts, out),
    }
}

fn seconds_and_nanos(shape: &Shape, parts: &[&[u8]]) -> Result<(i64, i32), Malformed> {
    let (mut seconds, mut nanos) = (0, 0);
    for found in scan_all(shape, parts)? {
        match (shape.fields[found.field].descriptor.number(), found.raw) {
            // The wire form of both is the two's complement.
            (1, Raw::Varint(value)) => seconds = value as i64,
            (2, Raw::Varint(value)) => nanos = value as i32,
            _ => {}
        }
    }
    Ok((seconds, nanos))
}

/// The document's own text where it has one: numbers stay as they are.
fn document_text(shape: &Shape, parts: &[&[u8]], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let found = scan_all(shape, parts)?;
    // The form that was written last counts.
    if let Some(Found { raw: Raw::Bytes(text), field }) = found.last()
        && shape.fields[*field].descriptor.number() == 1
    {
        let text = utf8(text)?;
        if document::is_readable(text) {
            // Line breaks are white space here, and would end a line of a watch.
            out.extend(text.bytes().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }));
        } else {
            string(text, out);
        }
        return Ok(());
    }
    let decoded =
        Document::decode(parts.concat().as_slice()).map_err(|error| Malformed::new(error.to_string()))?;
    let value = document::document_value(&decoded).map_err(|error| Malformed::new(error.to_string()))?;
    out.extend_from_slice(value.to_string().as_bytes());
    Ok(())
}

fn fields(shape: &Shape, parts: &[&[u8]], options: Options, out: &mut Vec<u8>) -> Result<(), Malformed> {
    let found = scan(shape, parts)?;
    if let Some(index) = shape.shown_as {
        return field(&shape.fields[index], of(&found, index), options, out);
    }
    let mut separator = b'{';
    let mut name = |name: &str, out: &mut Vec<u8>| {
        out.push(separator);
        separator = b',';
        string(name, out);
        out.push(b':');
    };
    if let Some(kind) = shape.kind {
        name("api", out);
        string(kind.api, out);
        name("kind", out);
        let shown = if kind.can_be_global() { kind.shown(&namespace(shape, &found)?) } else { kind.kind };
        string(shown, out);
    }
    if shape.union.is_some() {
        let variant = shape
            .fields
            .iter()
            .enumerate()
            .find(|(index, field)| shape.is_variant(field) && !of(&found, *index).is_empty());
        name("type", out);
        match variant {
            Some((_, variant)) => string(variant.descriptor.name(), out),
            None => out.extend_from_slice(b"null"),
        }
    }
    let flat_spec = flat::spec(shape);
    for (index, shown) in shape.fields.iter().enumerate() {
        let found = of(&found, index);
        if found.is_empty() && shape.is_variant(shown) {
            continue;
        }
        if flat_spec.is_some_and(|spec| std::ptr::eq(spec, shown)) {
            let mut object = Vec::new();
            value(shown, found, options, &mut object)?;
            flat::append(&object, out);
            continue;
        }
        name(shown.descriptor.name(), out);
        field(shown, found, options, out)?;
    }
    if separator == b'{' {
        out.push(b'{');
    }
    out.push(b'}');
    Ok(())
}

/// The parts of one field; `found` is ordered by field.
fn of<'f, 'a>(found: &'f [Found<'a>], field: usize) -> &'f [Found<'a>] {
    let start = found.partition_point(|found| found.field < field);
    let end = found.partition_point(|found| found.field <= field);
    &found[start..end]
}

/// The namespace of a resource; empty without metadata.
fn namespace(resource: &Shape, found: &[Found<'_>]) -> Result<String, Malformed> {
    let Some(index) = resource.fields.iter().position(|field| field.descriptor.name() == "metadata") else {
        return Ok(String::new());
    };
    let Some(metadata) = resource.fields[index].message() else { return Ok(String::new()) };
    let mut namespace = String::new();
    for found in scan_all(metadata, &contents(of(found, index)))? {
        if let (Raw::Bytes(text), "namespace") = (found.raw, metadata.fields[found.field].descriptor.name()) {
            namespace = utf8(text)?.to_owned();
        }
    }
    Ok(namespace)
}

fn contents<'a>(found: &[Found<'a>]) -> Vec<&'a [u8]> {
    found.iter().filter_map(|found| found.raw.bytes()).collect()
}

fn field(field: &Field, found: &[Found<'_>], options: Options, out: &mut Vec<u8>) -> Result<(), Malformed> {
    let is_set = match found.last() {
        None => false,
        Some(last) => field.has_presence || field.is_list || field.is_map || !last.raw.is_zero(),
    };
    if !is_set && let Some(absent) = &field.if_absent {
        return match field.message() {
            Some(shape) if shape.form == Form::Fields => message(shape, &[], options, out),
            _ => {
                out.extend_from_slice(absent.text.as_bytes());
                Ok(())
            }
        };
    }
    if !is_set && (field.has_presence || field.null_if_empty) {
        out.extend_from_slice(b"null");
        return Ok(());
    }
    if is_set && field.sensitive && options.redact {
        string(REDACTED, out);
        return Ok(());
    }
    if field.is_map {
        return map(field, found, options, out);
    }
    if field.is_list {
        out.push(b'[');
        for (index, item) in found.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            value(field, std::slice::from_ref(item), options, out)?;
        }
        out.push(b']');
        return Ok(());
    }
    value(field, found, options, out)
}

fn map(field: &Field, found: &[Found<'_>], options: Options, out: &mut Vec<u8>) -> Result<(), Malformed> {
    let entry = field.message().filter(|entry| entry.fields.len() == 2);
    let Some((entry, [key, value_field])) = entry.map(|entry| (entry, [&entry.fields[0], &entry.fields[1]]))
    else {
        return Err(Malformed::new("an entry of a map is not a pair"));
    };
    // The last entry of a key counts.
    let mut entries = BTreeMap::new();
    for content in contents(found) {
        let found = scan(entry, &[content])?;
        let mut name = Vec::new();
        value(key, of(&found, 0), options, &mut name)?;
        let mut shown = Vec::new();
        value(value_field, of(&found, 1), options, &mut shown)?;
        entries.insert(name, shown);
    }
    out.push(b'{');
    for (index, (name, shown)) in entries.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        if name.first() == Some(&b'"') {
            out.extend(name);
        } else {
            out.push(b'"');
            out.extend(name);
            out.push(b'"');
        }
        out.push(b':');
        out.extend(shown);
    }
    out.push(b'}');
    Ok(())
}

/// One value: the last that was found of a scalar, all of a message; the default if nothing was found.
fn value(field: &Field, found: &[Found<'_>], options: Options, out: &mut Vec<u8>) -> Result<(), Malformed> {
    if let Some(shape) = field.message() {
        return message(shape, &contents(found), options, out);
    }
    let raw = found.last().map(|found| found.raw);
    let bits = raw.map_or(0, |raw| raw.bits());
    let text = || raw.and_then(|raw| raw.bytes()).unwrap_or_default();
    match &field.kind {
        Kind::Bool => out.extend_from_slice(if bits == 0 { b"false" } else { b"true" }),
        // The wire form of negative numbers is the two's complement.
        Kind::Int32 | Kind::Sfixed32 => number(bits as i32, out),
        Kind::Int64 | Kind::Sfixed64 => number(bits as i64, out),
        Kind::Uint32 | Kind::Fixed32 => number(bits as u32, out),
        Kind::Uint64 | Kind::Fixed64 => number(bits, out),
        Kind::Sint32 => number(zigzag(bits) as i32, out),
        Kind::Sint64 => number(zigzag(bits), out),
        Kind::Float => double(f64::from(f32::from_bits(bits as u32)), out),
        Kind::Double => double(f64::from_bits(bits), out),
        Kind::String => string(utf8(text())?, out),
        Kind::Bytes => string(&BASE64_STANDARD.encode(text()), out),
        // A value of a newer peer has no name here and is shown as its number.
        Kind::Enum(_) => match field.names.get(&(bits as i32)) {
            Some(name) => string(name, out),
            None => number(bits as i32, out),
        },
        Kind::Message(_) => {}
    }
    Ok(())
}

fn zigzag(bits: u64) -> i64 {
    ((bits >> 1) as i64) ^ -((bits & 1) as i64)
}

fn double(value: f64, out: &mut Vec<u8>) {
    if value.is_finite() {
        number(value, out);
    } else if value.is_nan() {
        string(scalar::NAN, out);
    } else {
        string(if value > 0.0 { scalar::INFINITY } else { scalar::NEGATIVE_INFINITY }, out);
    }
}

fn number(value: impl serde::Serialize, out: &mut Vec<u8>) {
    serde_json::to_writer(out, &value).expect("numbers are written to memory");
}

fn string(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("strings are written to memory");
}

fn utf8(bytes: &[u8]) -> Result<&str, Malformed> {
    std::str::from_utf8(bytes).map_err(|_| Malformed::new("a string is not UTF-8"))
}
