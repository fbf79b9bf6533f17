//! The document is whole, consistent in itself, and true to the JSON form.

use std::collections::BTreeSet;

use serde_json::Value;

use super::document;
use crate::POOL;
use crate::json::{Unknown, read};
use crate::rest::{Body, ROUTES, Verb};

/// Every value of a member with this name, wherever it is.
fn members<'a>(value: &'a Value, name: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(object) => {
            found.extend(object.get(name));
            object.values().for_each(|value| members(value, name, found));
        }
        Value::Array(items) => items.iter().for_each(|value| members(value, name, found)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_somewhere_and_every_component_is_used() {
    let document = document();
    let mut references = Vec::new();
    members(&document, "$ref", &mut references);
    let references: BTreeSet<&str> = references.into_iter().filter_map(Value::as_str).collect();
    for reference in &references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some_and(Value::is_object), "{reference} leads nowhere");
    }
    for (group, components) in document["components"].as_object().unwrap() {
        for name in components.as_object().unwrap().keys() {
            let reference = format!("#/components/{group}/{name}");
            assert!(references.contains(reference.as_str()), "nothing refers to {reference}");
        }
    }
}

#[test]
fn every_route_is_an_operation_of_its_own() {
    let document = document();
    let mut ids = Vec::new();
    members(&document["paths"], "operationId", &mut ids);
    let unique: BTreeSet<&str> = ids.iter().filter_map(|id| id.as_str()).collect();
    assert_eq!(unique.len(), ids.len(), "{ids:?}");
    assert_eq!(ids.len(), ROUTES.len() + 4);
    for id in [
        "ListMetrics",
        "ListAllMetrics",
        "ListGlobalMetrics",
        "ListRoles",
        "CreateGlobalMetric",
        "BindApplication",
    ] {
        assert!(unique.contains(id), "{id} is missing in {unique:?}");
    }
}

#[test]
fn every_kind_has_an_example_that_is_accepted() {
    let document = document();
    for route in ROUTES.iter().filter(|route| route.verb == Verb::Create) {
        assert!(matches!(route.body, Body::Field(_)));
        let operation = &document["paths"][&route.template]["post"];
        let example = &operation["requestBody"]["content"]["application/json"]["examples"]["usual"]["value"];
        assert!(example.is_object(), "{} has no example, or one that is no JSON", route.kind.message);
        let kind = POOL.get_message_by_name(route.kind.message).unwrap();
        let read = read(&kind, example, Unknown::Refuse).map(drop);
        assert_eq!(read, Ok(()), "{}", route.template);
    }
}

#[test]
fn schemas_say_what_the_json_form_does() {
    let document = document();
    let schema = |pointer: &str| {
        let found = document.pointer(&format!("/components/schemas/{pointer}"));
        found.unwrap_or_else(|| panic!("no {pointer}")).clone()
    };
    assert_eq!(schema("GlobalMetric/properties/kind/const"), "GlobalMetric");
    assert_eq!(schema("Metadata/properties/namespace/type"), serde_json::json!(["string", "null"]));
    assert_eq!(schema("Metadata/properties/uid/readOnly"), true);
    assert_eq!(schema("Metadata/properties/name/x-krake-immutable"), true);
    assert_eq!(schema("ClusterSpec/properties/kubeconfig/x-krake-sensitive"), true);
    assert_eq!(schema("MetricSpec/properties/min/type"), "number");
    assert_eq!(schema("MetricSpec/required"), serde_json::json!(["max", "min", "provider"]));
    assert_eq!(schema("Role/properties/rules/items/$ref"), "#/components/schemas/RoleRule");
    assert!(schema("Role/properties").get("spec").is_none(), "the fields of spec stand in its place");
    assert_eq!(schema("Role/required"), serde_json::json!(["metadata", "rules"]));
    assert_eq!(schema("Verb/enum/3"), "list_all");
    assert_eq!(schema("MetricsProviderSpec/properties/type/enum/0"), "prometheus");
    assert_eq!(schema("ApplicationState/enum/3"), "RUNNING");
    assert_eq!(schema("Application/properties/status/readOnly"), true);
    assert!(schema("BindApplicationRequest/properties").get("namespace").is_none(), "the path has it");
}
