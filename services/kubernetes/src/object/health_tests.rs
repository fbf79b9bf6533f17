//! Tables of real-shaped objects and the health that they mean.

use super::*;
use rstest::rstest;
use serde_json::json;

fn deployed(spec: Value, status: Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "echo", "generation": 2},
        "spec": spec, "status": status})
}

fn progressing(object: &Value, part: &str) {
    let Verdict::Progressing(message) = of_object(object).verdict else {
        panic!("{:?}", of_object(object).verdict)
    };
    assert!(message.contains(part), "{message}");
}

fn failed(object: &Value, part: &str) {
    let Verdict::Failed(message) = of_object(object).verdict else {
        panic!("{:?}", of_object(object).verdict)
    };
    assert!(message.contains(part), "{message}");
}

fn available(object: &Value) {
    assert_eq!(of_object(object).verdict, Verdict::Available);
}

#[rstest]
#[case(json!({"observedGeneration": 1, "replicas": 3, "updatedReplicas": 3, "readyReplicas": 3, "availableReplicas": 3}),
    "not seen")]
#[case(json!({}), "not seen")]
#[case(json!({"observedGeneration": 2, "replicas": 3, "updatedReplicas": 1, "readyReplicas": 3, "availableReplicas": 3}),
    "1 of 3 replicas updated")]
#[case(json!({"observedGeneration": 2, "replicas": 4, "updatedReplicas": 3, "readyReplicas": 4, "availableReplicas": 4}),
    "1 old replicas")]
#[case(json!({"observedGeneration": 2, "replicas": 3, "updatedReplicas": 3, "readyReplicas": 3, "availableReplicas": 2}),
    "2 of 3 replicas available")]
fn a_deployment_progresses(#[case] status: Value, #[case] message: &str) {
    progressing(&deployed(json!({"replicas": 3}), status), message);
}

#[test]
fn a_deployment_is_available_and_counted() {
    let status = json!({"observedGeneration": 2, "replicas": 3, "updatedReplicas": 3, "readyReplicas": 3,
        "availableReplicas": 3, "conditions": [
            {"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable"},
            {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}]});
    let health = of_object(&deployed(json!({"replicas": 3}), status));
    assert_eq!(health.verdict, Verdict::Available);
    assert_eq!(health.containers, ContainerHealth { desired: 3, running: 3, completed: 0, failed: 0 });
}

#[test]
fn replicas_default_to_one_and_may_be_none() {
    let unset = deployed(json!({}), json!({"observedGeneration": 2}));
    progressing(&unset, "0 of 1 replicas updated");
    available(&deployed(json!({"replicas": 0}), json!({"observedGeneration": 2})));
}

#[test]
fn a_deployment_past_its_deadline_failed() {
    let status = json!({"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1, "unavailableReplicas": 1,
        "conditions": [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded",
            "message": "ReplicaSet \"echo-1\" has timed out progressing."}]});
    failed(&deployed(json!({"replicas": 1}), status), "timed out");
}

#[test]
fn an_old_deadline_says_nothing_about_a_new_spec() {
    let status = json!({"observedGeneration": 1, "conditions": [
        {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "old"}]});
    progressing(&deployed(json!({"replicas": 1}), status), "not seen");
}

fn stateful(spec: Value, status: Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"generation": 1}, "spec": spec, "status": status})
}

