//! Custom resource definitions: the kinds that they add, and what becomes of unknown fields.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::api::kinds::{self, Kind};
use crate::ownership::Schema;

/// The finalizer that keeps a definition until its objects are gone.
pub(crate) const CLEAN_UP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// The kinds that a definition adds, one for each version that it serves.
pub(crate) fn kinds(definition: &Value) -> Vec<Arc<Kind>> {
    let spec = &definition["spec"];
    let names = &spec["names"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let texts = |value: &Value| value.as_array().into_iter().flatten().map(text).collect();
    let versions = spec["versions"].as_array().into_iter().flatten();
    versions
        .filter(|version| version["served"] == true)
        .map(|version| {
            let fields = &version["schema"]["openAPIV3Schema"];
            Arc::new(Kind {
                group: text(&spec["group"]),
                version: text(&version["name"]),
                kind: text(&names["kind"]),
                plural: text(&names["plural"]),
                singular: names["singular"]
                    .as_str()
                    .map_or_else(|| text(&names["kind"]).to_lowercase(), str::to_owned),
                short_names: texts(&names["shortNames"]),
                categories: texts(&names["categories"]),
                namespaced: spec["scope"] != "Cluster",
                status: version["subresources"]["status"].is_object(),
                generation: true,
                custom: true,
                fields: fields.clone(),
                types: None,
                schema: Schema::of_definition(fields, kinds::metadata_schema()),
                zero: json!({"metadata": {}}),
            })
        })
        .collect()
}

/// Whether the kinds of a definition are served.
pub(crate) fn is_established(definition: &Value) -> bool {
    definition["status"]["acceptedNames"] == definition["spec"]["names"]
}

/// The status of a definition whose kinds are served.
pub(crate) fn established(definition: &Value, now: &str) -> Value {
    let condition = |kind: &str, reason: &str, message: &str| json!({"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": now});
    let versions = definition["spec"]["versions"].as_array().into_iter().flatten();
    let stored: Vec<&Value> =
        versions.filter(|version| version["storage"] == true).map(|version| &version["name"]).collect();
    json!({
        "conditions": [
            condition("NamesAccepted", "NoConflicts", "no conflicts found"),
            condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        ],
        "acceptedNames": definition["spec"]["names"],
        "storedVersions": stored,
    })
}

/// Removes what the schema of a custom kind does not know, as Kubernetes does when it stores an object.
pub(crate) fn drop_unknown(fields: &Value, object: &mut Value) {
    let Some(object) = object.as_object_mut() else { return };
    let known = fields["properties"].as_object();
    if fields["x-kubernetes-preserve-unknown-fields"] != true {
        let top = |name: &str| matches!(name, "apiVersion" | "kind" | "metadata");
        object.retain(|name, _| top(name) || known.is_some_and(|known| known.contains_key(name)));
    }
    drop_below(known, object);
}

fn drop_below(known: Option<&Map<String, Value>>, object: &mut Map<String, Value>) {
    for (name, value) in object.iter_mut() {
        if let Some(schema) = known.and_then(|known| known.get(name)) {
            prune(schema, value);
        }
    }
}

fn prune(schema: &Value, value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| prune(&schema["items"], item)),
        Value::Object(object) => {
            let known = schema["properties"].as_object();
            let rest = schema.get("additionalProperties");
            if schema["x-kubernetes-preserve-unknown-fields"] != true && rest.is_none() {
                object.retain(|name, _| known.is_some_and(|known| known.contains_key(name)));
            }
            if let Some(rest) = rest.filter(|rest| rest.is_object()) {
                let others = object
                    .iter_mut()
                    .filter(|(name, _)| !known.is_some_and(|known| known.contains_key(*name)));
                others.for_each(|(_, value)| prune(rest, value));
            }
            drop_below(known, object);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn served_versions_become_kinds_and_unknown_fields_go() {
        let schema = json!({"type": "object", "properties": {
            "spec": {"type": "object", "properties": {"size": {"type": "integer"}, "list": {"type": "array",
                "items": {"type": "object", "properties": {"a": {"type": "string"}}}}}},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"b": {}}}}}});
        let definition = json!({"spec": {"group": "example.org", "scope": "Namespaced",
            "names": {"kind": "Tub", "plural": "tubs", "singular": "tub"},
            "versions": [{"name": "v1", "served": true, "schema": {"openAPIV3Schema": schema}},
                {"name": "v0", "served": false}]}});
        let kinds = kinds(&definition);
        assert_eq!(kinds.len(), 1);
        assert_eq!(
            (kinds[0].resource().as_str(), kinds[0].api_version().as_str()),
            ("tubs.example.org", "example.org/v1")
        );
        let mut object = json!({"apiVersion": "x", "kind": "Tub", "metadata": {"name": "a"}, "extra": 1,
            "spec": {"size": 1, "other": 2, "list": [{"a": "x", "c": 1}]}, "free": {"x": {"y": 1}},
            "map": {"k": {"b": 1, "c": 2}}});
        drop_unknown(&kinds[0].fields, &mut object);
        let expected = json!({"apiVersion": "x", "kind": "Tub", "metadata": {"name": "a"},
            "spec": {"size": 1, "list": [{"a": "x"}]}, "free": {"x": {"y": 1}}, "map": {"k": {"b": 1}}});
        assert_eq!(object, expected);
    }
}
