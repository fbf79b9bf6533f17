//! What is told of copies, and when.

use kube::api::DynamicObject;
use serde_json::json;

use super::*;
use crate::object::APPLICATION_LABEL;
use crate::object::rendering::Rendering;

fn documents() -> [Value; 3] {
    ["a", "b", "c"].map(|name| document(name, "1"))
}

fn document(name: &str, text: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "demo"},
        "data": {"text": text}})
}

fn live(name: &str, text: &str, version: &str) -> (ObjectKey, Arc<CachedObject>) {
    let mut object = document(name, text);
    let key = rendering::key(&object).unwrap();
    object["metadata"]["labels"] = json!({APPLICATION_LABEL: "app"});
    object["metadata"]["resourceVersion"] = json!(version);
    let object: DynamicObject = serde_json::from_value(object).unwrap();
    (key, Arc::new(CachedObject::of_test(object)))
}

fn glance(live: Vec<(ObjectKey, Arc<CachedObject>)>) -> Glance {
    Glance::new(Known::Read(Rendering::of(&documents())), live.into_iter().collect())
}

fn objects(glance: &Glance) -> Vec<(u32, Option<Value>)> {
    let observation = glance.observation(&"c".into(), &documents());
    let fields = |object: ObservedObject| object.fields.map(|text| serde_json::from_str(&text).unwrap());
    observation.objects.into_iter().map(|object| (object.index, fields(object))).collect()
}

#[test]
fn only_what_differs_from_what_was_applied_is_told() {
    assert_eq!(objects(&glance(vec![live("a", "1", "5"), live("b", "1", "6"), live("c", "1", "7")])), []);
    let seen = glance(vec![live("a", "1", "5"), live("c", "2", "7")]);
    assert_eq!(objects(&seen), [(1, None), (2, Some(document("c", "2")))]);
}

#[test]
fn what_is_too_large_is_told_by_its_names_and_the_report_stays_small() {
    let large = "x".repeat(MAX_OBJECTS_BYTES / 2);
    let seen = glance(["a", "b", "c"].map(|name| live(name, &large, "5")).to_vec());
    let told = objects(&seen);
    assert_eq!(told[0], (0, Some(document("a", &large))));
    assert_eq!(told[1], (1, Some(observer::names(&document("b", "")))), "two do not fit");
    assert!(seen.observation(&"c".into(), &documents()).encoded_len() <= observer::MAX_OBSERVATION);
    assert_eq!(fitting(4, &document("a", ""), Some(json!({})), 3), ObservedObject { index: 4, fields: None });
}

#[test]
fn a_report_of_very_many_objects_that_all_differ_fits_and_tells_of_each() {
    let names: Vec<_> = (0..5000).map(|number| format!("settings-of-service-{number}")).collect();
    let documents: Vec<_> = names.iter().map(|name| document(name, "1")).collect();
    for text in ["2", "x".repeat(1000).as_str(), "x".repeat(100_000).as_str()] {
        let seen = names.iter().map(|name| live(name, text, "5")).collect();
        let seen = Glance::new(Known::Read(Rendering::of(&documents)), seen);
        let observation = seen.observation(&"0d0b2a4e-7c29-4ad1-b4b5-1de2bb0f0e7c".into(), &documents);
        assert!(observation.encoded_len() <= observer::MAX_OBSERVATION, "{}", observation.encoded_len());
        let told: Vec<_> = observation.objects.iter().map(|object| object.index).collect();
        assert_eq!(told, (0..5000).collect::<Vec<_>>());
        let fields = |object: &&ObservedObject| object.fields.is_some();
        assert!(observation.objects.iter().filter(fields).count() > 0, "as much as fits is told");
    }
}

#[test]
fn an_object_that_is_nested_deeper_than_documents_may_be_is_told_by_its_names() {
    let nested = |levels: usize| (0..levels).fold(json!("x"), |inner, _| json!({"x": inner}));
    let told = |levels: usize| {
        let mut object = document("a", "1");
        object["data"]["text"] = nested(levels);
        let (key, _) = live("a", "1", "5");
        object["metadata"]["labels"] = json!({APPLICATION_LABEL: "app"});
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        let seen = glance(vec![(key, Arc::new(CachedObject::of_test(object)))]);
        objects(&seen).swap_remove(0)
    };
    let names = Some(observer::names(&document("a", "1")));
    assert_eq!(told(62).1.unwrap()["data"]["text"], nested(62), "64 with the object and its data");
    assert_eq!(told(63), (0, names));
}

#[test]
fn a_glance_is_another_one_when_an_object_comes_goes_or_changes() {
    let prints = [
        vec![live("a", "1", "5")],
        vec![live("a", "1", "6")],
        vec![live("b", "1", "5")],
        vec![live("a", "1", "5"), live("b", "1", "5")],
        vec![],
    ];
    let prints = prints.map(|seen| glance(seen).print);
    let distinct: std::collections::BTreeSet<_> = prints.iter().collect();
    assert_eq!(distinct.len(), prints.len());
    assert_eq!(glance(vec![live("a", "1", "5")]).print, prints[0]);
}

const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// A copy that was told at `now`.
fn told(reports: &mut Reports, set: DocumentHash, print: u64, now: Instant) {
    let told = Told { set, print, content: Some(DocumentHash::of(b"x")), until: now + REPORT_INTERVAL };
    reports.copies.insert(("app".into(), "c".into()), told);
}

#[test]
fn nothing_is_told_twice_and_changes_wait_for_their_turn() {
    let (mut reports, now) = (Reports::default(), Instant::now());
    let copy = ("app".into(), "c".into());
    let [set, other] = [DocumentHash::of(b"1"), DocumentHash::of(b"2")];
    assert_eq!(reports.due(&copy, set, 1, now), Due::Now(None));
    told(&mut reports, set, 1, now);
    assert_eq!(reports.due(&copy, set, 1, now + REPORT_INTERVAL * 9), Due::No);
    let later = now + REPORT_INTERVAL / 2;
    assert_eq!(reports.due(&copy, set, 2, later), Due::Later(REPORT_INTERVAL / 2));
    let content = Some(DocumentHash::of(b"x"));
    assert_eq!(reports.due(&copy, other, 3, later), Due::Now(content), "another set is shown at once");
    assert_eq!(reports.due(&copy, set, 2, now + REPORT_INTERVAL), Due::Now(content));
}

#[test]
fn the_reports_of_all_copies_are_spaced_and_each_has_its_turn() {
    let (mut reports, begin) = (Reports::default(), Instant::now());
    let set = DocumentHash::of(b"1");
    let copy = |number: u32| -> Copy { (number.to_string().as_str().into(), "c".into()) };
    for number in 0..100 {
        let due = reports.due(&copy(number), set, 1, begin);
        let expected = match number {
            0 => Due::Now(None),
            _ => Due::Later(REPORT_SPACING * number),
        };
        assert_eq!(due, expected);
    }
    assert_eq!(reports.due(&copy(99), set, 2, begin), Due::Later(REPORT_SPACING * 99), "it keeps its turn");
    let later = begin + REPORT_SPACING * 60;
    let now: Vec<_> =
        (1..100).filter(|number| reports.due(&copy(*number), set, 1, later) == Due::Now(None)).collect();
    assert_eq!(now, (1..=60).collect::<Vec<_>>());
}
