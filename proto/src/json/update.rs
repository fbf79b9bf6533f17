//! Read-modify-write over JSON: which fields the body of an update writes, and which keep their stored values.

use serde_json::{Map, Value};

use super::flat;
use super::shape::{Field, Form, Shape, shape};
use prost_reflect::{Kind, MessageDescriptor};

/// Returns the paths of the fields in `body`, as an update mask: fields that are missing keep their values, `null` clears.
///
/// Messages give a path for each of their fields; lists, maps, documents and tagged unions one path for the whole.
/// Output-only fields give none.
///
/// # Panics
/// If the message is not part of the API.
pub fn mask(descriptor: &MessageDescriptor, body: &Value) -> Vec<String> {
    let mut paths = Vec::new();
    if let Value::Object(body) = body {
        collect_paths(shape(descriptor), body, "", &mut paths);
    }
    paths
}

/// Removes output-only fields from `body`, whatever their values.
///
/// # Panics
/// If the message is not part of the API.
pub fn strip_output(descriptor: &MessageDescriptor, body: &mut Value) {
    let Value::Object(body) = body else { return };
    body.retain(|name, value| {
        let Some((_, field)) = flat::field(shape(descriptor), name) else { return true };
        if let (false, Some(inner)) = (field.output_only, single_message(field)) {
            strip_output(inner, value);
        }
        !field.output_only
    });
}

/// Puts into the body of an object that REST creates what the option `rest_default` says, where the body leaves a field out.
///
/// # Panics
/// If the message is not part of the API.
pub fn fill_rest_defaults(descriptor: &MessageDescriptor, body: &mut Value) {
    let Value::Object(body) = body else { return };
    let shape = shape(descriptor);
    for field in &shape.fields {
        let name = field.descriptor.name();
        if let Some(default) = &field.rest_default
            && body.get(name).is_none_or(Value::is_null)
        {
            body.insert(name.to_owned(), default.clone());
        }
        if let (false, Some(inner), Some(value)) =
            (field.output_only, single_message(field), body.get_mut(name))
        {
            fill_rest_defaults(inner, value);
        }
    }
}

/// Returns whether an element of a list lacks fields of its message: [`complete`] may then fill them.
///
/// # Panics
/// If the message is not part of the API.
pub fn is_incomplete(descriptor: &MessageDescriptor, body: &Value) -> bool {
    let shape = shape(descriptor);
    let Value::Object(body) = body else { return false };
    body.iter().any(|(name, value)| {
        let Some((_, field)) = flat::field(shape, name).filter(|(_, field)| !field.output_only) else {
            return false;
        };
        match (single_message(field), element_shape(field), value) {
            (Some(inner), _, value) => is_incomplete(inner, value),
            (_, Some(shape), Value::Array(items)) => {
                items.iter().filter_map(Value::as_object).any(|item| lacks_fields(shape, item))
            }
            _ => false,
        }
    })
}

/// Fills missing fields of list elements from `stored`, the JSON form of the stored message. An element matches a stored
/// one if all its known fields are equal. So a client that drops fields which it does not know leaves them unchanged.
///
/// # Panics
/// If the message is not part of the API.
pub fn complete(descriptor: &MessageDescriptor, body: &mut Value, stored: &Value) {
    let shape = shape(descriptor);
    let Value::Object(body) = body else { return };
    for (name, value) in body {
        let Some((_, field)) = flat::field(shape, name) else { continue };
        let stored = stored.get(name).unwrap_or(&Value::Null);
        if let Some(inner) = single_message(field) {
            complete(inner, value, stored);
        } else if let (Some(shape), Value::Array(items), Value::Array(stored)) =
            (element_shape(field), value, stored)
        {
            complete_elements(shape, items, stored);
        }
    }
}

fn complete_elements(shape: &Shape, items: &mut [Value], stored: &[Value]) {
    let incomplete = |item: &&mut Map<String, Value>| lacks_fields(shape, item);
    for item in items.iter_mut().filter_map(Value::as_object_mut).filter(incomplete) {
        let mut stored = stored.iter().filter_map(Value::as_object);
        let same = stored.find(|stored| matches_stored(shape, item, stored));
        for (name, value) in same.into_iter().flatten() {
            item.entry(name).or_insert_with(|| value.clone());
        }
    }
}

