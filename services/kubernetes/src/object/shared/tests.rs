//! What is kept of a large object, and what follows from it.

use super::*;
use crate::object::ObjectKey;

fn identity() -> Identity {
    Identity {
        installation: "inst".into(),
        application: "app".into(),
        cluster: "c".into(),
        epoch: "e".into(),
    }
}

fn wanted(scope: &str) -> Prepared {
    let key = ObjectKey {
        api_version: "apiextensions.k8s.io/v1".into(),
        kind: "CustomResourceDefinition".into(),
        namespace: None,
        name: "tubs.example.com".into(),
    };
    Prepared { key, body: json!({"spec": {"group": "example.com", "scope": scope}}), scaled: false }
}

/// A definition with these labels, and with a megabyte wherever a server may put one.
fn large(labels: Value, conditions: Value) -> DynamicObject {
    let text = "x".repeat(1 << 20);
    let object = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "tubs.example.com", "uid": "u", "labels": labels, "annotations": {"note": text}},
        "spec": {"group": "example.com", "scope": "Namespaced", "versions": [{"description": text}]},
        "status": {"conditions": conditions, "more": text}});
    serde_json::from_value(object).unwrap()
}

#[test]
fn a_large_object_takes_some_hundred_bytes() {
    let text = "x".repeat(1 << 20);
    let labels = json!({"team": text, INSTALLATION_LABEL: text});
    let refused = json!([{"type": "NamesAccepted", "status": "False", "reason": text, "message": text}]);
    let kept = SharedObject::of(&wanted("Namespaced"), &large(labels, refused));
    assert!(format!("{kept:?}").len() < 8192, "{}", format!("{kept:?}").len());
    assert!(kept.is_used_by(&identity(), None));
    assert_ne!(kept.health().verdict, Verdict::Available);
}

#[test]
fn it_tells_whose_the_object_is_and_how_it_does() {
    let established =
        || json!([{"type": "NamesAccepted", "status": "True"}, {"type": "Established", "status": "True"}]);
    let ours = json!({INSTALLATION_LABEL: "inst", APPLICATION_LABEL: "app"});
    let theirs = SharedObject::of(&wanted("Namespaced"), &large(json!({}), established()));
    assert_eq!(theirs.health().verdict, Verdict::Available);
    assert!(theirs.is_used_by(&identity(), None));
    assert!(!theirs.is_used_by(&identity(), Some("u")), "its own, which has lost its labels");
    assert!(
        !SharedObject::of(&wanted("Namespaced"), &large(ours, established())).is_used_by(&identity(), None)
    );
    let other = SharedObject::of(&wanted("Cluster"), &large(json!({}), established()));
    assert!(!other.is_used_by(&identity(), None), "it does not say the same");
    let mut going = large(json!({}), established());
    going.metadata.deletion_timestamp = Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap());
    let going = SharedObject::of(&wanted("Namespaced"), &going);
    assert_eq!(going.health().verdict, Verdict::Progressing("is being deleted".into()));
}
