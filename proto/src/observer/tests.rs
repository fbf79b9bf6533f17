//! Which fields are observed and how they are shown, with laws over arbitrary objects.

use proptest::prelude::*;

use super::*;

fn deployment() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "shop", "labels": {"tier": "edge"}},
        "spec": {"replicas": 2, "template": {"spec": {"containers": [{"name": "a", "args": ["x", "y"]}]}}}})
}

#[test]
fn a_schema_is_the_document_without_its_values() {
    assert_eq!(
        schema(&deployment()),
        json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": null, "labels": {"tier": null}},
            "spec": {"replicas": null, "template": {"spec": {"containers": [
                {"name": null, "args": [null, null,
                    {"observer_schema_list_min_length": 2, "observer_schema_list_max_length": 2}]},
                {"observer_schema_list_min_length": 1, "observer_schema_list_max_length": 1}]}}}})
    );
}

#[test]
fn of_a_live_object_the_fields_of_its_document_are_shown() {
    let mut live = deployment();
    live["metadata"]["uid"] = json!("u");
    live["metadata"]["labels"] = json!({"tier": "core", "other": "x"});
    live["spec"]["replicas"] = json!(5);
    live["spec"]["paused"] = json!(true);
    live["spec"]["template"]["spec"]["containers"] =
        json!([{"name": "a", "args": ["x"], "image": "i"}, {"name": "sidecar"}]);
    live["status"] = json!({"replicas": 5});
    assert_eq!(
        observed(&deployment(), &live),
        json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "shop", "labels": {"tier": "core"}},
            "spec": {"replicas": 5, "template": {"spec": {"containers": [
                {"name": "a", "args": ["x", {"observer_schema_list_current_length": 1}]},
                {"observer_schema_list_current_length": 2}]}}}})
    );
}

#[test]
fn what_a_live_object_lacks_is_left_out_and_a_list_is_empty() {
    let live = json!({"metadata": {"name": "web"}, "spec": {"template": {"spec": {}}}});
    assert_eq!(
        observed(&deployment(), &live),
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"template": {"spec": {"containers": [{"observer_schema_list_current_length": 0}]}}}})
    );
}

#[test]
fn the_address_of_a_load_balancer_is_observed_too() {
    let document = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"type": "LoadBalancer"}});
    let status = |address: Value| json!({"load_balancer": {"ingress": address}});
    assert_eq!(schema(&document)["status"], status(Value::Null));
    assert_eq!(as_applied(&document)["status"], status(Value::Null));
    let mut live = document.clone();
    live["status"] = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}});
    assert_eq!(observed(&document, &live)["status"], status(json!([{"ip": "192.0.2.1"}])));
}

#[test]
fn foreign_values_of_secrets_are_not_shown() {
    let document = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"a": "QQ==", "b": "Qg=="}});
    let mut live = document.clone();
    live["data"] = json!({"a": "QQ==", "b": "c2VjcmV0", "c": "bW9yZQ=="});
    assert_eq!(observed(&document, &live)["data"], json!({"a": "QQ==", "b": "<redacted>"}));
    live["data"] = json!("c2VjcmV0");
    assert_eq!(observed(&document, &live)["data"], "<redacted>");
}

#[test]
fn names_are_left_of_what_is_too_large() {
    let names = names(&deployment());
    assert_eq!(
        names,
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"}})
    );
}

fn value() -> impl Strategy<Value = Value> {
    let leaf =
        prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from), "[a-c]".prop_map(Value::from)];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[a-c]|status|kind|metadata|data", inner, 0..3)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// Whether every map of `seen` has the fields of `schema` and no others.
fn is_of(seen: &Value, schema: &Value) -> bool {
    match (seen, schema) {
        (Value::Object(seen), Value::Object(schema)) => {
            seen.len() == schema.len()
                && seen
                    .iter()
                    .all(|(name, value)| schema.get(name).is_some_and(|schema| is_of(value, schema)))
        }
        (Value::Array(seen), Value::Array(schema)) => {
            // The last elements are the lengths.
            seen.len() == schema.len()
                && seen.iter().zip(schema).rev().skip(1).all(|(seen, schema)| is_of(seen, schema))
        }
        _ => true,
    }
}

proptest! {
    /// Whatever the cluster answers is shown, and nothing that the document does not name.
    #[test]
    fn any_object_can_be_looked_at(document in value(), live in value()) {
        let seen = observed(&document, &live);
        prop_assert_eq!(&observed(&document, &live), &seen);
        if document.is_object() {
            prop_assert!(is_of(&as_applied(&document), &schema(&document)));
        }
        drop(names(&document));
    }

    /// More fields make no difference.
    #[test]
    fn what_others_add_is_not_shown(document in value(), more in "[x-z]{3}") {
        let Value::Object(mut fields) = document.clone() else { return Ok(()) };
        fields.insert(more, Value::from(1));
        prop_assert_eq!(observed(&document, &Value::Object(fields)), as_applied(&document));
    }
}
