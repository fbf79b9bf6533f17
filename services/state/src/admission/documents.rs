//! Documents inside specs: brought into their stored form, JSON text, read in outline, and checked for depth.

use std::collections::HashMap;

use krake_proto::krake::meta::v1::{Document, document::Content};
use prost::Name;
use prost_reflect::{DynamicMessage, Kind, ReflectMessage, Value};
use prost_types::value::Kind as StructKind;

use super::Findings;
use super::outline::Outline;

/// The deepest nesting of a document.
pub(crate) const MAX_DEPTH: usize = 64;
/// Beyond this a double no longer holds every integer (2^53).
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Number of `json` in a document.
const JSON: u32 = 1;

/// The documents of a spec in outline, by the path of the field that holds them.
#[derive(Debug, Default)]
pub(crate) struct Documents(HashMap<String, Outline>);

impl Documents {
    /// The document at `path`; `None` if it is absent or not JSON.
    pub(crate) fn get(&self, path: &str) -> Option<&Outline> {
        self.0.get(path)
    }

    /// Reads every document below `message`, whose path is `path`, and brings it into its stored form.
    pub(crate) fn normalise(&mut self, message: &mut DynamicMessage, path: &str, findings: &mut Findings) {
        if message.descriptor().full_name() == Document::full_name() {
            self.document(message, path, findings);
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
                Value::Message(inner) => self.normalise(inner, &path, findings),
                Value::List(items) => {
                    for (index, item) in items.iter_mut().enumerate() {
                        if let Value::Message(inner) = item {
                            self.normalise(inner, &format!("{path}[{index}]"), findings);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn document(&mut self, message: &mut DynamicMessage, path: &str, findings: &mut Findings) {
        let path = path.strip_suffix(".document").unwrap_or(path);
        let read = if message.has_field_by_number(JSON) {
            match message.get_field_by_number(JSON).as_deref() {
                Some(Value::String(text)) => Outline::read(text).map_err(|error| unreadable(&error)),
                _ => return,
            }
        } else {
            match findings.check(path, message.transcode_to::<Document>()) {
                Some(Document { content: Some(Content::Object(object)) }) => {
                    if !object.fields.values().all(finite) {
                        findings.add(path, "holds a number that is not finite, which JSON does not have");
                    }
                    let value = object_value(object);
                    let stored = Document { content: Some(Content::Json(value.to_string())) };
                    findings.check(path, message.transcode_from(&stored));
                    Outline::of(&value).map_err(|error| unreadable(&error))
                }
                _ => return,
            }
        };
        let Some(outline) = findings.check(path, read) else { return };
        if outline.depth > MAX_DEPTH {
            let text = format!("is nested {} deep; at most {MAX_DEPTH} is allowed", outline.depth);
            findings.add(path, text);
        }
        self.0.insert(path.to_owned(), outline);
    }
}

/// Why a text is no JSON; with line and column.
fn unreadable(error: &serde_json::Error) -> String {
    let text = error.to_string();
    // The parser's own limit is beyond ours.
    if text.starts_with("recursion limit exceeded") {
        format!("is nested deeper than {MAX_DEPTH}: {text}")
    } else {
        format!("is not valid JSON: {text}")
    }
}

/// The value of an admitted document; `None` if it is absent or not JSON.
pub(crate) fn value(document: Option<&Document>) -> Option<serde_json::Value> {
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
