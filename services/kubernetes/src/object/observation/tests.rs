//! Each object is judged for itself.

use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use serde_json::json;

use super::*;
use crate::cluster::discovery::ResolvedKind;
use crate::object::prepare::Prepared;

fn application() -> ApplicationUid {
    "app".into()
}

/// An object of a set of documents, `data` being all that differs.
fn candidate(set: &str, kind: &str, name: &str, data: &str) -> (Option<DocumentHash>, Candidate) {
    let key = ObjectKey { api_version: "v1".into(), kind: kind.into(), namespace: None, name: name.into() };
    let body = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, "data": {"v": data}});
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", kind));
    let kind = ResolvedKind { resource, namespaced: false, watchable: true, promised: false };
    let target = Target { prepared: Prepared { key, body, scaled: false }, kind };
    let candidate = Candidate { target, baseline: None, unresolved: None };
    (Some(DocumentHash::of(set.as_bytes())), candidate)
}

fn expected(name: &str, sets: &[(&str, &str)]) -> Expected<Candidate> {
    let candidates: Vec<_> = sets.iter().map(|(set, data)| candidate(set, "ConfigMap", name, data)).collect();
    let key = candidates[0].1.target.prepared.key.clone();
    Expected { key, candidates, optional: false, done: false }
}

fn present(kind: &str, name: &str, data: &str, status: Value) -> Sight {
    present_for("c", kind, name, data, status)
}

/// The same of an object that was applied for this registration of the cluster.
fn present_for(cluster: &str, kind: &str, name: &str, data: &str, status: Value) -> Sight {
    let object: DynamicObject = serde_json::from_value(json!({"apiVersion": "batch/v1", "kind": kind,
        "metadata": {"name": name, "uid": "u", "resourceVersion": "1",
            "labels": {crate::object::APPLICATION_LABEL: "app"}, "annotations": {CLUSTER_ANNOTATION: cluster}},
        "data": {"v": data}, "status": status}))
    .unwrap();
    Sight::Present(Arc::new(CachedObject::of_test(object)))
}

fn seen(expected: &[Expected<Candidate>], sights: &[Sight]) -> Seen {
    seen_by(expected, sights, true).unwrap()
}

/// What is seen of the copy on the cluster `c`.
fn seen_by(expected: &[Expected<Candidate>], sights: &[Sight], is_bound: bool) -> Option<Seen> {
    let (application, cluster) = (application(), "c".into());
    observe(expected, sights, Whose { application: &application, cluster: &cluster, is_bound }, "host")
}

#[test]
fn one_object_that_cannot_be_seen_hides_no_other_and_nothing_is_available() {
    let all = ["a", "b", "c"].map(|name| expected(name, &[("s", "1")]));
    let sights = [
        present("ConfigMap", "a", "2", json!({})),
        Sight::Hidden("Tub resources of baths.example/v1 are not supported by the cluster".into()),
        Sight::Absent,
    ];
    let Observation { missing, drifted, hidden, .. } = seen(&all, &sights).observation;
    let names = |keys: &[ObjectKey]| keys.iter().map(|key| key.name.clone()).collect::<Vec<_>>();
    assert_eq!((names(&drifted), names(&missing)), (vec!["a".to_owned()], vec!["c".to_owned()]));
    assert_eq!(hidden.len(), 1);
    let well = [present("ConfigMap", "a", "1", json!({})), sights[1].clone()];
    let Verdict::Progressing(why) = seen(&all[..2], &well).observation.health.verdict else { panic!() };
    assert!(why.contains("ConfigMap b cannot be seen: Tub resources"), "{why}");
    assert_eq!(seen_by(&all[..1], &[Sight::Pending], true), None);
}

#[test]
fn an_object_is_judged_by_the_candidate_that_it_is() {
    let either = [expected("a", &[("old", "1"), ("new", "2")])];
    let of = |data| {
        let seen = seen(&either, &[present("ConfigMap", "a", data, json!({}))]);
        (seen.chosen[0], seen.observation.drifted.len())
    };
    assert_eq!((of("1"), of("2")), ((0, 0), (1, 0)));
    assert_eq!(of("3"), (0, 1), "it is neither, and is repaired to the one that was accepted whole");
}

#[test]
fn what_is_done_or_was_perhaps_never_accepted_is_not_missing() {
    let whole = expected("a", &[("s", "1")]);
    let optional = Expected { optional: true, ..whole.clone() };
    let done = Expected { done: true, ..whole.clone() };
    let other = || present("ConfigMap", "a", "2", json!({}));
    for (expected, missing, drifted) in [(whole, 1, 1), (optional, 0, 0), (done, 0, 0)] {
        let all = [expected];
        assert_eq!(seen(&all, &[Sight::Absent]).observation.missing.len(), missing);
        assert_eq!(seen(&all, &[other()]).observation.drifted.len(), drifted);
    }
}

#[test]
fn a_job_that_ran_to_its_end_is_told_with_the_set_that_it_is_of() {
    let job = |set| {
        let mut job = expected("j", &[(set, "1")]);
        job.key.kind = "Job".into();
        job
    };
    let complete = json!({"conditions": [{"type": "Complete", "status": "True"}]});
    let with = |status| seen(&[job("s")], &[present("Job", "j", "1", status)]).observation.completed;
    let set = DocumentHash::of(b"s");
    assert_eq!(with(complete).into_iter().map(|(_, set)| set).collect::<Vec<_>>(), [set]);
    assert_eq!(with(json!({"active": 1})), []);
    assert_eq!(with(json!({"conditions": [{"type": "Failed", "status": "True"}]})), []);
}

#[test]
fn an_object_of_another_registration_is_taken_over_where_it_is_to_run_and_left_alone_elsewhere() {
    let all = [expected("a", &[("s", "1")])];
    for data in ["1", "2"] {
        let sights = [present_for("other", "ConfigMap", "a", data, json!({}))];
        let bound = seen_by(&all, &sights, true).unwrap().observation;
        assert_eq!((bound.missing.len(), bound.drifted.len()), (1, 0), "{data}");
        assert_ne!(bound.health.verdict, Verdict::Available, "{data}");
        let leaving = seen_by(&all, &sights, false).unwrap().observation;
        assert!(leaving.is_whole(), "{data}: {leaving:?}");
        assert_eq!(leaving.health.verdict, Verdict::Available, "{data}");
    }
}
