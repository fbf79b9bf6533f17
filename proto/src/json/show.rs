//! Messages to JSON.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use prost_reflect::{DynamicMessage, EnumDescriptor, Kind, MapKey, ReflectMessage, Value};
use serde_json::{Map, Number, Value as Json};

use super::shape::{Field, Form, Shape, shape};
use super::{Options, REDACTED, document_value, scalar, time};
use crate::krake::meta::v1::Document;

/// The JSON form of a message of the API.
pub(super) fn message(message: &DynamicMessage, options: Options) -> Json {
    let shape = shape(&message.descriptor());
    match shape.form {
        Form::Fields => fields(message, shape, options),
        Form::Timestamp => {
            let (seconds, nanos) = seconds_and_nanos(message);
            time::show(seconds, nanos).into()
        }
        Form::Duration => {
            let (seconds, nanos) = seconds_and_nanos(message);
            time::show_duration(seconds, nanos).into()
        }
        Form::Document => document(message),
    }
}

fn seconds_and_nanos(message: &DynamicMessage) -> (i64, i32) {
    let seconds = message.get_field_by_number(1).and_then(|value| value.as_i64());
    let nanos = message.get_field_by_number(2).and_then(|value| value.as_i32());
    (seconds.unwrap_or_default(), nanos.unwrap_or_default())
}

fn document(message: &DynamicMessage) -> Json {
    let document: Document = message.transcode_to().expect("the descriptor is the document's");
    document_value(&document).unwrap_or_else(|_| {
        message.get_field_by_name("json").and_then(|text| text.as_str().map(Json::from)).unwrap_or_default()
    })
}

fn fields(message: &DynamicMessage, shape: &Shape, options: Options) -> Json {
    if let Some(field) = shape.shown_as.and_then(|index| shape.fields.get(index)) {
        return field_value(message, field, options);
    }
    let mut object = Map::new();
    if let Some(kind) = shape.kind {
        object.insert("api".into(), kind.api.into());
        object.insert("kind".into(), kind.shown(&namespace(message)).into());
    }
    if let Some(union) = &shape.union {
        let variant = union.fields().find(|field| message.has_field(field));
        object.insert("type".into(), variant.map_or(Json::Null, |field| field.name().into()));
    }
    for field in &shape.fields {
        if shape.is_variant(field) && !message.has_field(&field.descriptor) {
            continue;
        }
        object.insert(field.descriptor.name().to_owned(), field_value(message, field, options));
    }
    Json::Object(object)
}

/// The namespace of a resource; empty without metadata.
pub(super) fn namespace(resource: &DynamicMessage) -> String {
    let metadata = resource.get_field_by_name("metadata");
    let namespace =
        metadata.as_ref().and_then(|metadata| metadata.as_message()?.get_field_by_name("namespace"));
    namespace.and_then(|namespace| namespace.as_str().map(str::to_owned)).unwrap_or_default()
}

fn field_value(message: &DynamicMessage, field: &Field, options: Options) -> Json {
    let descriptor = &field.descriptor;
    let is_set = message.has_field(descriptor);
    if !is_set && (descriptor.supports_presence() || field.null_if_empty) {
        return Json::Null;
    }
    if is_set && field.sensitive && options.redact {
        return REDACTED.into();
    }
    match &*message.get_field(descriptor) {
        Value::List(items) => items.iter().map(|item| value(item, &descriptor.kind(), options)).collect(),
        Value::Map(entries) => {
            let kind = match descriptor.kind() {
                Kind::Message(entry) => entry.map_entry_value_field().kind(),
                other => other,
            };
            let entries = entries.iter().map(|(key, entry)| (map_key(key), value(entry, &kind, options)));
            Json::Object(entries.collect())
        }
        single => value(single, &descriptor.kind(), options),
    }
}

fn map_key(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}

fn value(value: &Value, kind: &Kind, options: Options) -> Json {
    match value {
        Value::Bool(value) => (*value).into(),
        Value::I32(value) => (*value).into(),
        Value::I64(value) => (*value).into(),
        Value::U32(value) => (*value).into(),
        Value::U64(value) => (*value).into(),
        Value::F32(value) => double(f64::from(*value)),
        Value::F64(value) => double(*value),
        Value::String(value) => value.as_str().into(),
        Value::Bytes(value) => BASE64_STANDARD.encode(value).into(),
        Value::EnumNumber(number) => match kind {
            Kind::Enum(descriptor) => enum_value(descriptor, *number),
            _ => (*number).into(),
        },
        Value::Message(inner) => message(inner, options),
        // Fields of fields are messages, so these come only from `field_value`.
        Value::List(_) | Value::Map(_) => Json::Null,
    }
}

/// A value of a newer peer has no name here and is shown as its number.
fn enum_value(descriptor: &EnumDescriptor, number: i32) -> Json {
    match descriptor.get_value(number) {
        Some(value) => scalar::enum_name(descriptor, value.name()).into(),
        None => number.into(),
    }
}

fn double(value: f64) -> Json {
    match Number::from_f64(value) {
        Some(number) => Json::Number(number),
        None if value.is_nan() => scalar::NAN.into(),
        None if value > 0.0 => scalar::INFINITY.into(),
        None => scalar::NEGATIVE_INFINITY.into(),
    }
}
