//! Namespaces, and definitions that say the same, which existed before: they are used, and not taken over. What their labels
//! and annotations say stays. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::DynamicObject;
use serde_json::{Map, Value, json};

use crate::object::order::Rank;
use crate::object::ownership::{self, Live};
use crate::object::prepare::Prepared;
use crate::object::{FIELD_MANAGER, MADE_LABEL, ObjectKey, definition, drift, field};

/// What begins the names of Krake's own marks.
const MARKS: &str = "krake.cloud/";

/// What was seen of a live object, if any application may use it whosever it is: a Namespace, or a definition that says what
/// the application's own says.
pub(crate) fn usable(wanted: &Prepared, live: &DynamicObject) -> Option<Live> {
    let is_usable = match Rank::of(&wanted.key) {
        Rank::Namespace => true,
        _ => definition::is_definition(&wanted.key) && says_the_same(&wanted.body, live),
    };
    is_usable.then(|| ownership::facts(&live.metadata))
}

/// Whether the live definition has all that the spec of `body` says. Servers leave out `preserveUnknownFields: false`, and the
/// certificate authority of a conversion webhook is filled in on the cluster.
fn says_the_same(body: &Value, live: &DynamicObject) -> bool {
    let Some(spec) = field(body, &["spec"]) else { return false };
    let mut spec = spec.clone();
    let field_name = "preserveUnknownFields";
    let is_absent = field(&live.data, &["spec", field_name]).is_none();
    if let (true, Some(spec)) = (is_absent, spec.as_object_mut()) {
        spec.retain(|name, value| name != field_name || *value != Value::Bool(false));
    }
    if let Some(Value::Object(client)) = spec.pointer_mut("/conversion/webhook/clientConfig") {
        client.remove("caBundle");
    }
    drift::drift(&json!({"spec": spec}), &live.data, None).is_empty()
}

/// The labels and annotations of the body of a Namespace that the live one does not have, as a merge patch for exactly the
/// object that was seen; nothing if it has them all.
pub(super) fn additions(wanted: &Prepared, live: &DynamicObject) -> Option<Value> {
    if Rank::of(&wanted.key) != Rank::Namespace {
        return None;
    }
    let metadata = &live.metadata;
    let mut patch = Map::new();
    for (name, own) in [("labels", &metadata.labels), ("annotations", &metadata.annotations)] {
        let wanted = field(&wanted.body, &["metadata", name]).and_then(Value::as_object);
        let is_there = |name: &str| own.as_ref().is_some_and(|own| own.contains_key(name));
        let absent = wanted.into_iter().flatten();
        let absent = absent.filter(|(name, _)| !name.starts_with(MARKS) && !is_there(name));
        let absent: Map<_, _> = absent.map(|(name, value)| (name.clone(), value.clone())).collect();
        if !absent.is_empty() {
            patch.insert(name.to_owned(), absent.into());
        }
    }
    if patch.is_empty() {
        return None;
    }
    patch.insert("uid".to_owned(), metadata.uid.clone().unwrap_or_default().into());
    patch.insert("resourceVersion".to_owned(), metadata.resource_version.clone().unwrap_or_default().into());
    Some(json!({"metadata": patch}))
}

/// Takes out of the body of a Namespace the labels and annotations that the live one has with other values: they may be
/// rules for everybody in it, such as the level of pod security.
pub(super) fn leave_settings(key: &ObjectKey, body: &mut Value, live: &DynamicObject) {
    if Rank::of(key) != Rank::Namespace {
        return;
    }
    let metadata = &live.metadata;
    for (field, own) in [("labels", &metadata.labels), ("annotations", &metadata.annotations)] {
        let Some(wanted) = body["metadata"][field].as_object_mut() else { continue };
        let own = own.as_ref();
        wanted.retain(|name, value| {
            let is_other = |own: &String| value.as_str() != Some(own);
            name.starts_with(MARKS)
                || is_ours(metadata, field, name)
                || !own.and_then(|own| own.get(name)).is_some_and(is_other)
        });
    }
}

/// Makes the body of an object that is taken over say what the live one says of who made it: leaving that out would erase it,
/// since Krake wrote it.
pub(super) fn keep_maker(body: &mut Value, live: &DynamicObject) {
    if let Some(made_by) = live.metadata.labels.as_ref().and_then(|labels| labels.get(MADE_LABEL)) {
        body["metadata"]["labels"][MADE_LABEL] = made_by.clone().into();
    }
}

