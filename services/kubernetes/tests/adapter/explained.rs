//! Why a copy is not available, in its condition: what its pods say, or the events of a workload without pods.

use axum::http::Method;
use krake_proto::condition::types;
use serde_json::{Value, json};

use crate::apply::deployment;
use crate::world::{World, reason};

/// A Deployment whose pods are not ready.
fn web() -> Value {
    deployment("web")
}

fn pod(message: &str) -> Value {
    let waiting = json!({"waiting": {"reason": "ImagePullBackOff", "message": message}});
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web-1-a", "namespace": "demo",
        "labels": {"app": "web"}, "ownerReferences": [{"kind": "ReplicaSet", "name": "web-1", "uid": "r"}]},
        "status": {"containerStatuses": [{"name": "app", "state": waiting}]}})
}

async fn until_told(world: &World, part: &str) -> String {
    let told = || reason(world, "app", "one", types::AVAILABLE).filter(|(_, text)| text.contains(part));
    world.until(part, || told().is_some()).await;
    told().unwrap().1
}

#[tokio::test]
async fn the_cause_that_a_pod_names_is_told_without_values_of_secrets() {
    let world = World::start().await;
    let server = world.server("one");
    server.put("pods", pod("pull of registry.example/web?key=s3cr3t-password failed"));
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "demo"},
        "stringData": {"password": "s3cr3t-password"}});
    world.krake.change(|store| store.create("app", &[secret, web()], "one"));
    let told = until_told(&world, "ImagePullBackOff").await;
    assert!(
        told.contains("Deployment demo/web: ") && told.contains("Pod web-1-a: container app waits"),
        "{told}"
    );
    assert!(!told.contains("s3cr3t"), "{told}");
    let asked = server.requests();
    assert!(
        !asked.iter().any(|request| request.contains("pods") && request.ends_with("(watch)")),
        "{asked:?}"
    );
    world.stop().await;
}

#[tokio::test]
async fn a_workload_without_pods_says_what_its_events_say() {
    let world = World::start().await;
    // It is there when the adapter asks for it.
    world.server("one").race(Method::GET, "/api/v1/namespaces/demo/events", |server| {
        let web = server.get("deployments", "demo", "web").unwrap();
        let involved = json!({"kind": "Deployment", "name": "web", "uid": web["metadata"]["uid"]});
        let metadata = json!({"name": "e", "namespace": "demo"});
        let event = json!({"apiVersion": "v1", "kind": "Event", "metadata": metadata, "type": "Warning",
            "involvedObject": involved, "reason": "FailedCreate", "message": "violates PodSecurity \"restricted\""});
        server.put("events", event);
    });
    world.krake.change(|store| store.create("app", &[web()], "one"));
    until_told(&world, "FailedCreate: violates PodSecurity").await;
    world.stop().await;
}

#[tokio::test]
async fn an_account_that_may_not_list_pods_goes_on_without() {
    let world = World::start().await;
    let server = world.server("one");
    server.fail(Method::GET, "/pods", 403, "Forbidden", "no");
    world.krake.change(|store| store.create("app", &[web()], "one"));
    until_told(&world, "may not list pods").await;
    server.run_workloads();
    world.until_phases("app", &[("one", krake_proto::krake::kubernetes::v1::Phase::Running)]).await;
    world.stop().await;
}
