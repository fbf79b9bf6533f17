//! A Namespace that existed before is used, and not taken over: what its labels and annotations say stays. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::DynamicObject;
use serde_json::Value;

use crate::object::order::Rank;
use crate::object::{FIELD_MANAGER, ObjectKey, field};

/// What begins the names of Krake's own marks.
const MARKS: &str = "krake.cloud/";

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
}
