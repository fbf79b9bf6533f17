//! Reading a body into an object of a kind: fields that the kind does not have are left out, and reported as the writer
//! wishes, fields that are given twice too; values of a wrong type are refused.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value, json};

use crate::api::conform;
use crate::api::failure::Failure;
use crate::api::kinds::Kind;
use crate::api::types::Shape;

/// What becomes of fields that are unknown or given twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum FieldValidation {
    Strict,
    #[default]
    Warn,
    Ignore,
}

/// A field that is unknown or given twice, by its path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fault {
    Unknown(String),
    Duplicate(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(path) => write!(f, "unknown field \"{path}\""),
            Self::Duplicate(path) => write!(f, "duplicate field \"{path}\""),
        }
    }
}

/// The object in the body of a create or an update, and what to warn of.
pub(crate) fn written(
    kind: &Kind,
    body: &[u8],
    validation: FieldValidation,
) -> Result<(Value, Vec<String>), Failure> {
    let (object, faults) = read(kind.shape(), body).map_err(|error| {
        let kind = &kind.kind;
        Failure::bad_request(format!("the object provided is unrecognized (must be of type {kind}): {error}"))
    })?;
    let object = typed(kind, object)?;
    let refuse = |why: String| {
        let Kind { version, kind, .. } = kind;
        Failure::bad_request(format!("{kind} in version \"{version}\" cannot be handled as a {kind}: {why}"))
    };
    if let Some(why) = conform::decoding_error(kind, &object) {
        return Err(refuse(why));
    }
    let warnings = judge(kind, faults, validation).map_err(refuse)?;
    Ok((object, warnings))
}

/// The object in the body of an apply, and what to warn of.
pub(crate) fn applied(
    kind: &Kind,
    body: &[u8],
    validation: FieldValidation,
) -> Result<(Value, Vec<String>), Failure> {
    let (object, faults) = read(Shape::Anything, body).map_err(|error| {
        Failure::bad_request(format!("error decoding YAML: error converting YAML to JSON: {error}"))
    })?;
    let object = typed(kind, object)?;
    // A server reads JSON as the YAML that it is too.
    let twice = faults.iter().filter_map(|fault| match fault {
        Fault::Duplicate(path) => path.rsplit('.').next(),
        Fault::Unknown(_) => None,
    });
    let twice: Vec<String> = twice.map(|key| format!("line 1: key \"{key}\" already set in map")).collect();
    match validation {
        FieldValidation::Strict if !twice.is_empty() => Err(Failure::bad_request(format!(
            "error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n  {}",
            twice.join("\n  ")
        ))),
        FieldValidation::Warn => Ok((object, twice)),
        FieldValidation::Strict | FieldValidation::Ignore => Ok((object, Vec::new())),
    }
}

/// What a patch made of an object: without the fields that the kind does not have; and what to warn of.
pub(crate) fn patched(
    kind: &Kind,
    patch: &[u8],
    object: &Value,
    shown: &str,
    validation: FieldValidation,
) -> Result<(Value, Vec<String>), Failure> {
    let (_, mut faults) = read(Shape::Anything, patch).unwrap_or_default();
    let (object, unknown) = read(kind.shape(), object.to_string().as_bytes()).unwrap_or_default();
    faults.extend(unknown);
    if let Some(why) = conform::decoding_error(kind, &object) {
        return Err(Failure::invalid_patch(shown, &why));
    }
    let warnings = judge(kind, faults, validation).map_err(|why| Failure::invalid_patch(shown, &why))?;
    Ok((object, warnings))
}

/// What to warn of, or why the faults are refused.
fn judge(kind: &Kind, mut faults: Vec<Fault>, validation: FieldValidation) -> Result<Vec<String>, String> {
    if kind.custom {
        faults.sort_by_key(|fault| match fault {
            Fault::Duplicate(_) => (false, String::new()),
            Fault::Unknown(path) => (true, path.clone()),
        });
    }
    let texts: Vec<String> = faults.iter().map(Fault::to_string).collect();
    match validation {
        FieldValidation::Strict if !texts.is_empty() => {
            Err(format!("strict decoding error: {}", texts.join(", ")))
        }
        FieldValidation::Warn => Ok(texts),
        FieldValidation::Strict | FieldValidation::Ignore => Ok(Vec::new()),
    }
}

/// The object with its type, if it is of this kind.
fn typed(kind: &Kind, mut object: Value) -> Result<Value, Failure> {
    let Some(fields) = object.as_object_mut() else {
        return Err(Failure::bad_request("the object provided is no object"));
    };
    let given = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
    let (version, name) = (given("apiVersion"), given("kind"));
    if kind.custom && (version.is_empty() || name.is_empty()) {
        return Err(Failure::bad_request("apiVersion or kind is missing"));
    }
    if !version.is_empty() && version != kind.api_version() || !name.is_empty() && name != kind.kind {
        let wanted = (&kind.kind, kind.api_version());
        let message =
            format!("{name} in version \"{version}\" cannot be handled as a {} of {}", wanted.0, wanted.1);
        return Err(Failure::bad_request(message));
    }
    fields.insert("apiVersion".to_owned(), json!(kind.api_version()));
    fields.insert("kind".to_owned(), json!(kind.kind));
    let metadata = fields.entry("metadata").or_insert_with(|| json!({}));
    if !metadata.is_object() {
        return Err(Failure::bad_request("metadata must be an object"));
    }
    Ok(object)
}

/// The value without the fields that are unknown, and the faults in the order of the text.
fn read(shape: Shape<'_>, body: &[u8]) -> Result<(Value, Vec<Fault>), serde_json::Error> {
    let faults = RefCell::new(Vec::new());
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let reader = Reader { shape, path: String::new(), faults: &faults };
    let value = reader.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok((value, faults.into_inner()))
}

struct Reader<'a> {
    shape: Shape<'a>,
    path: String,
    faults: &'a RefCell<Vec<Fault>>,
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        loop {
            let path = format!("{}[{}]", self.path, list.len());
            let reader = Reader { shape: self.shape.item(), path, faults: self.faults };
            match items.next_element_seed(reader)? {
                Some(item) => list.push(item),
                None => return Ok(list.into()),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let (mut object, mut seen) = (Map::new(), HashSet::new());
        while let Some(name) = fields.next_key::<String>()? {
            let path = if self.path.is_empty() { name.clone() } else { format!("{}.{name}", self.path) };
            let field = self.shape.field(&name);
            if !seen.insert(name.clone()) {
                self.faults.borrow_mut().push(Fault::Duplicate(path.clone()));
            } else if field.is_none() {
                self.faults.borrow_mut().push(Fault::Unknown(path.clone()));
            }
            let shape = field.unwrap_or(Shape::Anything);
            let value = fields.next_value_seed(Reader { shape, path, faults: self.faults })?;
            if field.is_some() {
                object.insert(name, value);
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests;
