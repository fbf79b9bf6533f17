//! What people and programs see.

use krake_proto::json::{Unknown, from_value};
use krake_proto::krake::core::v1::{Metric, MetricsProvider, Role, RoleBinding};
use krake_proto::krake::kubernetes::v1::{Application, Cluster, FailedAttempt, FailureClass, NodeCounts};
use krake_proto::krake::meta::v1::ResourceRef;
use serde_json::json;

use super::*;
use crate::follow::Happening;

fn application() -> Application {
    let cluster =
        |name: &str| json!({"api": "kubernetes", "kind": "Cluster", "namespace": "demo", "name": name});
    let body = json!({
        "metadata": {"name": "echo", "namespace": "demo", "labels": {"tier": "edge", "team": "a"},
            "generation": 2,
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
                {"cluster": {"name": "b", "namespace": "other"}, "phase": "APPLYING", "observed_generation": 2,
                    "conditions": [
                        {"type": "Applied", "status": "TRUE"},
                        {"type": "Available", "status": "FALSE", "reason": "Unhealthy",
                            "message": "Pod echo-1: \u{1b}[31mCrashLoopBackOff"}]},
            ],
            "decision": {
                "chosen": {"cluster": cluster("b"), "score": 0.83125},
                "runner_up": {"cluster": cluster("a"), "score": 0.7},
                "rejected": {"LABEL": 3}, "reason": "b is better by 0.13"},
            "history": [
                {"from": cluster("a"), "to": cluster("b"), "time": "2026-02-28T11:00:00Z", "reason": "better"},
                {"from": cluster("b"), "to": cluster("a"), "time": "2026-02-28T10:53:00Z"},
                {"from": cluster("a"), "to": cluster("b"), "time": "2026-02-28T10:52:00Z"},
                {"from": cluster("b"), "to": cluster("a"), "time": "2026-02-28T10:51:00Z"},
                {"to": cluster("b"), "time": "2026-02-28T10:48:56Z"}],
        },
    });
    from_value(&body, Unknown::Refuse).unwrap()
}

#[test]
fn an_application_tells_where_it_runs_and_why() {
    insta::assert_snapshot!(object(&application(), Format::Table).unwrap());
    assert_eq!(application().left_behind(), ["still on a, to be removed by Krake: Service x/echo"]);
}

#[test]
fn an_application_on_a_cluster_that_is_unreachable_says_so_everywhere() {
    let cluster =
        json!({"api": "kubernetes", "kind": "Cluster", "namespace": "demo", "name": "a", "uid": "u"});
    let body = json!({
        "metadata": {"name": "echo", "namespace": "demo", "generation": 1},
        "spec": {},
        "status": {
            "state": "DEGRADED",
            "reason": {"code": "CLUSTER_NOT_REACHABLE",
                "message": "cluster \"a\" is unreachable, what runs there is unknown: ClusterNotReachable: no answer"},
            "container_health": {"desired_pods": 1, "running_pods": 1},
            "scheduled_to": cluster, "running_on": cluster, "bindings": [{"cluster": cluster}],
            "copies": [{"cluster": cluster, "phase": "RUNNING", "health": {"desired_pods": 1, "running_pods": 1},
                "observed_generation": 1, "last_transition_time": "2026-02-28T10:49:00Z"}],
            "unreachable_clusters": [{"cluster": cluster, "reason": "ClusterNotReachable", "message": "no answer"}],
        },
    });
    let away: Application = from_value(&body, Unknown::Refuse).unwrap();
    insta::assert_snapshot!(object(&away, Format::Table).unwrap());
    insta::assert_snapshot!(list(&[away], false, Format::Table).unwrap());
}

#[test]
fn an_application_tells_where_its_present_spec_failed_before() {
    let attempt = |cluster: &str, generation, failure: FailureClass| FailedAttempt {
        cluster: Some(ResourceRef { name: cluster.into(), ..Default::default() }),
        generation,
        failure: failure.into(),
        message: "denied".into(),
        ..Default::default()
    };
    let mut failed = application();
    let generation = failed.metadata.as_ref().unwrap().generation;
    failed.status.get_or_insert_default().failed_attempts = vec![
        attempt("former", generation - 1, FailureClass::OfCluster),
        attempt("first", generation, FailureClass::OfCluster),
        attempt("second", generation, FailureClass::OfSpec),
    ];
    let shown = object(&failed, Format::Table).unwrap();
    assert!(shown.contains("first (of the cluster): denied"), "{shown}");
    assert!(shown.contains("second (of the spec): denied") && !shown.contains("former"), "{shown}");
}

#[test]
fn a_watch_has_a_line_per_happening() {
    let mut lines = Lines::new(Format::Table, false);
    let mut bound = application();
    bound.status.get_or_insert_default().reason = None;
    let first = lines.text(&[(Happening::Added, application())]).unwrap();
    insta::assert_snapshot!(first + &lines.text(&[(Happening::Modified, bound)]).unwrap());
    let mut lines = Lines::new(Format::Json, false);
    let text = lines.text(&[(Happening::Added, application()), (Happening::Deleted, application())]).unwrap();
    let values: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&values[0]["type"], &values[1]["type"]), (&json!("ADDED"), &json!("DELETED")));
    assert_eq!(values[1]["object"]["metadata"]["name"], "echo");
    let mut lines = Lines::new(Format::Yaml, false);
    let text = lines.text(&[(Happening::Vanished, application())]).unwrap();
    assert_eq!(crate::yaml::read::<Value>(&text).unwrap()["type"], "VANISHED");
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
    let mut cluster: Cluster = from_value(&body, Unknown::Refuse).unwrap();
    insta::assert_snapshot!(object(&cluster, Format::Table).unwrap());
    let counts = NodeCounts { total: 3000, ready: 2999, ..NodeCounts::default() };
    cluster.status.get_or_insert_default().node_counts = Some(counts);
    assert!(object(&cluster, Format::Table).unwrap().contains("2999/3000 ready"));
    assert!(cluster.left_behind().is_empty());
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
fn a_role_shows_its_rules() {
    let body = json!({"metadata": {"name": "reader"}, "rules": [
        {"api": "kubernetes", "resources": ["applications", "clusters"], "namespaces": ["demo"], "verbs": ["get", "list_all"]},
        {"api": "", "resources": [""], "namespaces": ["", "demo"], "verbs": ["delete"]}]});
    let role: Role = from_value(&body, Unknown::Refuse).unwrap();
    let (one, all) = (object(&role, Format::Table), list(std::slice::from_ref(&role), true, Format::Table));
    insta::assert_snapshot!(one.unwrap() + &all.unwrap());
    let yaml: Value = crate::yaml::read(&object(&role, Format::Yaml).unwrap()).unwrap();
    assert_eq!(yaml["rules"], body["rules"], "as REST shows it");
}

#[test]
fn a_role_binding_shows_who_holds_what() {
    let body = json!({"metadata": {"name": "readers"}, "users": ["alice", "bob"], "roles": ["reader"]});
    let binding: RoleBinding = from_value(&body, Unknown::Refuse).unwrap();
    let all = list(std::slice::from_ref(&binding), true, Format::Table);
    insta::assert_snapshot!(object(&binding, Format::Table).unwrap() + &all.unwrap());
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
