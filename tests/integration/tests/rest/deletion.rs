//! Deletion by force, and of what belongs to somebody.

use serde_json::json;

use crate::behaviour::{application, metric};
use crate::input::cluster;
use crate::world::World;

#[tokio::test]
async fn force_erases_at_once() {
    let world = World::start().await;
    let path = "/kubernetes/namespaces/demo/applications";
    world.post(path, &application("a")).await.ok();
    // Neither true nor false: nothing happens.
    for value in ["yes", "maybe", ""] {
        world.delete(&format!("{path}/a?force={value}")).await.problem(422);
        assert!(world.get(&format!("{path}/a")).await.ok()["metadata"]["deleted"].is_null());
    }
    let deleted = world.delete(&format!("{path}/a?force=False")).await.ok();
    assert!(deleted["metadata"]["deleted"].is_string());
    world.get(&format!("{path}/a")).await.ok();
    let erased = world.delete(&format!("{path}/a?force=True")).await.ok();
    assert!(erased["metadata"]["deleted"].is_string());
    world.get(&format!("{path}/a")).await.problem(404);
    assert_eq!(world.stored().await, 0);
}

#[tokio::test]
async fn a_cluster_goes_without_its_applications() {
    let world = World::on(&["--store", "memory"], true).await;
    let base = "/kubernetes/namespaces/demo";
    world.post(&format!("{base}/clusters"), &cluster("c")).await.ok();
    world.post(&format!("{base}/applications"), &application("a")).await.ok();
    let target = json!({ "api": "kubernetes", "kind": "Cluster", "namespace": "demo", "name": "c" });
    world.put(&format!("{base}/applications/a/binding"), &json!({ "cluster": target })).await.ok();
    let gone = world.delete(&format!("{base}/clusters/c?blocking=deleted")).await.ok();
    assert_eq!(gone["metadata"]["name"], "c");
    world.get(&format!("{base}/clusters/c")).await.problem(404);
    assert_eq!(world.get(&format!("{base}/applications/a")).await.ok()["metadata"]["deleted"], json!(null));
}

#[tokio::test]
async fn owners_wait_for_what_belongs_to_them() {
    let world = World::on(&["--store", "memory"], true).await;
    let base = "/core/namespaces/demo/metrics";
    let owner = world.post(base, &metric("owner", 1.0)).await.ok();
    let mut dependent = metric("dependent", 1.0);
    dependent["metadata"]["owners"] = json!([{
        "api": "core",
        "kind": "Metric",
        "namespace": "demo",
        "name": "owner",
        "uid": owner["metadata"]["uid"],
    }]);
    world.post(base, &dependent).await.ok();
    world.delete(&format!("{base}/owner")).await.ok();
    let gone = async || (world.stored().await == 0).then_some(());
    krake_integration::wait::until("both to go", krake_integration::wait::HANG_GUARD, gone).await.unwrap();
}