#[test]
fn stateful_sets() {
    let status = |updated: i64, ready: i64| {
        json!({"observedGeneration": 1, "replicas": 3, "updatedReplicas": updated, "readyReplicas": ready,
            "currentRevision": "a", "updateRevision": "b"})
    };
    progressing(&stateful(json!({"replicas": 3}), status(2, 3)), "2 of 3 replicas updated");
    progressing(&stateful(json!({"replicas": 3}), status(3, 2)), "2 of 3 replicas ready");
    available(&stateful(json!({"replicas": 3}), status(3, 3)));
    let partitioned = json!({"replicas": 3, "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}});
    available(&stateful(partitioned, status(1, 3)));
    available(&stateful(json!({"replicas": 3, "updateStrategy": {"type": "OnDelete"}}), status(0, 3)));
}

#[test]
fn daemon_sets() {
    let object = |status: Value| json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"generation": 1}, "spec": {}, "status": status});
    let rolled = json!({"observedGeneration": 1, "desiredNumberScheduled": 2, "currentNumberScheduled": 2,
        "updatedNumberScheduled": 2, "numberAvailable": 2, "numberReady": 2});
    let health = of_object(&object(rolled.clone()));
    assert_eq!(
        (health.verdict, health.containers.desired, health.containers.running),
        (Verdict::Available, 2, 2)
    );
    let mut starting = rolled.clone();
    starting["numberAvailable"] = json!(1);
    progressing(&object(starting), "1 of 2 replicas available");
    let no_node = json!({"observedGeneration": 1, "desiredNumberScheduled": 0});
    available(&object(no_node));
}

#[test]
fn jobs() {
    let object = |spec: Value, status: Value| json!({"apiVersion": "batch/v1", "kind": "Job", "spec": spec, "status": status});
    progressing(&object(json!({"completions": 2}), json!({})), "no pod");
    available(&object(json!({"completions": 2}), json!({"active": 1})));
    available(&object(json!({"suspend": true}), json!({})));
    let done = json!({"succeeded": 2, "conditions": [{"type": "Complete", "status": "True"}]});
    let health = of_object(&object(json!({"completions": 2}), done));
    assert_eq!(health.verdict, Verdict::Available);
    assert_eq!(health.containers, ContainerHealth { desired: 2, running: 0, completed: 2, failed: 0 });
    let broken = json!({"failed": 7, "conditions": [{"type": "Failed", "status": "True",
        "reason": "BackoffLimitExceeded", "message": "Job has reached the specified backoff limit"}]});
    failed(&object(json!({}), broken), "BackoffLimitExceeded");
}

