//! Effects that are under way on a cluster that is given up, or is another one, in the meantime.

use std::time::Duration;

use krake_proto::condition::{find, reasons, types};
use krake_proto::krake::kubernetes::v1::{Application, Cluster, ClusterLoss, Phase};
use krake_proto::krake::meta::v1::ConditionStatus;
use serde_json::{Value, json};

use crate::apply::{config_map, deployment};
use crate::fake_store::Store;
use crate::jobs::job;
use crate::world::World;

fn kube_system(uid: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kube-system", "uid": uid}})
}

/// Clusters that are known, and an application whose second object is on its way to the first of them.
async fn under_way(probe_interval: Duration) -> World {
    let mut world = World::prepare().await;
    world.probe_interval = probe_interval;
    for (server, uid) in [("one", "uid-a"), ("two", "uid-b")] {
        world.server(server).put("namespaces", kube_system(uid));
    }
    world.start_adapter();
    let known = |store: &Store| {
        let identity = store.clusters["one"].status.as_ref()?.identity.clone()?;
        (identity.kube_system_uid == "uid-a").then_some(())
    };
    world.krake.until("known", known).await;
    world.server("one").hang_writes_to("deployments");
    world.krake.change(|store| store.create("app", &[config_map("a"), deployment("web"), job()], "one"));
    // Before an object is created, it is tried without an effect.
    let is_write = |request: &String| !request.starts_with("GET") && request.contains("deployments");
    world.until("sent", || world.server("one").requests().iter().any(is_write)).await;
    world
}

/// What hangs goes on, and what is done elsewhere after it is done.
async fn go_on(world: &World) {
    world.server("one").hang_writes(false);
    world.krake.change(|store| store.create("beside", &[config_map("beside")], "two"));
    world.until_phases("beside", &[("two", Phase::Running)]).await;
}

fn lead_elsewhere(store: &mut Store, cluster: &str, server: &str) {
    let mut cluster: Cluster = store.clusters[cluster].clone();
    cluster.spec.get_or_insert_default().kubeconfig = Some(store.kubeconfig(server));
    cluster.metadata.get_or_insert_default().generation += 1;
    store.put(cluster);
}

/// Reason and text of the condition Reachable, while it is false.
fn unreachable(store: &Store, cluster: &str) -> Option<(String, String)> {
    let status = store.clusters[cluster].status.clone()?;
    let condition = find(&status.conditions, types::REACHABLE)?;
    let is_false = condition.status() == ConditionStatus::False;
    is_false.then(|| (condition.reason.clone(), condition.message.clone()))
}

#[tokio::test]
async fn what_is_under_way_on_a_cluster_stops_when_it_is_declared_lost() {
    let world = under_way(Duration::from_millis(50)).await;
    world.krake.change(|store| {
        let mut cluster = store.clusters["one"].clone();
        cluster.status.get_or_insert_default().lost = Some(ClusterLoss::default());
        store.put(cluster);
        lead_elsewhere(store, "two", "two");
    });
    // The adapter has heard of that too once it reports on what came after it.
    let heard = |store: &Store| {
        let identity = store.clusters["two"].status.as_ref()?.identity.as_ref()?;
        (identity.generation == 2).then_some(())
    };
    world.krake.until("heard", heard).await;
    let before = world.server("one").writes();
    go_on(&world).await;
    world.until_phases("app", &[]).await;
    assert_eq!(world.server("one").writes(), before, "nothing is written after the declaration");
    assert_eq!(world.server("one").names("deployments"), [""; 0]);
    assert!(!world.journal().contains(&"report Applying app/one".to_owned()), "{:?}", world.journal());
    world.stop().await;
}

#[tokio::test]
async fn what_is_under_way_by_a_former_kubeconfig_says_nothing_of_the_cluster_of_the_new_one() {
    let world = under_way(Duration::from_millis(50)).await;
    world.krake.change(|store| lead_elsewhere(store, "one", "two"));
    let wrong = |store: &Store| (unreachable(store, "one")?.0 == reasons::WRONG_CLUSTER).then_some(());
    world.krake.until("another cluster", wrong).await;
    let before = world.server("one").writes();
    go_on(&world).await;
    assert_eq!(world.server("one").writes(), before);
    world.until_phases("app", &[("one", Phase::Intended)]).await;
    let inventory = world.krake.change(|store| store.copies("app")[0].inventory.clone());
    assert!(inventory.iter().all(|object| object.uid.is_empty()), "{inventory:?}");
    world.stop().await;
}

#[tokio::test]
async fn what_another_cluster_does_not_have_is_not_gone_from_the_registered_one() {
    // No probe notices in time that it is another one.
    let world = under_way(Duration::from_secs(3_600)).await;
    let server = world.server("one");
    server.run_workloads();
    server.hang_writes(false);
    let is_applied = || world.journal().contains(&"report Applying app/one".to_owned());
    world.until("applied", is_applied).await;
    server.hang_writes(true);
    world.krake.change(|store| store.delete::<Application>("app"));
    let deletes = |write: &String| write.starts_with("DELETE");
    world.until("under way", || server.writes().iter().any(deletes)).await;
    for (kind, name) in [("configmaps", "a"), ("deployments", "web"), ("jobs", "j")] {
        server.erase(kind, "demo", name);
    }
    server.put("namespaces", kube_system("uid-c"));
    let asked = || server.requests().iter().filter(|request| request.ends_with("/kube-system")).count();
    let before = asked();
    server.hang_writes(false);
    world.until("asked which one it is", || asked() > before + 1).await;
    assert!(!world.journal().contains(&"forget app/one".to_owned()), "{:?}", world.journal());
    world.stop().await;
}

#[tokio::test]
async fn a_kubeconfig_that_hides_the_identity_is_not_believed() {
    let mut world = under_way(Duration::from_millis(50)).await;
    go_on(&world).await;
    let is_applied = |world: &World| world.journal().contains(&"report Applying app/one".to_owned());
    world.until("applied", || is_applied(&world)).await;
    let server = world.server("two").clone();
    server.fail(axum::http::Method::GET, "namespaces/kube-system", 403, "Forbidden", "no");
    let before = server.writes();
    world.krake.change(|store| lead_elsewhere(store, "one", "two"));
    for restart in [false, true] {
        if restart {
            world.kill_adapter().await;
            world.start_adapter();
        }
        let refused = world.krake.until("not believed", |store| unreachable(store, "one")).await;
        assert_eq!(refused.0, reasons::WRONG_CLUSTER);
        assert!(
            refused.1.contains("its kubeconfig has changed") && refused.1.contains("uid-a"),
            "{}",
            refused.1
        );
        // Something else is asked for there, and not done.
        world.krake.change(|store| store.update("app", &[config_map(&format!("other-{restart}"))]));
        world.krake.change(|store| store.bind("app", &["one"]));
        let name = format!("beside-{restart}");
        world.krake.change(|store| store.create(&name, &[config_map(&name)], "two"));
        world.until_phases(&name, &[("two", Phase::Running)]).await;
    }
    let others: Vec<_> = server.writes().into_iter().skip(before.len()).collect();
    assert_eq!(others.len(), 2, "only what belongs there: {others:?}");
    // It may be read, and is the same: what is wanted is done.
    server.heal();
    server.put("namespaces", kube_system("uid-a"));
    world.until("applied", || server.get("configmaps", "demo", "other-true").is_some()).await;
    world.stop().await;
}
