//! What becomes of empty fields when a server reads an object into its types and writes it again.

use serde_json::Value;

use crate::api::kinds::Kind;

/// Lists and maps that are left out when they are empty. Others, and objects such as `emptyDir`, stay.
const LEFT_OUT: [&str; 23] = [
    "annotations",
    "args",
    "binaryData",
    "command",
    "data",
    "env",
    "envFrom",
    "finalizers",
    "hostAliases",
    "imagePullSecrets",
    "initContainers",
    "labels",
    "limits",
    "matchExpressions",
    "matchLabels",
    "nodeSelector",
    "ownerReferences",
    "ports",
    "requests",
    "stringData",
    "tolerations",
    "volumeMounts",
    "volumes",
];

/// Leaves out the empty lists and maps of an object, and the nulls in place of them; of custom kinds, those in `metadata`.
pub(crate) fn leave_out_empty(kind: &Kind, object: &mut Value) {
    if kind.custom {
        clean(&mut object["metadata"]);
        return;
    }
    clean(object);
    let spec = object.get_mut("spec").and_then(Value::as_object_mut).filter(|_| kind.is("", "Service"));
    if let Some(spec) = spec.filter(|spec| spec.get("selector").is_some_and(empty)) {
        spec.remove("selector");
    }
}

fn clean(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(clean),
        Value::Object(fields) => {
            fields.retain(|name, value| !(LEFT_OUT.contains(&name.as_str()) && empty(value)));
            fields.values_mut().for_each(clean);
        }
        _ => {}
    }
}

fn empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::kinds;
    use serde_json::json;

    #[test]
    fn empty_lists_and_maps_go_and_empty_objects_stay() {
        let kind = kinds::built_in().iter().find(|kind| kind.kind == "Pod").unwrap();
        let volumes = json!([{"name": "v", "emptyDir": {}}]);
        let mut pod = json!({"metadata": {"labels": {}, "annotations": null, "finalizers": []},
            "spec": {"volumes": volumes, "containers": [{"name": "c", "env": [], "resources": {}}]}});
        leave_out_empty(kind, &mut pod);
        let expected = json!({"metadata": {},
            "spec": {"volumes": volumes, "containers": [{"name": "c", "resources": {}}]}});
        assert_eq!(pod, expected);
    }
}
