//! Documents as JSON values, whichever of their two forms they have.

use prost_types::value::Kind;
use serde_json::{Map, Number, Value};

use crate::krake::meta::v1::Document;
use crate::krake::meta::v1::document::Content;

/// Integers up to here are exact in a double.
const EXACT: f64 = 9_007_199_254_740_992.0;
/// Maximum nesting that other readers of JSON accept: serde_json's limit.
const READABLE_DEPTH: usize = 127;

/// The document that holds a JSON value, as text.
pub fn document(value: &Value) -> Document {
    Document { content: Some(Content::Json(value.to_string())) }
}

/// The JSON value that a document holds; `null` if it holds nothing. Whole numbers of the `object` form are integers.
///
/// # Errors
/// If the text is not JSON, or nested more than 127 levels.
pub fn document_value(document: &Document) -> Result<Value, serde_json::Error> {
    match &document.content {
        None => Ok(Value::Null),
        Some(Content::Json(text)) => serde_json::from_str(text),
        Some(Content::Object(object)) => Ok(object_value(object)),
    }
}

/// Whether a value has more than `limit` levels of lists and objects.
pub(super) fn deeper_than(value: &Value, limit: usize) -> bool {
    let Some(below) = limit.checked_sub(1) else { return value.is_array() || value.is_object() };
    match value {
        Value::Array(items) => items.iter().any(|item| deeper_than(item, below)),
        Value::Object(fields) => fields.values().any(|field| deeper_than(field, below)),
        _ => false,
    }
}

/// Whether a text is JSON that readers with the usual limit on nesting can read.
pub(super) fn is_readable(text: &str) -> bool {
    levels(text) <= READABLE_DEPTH && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

/// Counts the levels of lists and objects of a JSON text. For any other text the number means nothing.
pub(super) fn levels(text: &str) -> usize {
    let (mut depth, mut deepest) = (0usize, 0);
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => skip_string(&mut bytes),
            _ => {}
        }
    }
    deepest
}

/// Skips the rest of a JSON string, up to the quote that ends it.
fn skip_string(bytes: &mut std::str::Bytes<'_>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => {
                bytes.next();
            }
            _ => {}
        }
    }
}

fn object_value(object: &prost_types::Struct) -> Value {
    let fields = object.fields.iter().map(|(key, value)| (key.clone(), plain_value(value)));
    Value::Object(fields.collect::<Map<_, _>>())
}

fn plain_value(value: &prost_types::Value) -> Value {
    match &value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(bool)) => Value::Bool(*bool),
        Some(Kind::NumberValue(number)) => number_value(*number),
        Some(Kind::StringValue(text)) => Value::String(text.clone()),
        Some(Kind::ListValue(list)) => list.values.iter().map(plain_value).collect(),
        Some(Kind::StructValue(object)) => object_value(object),
    }
}

fn number_value(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() <= EXACT {
        // In range and whole, so nothing is cut off.
        return Value::from(number as i64);
    }
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn both_forms_are_the_same_value() {
        let number = |value| prost_types::Value { kind: Some(Kind::NumberValue(value)) };
        let object = prost_types::Struct {
            fields: [("replicas".to_owned(), number(3.0)), ("share".to_owned(), number(0.5))].into(),
        };
        let built = Document { content: Some(Content::Object(object)) };
        let value = json!({"replicas": 3, "share": 0.5});
        assert_eq!(document_value(&built).unwrap(), value);
        assert_eq!(document_value(&document(&value)).unwrap(), value);
        assert_eq!(document_value(&Document::default()).unwrap(), Value::Null);
    }

    #[test]
    fn large_integers_are_exact() {
        let value = json!({"low": i64::MIN, "high": u64::MAX, "odd": 9_007_199_254_740_993_u64});
        assert_eq!(document_value(&document(&value)).unwrap(), value);
    }

    #[test]
    fn depth_counts_lists_and_objects() {
        let nested = |levels: usize| (0..levels).fold(json!(1), |inner, _| json!([inner]));
        assert!(!deeper_than(&nested(64), 64));
        assert!(deeper_than(&nested(65), 64));
        assert!(!deeper_than(&json!(1), 0));
        assert_eq!(levels(&nested(64).to_string()), 64);
        assert_eq!(levels(r#"{"a\\\"[": ["]]", {}], "b": []}"#), 3, "brackets in strings are none");
        assert!(!is_readable(&("[".repeat(1_000_000) + &"]".repeat(1_000_000))));
    }
}
