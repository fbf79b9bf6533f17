//! The replicas with which a new copy of a workload begins that an autoscaler targets.

use krake_proto::krake::kubernetes::v1::{Copy, MigrationStrategy, Phase};
use serde_json::{Value, json};

use crate::apply::deployment;
use crate::world::World;

fn autoscaler() -> Value {
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
    json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web", "namespace": "demo"}, "spec": {"scaleTargetRef": target, "maxReplicas": 10}})
}

/// An application that runs on `one`, where something has scaled it to 7.
async fn scaled(manifest: &[Value], world: &World) {
    let server = world.server("one");
    server.run_workloads();
    world.server("two").run_workloads();
    world.krake.change(|store| store.create("app", manifest, "one"));
    world.until_phases("app", &[("one", Phase::Running)]).await;
    let mut live = server.get("deployments", "demo", "web").unwrap();
    live["spec"]["replicas"] = json!(7);
    for count in ["replicas", "updatedReplicas", "readyReplicas", "availableReplicas"] {
        live["status"][count] = json!(7);
    }
    live["metadata"]["managedFields"] = json!([{"manager": "kube-controller-manager", "operation": "Update",
        "subresource": "scale", "apiVersion": "apps/v1", "time": "2026-01-01T00:00:00Z", "fieldsType": "FieldsV1",
        "fieldsV1": {"f:spec": {"f:replicas": {}}}}]);
    server.put("deployments", live);
}

/// Waits until the adapter has seen how many there are.
async fn until_seen(world: &World) {
    let pods = |copy: &Copy| copy.health.as_ref().is_some_and(|health| health.desired_pods == 7);
    world.krake.until("seen", |store| store.copies("app").iter().any(pods).then_some(())).await;
}

/// Moves the application, and returns the replicas of the copy that it begins with.
async fn move_it(world: &World) -> Value {
    world.krake.change(|store| store.bind("app", &["two"]));
    world.until_phases("app", &[("two", Phase::Running)]).await;
    world.server("two").get("deployments", "demo", "web").unwrap()["spec"]["replicas"].clone()
}

#[tokio::test]
async fn a_move_takes_the_live_number_along() {
    let mut world = World::start().await;
    scaled(&[autoscaler(), deployment("web")], &world).await;
    // A new process has to see it first.
    world.kill_adapter().await;
    world.start_adapter();
    assert_eq!(move_it(&world).await, 7);
    world.stop().await;
}

#[tokio::test]
async fn so_does_one_that_ends_the_old_copy_first() {
    let world = World::start().await;
    scaled(&[autoscaler(), deployment("web")], &world).await;
    world.krake.change(|store| {
        let mut application = store.applications["app"].clone();
        application.spec.as_mut().unwrap().set_migration_strategy(MigrationStrategy::DeleteFirst);
        store.put(application);
    });
    until_seen(&world).await;
    assert_eq!(move_it(&world).await, 7);
    world.stop().await;
}

#[tokio::test]
async fn an_autoscaler_that_is_there_already_counts_and_without_one_the_manifest_does() {
    for (is_there, expected) in [(true, 7), (false, 1)] {
        let world = World::start().await;
        for server in ["one", "two"] {
            if server == "one" || is_there {
                world.server(server).put("horizontalpodautoscalers", autoscaler());
            }
        }
        scaled(&[deployment("web")], &world).await;
        until_seen(&world).await;
        assert_eq!(move_it(&world).await, expected, "there: {is_there}");
        world.stop().await;
    }
}