/// Appends the paths of the fields in `body`, each after `prefix`.
fn collect_paths(shape: &Shape, body: &Map<String, Value>, prefix: &str, paths: &mut Vec<String>) {
    for (name, value) in body {
        let Some((within, field)) = flat::field(shape, name) else { continue };
        if field.output_only {
            continue;
        }
        let path = format!("{prefix}{within}{name}");
        match (single_message(field), value) {
            (Some(inner), Value::Object(value)) => {
                collect_paths(self::shape(inner), value, &format!("{path}."), paths);
            }
            _ => paths.push(path),
        }
    }
}

/// Returns the message of a field that holds one message, if its JSON form is an object of its fields.
fn single_message(field: &Field) -> Option<&MessageDescriptor> {
    object_message(field).filter(|_| !field.is_list)
}

/// Returns the shape of the elements of a list of such messages.
fn element_shape(field: &Field) -> Option<&'static Shape> {
    object_message(field).filter(|_| field.is_list).and(field.message())
}

/// Returns the message of a field or of its elements, if its JSON form is an object of its fields.
fn object_message(field: &Field) -> Option<&MessageDescriptor> {
    let Kind::Message(descriptor) = &field.kind else { return None };
    let shape = shape(descriptor);
    let by_fields = shape.form == Form::Fields && shape.shown_as.is_none() && shape.union.is_none();
    (by_fields && !field.is_map).then_some(descriptor)
}

fn lacks_fields(shape: &Shape, item: &Map<String, Value>) -> bool {
    shape.fields.iter().any(|field| !item.contains_key(field.descriptor.name()))
}

/// Returns whether all known fields of `item` have the same values in `stored`.
fn matches_stored(shape: &Shape, item: &Map<String, Value>, stored: &Map<String, Value>) -> bool {
    let known = item.iter().filter(|(name, _)| shape.field(name).is_some());
    known.into_iter().all(|(name, value)| stored.get(name) == Some(value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::POOL;

    fn application() -> MessageDescriptor {
        POOL.get_message_by_name("krake.kubernetes.v1.Application").unwrap()
    }

    #[test]
    fn a_mask_names_what_the_body_holds_and_nothing_else() {
        let body = json!({
            "api": "kubernetes", "kind": "Application", "unknown": 1,
            "metadata": {"name": "a", "uid": "u", "labels": {}, "resource_version": 3},
            "spec": {"manifest": [], "csar": null, "tosca": {}, "constraints": {"cluster": {"labels": ["a is b"]}}},
        });
        let mut paths = mask(&application(), &body);
        paths.sort();
        assert_eq!(
            paths,
            [
                "metadata.labels",
                "metadata.name",
                "metadata.resource_version",
                "spec.constraints.cluster.labels",
                "spec.csar",
                "spec.manifest",
                "spec.tosca",
            ]
        );
    }

    #[test]
    fn a_tagged_union_is_written_as_a_whole() {
        let provider = POOL.get_message_by_name("krake.core.v1.MetricsProvider").unwrap();
        let body = json!({"spec": {"type": "prometheus", "prometheus": {"url": "http://p"}}});
        assert_eq!(mask(&provider, &body), ["spec"]);
    }

    #[test]
    fn what_only_the_server_writes_is_dropped_whatever_it_holds() {
        let mut body = json!({
            "metadata": {"name": "a", "uid": 7, "created": "yesterday"},
            "status": {"bindings": "x", "retries": 1},
        });
        strip_output(&application(), &mut body);
        assert_eq!(body, json!({"metadata": {"name": "a"}, "status": {"retries": 1}}));
        assert_eq!(
            mask(&application(), &json!({"status": {"bindings": [], "retries": 1}})),
            ["status.retries"]
        );
    }

    #[test]
    fn owners_sent_back_by_a_client_that_knows_less_keep_what_it_dropped() {
        let known = json!({"api": "kubernetes", "kind": "Cluster", "namespace": "n", "name": "c"});
        let stored = json!({"metadata": {"owners": [{
            "api": "kubernetes", "kind": "Cluster", "namespace": "n", "name": "c",
            "uid": "u", "on_delete": "RELEASE",
        }]}});
        let other = json!({"api": "kubernetes", "kind": "Cluster", "namespace": "n", "name": "d"});
        let mut body = json!({"metadata": {"owners": [known, other]}});
        assert!(is_incomplete(&application(), &body));
        complete(&application(), &mut body, &stored);
        assert_eq!(body["metadata"]["owners"][0], stored["metadata"]["owners"][0]);
        assert_eq!(body["metadata"]["owners"][1], other, "a new owner is what the client says");
        assert!(!is_incomplete(&application(), &stored));
    }
}