/// Whether Krake has added a label or annotation, and so may change it.
fn is_ours(metadata: &ObjectMeta, kind: &str, name: &str) -> bool {
    let path = ["f:metadata".to_owned(), format!("f:{kind}"), format!("f:{name}")];
    let path = path.each_ref().map(String::as_str);
    metadata.managed_fields.iter().flatten().any(|entry| {
        let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
        entry.manager.as_deref() == Some(FIELD_MANAGER)
            && fields.is_some_and(|fields| field(fields, &path).is_some())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn key(kind: &str) -> ObjectKey {
        ObjectKey { api_version: "v1".into(), kind: kind.into(), namespace: None, name: "shop".into() }
    }

    #[test]
    fn labels_that_are_there_stay_and_others_are_added() {
        let live = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop",
            "labels": {"pod-security": "restricted", "team": "blue", "mine": "1", "krake.cloud/application": "former"},
            "annotations": {"note": "theirs"},
            "managedFields": [{"manager": "krake", "operation": "Apply",
                "fieldsV1": {"f:metadata": {"f:labels": {"f:mine": {}}}}}]}});
        let live: DynamicObject = serde_json::from_value(live).unwrap();
        let labels = json!({"pod-security": "privileged", "team": "blue", "tier": "edge", "mine": "2",
            "krake.cloud/application": "app"});
        let wanted = json!({"metadata": {"labels": labels, "annotations": {"note": "ours", "more": "x"}}});
        let mut body = wanted.clone();
        leave_settings(&key("Namespace"), &mut body, &live);
        let left = json!({"team": "blue", "tier": "edge", "mine": "2", "krake.cloud/application": "app"});
        assert_eq!(body, json!({"metadata": {"labels": left, "annotations": {"more": "x"}}}));
        let mut body = wanted.clone();
        leave_settings(&key("ConfigMap"), &mut body, &live);
        assert_eq!(body, wanted);
    }

    fn prepared(kind: &str, body: Value) -> Prepared {
        let api_version = if kind == "Namespace" { "v1" } else { "apiextensions.k8s.io/v1" };
        Prepared { key: ObjectKey { api_version: api_version.into(), ..key(kind) }, body, scaled: false }
    }

    fn live(kind: &str, metadata: Value, spec: Value) -> DynamicObject {
        serde_json::from_value(json!({"apiVersion": "v1", "kind": kind, "metadata": metadata, "spec": spec}))
            .unwrap()
    }

    #[test]
    fn every_namespace_may_be_used_and_a_definition_that_says_the_same() {
        let metadata = || json!({"name": "shop", "uid": "u", "resourceVersion": "7"});
        let spec = |scope: &str| json!({"group": "example.com", "scope": scope});
        let with_defaults =
            json!({"group": "example.com", "scope": "Namespaced", "conversion": {"strategy": "None"}});
        let definition = live("CustomResourceDefinition", metadata(), with_defaults);
        let wanted = |kind: &str, scope: &str| prepared(kind, json!({"spec": spec(scope)}));
        let kind = "CustomResourceDefinition";
        assert_eq!(usable(&wanted(kind, "Namespaced"), &definition).unwrap().uid, "u");
        assert_eq!(usable(&wanted(kind, "Cluster"), &definition), None);
        let mut older = spec("Namespaced");
        older["preserveUnknownFields"] = false.into();
        assert!(usable(&prepared(kind, json!({"spec": older})), &definition).is_some());
        older["preserveUnknownFields"] = true.into();
        assert_eq!(usable(&prepared(kind, json!({"spec": older})), &definition), None);
        assert_eq!(
            usable(&prepared(kind, Value::Null), &definition),
            None,
            "what it should say is not known"
        );
        let namespace = live("Namespace", metadata(), json!({}));
        assert!(usable(&prepared("Namespace", Value::Null), &namespace).is_some());
        let config = Prepared { key: key("ConfigMap"), ..wanted("ConfigMap", "Namespaced") };
        assert_eq!(usable(&config, &definition), None);
    }

    #[test]
    fn who_made_an_object_that_is_taken_over_is_not_forgotten() {
        let with = |labels: Value| live("Namespace", json!({"name": "shop", "labels": labels}), json!({}));
        let body = json!({"metadata": {"name": "shop"}});
        let mut kept = body.clone();
        keep_maker(&mut kept, &with(json!({MADE_LABEL: "inst", "team": "blue"})));
        assert_eq!(kept["metadata"]["labels"], json!({MADE_LABEL: "inst"}));
        let mut kept = body.clone();
        keep_maker(&mut kept, &with(json!({"team": "blue"})));
        assert_eq!(kept, body);
    }

    #[test]
    fn only_what_is_absent_is_added_and_no_mark() {
        let namespace = |labels: Value| {
            let metadata = json!({"name": "shop", "uid": "u", "resourceVersion": "7", "labels": labels});
            live("Namespace", metadata, json!({}))
        };
        let body = json!({"metadata": {"labels": {"level": "privileged", "tier": "edge", "krake.cloud/application": "app"},
            "annotations": {"krake.cloud/epoch": "e"}}});
        let wanted = prepared("Namespace", body);
        let added = additions(&wanted, &namespace(json!({"level": "restricted"})));
        let expected = json!({"uid": "u", "resourceVersion": "7", "labels": {"tier": "edge"}});
        assert_eq!(added, Some(json!({"metadata": expected})));
        assert_eq!(additions(&wanted, &namespace(json!({"level": "restricted", "tier": "core"}))), None);
    }
}
