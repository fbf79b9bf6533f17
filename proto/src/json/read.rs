//! JSON to messages. Violations are collected, so that one attempt shows what is to be put right; of many, the first.

use std::fmt;

use prost_reflect::{DynamicMessage, Kind, MessageDescriptor, OneofDescriptor, Value};
use serde_json::{Map, Value as Json};

use super::path::Path;
use super::shape::{Field, Form, Shape, shape};
use super::{MAX_DEPTH, Unknown, document, flat, scalar, time};
use crate::error::{Violation, Violations};

/// Minimum similarity (Jaro-Winkler, 0 to 1) of a name that is suggested: one typing error in a short name.
const MIN_SIMILARITY: f64 = 0.85;
/// Maximum length in bytes of a name that gets a suggestion: comparing takes time by the product of the lengths.
const MAX_SUGGESTED_LENGTH: usize = 100;

/// Form of the documents in the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Documents {
    /// As the values that they are.
    Values,
    /// As strings that hold their JSON text.
    Texts,
}

/// Reads a message of the API.
///
/// # Errors
/// The violations, ordered by where they are in the input; of many the first, see [`Violations`].
pub(super) fn message(
    descriptor: &MessageDescriptor,
    json: &Json,
    unknown: Unknown,
    documents: Documents,
) -> Result<DynamicMessage, Vec<Violation>> {
    let mut reader = Reader { unknown, documents, violations: Violations::default() };
    match reader.message(descriptor, json, &Path::Root(descriptor.name()), false) {
        Some(message) if reader.violations.is_empty() => Ok(message),
        _ => Err(reader.violations.into_vec()),
    }
}

/// The namespace of a resource; empty without metadata.
fn namespace(resource: &DynamicMessage) -> String {
    let metadata = resource.get_field_by_name("metadata");
    let namespace =
        metadata.as_ref().and_then(|metadata| metadata.as_message()?.get_field_by_name("namespace"));
    namespace.and_then(|namespace| namespace.as_str().map(str::to_owned)).unwrap_or_default()
}

struct Reader {
    unknown: Unknown,
    documents: Documents,
    violations: Violations,
}

impl Reader {
    fn violation(&mut self, path: &Path<'_>, description: impl fmt::Display) {
        self.violations.add(path, description);
    }

    fn expected(&mut self, path: &Path<'_>, expected: &str, json: &Json, secret: bool) {
        self.violation(
            path,
            fmt::from_fn(|f| write!(f, "expected {expected}, found {}", scalar::found(json, secret))),
        );
    }

    /// Reads a message; `None` after a violation.
    fn message(
        &mut self,
        descriptor: &MessageDescriptor,
        json: &Json,
        path: &Path<'_>,
        secret: bool,
    ) -> Option<DynamicMessage> {
        let shape = shape(descriptor);
        match shape.form {
            Form::Fields => self.fields(descriptor, shape, json, path, secret),
            Form::Timestamp => {
                let parts = json.as_str().and_then(time::read);
                let example = "a time such as \"2023-02-28T10:48:54.123456+00:00\"";
                self.seconds_and_nanos(descriptor, parts, example, json, path)
            }
            Form::Duration => {
                let parts = json.as_str().and_then(time::read_duration);
                self.seconds_and_nanos(descriptor, parts, "a duration such as \"30s\"", json, path)
            }
            Form::Document => self.document(descriptor, json, path),
        }
    }

    fn seconds_and_nanos(
        &mut self,
        descriptor: &MessageDescriptor,
        parts: Option<(i64, i32)>,
        expected: &str,
        json: &Json,
        path: &Path<'_>,
    ) -> Option<DynamicMessage> {
        let Some((seconds, nanos)) = parts else {
            self.expected(path, expected, json, false);
            return None;
        };
        let mut message = DynamicMessage::new(descriptor.clone());
        message.set_field_by_number(1, Value::I64(seconds));
        message.set_field_by_number(2, Value::I32(nanos));
        Some(message)
    }

