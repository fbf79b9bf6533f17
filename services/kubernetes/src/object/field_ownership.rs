//! Turning the fields of an object that Krake created into fields that it applies. Pure.
//!
//! New objects are created with POST, because only that fails when somebody else was faster. The server books their fields
//! under an *update* of the field manager; an *apply* of the same manager later would leave those fields owned, so that a
//! field that leaves the manifest would never leave the object. Before the first apply the books are therefore corrected,
//! as `kubectl apply --server-side` does for objects made by older versions of itself.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry};
use serde_json::Value;

use crate::object::FIELD_MANAGER;

/// The corrected books, or nothing if they are in order: all fields that Krake updated are fields that it applied.
pub(crate) fn as_applied(books: &[ManagedFieldsEntry]) -> Option<Vec<ManagedFieldsEntry>> {
    let ours = |entry: &ManagedFieldsEntry, operation: &str| {
        entry.manager.as_deref() == Some(FIELD_MANAGER)
            && entry.operation.as_deref() == Some(operation)
            && entry.subresource.as_deref().unwrap_or_default().is_empty()
    };
    let (updated, mut rest): (Vec<_>, Vec<_>) =
        books.iter().cloned().partition(|entry| ours(entry, "Update"));
    if updated.is_empty() {
        return None;
    }
    let mut updated = updated.into_iter();
    if !rest.iter().any(|entry| ours(entry, "Apply")) {
        rest.extend(
            updated.next().map(|entry| ManagedFieldsEntry { operation: Some("Apply".into()), ..entry }),
        );
    }
    let applied = rest.iter_mut().find(|entry| ours(entry, "Apply"))?;
    let mut fields = applied.fields_v1.take().map_or(Value::Null, |FieldsV1(fields)| fields);
    for FieldsV1(more) in updated.filter_map(|entry| entry.fields_v1) {
        unite(&mut fields, more);
    }
    applied.fields_v1 = Some(FieldsV1(fields));
    Some(rest)
}

/// Union of two field sets: nested maps whose keys are path elements.
fn unite(fields: &mut Value, more: Value) {
    match (fields, more) {
        (Value::Object(fields), Value::Object(more)) => {
            for (element, below) in more {
                unite(fields.entry(element).or_insert(Value::Null), below);
            }
        }
        (fields @ Value::Null, more) => *fields = more,
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entry(manager: &str, operation: &str, fields: Value) -> ManagedFieldsEntry {
        serde_json::from_value(json!({
            "manager": manager, "operation": operation, "apiVersion": "v1", "fieldsType": "FieldsV1",
            "fieldsV1": fields
        }))
        .unwrap()
    }

    #[test]
    fn books_without_updates_of_ours_are_in_order() {
        let books =
            [entry("krake", "Apply", json!({"f:a": {}})), entry("kubectl", "Update", json!({"f:b": {}}))];
        assert_eq!(as_applied(&books), None);
    }

    #[test]
    fn an_update_becomes_an_apply() {
        let others = entry("kube-controller-manager", "Update", json!({"f:status": {}}));
        let books = [entry("krake", "Update", json!({"f:spec": {"f:a": {}}})), others.clone()];
        let expected = vec![others, entry("krake", "Apply", json!({"f:spec": {"f:a": {}}}))];
        assert_eq!(as_applied(&books), Some(expected));
    }

    #[test]
    fn both_are_united() {
        let books = [
            entry("krake", "Apply", json!({"f:spec": {"f:a": {}}})),
            entry("krake", "Update", json!({"f:spec": {"f:b": {"f:c": {}}}, "f:data": {}})),
        ];
        let expected =
            vec![entry("krake", "Apply", json!({"f:spec": {"f:a": {}, "f:b": {"f:c": {}}}, "f:data": {}}))];
        assert_eq!(as_applied(&books), Some(expected));
    }
}
