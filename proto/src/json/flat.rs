//! Kinds with the option `flat`: their JSON form shows the fields of the spec beside the metadata.
//!
//! ```json
//! {"api": "core", "kind": "Role", "metadata": {"name": "r"}, "rules": []}
//! ```
//!
//! A flat object always has a spec, so an absent spec and an empty one look alike.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::shape::{Field, Shape};

/// Name of the field whose fields are shown in its place.
const SPEC: &str = "spec";
/// Members of the JSON form of a kind beside its fields.
const HEAD: [&str; 2] = ["api", "kind"];

/// The spec of a flat kind; none of any other message.
pub(crate) fn spec(shape: &Shape) -> Option<&Field> {
    shape.kind.filter(|kind| kind.flat)?;
    shape.field(SPEC)
}

/// The field that JSON shows under a name, and what its path begins with, relative to the message.
pub(super) fn field<'a>(shape: &'a Shape, name: &str) -> Option<(&'static str, &'a Field)> {
    let Some(spec) = spec(shape) else { return shape.field(name).map(|field| ("", field)) };
    match shape.field(name) {
        Some(field) => (name != SPEC).then_some(("", field)),
        None => spec.message()?.field(name).map(|field| ("spec.", field)),
    }
}

/// The members of a body.
type Members = Map<String, Value>;

/// Splits the body of a flat kind into what is beside the spec and the spec with its field; any other body stays whole.
pub(super) fn split<'a, 'b>(
    shape: &'a Shape,
    body: &'b Members,
) -> (Cow<'b, Members>, Option<(&'a Field, Value)>) {
    let Some(field) = spec(shape) else { return (Cow::Borrowed(body), None) };
    let is_beside = |name: &str| HEAD.contains(&name) || (name != SPEC && shape.field(name).is_some());
    let (beside, spec) = body.clone().into_iter().partition(|(name, _)| is_beside(name));
    (Cow::Owned(beside), Some((field, Value::Object(spec))))
}

/// Appends the members of an object, without its braces, to an object that has members and is still open.
pub(super) fn append(object: &[u8], out: &mut Vec<u8>) {
    let members = object.strip_prefix(b"{").and_then(|rest| rest.strip_suffix(b"}")).unwrap_or(object);
    if !members.is_empty() {
        out.push(b',');
        out.extend_from_slice(members);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::shape::{Form, shape};
    use super::super::{Options, Unknown, complete, from_value, is_incomplete, mask, strip_output, to_value};
    use super::*;
    use crate::krake::core::v1::{Role, RoleRule, RoleSpec, Verb};
    use crate::{KINDS, POOL, Resource};

    fn role() -> Value {
        json!({"metadata": {"name": "r"}, "rules": [
            {"api": "kubernetes", "resources": ["applications"], "namespaces": ["demo"], "verbs": ["list_all", "get"]},
        ]})
    }

    fn refused(body: &Value) -> Vec<String> {
        let violations = from_value::<Role>(body, Unknown::Refuse).unwrap_err();
        violations.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn names_of_flat_kinds_do_not_clash() {
        for kind in KINDS.iter().filter(|kind| kind.flat) {
            let resource = shape(&POOL.get_message_by_name(kind.message).unwrap());
            let spec = spec(resource).unwrap().message().unwrap();
            assert!(spec.form == Form::Fields && spec.shown_as.is_none(), "{}", kind.message);
            for field in &spec.fields {
                let name = field.descriptor.name();
                let is_taken = HEAD.contains(&name) || resource.field(name).is_some();
                assert!(!is_taken, "{}: {name} is a name of the kind already", kind.message);
            }
        }
    }

    #[test]
    fn the_spec_has_no_member_of_its_own() {
        let read: Role = from_value(&role(), Unknown::Refuse).unwrap();
        let rule = RoleRule {
            api: "kubernetes".into(),
            resources: vec!["applications".into()],
            namespaces: vec!["demo".into()],
            verbs: vec![Verb::ListAll.into(), Verb::Get.into()],
        };
        assert_eq!(read.spec, Some(RoleSpec { rules: vec![rule] }));
        let shown = to_value(&read, Options::default());
        assert_eq!(shown["rules"], role()["rules"]);
        assert!(shown.get("spec").is_none() && shown["metadata"]["namespace"].is_null(), "{shown}");
        let empty = to_value(&Role::default(), Options::default());
        assert_eq!((&empty["kind"], &empty["rules"]), (&json!("Role"), &json!([])));
    }

    #[test]
    fn violations_have_the_paths_of_the_body() {
        let mut wrong = role();
        wrong["rules"][0]["verbs"] = json!(["get", "GET", "watch", 3]);
        wrong["rule"] = json!([]);
        wrong["spec"] = json!({"rules": []});
        let verbs = "expected one of create, list, list_all, get, update, delete";
        let mut found = refused(&wrong);
        found.sort();
        assert_eq!(
            found,
            [
                "rule: unknown field, did you mean \"rules\"?".to_owned(),
                format!("rules[0].verbs[1]: {verbs}, found \"GET\""),
                format!("rules[0].verbs[2]: {verbs}, found \"watch\""),
                format!("rules[0].verbs[3]: {verbs}, found 3"),
                "spec: unknown field".to_owned(),
            ]
        );
        assert_eq!(refused(&json!({"rules": {}})), ["rules: expected a list, found an object"]);
    }

    #[test]
    fn masks_have_the_paths_of_the_message() {
        let descriptor = POOL.get_message_by_name(Role::KIND.message).unwrap();
        let mut paths = mask(&descriptor, &role());
        paths.sort();
        assert_eq!(paths, ["metadata.name", "spec.rules"]);
        assert!(mask(&descriptor, &json!({"spec": {"rules": []}, "api": "core"})).is_empty());
    }

    #[test]
    fn elements_are_completed_from_the_stored_ones() {
        let descriptor = POOL.get_message_by_name(Role::KIND.message).unwrap();
        let mut body =
            json!({"metadata": {"uid": 7}, "rules": [{"api": "kubernetes", "verbs": ["list_all", "get"]}]});
        strip_output(&descriptor, &mut body);
        assert_eq!(body["metadata"], json!({}));
        assert!(is_incomplete(&descriptor, &body));
        complete(&descriptor, &mut body, &role());
        assert_eq!(body["rules"], role()["rules"]);
    }
}
