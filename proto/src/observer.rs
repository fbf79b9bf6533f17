//! Which fields of an object are observed on its cluster, and what is shown of them: in the form that upstream's clients
//! know, for `mangled_observer_schema` and `last_observed_manifest`. Pure.
//!
//! Observed are the fields that the object's document sets. The service that looks at clusters and the one that shows what
//! was seen use the same rules, so that only what differs from the document is reported.

use serde_json::{Map, Value, json};

/// Maximum size of what is reported of one copy in bytes: it is written again with each change.
pub const MAX_OBSERVATION: usize = 256 * 1024;
/// Maximum size of a set of documents whose objects are observed, in bytes: with what is observed of them an object is three
/// times as large, and upstream knows no larger ones.
pub const MAX_OBSERVED_SET: u64 = 1024 * 1024;
/// Maximum number of lists in such a set: each takes another 114 bytes in what is shown, and 700 in memory. Bundles of
/// definitions have some thousands.
pub const MAX_OBSERVED_LISTS: usize = 10_000;

/// Ends a list of a schema: the fewest elements that are as wanted.
const MIN_LENGTH: &str = "observer_schema_list_min_length";
/// Ends a list of a schema: the most elements that are as wanted.
const MAX_LENGTH: &str = "observer_schema_list_max_length";
/// Ends a list of what was seen: the number of its elements.
const CURRENT_LENGTH: &str = "observer_schema_list_current_length";
/// Stands for a value of a Secret that is not the one of its document: what others keep there is not Krake's to store.
const REDACTED: &str = "<redacted>";
/// What a cluster says about an object. Documents do not decide on it.
const STATUS: &str = "status";

/// Whether the objects of a set of documents are observed: not if that would be much larger than the set, whose JSON text
/// this is. Brackets in strings count as lists.
pub fn is_observed(set: &[u8]) -> bool {
    let lists = || set.iter().filter(|byte| **byte == b'[').count();
    set.len() as u64 <= MAX_OBSERVED_SET && lists() <= MAX_OBSERVED_LISTS
}

/// The fields of an object that are observed: those of its document, with null in place of each value but the object's
/// names.
pub fn schema(document: &Value) -> Value {
    let mut schema = blank(document);
    let Some(fields) = schema.as_object_mut() else { return schema };
    fields.remove(STATUS);
    for name in ["apiVersion", "kind"] {
        if let (Some(field), Some(value)) = (fields.get_mut(name), document.get(name)) {
            *field = value.clone();
        }
    }
    let name = fields.get_mut("metadata").and_then(|metadata| metadata.get_mut("name"));
    if let (Some(field), Some(value)) = (name, document.pointer("/metadata/name")) {
        *field = value.clone();
    }
    if is_load_balancer(document) {
        fields.insert(STATUS.to_owned(), ingress(Value::Null));
    }
    schema
}

/// What is shown of a live object: the fields that its document sets, as far as it has them.
pub fn observed(document: &Value, live: &Value) -> Value {
    let Some(fields) = document.as_object() else { return live.clone() };
    let mut seen = Map::new();
    for (name, value) in fields {
        let part = match name.as_str() {
            STATUS => None,
            // By these the object was found; a server may call it by another version.
            "apiVersion" | "kind" => Some(value.clone()),
            _ => part(value, live.get(name)),
        };
        seen.extend(part.map(|part| (name.clone(), part)));
    }
    if document["apiVersion"] == "v1" && document["kind"] == "Secret" {
        redact(document, &mut seen);
    }
    if is_load_balancer(document) {
        let address = live.pointer("/status/loadBalancer/ingress").cloned().unwrap_or_default();
        seen.insert(STATUS.to_owned(), ingress(address));
    }
    Value::Object(seen)
}

/// What is shown of an object that is as its document says.
pub fn as_applied(document: &Value) -> Value {
    observed(document, document)
}

/// The names of an object alone, for one whose fields do not fit into a report.
pub fn names(document: &Value) -> Value {
    let mut metadata = Map::new();
    for name in ["name", "namespace"] {
        let value = document["metadata"].get(name);
        metadata.extend(value.map(|value| (name.to_owned(), value.clone())));
    }
    json!({"apiVersion": document["apiVersion"], "kind": document["kind"], "metadata": metadata})
}

/// A value with null in place of all that is neither a list nor a map.
fn blank(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            Value::Object(fields.iter().map(|(name, value)| (name.clone(), blank(value))).collect())
        }
        Value::Array(items) => {
            let length = items.len();
            let control = json!({MIN_LENGTH: length, MAX_LENGTH: length});
            Value::Array(items.iter().map(blank).chain([control]).collect())
        }
        _ => Value::Null,
    }
}

/// The part of a live value that a part of the document names.
fn part(document: &Value, live: Option<&Value>) -> Option<Value> {
    let list = |items: Vec<Value>, length: usize| {
        Some(Value::Array(items.into_iter().chain([json!({CURRENT_LENGTH: length})]).collect()))
    };
    match (document, live) {
        (Value::Object(fields), Some(Value::Object(live))) => {
            let parts =
                fields.iter().filter_map(|(name, field)| Some((name.clone(), part(field, live.get(name))?)));
            Some(Value::Object(parts.collect()))
        }
        (Value::Array(_), None | Some(Value::Null)) => list(Vec::new(), 0),
        (Value::Array(items), Some(Value::Array(live))) => {
            let parts = items.iter().zip(live).filter_map(|(item, live)| part(item, Some(live)));
            list(parts.collect(), live.len())
        }
        (_, live) => live.cloned(),
    }
}

/// Hides the values of a Secret that are not those of its document.
fn redact(document: &Value, seen: &mut Map<String, Value>) {
    for field in ["data", "stringData"] {
        let Some(value) = seen.get_mut(field) else { continue };
        match value {
            Value::Object(values) => {
                let applied = |name: &str| document[field].get(name);
                let others = values.iter_mut().filter(|(name, value)| applied(name) != Some(value));
                others.for_each(|(_, value)| *value = REDACTED.into());
            }
            other => *other = REDACTED.into(),
        }
    }
}

fn is_load_balancer(document: &Value) -> bool {
    document["apiVersion"] == "v1"
        && document["kind"] == "Service"
        && document["spec"]["type"] == "LoadBalancer"
}

/// The part of a status that says where a Service can be reached.
fn ingress(address: Value) -> Value {
    json!({"load_balancer": {"ingress": address}})
}

#[cfg(test)]
mod tests;
