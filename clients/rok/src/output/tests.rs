//! What people and programs see.

use krake_proto::json::{Unknown, from_value};
use krake_proto::krake::core::v1::{Metric, MetricsProvider};
use krake_proto::krake::kubernetes::v1::{Application, Cluster};
use serde_json::json;

use super::*;

fn application() -> Application {
    let cluster =
        |name: &str| json!({"api": "kubernetes", "kind": "Cluster", "namespace": "demo", "name": name});
    let body = json!({
        "metadata": {"name": "echo", "namespace": "demo", "labels": {"tier": "edge", "team": "a"},
            "created": "2026-02-28T10:48:54Z", "modified": "2026-02-28T10:48:55Z"},
        "spec": {"constraints": {"cluster": {"labels": ["location in (DE, FR)"]}}, "backoff": 1},
        "status": {
            "state": "MIGRATING",
            "reason": {"code": "KUBERNETES_ERROR", "message": "the API server refused Service echo"},
            "container_health": {"desired_pods": 2, "running_pods": 1},
            "services": {"echo": "10.0.0.1:80"},
            "scheduled": "2026-02-28T11:00:00Z",
            "scheduled_to": cluster("b"), "running_on": cluster("a"),
            "bindings": [{"cluster": cluster("b")}],
            "copies": [
                {"cluster": cluster("a"), "phase": "RUNNING", "health": {"desired_pods": 1, "running_pods": 1},
                    "last_transition_time": "2026-02-28T10:49:00Z",
                    "inventory": [{"kind": "Service", "namespace": "x", "name": "echo"}]},
                {"cluster": {"name": "b", "namespace": "other"}, "phase": "APPLYING"},
            ],
            "decision": {
                "chosen": {"cluster": cluster("b"), "score": 0.83125},
                "runner_up": {"cluster": cluster("a"), "score": 0.7},
                "rejected": {"LABEL": 3}, "reason": "b is better by 0.13"},
            "history": [
                {"from": cluster("a"), "to": cluster("b"), "time": "2026-02-28T11:00:00Z", "reason": "better"},
                {"to": cluster("a"), "time": "2026-02-28T10:48:56Z"}],
        },
    });
    from_value(&body, Unknown::Refuse).unwrap()
}

#[test]
fn an_application_tells_where_it_runs_and_why() {
    insta::assert_snapshot!(object(&application(), Format::Table).unwrap());
    assert_eq!(application().left_behind(), ["Service x/echo on a"]);
}

#[test]
fn lists_have_a_row_per_object() {
    let unbound: Application = from_value(
        &json!({"metadata": {"name": "new", "namespace": "demo"}, "status": {"state": "PENDING"}}),
        Unknown::Refuse,
    )
    .unwrap();
    insta::assert_snapshot!(list(&[application(), unbound], false, Format::Table).unwrap());
    insta::assert_snapshot!(list::<Application>(&[], false, Format::Table).unwrap());
}

#[test]
fn a_cluster_shows_its_nodes_and_hides_its_kubeconfig() {
    let body = json!({
        "metadata": {"name": "c", "namespace": "demo"},
        "spec": {"kubeconfig": {"users": ["s3cret"]}, "metrics": [
            {"name": "heat", "weight": -0.5, "namespaced": true}, {"name": "green", "weight": 1.0}]},
        "status": {"state": "UNHEALTHY", "kubernetes_version": "v1.34.1",
            "metrics_reasons": {"heat": {"code": "UNKNOWN_METRIC", "message": "no metric heat"}},
            "nodes": [
                {"metadata": {"name": "n1"}, "status": {"conditions": [
                    {"type": "Ready", "status": "True"}, {"type": "MemoryPressure", "status": "True"}]}},
                {"metadata": {"name": "n2"}, "status": {"conditions": [{"type": "Ready", "status": "False"}]}}]},
    });
    let cluster: Cluster = from_value(&body, Unknown::Refuse).unwrap();
    insta::assert_snapshot!(object(&cluster, Format::Table).unwrap());
    for format in [Format::Table, Format::Json, Format::Yaml] {
        let text =
            object(&cluster, format).unwrap() + &list(std::slice::from_ref(&cluster), false, format).unwrap();
        assert!(!text.contains("s3cret"), "{text}");
    }
}

#[test]
fn global_objects_show_no_namespace() {
    let body = json!({"metadata": {"name": "green"}, "spec": {
        "min": 0, "max": 5.5, "allowed_values": [1, 2], "provider": {"name": "prom", "metric": "avg(green)"}}});
    let metric: Metric = from_value(&body, Unknown::Refuse).unwrap();
    insta::assert_snapshot!(object(&metric, Format::Table).unwrap());
    insta::assert_snapshot!(list(&[metric], true, Format::Table).unwrap());
}

#[test]
fn yaml_and_json_are_the_json_form() {
    let body = json!({"metadata": {"name": "p"}, "spec": {"type": "influx", "influx": {
        "url": "http://i", "token": "s3cret", "org": "o", "bucket": "no"}}});
    let provider: MetricsProvider = from_value(&body, Unknown::Refuse).unwrap();
    let yaml = object(&provider, Format::Yaml).unwrap();
    insta::assert_snapshot!(yaml);
    let from_json: Value = serde_json::from_str(&object(&provider, Format::Json).unwrap()).unwrap();
    assert_eq!(crate::yaml::read::<Value>(&yaml).unwrap(), from_json);
    assert!(!object(&provider, Format::Table).unwrap().contains("s3cret"));
}
