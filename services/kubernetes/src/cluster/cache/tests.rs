//! What a cache makes of the events of its watch, and of our own writes.

use super::*;
use kube::api::GroupVersionKind;
use serde_json::json;

fn object(name: &str, application: &str, version: &str) -> DynamicObject {
    serde_json::from_value(
        json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"v": version}, "metadata": {
        "namespace": "demo", "name": name, "uid": format!("uid-{name}"), "resourceVersion": version,
        "labels": {APPLICATION_LABEL: application}, "managedFields": [{"manager": "krake"}]}}),
    )
    .unwrap()
}

fn cache() -> KindCache {
    cache_among(Arc::default())
}

fn cache_among(holdings: Arc<Holdings>) -> KindCache {
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "ConfigMap"));
    KindCache::new(&kind, holdings, watch::channel(0).1)
}

fn take_in(cache: &KindCache, event: Event<DynamicObject>) -> Vec<ApplicationUid> {
    cache.take_in(event).unwrap()
}

fn sorted(mut woken: Vec<ApplicationUid>) -> Vec<String> {
    woken.sort();
    woken.iter().map(ToString::to_string).collect()
}

fn listed(cache: &KindCache, objects: &[DynamicObject]) -> Vec<String> {
    assert!(take_in(cache, Event::Init).is_empty());
    for object in objects {
        assert!(take_in(cache, Event::InitApply(object.clone())).is_empty());
    }
    sorted(take_in(cache, Event::InitDone))
}

#[test]
fn nothing_is_absent_before_the_first_list_is_complete() {
    let cache = cache();
    take_in(&cache, Event::Init);
    take_in(&cache, Event::InitApply(object("a", "app", "1")));
    assert!(matches!(cache.get(Some("demo"), "a"), Lookup::Unknown));
    assert!(matches!(cache.get(Some("demo"), "b"), Lookup::Unknown));
    take_in(&cache, Event::InitDone);
    assert!(matches!(cache.get(Some("demo"), "a"), Lookup::Present(_)));
    assert!(matches!(cache.get(Some("demo"), "b"), Lookup::Absent));
    assert!(matches!(cache.get(None, "a"), Lookup::Absent));
}

#[test]
fn those_who_wait_for_the_first_list_are_woken_even_without_objects() {
    let cache = cache();
    cache.await_sync(&"waits".into());
    assert_eq!(listed(&cache, &[object("a", "app", "1")]), ["app", "waits"]);
    cache.await_sync(&"late".into());
    assert_eq!(listed(&cache, &[object("a", "app", "1")]), [""; 0]);
}

#[test]
fn a_new_list_wakes_those_whose_objects_came_changed_or_went() {
    let cache = cache();
    listed(&cache, &[object("a", "stays", "1"), object("b", "changes", "2"), object("c", "goes", "3")]);
    take_in(&cache, Event::Init);
    assert!(matches!(cache.get(Some("demo"), "c"), Lookup::Present(_)), "the old list holds meanwhile");
    let woken =
        listed(&cache, &[object("a", "stays", "1"), object("b", "changes", "9"), object("d", "comes", "4")]);
    assert_eq!(woken, ["changes", "comes", "goes"]);
    assert!(matches!(cache.get(Some("demo"), "c"), Lookup::Absent));
}

#[test]
fn changes_wake_the_application_and_the_one_before() {
    let cache = cache();
    listed(&cache, &[]);
    assert_eq!(sorted(take_in(&cache, Event::Apply(object("a", "one", "1")))), ["one"]);
    assert_eq!(sorted(take_in(&cache, Event::Apply(object("a", "two", "2")))), ["one", "two"]);
    assert_eq!(sorted(take_in(&cache, Event::Delete(object("a", "two", "3")))), ["two"]);
    assert!(matches!(cache.get(Some("demo"), "a"), Lookup::Absent));
}

#[test]
fn an_object_that_loses_its_label_is_not_there_any_more() {
    let cache = cache();
    listed(&cache, &[object("a", "one", "1")]);
    let mut bare = object("a", "one", "2");
    bare.metadata.labels = None;
    assert_eq!(sorted(take_in(&cache, Event::Apply(bare.clone()))), ["one"]);
    assert!(matches!(cache.get(Some("demo"), "a"), Lookup::Absent));
    assert_eq!(sorted(take_in(&cache, Event::Apply(bare))), [""; 0]);
}

#[test]
fn a_write_of_ours_never_hides_what_the_watch_told_since() {
    let cache = cache();
    listed(&cache, &[object("a", "app", "5")]);
    let version = || match cache.get(Some("demo"), "a") {
        Lookup::Present(object) => object.resource_version.clone(),
        other => panic!("{other:?}"),
    };
    cache.note(object("a", "app", "10"));
    assert_eq!(version(), "10", "it is known before the watch tells");
    take_in(&cache, Event::Apply(object("a", "app", "12")));
    cache.note(object("a", "app", "11"));
    assert_eq!(version(), "12");
    cache.note(object("b", "app", "11"));
    assert!(matches!(cache.get(Some("demo"), "b"), Lookup::Present(_)));
}

#[test]
fn a_write_of_ours_that_was_overtaken_by_a_deletion_brings_nothing_back() {
    let cache = cache();
    listed(&cache, &[]);
    take_in(&cache, Event::Apply(object("a", "app", "10")));
    take_in(&cache, Event::Delete(object("a", "app", "11")));
    cache.note(object("a", "app", "10"));
    assert!(matches!(cache.get(Some("demo"), "a"), Lookup::Absent), "the watch has told of its end");
    cache.note(object("a", "app", "12"));
    assert!(matches!(cache.get(Some("demo"), "a"), Lookup::Present(_)), "made anew after that");
}