    fn document(
        &mut self,
        descriptor: &MessageDescriptor,
        json: &Json,
        path: &Path<'_>,
    ) -> Option<DynamicMessage> {
        let (text, is_too_deep) = match (self.documents, json) {
            (Documents::Texts, Json::String(text)) => (text.clone(), document::levels(text) > MAX_DEPTH),
            _ => (json.to_string(), document::deeper_than(json, MAX_DEPTH)),
        };
        if is_too_deep {
            self.violation(path, format!("is nested more than {MAX_DEPTH} levels"));
            return None;
        }
        let mut message = DynamicMessage::new(descriptor.clone());
        message.set_field_by_name("json", Value::String(text));
        Some(message)
    }

    /// Whether a value stands for an absent field.
    fn is_absent(&self, field: &Field, value: &Json) -> bool {
        let Some(absent) = &field.if_absent else { return false };
        match (self.documents, field.message(), value) {
            (Documents::Texts, Some(Shape { form: Form::Document, .. }), Json::String(text)) => {
                *text == absent.text
            }
            _ => absent.value == *value,
        }
    }

    fn fields(
        &mut self,
        descriptor: &MessageDescriptor,
        shape: &Shape,
        json: &Json,
        path: &Path<'_>,
        secret: bool,
    ) -> Option<DynamicMessage> {
        let mut message = DynamicMessage::new(descriptor.clone());
        if let Some(field) = shape.shown_as.and_then(|index| shape.fields.get(index)) {
            self.field(&mut message, field, json, path, secret);
            return Some(message);
        }
        let Json::Object(object) = json else {
            self.expected(path, "an object", json, secret);
            return None;
        };
        let (object, spec) = flat::split(shape, object);
        if let Some((field, spec)) = spec {
            self.field(&mut message, field, &spec, path, secret);
        }
        for (name, value) in object.iter() {
            let at = path.field(name);
            match shape.field(name) {
                // Variants are read with their type, below.
                Some(field) if shape.is_variant(field) => {}
                Some(_) if value.is_null() => {}
                Some(field) if self.is_absent(field, value) => {}
                Some(field) => self.field(&mut message, field, value, &at, secret),
                None if name == "type" && shape.union.is_some() => {}
                None if matches!(name.as_str(), "api" | "kind") && shape.kind.is_some() => {}
                None => self.unknown(shape, name, &at),
            }
        }
        if let Some(union) = &shape.union {
            self.union(&mut message, shape, union, &object, path, secret);
        }
        if let Some(kind) = shape.kind {
            self.kind(kind, &object, &namespace(&message), path);
        }
        Some(message)
    }

