//! Messages as a server (1.35.8) gives them.

use rstest::rstest;

use super::*;
use crate::api::{definition, kinds};

fn kind(kind: &str) -> &'static Kind {
    kinds::built_in().iter().find(|known| known.kind == kind).unwrap()
}

fn tub() -> std::sync::Arc<Kind> {
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "size": {"type": "integer"}, "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        "list": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "string"}}}}}}}});
    let definition = json!({"spec": {"group": "e.org", "names": {"kind": "Tub", "plural": "tubs"},
        "versions": [{"name": "v1", "served": true, "schema": {"openAPIV3Schema": schema}}]}});
    definition::kinds(&definition).remove(0)
}

fn deployment(spec: &str, container: &str) -> String {
    let template = format!(r#"{{"spec": {{"containers": [{{"name": "c"{container}}}]}}}}"#);
    format!(r#"{{"metadata": {{"name": "d"}}, "spec": {{{spec} "template": {template}}}}}"#)
}

fn message(failure: &Failure) -> String {
    failure.message().to_owned()
}

#[test]
fn unknown_and_repeated_fields_are_refused_warned_of_or_ignored() {
    let body = deployment(
        r#""replcias": 3,"#,
        r#", "imagee": "x", "env": [{"name": "A", "value": "1", "value": "2"}]"#,
    );
    let read = |validation| written(kind("Deployment"), body.as_bytes(), validation);
    let refused = message(&read(FieldValidation::Strict).unwrap_err());
    assert_eq!(
        refused,
        "Deployment in version \"v1\" cannot be handled as a Deployment: strict decoding error: unknown field \
         \"spec.replcias\", unknown field \"spec.template.spec.containers[0].imagee\", duplicate field \
         \"spec.template.spec.containers[0].env[0].value\""
    );
    let (object, warnings) = read(FieldValidation::Warn).unwrap();
    assert_eq!(warnings.len(), 3);
    assert_eq!(warnings[0], "unknown field \"spec.replcias\"");
    assert_eq!(object["spec"].get("replcias"), None);
    assert_eq!(
        object["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"], "2",
        "the last one counts"
    );
    assert_eq!(read(FieldValidation::Ignore).unwrap(), (object, Vec::new()));
}

#[test]
fn custom_kinds_name_repeated_fields_first() {
    let body = r#"{"apiVersion": "e.org/v1", "kind": "Tub", "metadata": {"name": "a", "nmae": "x"}, "top": 1,
        "spec": {"size": 1, "other": 2, "free": {"x": 1}, "list": [{"a": "x", "a": "z", "b": 1}]}}"#;
    let (object, warnings) = written(&tub(), body.as_bytes(), FieldValidation::Warn).unwrap();
    let expected = [
        "duplicate field \"spec.list[0].a\"",
        "unknown field \"metadata.nmae\"",
        "unknown field \"spec.list[0].b\"",
        "unknown field \"spec.other\"",
        "unknown field \"top\"",
    ];
    assert_eq!(warnings, expected);
    assert_eq!(object["spec"], json!({"size": 1, "free": {"x": 1}, "list": [{"a": "z"}]}));
}

#[rstest]
#[case(
    r#""replicas": "three","#,
    "",
    "string into Go struct field DeploymentSpec.spec.replicas of type int32"
)]
#[case(
    r#""replicas": 3.5,"#,
    "",
    "number 3.5 into Go struct field DeploymentSpec.spec.replicas of type int32"
)]
#[case(r#""paused": "x","#, "", "string into Go struct field DeploymentSpec.spec.paused of type bool")]
#[case(
    r#""strategy": "x","#,
    "",
    "string into Go struct field DeploymentSpec.spec.strategy of type v1.DeploymentStrategy"
)]
#[case(
    "",
    r#", "env": {"a": 1}"#,
    "object into Go struct field Container.spec.template.spec.containers.env of type []v1.EnvVar"
)]
#[case(
    "",
    r#", "env": [{"name": "a", "value": 1}]"#,
    "number into Go struct field EnvVar.spec.template.spec.containers.env.value of type string"
)]
#[case(
    "",
    r#", "ports": "x""#,
    "string into Go struct field Container.spec.template.spec.containers.ports of type []v1.ContainerPort"
)]
fn wrong_types_are_refused(#[case] spec: &str, #[case] container: &str, #[case] why: &str) {
    let body = deployment(spec, container);
    let refused = written(kind("Deployment"), body.as_bytes(), FieldValidation::Ignore).unwrap_err();
    let begin = "Deployment in version \"v1\" cannot be handled as a Deployment: json: cannot unmarshal ";
    assert_eq!(message(&refused), format!("{begin}{why}"));
    assert_eq!(refused.code, 400);
}