#[test]
fn those_who_wait_learn_of_trouble_once() {
    let cache = cache();
    cache.await_sync(&"waits".into());
    assert_eq!(sorted(cache.meet("broken".into())), ["waits"]);
    assert_eq!(cache.meet("still broken".into()), []);
    assert_eq!(listed(&cache, &[]), ["waits"]);
    assert_eq!(cache.meet("later".into()), [], "the last list holds");
    assert_eq!(cache.trouble(), None);
}

#[test]
fn of_a_kind_that_is_not_served_any_more_nothing_is_known() {
    let cache = cache();
    listed(&cache, &[object("a", "app", "1")]);
    assert_eq!(sorted(cache.lose("gone".into(), true)), ["app"]);
    assert!(matches!(cache.get(Some("demo"), "a"), Lookup::Unknown));
    assert_eq!(cache.trouble().as_deref(), Some("gone"));
    assert_eq!(cache.lose("gone".into(), true), [], "its users are woken once");
    assert_eq!(listed(&cache, &[object("a", "app", "1")]), ["app"]);
    assert_eq!(cache.trouble(), None);
}

#[test]
fn an_item_of_a_list_gets_its_kind() {
    let cache = cache();
    let mut item = object("a", "one", "1");
    item.types = None;
    listed(&cache, &[item]);
    let Lookup::Present(found) = cache.get(Some("demo"), "a") else { panic!("missing") };
    assert_eq!((&found.value()["apiVersion"], &found.value()["kind"]), (&json!("v1"), &json!("ConfigMap")));
}

#[test]
fn what_we_wrote_is_there_at_once_and_whole() {
    let cache = cache();
    listed(&cache, &[]);
    cache.note(object("a", "one", "1"));
    let Lookup::Present(found) = cache.get(Some("demo"), "a") else { panic!("missing") };
    assert_eq!(found.value()["data"]["v"], "1");
    assert!(found.value()["metadata"].get("managedFields").is_none());
}

#[test]
fn a_kind_that_may_not_be_listed_any_more_sends_everybody_elsewhere() {
    let cache = cache();
    listed(&cache, &[object("a", "runs", "1")]);
    assert_eq!(sorted(cache.forbid()), ["runs"]);
    assert!(matches!(cache.get(Some("demo"), "a"), Lookup::Unknown), "no more is heard of it here");
}

/// Room for three objects.
fn small() -> Arc<Holdings> {
    Arc::new(Holdings::of_at_most(Sum { objects: 3, bytes: 1 << 20 }))
}

#[test]
fn a_list_without_end_is_refused_whoever_its_objects_belong_to() {
    for labels in [json!({APPLICATION_LABEL: "app"}), json!({"other": "x"})] {
        let cache = cache_among(small());
        take_in(&cache, Event::Init);
        let refused = (0..).find(|index| {
            let mut object = object(&format!("o-{index}"), "app", "1");
            object.metadata.labels = serde_json::from_value(labels.clone()).unwrap();
            cache.take_in(Event::InitApply(object)).is_err()
        });
        assert_eq!(refused, Some(3));
    }
}

#[test]
fn events_without_end_are_refused_and_what_is_known_stays_within_bounds() {
    let cache = cache_among(small());
    listed(&cache, &[object("a", "app", "1")]);
    let add = |index: usize| cache.take_in(Event::Apply(object(&format!("o-{index}"), "app", "2")));
    assert_eq!((0..).find(|index| add(*index).is_err()), Some(2));
    take_in(&cache, Event::Delete(object("a", "app", "3")));
    assert!(add(7).is_ok(), "what goes makes room");
    assert!(add(7).is_ok(), "and so does what is replaced");
}

#[test]
fn caches_of_one_cluster_share_its_room_and_give_it_back() {
    let holdings = small();
    let cache = cache_among(holdings.clone());
    let objects = ["a", "b", "c"].map(|name| object(name, "app", "1"));
    for _ in 0..3 {
        // A list that replaces all of it has room beside it.
        listed(&cache, &objects);
    }
    let other = cache_among(holdings.clone());
    take_in(&other, Event::Init);
    take_in(&other, Event::InitApply(object("d", "app", "1")));
    assert!(other.take_in(Event::InitDone).is_err(), "the first one holds all there is");
    assert_eq!(sorted(cache.lose("too much".into(), false)), ["app"]);
    assert_eq!(listed(&other, &[object("d", "app", "1")]), ["app"]);
    drop(other);
    listed(&cache, &objects);
}

#[test]
fn the_end_of_a_job_is_remembered_when_it_is_gone() {
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("batch", "v1", "Job"));
    let cache = KindCache::new(&kind, Arc::default(), watch::channel(0).1);
    let job = |name: &str, status: &str| {
        let mut job = object(name, "app", "1");
        job.data = json!({"status": {"conditions": [{"type": "Complete", "status": status}]}});
        job
    };
    let ended = |name: &str, uid: &str| cache.ended(Some("demo"), name, uid).is_some();
    listed(&cache, &[job("done", "True"), job("cut", "False")]);
    for gone in [job("done", "True"), job("cut", "False")] {
        take_in(&cache, Event::Delete(gone));
    }
    assert!(ended("done", "uid-done") && !ended("cut", "uid-cut"));
    assert!(!ended("done", "another"), "a former one of the name");
    for number in 0..300 {
        take_in(&cache, Event::Delete(job(&format!("job-{number}"), "True")));
    }
    assert!(!ended("done", "uid-done") && ended("job-299", "uid-job-299"), "the last ones are");
}
