//! Documents inside specs: brought into their stored form, JSON text, and checked for depth.

use krake_proto::krake::meta::v1::{Document, document::Content};
use prost::Name;
use prost_reflect::{DynamicMessage, Kind, ReflectMessage, Value};
use prost_types::value::Kind as StructKind;

use super::Findings;

/// The deepest nesting of a document.
const MAX_DEPTH: usize = 64;
/// Beyond this a double no longer holds every integer (2^53).
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Rewrites every document below `message`, whose path is `path`.
pub(super) fn normalise(message: &mut DynamicMessage, path: &str, findings: &mut Findings) {
    if message.descriptor().full_name() == Document::full_name() {
        document(message, path, findings);
        return;
    }
    let fields: Vec<_> = message
        .descriptor()
        .fields()
        .filter(|field| {
            !field.is_map() && matches!(field.kind(), Kind::Message(_)) && message.has_field(field)
        })
        .collect();
    for field in fields {
        let path = format!("{path}.{}", field.name());
        match message.get_field_mut(&field) {
            Value::Message(inner) => normalise(inner, &path, findings),
            Value::List(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    if let Value::Message(inner) = item {
                        normalise(inner, &format!("{path}[{index}]"), findings);
                    }
                }
            }
            _ => {}
        }
    }
}

fn document(message: &mut DynamicMessage, path: &str, findings: &mut Findings) {
    let path = path.strip_suffix(".document").unwrap_or(path);
    let Some(decoded) = findings.check(path, message.transcode_to::<Document>()) else { return };
    match decoded.content {
        None => {}
        Some(Content::Json(text)) => {
            if let Some(value) = findings.check(path, parse(&text))
                && depth(&value) > MAX_DEPTH
            {
                findings
                    .add(path, format!("is nested {} deep; at most {MAX_DEPTH} is allowed", depth(&value)));
            }
        }
        Some(Content::Object(object)) => {
            if !object.fields.values().all(finite) {
                findings.add(path, "holds a number that is not finite, which JSON does not have");
            }
            let value = object_value(object);
            if depth(&value) > MAX_DEPTH {
                findings.add(path, format!("is nested deeper than {MAX_DEPTH}"));
            }
            let stored = Document { content: Some(Content::Json(value.to_string())) };
            findings.check(path, message.transcode_from(&stored));
        }
    }
}

/// The value of a JSON text; the error tells line and column.
pub(super) fn parse(text: &str) -> Result<serde_json::Value, String> {
    serde_json::from_str(text).map_err(|error| {
        let text = error.to_string();
        // The parser's own limit is beyond ours.
        if text.starts_with("recursion limit exceeded") {
            format!("is nested deeper than {MAX_DEPTH}: {text}")
        } else {
            format!("is not valid JSON: {text}")
        }
    })
}

/// The value of an admitted document; `None` if it is absent or not JSON.
pub(super) fn value(document: Option<&Document>) -> Option<serde_json::Value> {
    match document?.content.as_ref()? {
        Content::Json(text) => serde_json::from_str(text).ok(),
        Content::Object(object) => Some(object_value(object.clone())),
    }
}

fn finite(value: &prost_types::Value) -> bool {
    match &value.kind {
        Some(StructKind::NumberValue(number)) => number.is_finite(),
        Some(StructKind::ListValue(list)) => list.values.iter().all(finite),
        Some(StructKind::StructValue(object)) => object.fields.values().all(finite),
        _ => true,
    }
}

fn depth(value: &serde_json::Value) -> usize {
    match value {
        serde_json::Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        serde_json::Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn object_value(object: prost_types::Struct) -> serde_json::Value {
    object.fields.into_iter().map(|(name, value)| (name, struct_value(value))).collect()
}

fn struct_value(value: prost_types::Value) -> serde_json::Value {
    match value.kind {
        None | Some(StructKind::NullValue(_)) => serde_json::Value::Null,
        Some(StructKind::BoolValue(value)) => value.into(),
        Some(StructKind::StringValue(value)) => value.into(),
        // A Struct has doubles only; what was an integer must stay one, or Kubernetes refuses it.
        Some(StructKind::NumberValue(value)) if value.fract() == 0.0 && value.abs() <= EXACT => {
            (value as i64).into()
        }
        Some(StructKind::NumberValue(value)) => value.into(),
        Some(StructKind::ListValue(list)) => list.values.into_iter().map(struct_value).collect(),
        Some(StructKind::StructValue(object)) => object_value(object),
    }
}