#[test]
fn pods() {
    let object = |status: Value| json!({"apiVersion": "v1", "kind": "Pod", "status": status});
    available(&object(json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]})));
    progressing(
        &object(json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}]})),
        "not ready",
    );
    progressing(&object(json!({"phase": "Pending"})), "Pending");
    progressing(&object(json!({})), "Pending");
    progressing(
        &object(json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False",
            "reason": "Unschedulable", "message": "0/1 nodes are available"}]})),
        "0/1 nodes",
    );
    progressing(
        &object(json!({"phase": "Running", "containerStatuses": [{"name": "c",
            "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}}}]})),
        "CrashLoopBackOff",
    );
    failed(
        &object(json!({"phase": "Failed", "reason": "Evicted", "message": "low on memory"})),
        "low on memory",
    );
    let ended = of_object(&object(json!({"phase": "Succeeded"})));
    assert_eq!((ended.verdict, ended.containers.completed), (Verdict::Available, 1));
}

#[test]
fn other_kinds_are_well_when_they_exist() {
    available(&json!({"apiVersion": "v1", "kind": "Service", "spec": {"type": "LoadBalancer"},
        "status": {"loadBalancer": {}}}));
    available(&json!({"apiVersion": "example.org/v1", "kind": "Deployment", "spec": {"replicas": 9}}));
    progressing(
        &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}),
        "being deleted",
    );
}

#[test]
fn a_copy_is_as_well_as_its_worst_object_and_pods_add_up() {
    let key = |name: &str| ObjectKey {
        api_version: "v1".into(),
        kind: "Pod".into(),
        namespace: Some("demo".into()),
        name: name.into(),
    };
    let (a, b, c) = (key("a"), key("b"), key("c"));
    let well = json!({"apiVersion": "v1", "kind": "Pod", "status": {"phase": "Running",
        "conditions": [{"type": "Ready", "status": "True"}]}});
    let starting = json!({"apiVersion": "v1", "kind": "Pod", "status": {"phase": "Pending"}});
    let broken = json!({"apiVersion": "v1", "kind": "Pod", "status": {"phase": "Failed"}});

    assert_eq!(of_copy([(&a, of_object(&well))]).verdict, Verdict::Available);
    let two = of_copy([(&a, of_object(&starting)), (&b, of_object(&well))]);
    assert!(matches!(&two.verdict, Verdict::Progressing(message) if message.starts_with("Pod demo/a:")));
    let three =
        of_copy([(&a, &starting), (&b, &broken), (&c, &well)].map(|(key, object)| (key, of_object(object))));
    assert!(matches!(&three.verdict, Verdict::Failed(message) if message.starts_with("Pod demo/b:")));
    assert_eq!(three.containers, ContainerHealth { desired: 3, running: 1, completed: 0, failed: 1 });
}

#[test]
fn a_custom_resource_is_well_by_its_conditions_or_by_being_there() {
    let custom = |status: Value| {
        json!({"apiVersion": "example.org/v1", "kind": "Tub", "metadata": {"name": "t", "generation": 2},
            "status": status})
    };
    let with = |kind: &str, status: &str| {
        custom(
            json!({"conditions": [{"type": kind, "status": status, "reason": "Why", "message": "because"}]}),
        )
    };
    available(&custom(json!(null)));
    available(&custom(json!({"conditions": []})));
    available(&with("Ready", "True"));
    progressing(&with("Ready", "False"), "is not ready: Why: because");
    progressing(&with("Ready", "Unknown"), "is not ready");
    progressing(&with("Reconciling", "True"), "Why: because");
    failed(&with("Stalled", "True"), "Why: because");
    available(&with("Reconciling", "False"));
    progressing(&custom(json!({"observedGeneration": 1})), "not seen");
    available(&custom(json!({"observedGeneration": 2})));
}

#[test]
fn a_definition_is_well_when_its_kind_is_served() {
    let with = |kind: &str, status: &str| {
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "tubs.example.org"},
            "status": {"conditions": [{"type": kind, "status": status, "reason": "Why"}]}})
    };
    available(&with("Established", "True"));
    progressing(&with("Established", "False"), "not served yet");
    progressing(&with("NamesAccepted", "True"), "not served yet");
    failed(&with("NamesAccepted", "False"), "Why");
}

#[test]
fn a_paused_rollout_is_named_as_such_while_it_is_not_done() {
    let status = |updated: i64| {
        json!({"observedGeneration": 2, "replicas": 3, "updatedReplicas": updated, "readyReplicas": 3,
        "availableReplicas": 3})
    };
    let paused = |updated| deployed(json!({"replicas": 3, "paused": true}), status(updated));
    progressing(
        &paused(0),
        "its rollout is paused (spec.paused), so it does not go on: 0 of 3 replicas updated",
    );
    available(&paused(3));
}

#[rstest]
#[case("apps/v1", "Deployment")]
#[case("apps/v1", "ReplicaSet")]
#[case("v1", "ReplicationController")]
fn what_keeps_pods_from_being_made_is_told(#[case] api_version: &str, #[case] kind: &str) {
    let refusal = json!([{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate",
        "message": "pods \"web-1\" is forbidden: violates PodSecurity \"restricted\""}]);
    let object = json!({"apiVersion": api_version, "kind": kind, "spec": {"replicas": 2},
        "status": {"updatedReplicas": 2, "conditions": refusal}});
    progressing(
        &object,
        "0 of 2 replicas available: FailedCreate: pods \"web-1\" is forbidden: violates PodSecurity",
    );
}

#[test]
fn a_job_has_begun_when_a_pod_is_ready_where_the_server_says_so() {
    let job = |status: Value| json!({"apiVersion": "batch/v1", "kind": "Job", "spec": {}, "status": status});
    progressing(&job(json!({"active": 1, "ready": 0})), "none of its pods is ready");
    available(&job(json!({"active": 1, "ready": 1})));
    available(&job(json!({"active": 1, "ready": 0, "succeeded": 2})));
    available(&job(json!({"active": 1})));
}
