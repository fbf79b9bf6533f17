//! Objects that belong to nobody: swept when it is certain, told otherwise, and never anything of others.

use axum::http::Method;
use krake_kubernetes::object::{
    ADOPTED_ANNOTATION, APPLICATION_LABEL, CLUSTER_ANNOTATION, EPOCH_ANNOTATION, INSTALLATION_LABEL,
};
use krake_proto::condition::types;
use krake_proto::krake::kubernetes::v1::{Application, Cluster, Phase};
use serde_json::{Value, json};

use crate::apply::config_map;
use crate::fake_krake::FakeKrake;
use crate::world::{HANG_GUARD, World, reason};

fn marked(name: &str, installation: &str, application: &str, epoch: &str, cluster: Option<&str>) -> Value {
    let mut object = config_map(name);
    object["metadata"]["labels"] = json!({INSTALLATION_LABEL: installation, APPLICATION_LABEL: application});
    object["metadata"]["annotations"] = json!({EPOCH_ANNOTATION: epoch});
    if let Some(cluster) = cluster {
        object["metadata"]["annotations"][CLUSTER_ANNOTATION] = json!(cluster);
    }
    object
}

/// The orphans that are told of a cluster, as `name application epoch`.
async fn until_told(krake: &FakeKrake, cluster: &str, expected: &[&str]) {
    let what = format!("orphans {expected:?}");
    krake
        .until(&what, |store| {
            let status = store.clusters[cluster].status.clone().unwrap_or_default();
            let told = status.orphans.iter().map(|orphan| {
                let name = orphan.object.clone().unwrap_or_default().name;
                format!("{name} {} {}", orphan.application_uid, orphan.epoch)
            });
            (told.collect::<Vec<_>>() == expected).then_some(())
        })
        .await;
}

#[tokio::test]
async fn only_what_certainly_belongs_to_nobody_is_swept() {
    let mut world = World::prepare().await;
    world.krake.change(|store| {
        store.create("app", &[config_map("mine")], "two");
        store.tombstones.insert("uid-erased".into());
        store.tombstones.insert("uid-old-cluster".into());
    });
    let server = world.server("one");
    let put = |object: Value| drop(server.put("configmaps", object));
    put(marked("erased", "inst", "uid-erased", "e1", Some("uid-one")));
    put(marked("moved", "inst", "uid-app", "e1", Some("uid-one")));
    put(marked("former", "inst", "uid-app", "e1", Some("uid-old-cluster")));
    put(marked("told-erased-before", "inst", "uid-erased", "e0", Some("uid-one")));
    put(marked("told-moved-before", "inst", "uid-app", "e0", Some("uid-one")));
    put(marked("told-unknown", "inst", "uid-unknown", "e1", Some("uid-one")));
    put(marked("told-unsure", "inst", "uid-app", "e1", None));
    put(marked("twin", "inst", "uid-app", "e1", Some("uid-two")));
    put(marked("theirs", "other", "uid-erased", "e1", Some("uid-one")));
    put(config_map("nobodys"));
    let mut adopted = marked("adopted", "inst", "uid-erased", "e1", Some("uid-one"));
    adopted["metadata"]["annotations"][ADOPTED_ANNOTATION] = json!("true");
    put(adopted);
    world.start_adapter();

    let expected = [
        "told-erased-before uid-erased e0",
        "told-moved-before uid-app e0",
        "told-unknown uid-unknown e1",
        "told-unsure uid-app e1",
    ];
    until_told(&world.krake, "one", &expected).await;
    let left = [
        "adopted",
        "nobodys",
        "theirs",
        "told-erased-before",
        "told-moved-before",
        "told-unknown",
        "told-unsure",
        "twin",
    ];
    world.until("swept", || world.server("one").names("configmaps") == left).await;
    let released = world.server("one").get("configmaps", "demo", "adopted").unwrap();
    assert_eq!(released["metadata"]["labels"], Value::Null, "what was there before is released");
    world.until_phases("app", &[("two", Phase::Running)]).await;
    assert_eq!(world.server("two").names("configmaps"), ["mine"]);

    // What is gone is not told any more.
    world.server("one").erase("configmaps", "demo", "told-unknown");
    until_told(&world.krake, "one", &[expected[0], expected[1], expected[3]]).await;
    world.stop().await;
}

#[tokio::test]
async fn a_copy_and_what_is_about_to_become_one_are_left_alone() {
    let mut world = World::prepare().await;
    // Left behind by an adapter that died between the write and anything else, or taken over after a restore.
    let server = world.server("one");
    let before = server.put("configmaps", marked("mine", "inst", "uid-app", "e0", Some("uid-one")));
    world.krake.change(|store| store.create("app", &[config_map("mine")], "one"));
    world.start_adapter();
    world.until_phases("app", &[("one", Phase::Running)]).await;
    until_told(&world.krake, "one", &[]).await;
    let after = world.server("one").get("configmaps", "demo", "mine").unwrap();
    assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"], "nothing was deleted");
    assert_eq!(after["metadata"]["annotations"][EPOCH_ANNOTATION], "e1", "it belongs to this epoch now");
    assert!(!world.journal().iter().any(|entry| entry.contains("DELETE")));
    world.stop().await;
}

