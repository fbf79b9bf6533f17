//! Marks that somebody takes off an application's own objects.

use axum::http::Method;
use krake_kubernetes::object::{APPLICATION_LABEL, INSTALLATION_LABEL};
use krake_proto::krake::kubernetes::v1::{Application, Phase};
use serde_json::json;

use crate::apply::config_map;
use crate::world::World;

#[tokio::test]
async fn a_label_that_was_taken_off_is_put_back_and_the_rest_is_kept_in_repair() {
    let world = World::start().await;
    world.krake.change(|store| store.create("app", &[config_map("a"), config_map("b")], "one"));
    world.until_phases("app", &[("one", Phase::Running)]).await;
    let server = world.server("one");
    let mut object = server.get("configmaps", "demo", "a").unwrap();
    let labels = object["metadata"]["labels"].as_object_mut().unwrap();
    let label = labels.remove(APPLICATION_LABEL).unwrap();
    assert!(labels.contains_key(INSTALLATION_LABEL));
    let uid = server.put("configmaps", object)["metadata"]["uid"].clone();
    let marked = || {
        let object = server.get("configmaps", "demo", "a").unwrap();
        object["metadata"]["labels"][APPLICATION_LABEL] == label && object["metadata"]["uid"] == uid
    };
    world.until("marked again", marked).await;

    server.erase("configmaps", "demo", "b");
    world.until("repaired", || server.get("configmaps", "demo", "b").is_some()).await;
    world.until_phases("app", &[("one", Phase::Running)]).await;
    world.krake.change(|store| store.delete::<Application>("app"));
    world.krake.until("erased", |store| store.applications.is_empty().then_some(())).await;
    assert_eq!(server.names("configmaps"), [""; 0]);
    world.stop().await;
}

/// Whatever application the label names: one that exists, and one that was erased, whose objects are swept.
#[tokio::test]
async fn a_label_that_names_another_application_is_put_back() {
    let world = World::start().await;
    world.krake.change(|store| {
        store.create("app", &[config_map("a")], "one");
        store.create("other", &[config_map("b")], "one");
        store.tombstones.insert("uid-erased".into());
    });
    world.until_phases("app", &[("one", Phase::Running)]).await;
    world.until_phases("other", &[("one", Phase::Running)]).await;
    let server = world.server("one");
    for other in ["uid-other", "uid-erased"] {
        let mut object = server.get("configmaps", "demo", "a").unwrap();
        object["metadata"]["labels"][APPLICATION_LABEL] = json!(other);
        let uid = server.put("configmaps", object)["metadata"]["uid"].clone();
        let marked = || {
            let object = server.get("configmaps", "demo", "a").unwrap();
            object["metadata"]["labels"][APPLICATION_LABEL] == "uid-app" && object["metadata"]["uid"] == uid
        };
        world.until("marked again", marked).await;
        world.until_phases("app", &[("one", Phase::Running)]).await;
    }
    assert!(!world.journal().iter().any(|entry| entry.contains("DELETE")), "{:?}", world.journal());
    world.krake.change(|store| store.delete::<Application>("app"));
    world.until("removed", || server.names("configmaps") == ["b"]).await;
    world.stop().await;
}

/// Somebody hands an object over by its label. What is deleted cannot be brought back, so it is left to any application that
/// exists, whether that has begun on the cluster or not.
#[tokio::test]
async fn what_bears_the_label_of_an_application_that_exists_is_not_removed() {
    let world = World::start().await;
    world.krake.change(|store| {
        store.create("app", &[config_map("a"), config_map("b")], "one");
        // It waits for its place.
        store.create("other", &[config_map("a")], "two");
    });
    world.until_phases("app", &[("one", Phase::Running)]).await;
    world.until_phases("other", &[("two", Phase::Running)]).await;
    let server = world.server("one");
    // Its repair is refused, so that the label stays.
    server.fail(Method::PATCH, "configmaps", 422, "Invalid", "not so");
    let mut object = server.get("configmaps", "demo", "a").unwrap();
    object["metadata"]["labels"][APPLICATION_LABEL] = json!("uid-other");
    server.put("configmaps", object);
    world.krake.change(|store| store.delete::<Application>("app"));
    world.krake.until("erased", |store| (!store.applications.contains_key("app")).then_some(())).await;
    assert_eq!(server.names("configmaps"), ["a"]);
    world.stop().await;
}