    fn unknown(&mut self, shape: &Shape, name: &str, path: &Path<'_>) {
        if self.unknown == Unknown::Ignore {
            return;
        }
        let names = shape.fields.iter().map(|field| field.descriptor.name());
        let names = names.filter(|_| name.len() <= MAX_SUGGESTED_LENGTH && !self.violations.is_full());
        let similar = names.map(|known| (strsim::jaro_winkler(known, name), known));
        let best =
            similar.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(likeness, _)| *likeness >= MIN_SIMILARITY);
        match best {
            Some((_, known)) => self.violation(path, format!("unknown field, did you mean {known:?}?")),
            None => self.violation(path, "unknown field"),
        }
    }

    fn union(
        &mut self,
        message: &mut DynamicMessage,
        shape: &Shape,
        union: &OneofDescriptor,
        object: &Map<String, Json>,
        path: &Path<'_>,
        secret: bool,
    ) {
        let at = path.field("type");
        let known = || union.fields().map(|field| field.name().to_owned()).collect::<Vec<_>>().join(", ");
        let name = match object.get("type") {
            None | Some(Json::Null) => {
                return self.violation(&at, format!("is required: one of {}", known()));
            }
            Some(Json::String(name)) => name.as_str(),
            Some(other) => return self.expected(&at, &format!("one of {}", known()), other, false),
        };
        let Some(variant) = shape.field(name).filter(|field| shape.is_variant(field)) else {
            return self.violation(&at, format!("unknown type {name:?}, known are {}", known()));
        };
        match object.get(name) {
            None | Some(Json::Null) => {
                self.violation(&path.field(name), format!("is required with type {name:?}"));
            }
            Some(value) => self.field(message, variant, value, &path.field(name), secret),
        }
        for other in union.fields().filter(|other| other.name() != name) {
            if object.get(other.name()).is_some_and(|value| !value.is_null()) {
                self.violation(&path.field(other.name()), format!("does not go with type {name:?}"));
            }
        }
    }

    fn kind(&mut self, kind: &crate::Kind, object: &Map<String, Json>, namespace: &str, path: &Path<'_>) {
        match object.get("api") {
            None | Some(Json::Null) => {}
            Some(Json::String(api)) if api == kind.api => {}
            Some(other) => self.expected(&path.field("api"), &format!("{:?}", kind.api), other, false),
        }
        let at = path.field("kind");
        let global = Some(kind.global_kind).filter(|name| !name.is_empty() && *name != kind.kind);
        match object.get("kind") {
            None | Some(Json::Null) => {}
            Some(Json::String(name)) if name == kind.kind => {}
            Some(Json::String(name)) if Some(name.as_str()) == global => {
                if !namespace.is_empty() {
                    self.violation(&at, format!("a {name} has no namespace, found {namespace:?}"));
                }
            }
            Some(other) => {
                let also = global.map(|global| format!(" or {global:?}")).unwrap_or_default();
                self.expected(&at, &format!("{:?}{also}", kind.kind), other, false);
            }
        }
    }

    fn field(
        &mut self,
        message: &mut DynamicMessage,
        field: &Field,
        json: &Json,
        path: &Path<'_>,
        secret: bool,
    ) {
        let descriptor = &field.descriptor;
        let secret = secret || field.sensitive;
        if let Some(oneof) = descriptor.containing_oneof()
            && let Some(other) = oneof.fields().find(|other| message.has_field(other))
        {
            return self.violation(path, format!("cannot be given together with {}", other.name()));
        }
        let value = if descriptor.is_map() {
            self.map(field, json, path, secret)
        } else if descriptor.is_list() {
            self.list(field, json, path, secret)
        } else {
            self.single(&descriptor.kind(), json, path, secret)
        };
        if let Some(value) = value {
            message.set_field(descriptor, value);
        }
    }

    fn single(&mut self, kind: &Kind, json: &Json, path: &Path<'_>, secret: bool) -> Option<Value> {
        match kind {
            Kind::Message(_) if json.is_null() => {
                self.expected(path, "a value", json, secret);
                None
            }
            Kind::Message(descriptor) => self.message(descriptor, json, path, secret).map(Value::Message),
            scalar => match scalar::read(scalar, json) {
                Ok(value) => Some(value),
                Err(expected) => {
                    self.expected(path, &expected, json, secret);
                    None
                }
            },
        }
    }

    fn list(&mut self, field: &Field, json: &Json, path: &Path<'_>, secret: bool) -> Option<Value> {
        let Json::Array(items) = json else {
            self.expected(path, "a list", json, secret);
            return None;
        };
        let kind = field.descriptor.kind();
        let items = items.iter().enumerate();
        let values =
            items.filter_map(|(index, item)| self.single(&kind, item, &Path::Index(path, index), secret));
        Some(Value::List(values.collect()))
    }

    fn map(&mut self, field: &Field, json: &Json, path: &Path<'_>, secret: bool) -> Option<Value> {
        let Json::Object(entries) = json else {
            self.expected(path, "an object", json, secret);
            return None;
        };
        let Kind::Message(entry) = field.descriptor.kind() else { return None };
        let (key_kind, value_kind) =
            (entry.map_entry_key_field().kind(), entry.map_entry_value_field().kind());
        let mut map = std::collections::HashMap::new();
        for (name, json) in entries {
            let at = Path::Key(path, name);
            let Some(key) = scalar::map_key(&key_kind, name) else {
                self.violation(&at, "is not a key of this map");
                continue;
            };
            if let Some(value) = self.single(&value_kind, json, &at, secret) {
                map.insert(key, value);
            }
        }
        Some(Value::Map(map))
    }
}