#[tokio::test]
async fn a_restored_store_deletes_nothing_and_takes_its_copies_over() {
    let world = World::start().await;
    world.krake.change(|store| store.create("kept", &[config_map("kept")], "one"));
    world.until_phases("kept", &[("one", Phase::Running)]).await;
    let backup = world.krake.change(|store| store.applications.clone());
    world.krake.change(|store| store.create("later", &[config_map("later")], "one"));
    world.until_phases("later", &[("one", Phase::Running)]).await;

    // A store from before, in place of the one that the adapter knows.
    world.krake.change(|store| {
        store.epoch = "e2".into();
        store.forget::<Application>("later");
        for (_, application) in backup {
            store.put(application);
        }
    });
    until_told(&world.krake, "one", &["later uid-later e1"]).await;
    world
        .until("taken over", || {
            let kept = world.server("one").get("configmaps", "demo", "kept").unwrap();
            kept["metadata"]["annotations"][EPOCH_ANNOTATION] == "e2"
        })
        .await;
    assert_eq!(world.server("one").names("configmaps"), ["kept", "later"]);
    assert!(!world.journal().iter().any(|entry| entry.contains("DELETE")));
    world.stop().await;
}

#[tokio::test]
async fn a_krake_with_an_empty_store_sees_nothing_of_its_own() {
    let mut world = World::prepare().await;
    world.krake.change(|store| store.installation = "new".into());
    world.server("one").put("configmaps", marked("a", "inst", "uid-a", "e1", Some("uid-one")));
    world.start_adapter();
    let listed = |world: &World| {
        let requests = world.server("one").requests();
        requests.iter().filter(|request| request.ends_with(" /api/v1/configmaps")).count()
    };
    world.until("looked through twice", || listed(&world) > 1).await;
    until_told(&world.krake, "one", &[]).await;
    assert_eq!(world.server("one").writes(), [""; 0]);
    world.stop().await;
}

#[tokio::test]
async fn a_cluster_registered_anew_is_cleared_of_what_stayed_behind() {
    let world = World::start().await;
    world.krake.change(|store| store.create("app", &[config_map("a")], "one"));
    world.until_phases("app", &[("one", Phase::Running)]).await;
    // By force: the registration goes, its objects stay.
    world.krake.change(|store| {
        store.bind("app", &["two"]);
        store.erase::<Cluster>("one");
    });
    world.until_phases("app", &[("two", Phase::Running)]).await;
    assert_eq!(world.server("one").names("configmaps"), ["a"]);
    world.krake.change(|store| {
        store.register("again", "one");
    });
    world.until("swept", || world.server("one").names("configmaps").is_empty()).await;
    assert_eq!(world.server("two").names("configmaps"), ["a"]);
    world.stop().await;
}

/// A world whose clusters are surveyed anew only if there is a reason.
async fn rarely_surveyed() -> World {
    let mut world = World::prepare().await;
    world.sweep.interval = 100 * HANG_GUARD;
    world.start_adapter();
    world
}

#[tokio::test]
async fn what_was_deleted_by_force_is_swept_soon() {
    let world = rarely_surveyed().await;
    world.krake.change(|store| store.create("app", &[config_map("a")], "one"));
    world.until_phases("app", &[("one", Phase::Running)]).await;
    world.krake.change(|store| store.erase::<Application>("app"));
    world.until("swept", || world.server("one").names("configmaps").is_empty()).await;
    world.stop().await;
}

/// The namespace is not empty when it is looked at first.
#[tokio::test]
async fn a_namespace_that_was_left_with_its_contents_goes_soon_after_them() {
    let world = rarely_surveyed().await;
    world.server("one").mend();
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
    let mut inside = config_map("a");
    inside["metadata"]["namespace"] = json!("shop");
    world.krake.change(|store| store.create("app", &[namespace, inside], "one"));
    world.until_phases("app", &[("one", Phase::Running)]).await;
    world.krake.change(|store| store.erase::<Application>("app"));
    let server = world.server("one");
    world.until("swept", || !server.names("namespaces").contains(&"shop".to_owned())).await;
    assert!(server.names("configmaps").is_empty());
    world.stop().await;
}

#[tokio::test]
async fn what_was_deleted_by_force_makes_room_for_what_is_created_after_it() {
    let world = World::start().await;
    world.krake.change(|store| store.create("before", &[config_map("a")], "one"));
    world.until_phases("before", &[("one", Phase::Running)]).await;
    let server = world.server("one");
    let left = server.get("configmaps", "demo", "a").unwrap()["metadata"]["uid"].clone();
    server.fail(Method::DELETE, "configmaps", 403, "Forbidden", "not yet");
    world.krake.change(|store| {
        store.erase::<Application>("before");
        store.create("after", &[config_map("a")], "one");
    });
    let says = "waiting until Krake has removed what a deleted application left: ConfigMap demo/a";
    let applied = || reason(&world, "after", "one", types::APPLIED).unwrap_or_default().1;
    world.until("waits for the sweep", || applied() == says).await;
    server.heal();
    world.until_phases("after", &[("one", Phase::Running)]).await;
    assert_ne!(server.get("configmaps", "demo", "a").unwrap()["metadata"]["uid"], left);
    world.stop().await;
}

#[tokio::test]
async fn what_is_left_of_an_application_stays_until_it_runs_somewhere() {
    let world = rarely_surveyed().await;
    world.krake.change(|store| store.create("app", &[config_map("a")], "one"));
    world.until_phases("app", &[("one", Phase::Running)]).await;
    let before = world.server("one").get("configmaps", "demo", "a").unwrap();
    // By force, and registered again before the application has another cluster.
    world.krake.change(|store| store.erase::<Cluster>("one"));
    world.until_phases("app", &[]).await;
    world.krake.change(|store| {
        store.register("again", "one");
    });
    until_told(&world.krake, "again", &["a uid-app e1"]).await;
    world.krake.change(|store| store.bind("app", &["again"]));
    world.until_phases("app", &[("again", Phase::Running)]).await;
    until_told(&world.krake, "again", &[]).await;
    let after = world.server("one").get("configmaps", "demo", "a").unwrap();
    assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"], "it was never deleted");
    world.stop().await;
}
