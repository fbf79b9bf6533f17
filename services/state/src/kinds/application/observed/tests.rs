//! What is shown of a set and an observation, and which observations are refused.

use krake_proto::error::violations;
use serde_json::json;

use super::*;
use crate::documents::Set;

const TEXT: &str = r#"[{"kind":"A","data":{"a":1}},{"kind":"B"},{"kind":"C"}]"#;

fn object(index: u32, fields: Option<&str>) -> ObservedObject {
    ObservedObject { index, fields: fields.map(Into::into) }
}

fn observation_of(text: &str, objects: Vec<ObservedObject>) -> Observation {
    let sha256 = Set::of(text.as_bytes()).sha256.to_vec().into();
    Observation { cluster_uid: "c".into(), sha256, objects }
}

fn observation(objects: Vec<ObservedObject>) -> Observation {
    observation_of(TEXT, objects)
}

fn encoded(text: &str, seen: Option<&Observation>) -> Vec<u8> {
    let shown = Shown { set: Set::of(text.as_bytes()), cluster_uid: "c".into() };
    encode(&shown, text.as_bytes(), seen.map(Message::encode_to_vec).as_deref()).unwrap()
}

fn status(seen: Option<&Observation>) -> ApplicationStatus {
    ApplicationStatus::decode(encoded(TEXT, seen).as_slice()).unwrap()
}

fn values(documents: &[Document]) -> Vec<Value> {
    let value = |document: &Document| match &document.content {
        Some(Content::Json(text)) => serde_json::from_str(text).unwrap(),
        other => panic!("{other:?}"),
    };
    documents.iter().map(value).collect()
}

#[test]
fn what_differs_is_shown_as_seen_and_the_rest_as_applied() {
    let seen = observation(vec![object(0, Some(r#"{"kind":"A","data":{"a":2}}"#)), object(2, None)]);
    let status = status(Some(&seen));
    assert_eq!(values(&status.last_applied_manifest).len(), 3);
    assert_eq!(
        values(&status.last_observed_manifest),
        [json!({"kind": "A", "data": {"a": 2}}), json!({"kind": "B"})],
        "the third was not there"
    );
    let schema = values(&status.mangled_observer_schema);
    assert_eq!(
        schema,
        [json!({"kind": "A", "data": {"a": null}}), json!({"kind": "B"}), json!({"kind": "C"})]
    );
}

#[test]
fn nothing_is_shown_before_the_first_look_and_of_another_set() {
    let none = |seen: Option<&Observation>| status(seen).last_observed_manifest.is_empty();
    assert!(none(None));
    assert!(none(Some(&Observation { sha256: vec![0; 32].into(), ..observation(Vec::new()) })));
    assert!(!none(Some(&observation(Vec::new()))));
}

#[test]
fn of_a_large_set_and_of_one_with_many_lists_only_what_was_applied_is_shown() {
    let large = format!(r#"[{{"kind":"A","data":"{}"}}]"#, "x".repeat(1024 * 1024));
    let lists = format!(r#"[{{"kind":"A","data":[{}[]]}}]"#, "[],".repeat(10_000));
    for text in [large, lists] {
        let seen = observation_of(&text, Vec::new());
        let status = ApplicationStatus::decode(encoded(&text, Some(&seen)).as_slice()).unwrap();
        assert_eq!((status.last_applied_manifest.len(), status.last_observed_manifest.len()), (1, 0));
        assert_eq!(status.mangled_observer_schema.len(), 0);
    }
}

/// A document of about `size` bytes: a list of so many of these.
fn document_of(unit: &str, size: usize) -> String {
    format!(r#"[{{"kind":"A","data":[{}{unit}]}}]"#, format!("{unit},").repeat(size / (unit.len() + 1)))
}

#[test]
fn what_is_shown_of_a_set_is_bounded_by_its_size() {
    for unit in ["[]", "0", "{}", r#"{"":0}"#, r#""""#, "[[[[[]]]]]", "[0,0,0,0,0,0,0]"] {
        for size in [1_000, 30_000, 300_000, 1_000_000] {
            let text = document_of(unit, size);
            let shown = encoded(&text, Some(&observation_of(&text, Vec::new()))).len();
            assert!(shown <= 5 * text.len() + 114 * 10_000 + 1_000, "{unit}: {} became {shown}", text.len());
        }
    }
}

#[test]
fn what_cannot_be_shown_is_refused_by_its_field() {
    let refused = |observation: &Observation| match check(observation) {
        Err(error) => violations(&error.into()).into_iter().map(|violation| violation.field).collect(),
        Ok(()) => Vec::new(),
    };
    let good = observation(vec![object(0, Some("{}")), object(1, None), object(7, Some(r#"{"a":[1]}"#))]);
    assert_eq!(refused(&good), [""; 0]);
    assert_eq!(
        refused(&Observation { cluster_uid: String::new(), ..good.clone() }),
        ["observation.cluster_uid"]
    );
    assert_eq!(refused(&Observation { sha256: vec![1].into(), ..good }), ["observation.sha256"]);
    let deep = format!("{}1{}", "{\"a\":".repeat(200), "}".repeat(200));
    for fields in ["", "[]", "1", "{", deep.as_str()] {
        assert_eq!(
            refused(&observation(vec![object(0, Some(fields))])),
            ["observation.objects[0].fields"],
            "{fields}"
        );
    }
    for places in [[1, 0], [1, 1]] {
        let objects = places.map(|index| object(index, None)).to_vec();
        assert_eq!(refused(&observation(objects)), ["observation.objects[1].index"]);
    }
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(MAX_OBSERVATION));
    assert_eq!(refused(&observation(vec![object(0, Some(&large))])), ["observation"]);
}
