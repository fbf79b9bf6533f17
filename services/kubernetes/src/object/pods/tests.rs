//! Why pods do not start, by what they and their events say.

use rstest::rstest;
use serde_json::json;

use super::*;

fn workload(kind: &str) -> Unready {
    let key = ObjectKey {
        api_version: "apps/v1".into(),
        kind: kind.into(),
        namespace: Some("demo".into()),
        name: "web".into(),
    };
    Unready { key, uid: "w".into(), selector: "app=web".into() }
}

fn waiting(reason: &str, message: &str) -> Value {
    json!({"containerStatuses": [{"name": "app", "state": {"waiting": {"reason": reason, "message": message}}}]})
}

fn pod(name: &str, owner: (&str, &str), status: Value) -> Value {
    json!({"metadata": {"name": name, "ownerReferences": [{"kind": owner.0, "name": owner.1, "uid": owner.1}]},
        "status": status})
}

#[rstest]
#[case::image(
    waiting("ErrImagePull", "no such image"),
    "container app waits: ErrImagePull: no such image",
    Class::OfSpec
)]
#[case::back_off(
    waiting("ImagePullBackOff", "Back-off"),
    "container app waits: ImagePullBackOff: Back-off",
    Class::OfSpec
)]
#[case::never(waiting("ErrImageNeverPull", ""), "container app waits: ErrImageNeverPull", Class::OfSpec)]
#[case::crash(
    json!({"containerStatuses": [{"name": "app", "lastState": {"terminated": {"exitCode": 3, "reason": "OOMKilled",
        "message": "what the program wrote"}},
        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}}}]}),
    "container app crashes: CrashLoopBackOff: it ended with OOMKilled, exit code 3",
    Class::OfSpec
)]
#[case::no_room(
    json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": "0/3 nodes are available"}]}),
    "Unschedulable: 0/3 nodes are available",
    Class::OfCluster
)]
fn a_pod_says_why_it_does_not_start(#[case] status: Value, #[case] text: &str, #[case] class: Class) {
    let expected = Cause { text: text.into(), class: Some(class) };
    assert_eq!(trouble(&json!({"status": status})), Some(expected));
}

#[rstest]
#[case::starting(waiting("ContainerCreating", ""))]
#[case::running(json!({"containerStatuses": [{"name": "app", "state": {"running": {}}}]}))]
#[case::nothing(json!({}))]
fn a_pod_that_starts_says_nothing(#[case] status: Value) {
    assert_eq!(trouble(&json!({"status": status})), None);
}

#[test]
fn only_own_pods_count_and_what_no_cluster_helps_against_first() {
    let no_room = json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
        "message": "full"}]});
    let pods = [
        pod("other-1", ("ReplicaSet", "other"), waiting("ErrImagePull", "theirs")),
        pod("web-a", ("ReplicaSet", "web-5d"), no_room),
        pod("web-b", ("ReplicaSet", "web-5d"), waiting("ErrImagePull", "ours")),
    ];
    let found = cause(&workload("Deployment"), &pods).unwrap();
    assert_eq!(found.text, "Pod web-b: container app waits: ErrImagePull: ours");
    let set = workload("StatefulSet");
    assert_eq!(cause(&set, &pods), None, "a StatefulSet has no ReplicaSets");
    let own = pod("web-0", ("StatefulSet", "w"), waiting("ErrImagePull", "ours"));
    assert!(cause(&set, [&own]).is_some() && has_pods(&set, [&own]) && !has_pods(&set, &pods));
}

#[test]
fn a_selector_becomes_a_query() {
    let query = |selector: Value| super::selector(&selector);
    assert_eq!(query(json!({"app": "web"})).as_deref(), Some("app=web"));
    let both = json!({"matchLabels": {"app": "web"}, "matchExpressions": [
        {"key": "tier", "operator": "In", "values": ["a", "b"]}, {"key": "old", "operator": "DoesNotExist"}]});
    assert_eq!(query(both).as_deref(), Some("app=web,tier in (a,b),!old"));
    assert_eq!(query(json!({})), None, "it would select every pod");
    assert_eq!(query(json!({"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["1"]}]})), None);
}

#[test]
fn the_latest_warning_counts() {
    let event = |time: &str, message: &str| json!({"reason": "FailedCreate", "lastTimestamp": time, "message": message});
    let events =
        [event("2026-01-02T00:00:00Z", "violates PodSecurity"), event("2026-01-01T00:00:00Z", "quota")];
    assert_eq!(warning(&events).unwrap().text, "FailedCreate: violates PodSecurity");
    assert_eq!(warning(&[]), None);
}

#[test]
fn whatever_part_of_a_cause_is_long_the_whole_is_short() {
    let long = "x".repeat(100_000);
    let crash = |name: &str, why: &str| {
        json!({"containerStatuses": [{"name": name, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": {"exitCode": 3, "reason": why}}}]})
    };
    let unscheduled = json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": long}]});
    let of = |name: &str, status: Value| pod(name, ("StatefulSet", "w"), status);
    for pod in [
        of(&long, waiting("ErrImagePull", "why")),
        of("web-0", waiting("ErrImagePull", &long)),
        of("web-0", crash(&long, "Error")),
        of("web-0", crash("app", &long)),
        of("web-0", unscheduled),
    ] {
        let found = cause(&workload("StatefulSet"), [&pod]).unwrap();
        assert!(found.text.len() <= 600, "{}", found.text.len());
    }
    let event = json!({"reason": long, "message": long});
    assert!(warning([&event]).unwrap().text.len() <= 600);
}
