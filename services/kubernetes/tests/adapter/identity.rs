//! Which cluster a cluster is: one that leads elsewhere, two that are the same, and one that is declared lost.

use std::time::Duration;

use krake_proto::condition::{find, reasons, types};
use krake_proto::krake::kubernetes::v1::{Application, Cluster, ClusterLoss, Phase};
use krake_proto::krake::meta::v1::ConditionStatus;
use serde_json::json;

use crate::api_server::ApiServer;
use crate::apply::config_map;
use crate::cluster::{Adapter, CALM};
use crate::fake_store::Store;
use crate::world::World;

async fn world(uids: [&str; 2]) -> World {
    let mut world = World::prepare().await;
    for (server, uid) in ["one", "two"].into_iter().zip(uids) {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": "kube-system", "uid": uid}});
        world.server(server).put("namespaces", namespace);
    }
    world.start_adapter();
    world
}

/// Status and reason of a condition of a cluster.
fn said(store: &Store, cluster: &str, r#type: &str) -> Option<(ConditionStatus, String)> {
    let status = store.clusters.get(cluster)?.status.as_ref()?;
    find(&status.conditions, r#type).map(|condition| (condition.status(), condition.reason.clone()))
}

#[tokio::test]
async fn nothing_is_done_on_a_cluster_that_is_another_one_by_now() {
    let world = world(["uid-a", "uid-b"]).await;
    world.krake.change(|store| store.create("app", &[config_map("a")], "one"));
    world.until_phases("app", &[("one", Phase::Running)]).await;
    let known = |store: &Store| {
        let identity = store.clusters["one"].status.as_ref()?.identity.clone()?;
        (identity.kube_system_uid == "uid-a").then_some(())
    };
    world.krake.until("known", known).await;

    world.krake.change(|store| {
        let mut cluster = store.clusters["one"].clone();
        cluster.spec.get_or_insert_default().kubeconfig = Some(store.kubeconfig("two"));
        store.put(cluster);
    });
    let wrong = (ConditionStatus::False, reasons::WRONG_CLUSTER.to_owned());
    let is_wrong = |store: &Store| (said(store, "one", types::REACHABLE)? == wrong).then_some(());
    world.krake.until("another cluster", is_wrong).await;
    world.krake.change(|store| store.delete::<Application>("app"));
    // What comes after it is done elsewhere.
    world.krake.change(|store| store.create("later", &[config_map("later")], "two"));
    world.until_phases("later", &[("two", Phase::Running)]).await;
    world.until_phases("app", &[("one", Phase::Running)]).await;
    let writes = world.server("two").writes();
    assert!(writes.iter().all(|write| write.contains("later") || write.starts_with("POST")), "{writes:?}");
    assert_eq!(world.server("one").names("configmaps"), ["a"]);

    world.krake.change(|store| {
        let mut cluster: Cluster = store.clusters["one"].clone();
        cluster.spec.get_or_insert_default().kubeconfig = Some(store.kubeconfig("one"));
        store.put(cluster);
    });
    world.until("removed", || world.server("one").names("configmaps").is_empty()).await;
    world.stop().await;
}

#[tokio::test]
async fn the_later_of_two_that_are_the_same_says_so_until_it_is_allowed() {
    let world = world(["uid-a", "uid-a"]).await;
    let duplicate = (ConditionStatus::False, reasons::DUPLICATE_IDENTITY.to_owned());
    let verified = (ConditionStatus::True, String::new());
    let shows = |cluster: &'static str, expected: (ConditionStatus, String)| {
        move |store: &Store| (said(store, cluster, types::IDENTITY_VERIFIED)? == expected).then_some(())
    };
    world.krake.until("the first", shows("one", verified.clone())).await;
    world.krake.until("the second", shows("two", duplicate)).await;
    world.krake.change(|store| {
        let mut cluster = store.clusters["two"].clone();
        cluster.spec.get_or_insert_default().allow_duplicate = true;
        store.put(cluster);
    });
    world.krake.until("allowed", shows("two", verified)).await;
    world.stop().await;
}

#[tokio::test]
async fn a_cluster_that_was_declared_lost_is_left_alone_and_its_copies_are_forgotten() {
    let world = world(["uid-a", "uid-b"]).await;
    world.krake.change(|store| store.create("app", &[config_map("a")], "one"));
    world.until_phases("app", &[("one", Phase::Running)]).await;
    let before = world.server("one").writes();
    world.krake.change(|store| {
        let mut cluster = store.clusters["one"].clone();
        cluster.status.get_or_insert_default().lost = Some(ClusterLoss::default());
        store.put(cluster);
    });
    world.until_phases("app", &[]).await;
    world.krake.change(|store| store.bind("app", &["two"]));
    world.until_phases("app", &[("two", Phase::Running)]).await;
    assert_eq!(world.server("one").writes(), before);
    assert_eq!(world.server("one").names("configmaps"), ["a"]);
    world.stop().await;
}

#[tokio::test]
async fn nothing_is_done_on_another_cluster_that_no_probe_has_noticed_yet() {
    let server = ApiServer::start();
    let namespace = |uid: &str| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kube-system", "uid": uid}});
    server.put("namespaces", namespace("uid-a"));
    // One look at the beginning, and none within this test.
    let adapter = Adapter::looking(CALM, Duration::from_secs(3_600));
    let handle = adapter.add("c", &server);
    let known = || handle.report().is_some_and(|report| report.identity.kube_system_uid == "uid-a");
    adapter.until("known", known).await;
    server.put("namespaces", namespace("uid-b"));
    assert_eq!(handle.answers(), Some(Ok(())), "no probe has noticed it");
    let refused = handle.on_known(async { panic!("it is another cluster") }).await.unwrap_err();
    assert!(refused.to_string().contains("uid-b"), "{refused}");
    server.put("namespaces", namespace("uid-a"));
    let asked = || server.requests().iter().filter(|path| path.ends_with("/kube-system")).count();
    assert_eq!(handle.on_known(async { 7 }).await, Ok(7));
    let before = asked();
    assert_eq!(handle.on_known(async { 7 }).await, Ok(7));
    assert_eq!(asked(), before, "a confirmation holds for a while");
    adapter.clusters.shutdown().await;
}