#[test]
fn quantities_and_maps_have_their_types_too() {
    let limits = |value: &str| {
        let body = deployment("", &format!(r#", "resources": {{"limits": {{"cpu": {value}}}}}"#));
        written(kind("Deployment"), body.as_bytes(), FieldValidation::Warn).map_err(|no| message(&no))
    };
    for right in [r#""100m""#, "2", r#""1.5Gi""#, r#""1e3""#] {
        assert!(limits(right).is_ok(), "{right}");
    }
    for wrong in [r#""abc""#, "true", r#""""#] {
        assert!(limits(wrong).unwrap_err().contains("quantities must match"), "{wrong}");
    }
    let map = br#"{"metadata": {"name": "m"}, "data": {"a": 1}}"#;
    let refused = message(&written(kind("ConfigMap"), map, FieldValidation::Warn).unwrap_err());
    assert!(refused.ends_with("number into Go struct field ConfigMap.data of type string"), "{refused}");
}

#[rstest]
#[case("hunter2 is no base64!", Some(7))]
#[case("a b", Some(1))]
#[case("aGk", Some(0))]
#[case("aGk=", None)]
#[case("aGk=x", Some(4))]
#[case("aG==", None)]
#[case("aGVs\nbG8=", None)]
#[case("", None)]
fn bytes_are_in_base64(#[case] text: &str, #[case] at: Option<usize>) {
    let secret =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"k": text}});
    let body = secret.to_string();
    let refused =
        written(kind("Secret"), body.as_bytes(), FieldValidation::Warn).err().map(|no| message(&no));
    let begin = "Secret in version \"v1\" cannot be handled as a Secret: illegal base64 data at input byte ";
    assert_eq!(refused, at.map(|at| format!("{begin}{at}")));
    let begin = "to proper version: unable to convert unstructured object to /v1, Kind=Secret: error decoding from \
                 json: illegal base64 data at input byte ";
    assert_eq!(conform::conversion_error(kind("Secret"), &secret), at.map(|at| format!("{begin}{at}")));
}

#[test]
fn patches_are_judged_by_what_they_make() {
    let made = json!({"metadata": {"name": "m"}, "dta": {"a": "1"}, "data": {"b": "2"}});
    let patch = br#"{"dta": {"a": "1"}, "data": {"b": "1", "b": "2"}}"#;
    let read = |validation| patched(kind("ConfigMap"), patch, &made, "shown", validation);
    let (object, warnings) = read(FieldValidation::Warn).unwrap();
    assert_eq!(warnings, ["duplicate field \"data.b\"", "unknown field \"dta\""]);
    assert_eq!(object.get("dta"), None);
    let refused = read(FieldValidation::Strict).unwrap_err();
    assert_eq!(refused.code, 422);
    assert!(
        message(&refused)
            .starts_with(" \"\" is invalid: patch: Invalid value: \"shown\": strict decoding error:")
    );
}

#[rstest]
#[case(r#""replcias": 3,"#, "", ".spec.replcias: field not declared in schema")]
#[case(r#""replicas": "three","#, "", ".spec.replicas: expected numeric (int or float), got string")]
#[case(r#""paused": "yes","#, "", ".spec.paused: expected boolean, got &{yes}")]
#[case(r#""strategy": "x","#, "", ".spec.strategy: expected map, got &{x}")]
#[case(r#""paused": "yes", "replicas": "x", "foo": 1,"#, "", ".spec.foo: field not declared in schema")]
#[case(
    "",
    r#", "env": [{"name": "a", "value": 1}]"#,
    ".spec.template.spec.containers[name=\"c\"].env[name=\"a\"].value: expected string, got &value.valueUnstructured{Value:1}"
)]
#[case(
    "",
    r#", "env": {"a": 1}"#,
    ".spec.template.spec.containers[name=\"c\"].env: expected list, got &{map[a:1]}"
)]
fn what_is_applied_must_fit(#[case] spec: &str, #[case] container: &str, #[case] why: &str) {
    let body = deployment(spec, container);
    let (object, _) = applied(kind("Deployment"), body.as_bytes(), FieldValidation::Warn).unwrap();
    assert_eq!(conform::apply_error(kind("Deployment"), &object).as_deref(), Some(why));
}

#[test]
fn what_is_applied_to_a_custom_kind_must_fit_too() {
    let object = json!({"apiVersion": "e.org/v1", "kind": "Tub", "metadata": {"name": "a"},
        "spec": {"size": [1], "list": 3}});
    let why = "errors:\n  .spec.list: expected list, got &{3}\n  .spec.size: expected numeric (int or float), got \
               []interface {}";
    assert_eq!(conform::apply_error(&tub(), &object).as_deref(), Some(why));
}

#[test]
fn keys_that_are_applied_twice_are_found() {
    let body = br#"{"metadata": {"name": "m"}, "data": {"a": "1", "a": "2"}}"#;
    let read = |validation| applied(kind("ConfigMap"), body, validation);
    assert_eq!(read(FieldValidation::Warn).unwrap().1, ["line 1: key \"a\" already set in map"]);
    let refused = message(&read(FieldValidation::Strict).unwrap_err());
    let text = "error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n  line 1: key \
                \"a\" already set in map";
    assert_eq!(refused, text);
}
