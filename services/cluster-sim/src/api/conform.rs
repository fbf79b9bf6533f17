//! Values against the types of their kind, in the words of a server: of its decoder, and of server-side apply.

use serde_json::Value;

use crate::api::kinds::Kind;
use crate::api::types::{self, Object, Shape, Type};
use crate::ownership::item_path;

/// What quantities look like, in a server's words.
const QUANTITY: &str = "quantities must match the regular expression \
    '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

/// What a server says of base64 that is none, before the place of the first wrong byte.
const BASE64: &str = "illegal base64 data at input byte ";

/// Why an object cannot be decoded: the first value of a wrong type. Of custom kinds only the metadata is decoded.
pub(crate) fn decoding_error(kind: &Kind, object: &Value) -> Option<String> {
    match (kind.types, types::metadata()) {
        (Some(types), _) => decode(types, object, ""),
        (None, Some(metadata)) => decode(metadata, &object["metadata"], ""),
        (None, None) => None,
    }
}

fn decode(object: &Object, value: &Value, path: &str) -> Option<String> {
    let fields = value.as_object()?;
    fields.iter().find_map(|(name, value)| {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        decode_value(object.fields.get(name.as_str())?, value, object.name, &path)
    })
}

/// `holder` is the type that holds the field at `path`.
fn decode_value(kind: &Type, value: &Value, holder: &str, path: &str) -> Option<String> {
    let wrong = || {
        let found = match (kind, value) {
            (Type::Scalar("string" | "bool" | "bytes"), Value::Number(_)) => "number".to_owned(),
            (Type::Scalar(_), Value::Number(number)) => format!("number {number}"),
            (_, value) => json_type(value).to_owned(),
        };
        Some(format!(
            "json: cannot unmarshal {found} into Go struct field {holder}.{path} of type {}",
            go_type(kind)
        ))
    };
    match (kind, value) {
        (_, Value::Null) | (Type::Scalar("any"), _) => None,
        (Type::List(item, _), Value::Array(items)) => {
            items.iter().find_map(|value| decode_value(item, value, holder, path))
        }
        (Type::Map(item, _), Value::Object(fields)) => match &**item {
            Type::Scalar("string" | "bytes") if fields.values().any(|value| !fits("string", value)) => {
                fields.values().find_map(|value| decode_value(item, value, holder, path))
            }
            item => fields.values().find_map(|value| decode_value(item, value, holder, path)),
        },
        (Type::Object(name), Value::Object(_)) => decode(types::object(name)?, value, path),
        (Type::Scalar("bytes"), Value::String(text)) => {
            illegal_base64(text).map(|at| format!("{BASE64}{at}"))
        }
        (Type::Scalar("quantity"), value) => (!is_quantity(value)).then(|| QUANTITY.to_owned()),
        (Type::Scalar(scalar), value) if fits(scalar, value) => None,
        _ => wrong(),
    }
}

fn fits(scalar: &str, value: &Value) -> bool {
    match scalar {
        "string" | "bytes" => value.is_string() || value.is_null(),
        "bool" => value.is_boolean(),
        "int32" => value.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
        "int64" => value.is_i64() || value.is_u64(),
        "float64" | "double" => value.is_number(),
        "int-or-string" => value.is_string() || value.is_i64() || value.is_u64(),
        _ => true,
    }
}

fn is_quantity(value: &Value) -> bool {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return false,
    };
    let unsigned = text.trim_start_matches(['+', '-']);
    let suffix = unsigned.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    suffix.len() < unsigned.len()
        && suffix.chars().all(|c| "eEinumkKMGTP+-".contains(c) || c.is_ascii_digit())
}

/// The place of the first byte that cannot stand there. Line breaks may stand anywhere.
fn illegal_base64(text: &str) -> Option<usize> {
    let mut bytes = text.bytes().enumerate().filter(|(_, byte)| !matches!(byte, b'\r' | b'\n'));
    let mut in_quantum = 0;
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'=' if in_quantum == 3
                || in_quantum == 2 && bytes.next().is_some_and(|(_, next)| next == b'=') =>
            {
                return bytes.next().map(|(at, _)| at);
            }
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' => in_quantum = (in_quantum + 1) % 4,
            _ => return Some(at),
        }
    }
    (in_quantum > 0).then(|| text.len() - in_quantum)
}

fn go_type(kind: &Type) -> String {
    match kind {
        Type::Scalar("bytes") => "[]uint8".to_owned(),
        // What Go decodes that is no string.
        Type::Scalar("int-or-string") => "int32".to_owned(),
        Type::Scalar(name) => (*name).to_owned(),
        Type::List(item, _) => format!("[]{}", go_type(item)),
        Type::Map(value, _) => format!("map[string]{}", go_type(value)),
        Type::Object(name) => {
            let version = types::object(name).map_or("v1", |object| object.version);
            format!("{version}.{name}")
        }
    }
}

fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Why an applied object that fits its schema cannot be decoded.
pub(crate) fn conversion_error(kind: &Kind, object: &Value) -> Option<String> {
    let why = decoding_error(kind, object).filter(|_| kind.types.is_some())?;
    // Numbers that are too large are another matter, and not looked at.
    let why = match why.split_once(" into Go struct field ") {
        Some((found, _)) if found.contains(" number") => return None,
        Some((found, place)) => {
            let wanted = place.rsplit(' ').next().unwrap_or_default();
            format!("{found} into Go value of type {wanted}")
        }
        None => from_json(why),
    };
    let kind = format!("{}/{}, Kind={}", kind.group, kind.version, kind.kind);
    Some(format!("to proper version: unable to convert unstructured object to {kind}: {why}"))
}

/// The message of a decoder that another one called.
fn from_json(why: String) -> String {
    if why.starts_with(BASE64) { format!("error decoding from json: {why}") } else { why }
}

/// Why an applied object does not fit its kind: all of it, up to the first field of each object that is not declared.
pub(crate) fn apply_error(kind: &Kind, object: &Value) -> Option<String> {
    let mut errors = Vec::new();
    apply(kind.shape(), object, &mut String::new(), &mut errors);
    match errors.as_slice() {
        [] => None,
        [only] => Some(only.clone()),
        all => Some(format!("errors:\n  {}", all.join("\n  "))),
    }
}

fn apply(shape: Shape<'_>, value: &Value, path: &mut String, errors: &mut Vec<String>) {
    let length = path.len();
    match (wanted(shape), value) {
        (_, Value::Null) | ("", Value::String(_) | Value::Number(_) | Value::Bool(_)) => {}
        ("map" | "", Value::Object(fields)) => {
            for (name, value) in fields {
                path.push('.');
                path.push_str(name);
                match shape.field(name) {
                    Some(field) => apply(field, value, path, errors),
                    None => {
                        errors.push(format!("{path}: field not declared in schema"));
                        path.truncate(length);
                        return;
                    }
                }
                path.truncate(length);
            }
        }
        ("list" | "", Value::Array(items)) => {
            let keys = shape.keys();
            for (index, item) in items.iter().enumerate() {
                let named = keys.as_ref().and_then(|keys| item_path(keys, item));
                path.push_str(&named.unwrap_or_else(|| format!("[{index}]")));
                apply(shape.item(), item, path, errors);
                path.truncate(length);
            }
        }
        ("string", Value::String(_)) | ("boolean", Value::Bool(_)) | ("number", Value::Number(_)) => {}
        ("string", value) => {
            errors.push(format!(
                "{path}: expected string, got &value.valueUnstructured{{Value:{}}}",
                go_value(value)
            ));
        }
        ("number", value) => {
            let found = match value {
                Value::Array(_) => "[]interface {}",
                Value::Object(_) => "map[string]interface {}",
                value => json_type(value),
            };
            errors.push(format!("{path}: expected numeric (int or float), got {found}"));
        }
        (wanted, value) => errors.push(format!("{path}: expected {wanted}, got &{{{}}}", go_value(value))),
    }
}

/// What a value should be; empty if it may be anything.
fn wanted(shape: Shape<'_>) -> &'static str {
    match shape {
        Shape::Type(Type::List(..)) => "list",
        Shape::Type(Type::Map(..) | Type::Object(_)) | Shape::Object(_) | Shape::Custom(_) => "map",
        Shape::Type(Type::Scalar("string" | "bytes")) => "string",
        Shape::Type(Type::Scalar("bool")) => "boolean",
        Shape::Type(Type::Scalar("int32" | "int64" | "float64" | "double")) => "number",
        Shape::Schema(schema) => match schema["type"].as_str() {
            Some("array") => "list",
            Some("object") => "map",
            Some("string") => "string",
            Some("boolean") => "boolean",
            Some("integer" | "number") => "number",
            _ => "",
        },
        Shape::Type(_) | Shape::Anything => "",
    }
}

/// A value as Go prints it.
pub(crate) fn go_value(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(go_value).collect::<Vec<_>>().join(" "))
        }
        Value::Object(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|(name, value)| format!("{name}:{}", go_value(value))).collect();
            format!("map[{}]", fields.join(" "))
        }
        scalar => scalar.to_string(),
    }
}
