//! What a body means that somebody has read, changed and sent back: which fields it writes, and what it leaves alone.

use serde_json::{Map, Value};

use super::flat;
use super::shape::{Field, Form, Shape, shape};
use prost_reflect::{Kind, MessageDescriptor};

/// The paths of the fields that `body` holds, as an update mask: what it does not hold keeps its value, `null` clears.
///
/// Messages are taken apart; lists, maps, documents and tagged unions are written as a whole. Output-only fields are
/// left out.
///
/// # Panics
/// If the message is not part of the API.
pub fn mask(descriptor: &MessageDescriptor, body: &Value) -> Vec<String> {
    let mut paths = Vec::new();
    if let Value::Object(body) = body {
        collect(shape(descriptor), body, "", &mut paths);
    }
    paths
}

/// Removes the output-only fields from `body`: whatever they hold, they are ignored.
///
/// # Panics
/// If the message is not part of the API.
pub fn strip_output(descriptor: &MessageDescriptor, body: &mut Value) {
    let Value::Object(body) = body else { return };
    body.retain(|name, value| {
        let Some((_, field)) = flat::field(shape(descriptor), name) else { return true };
        if let (false, Some(inner)) = (field.output_only, plain(field)) {
            strip_output(inner, value);
        }
        !field.output_only
    });
}

/// Whether an element of a list leaves out fields that elements of this list have: [`complete`] can then fill them.
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
        match (plain(field), elements(field), value) {
            (Some(inner), _, value) => is_incomplete(inner, value),
            (_, Some(shape), Value::Array(items)) => {
                items.iter().filter_map(Value::as_object).any(|item| lacks(shape, item))
            }
            _ => false,
        }
    })
}

/// Fills what elements of lists leave out from `stored`, the JSON form of the stored message: an element that agrees
/// with a stored one in all that it holds is that one. A client that drops fields which it does not know thus changes
/// nothing in them.
///
/// # Panics
/// If the message is not part of the API.
pub fn complete(descriptor: &MessageDescriptor, body: &mut Value, stored: &Value) {
    let shape = shape(descriptor);
    let Value::Object(body) = body else { return };
    for (name, value) in body {
        let Some((_, field)) = flat::field(shape, name) else { continue };
        let stored = stored.get(name).unwrap_or(&Value::Null);
        if let Some(inner) = plain(field) {
            complete(inner, value, stored);
        } else if let (Some(shape), Value::Array(items), Value::Array(stored)) =
            (elements(field), value, stored)
        {
            for item in items.iter_mut().filter_map(Value::as_object_mut).filter(|item| lacks(shape, item)) {
                let same =
                    stored.iter().filter_map(Value::as_object).find(|stored| agrees(shape, item, stored));
                for (name, value) in same.into_iter().flatten() {
                    if !item.contains_key(name) {
                        item.insert(name.clone(), value.clone());
                    }
                }
            }
        }
    }
}

fn collect(shape: &Shape, body: &Map<String, Value>, prefix: &str, paths: &mut Vec<String>) {
    for (name, value) in body {
        let Some((within, field)) = flat::field(shape, name) else { continue };
        if field.output_only {
            continue;
        }
        let path = format!("{prefix}{within}{name}");
        match (plain(field), value) {
            (Some(inner), Value::Object(value)) => {
                collect(self::shape(inner), value, &format!("{path}."), paths);
            }
            _ => paths.push(path),
        }
    }
}

/// The message of a field that is one message, shown by its fields.
fn plain(field: &Field) -> Option<&MessageDescriptor> {
    message(field).filter(|_| !field.is_list)
}

/// The shape of the elements of a list of such messages.
fn elements(field: &Field) -> Option<&'static Shape> {
    message(field).filter(|_| field.is_list).and(field.message())
}

fn message(field: &Field) -> Option<&MessageDescriptor> {
    let Kind::Message(descriptor) = &field.kind else { return None };
    let shape = shape(descriptor);
    let by_fields = shape.form == Form::Fields && shape.shown_as.is_none() && shape.union.is_none();
    (by_fields && !field.is_map).then_some(descriptor)
}

fn lacks(shape: &Shape, item: &Map<String, Value>) -> bool {
    shape.fields.iter().any(|field| !item.contains_key(field.descriptor.name()))
}

fn agrees(shape: &Shape, item: &Map<String, Value>, stored: &Map<String, Value>) -> bool {
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
