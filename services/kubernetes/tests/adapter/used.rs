//! Namespaces and definitions that are not the application's: they are used, and neither taken over nor removed.

use std::time::Duration;

use krake_kubernetes::object::{APPLICATION_LABEL, MADE_LABEL};
use krake_proto::condition::{reasons, types};
use krake_proto::krake::kubernetes::v1::{Application, Phase};
use serde_json::{Value, json};

use crate::api_server::ApiServer;
use crate::apply::{apply_all, config_map, labelled};
use crate::controllers::definition;
use crate::world::{World, reason};

fn namespace(labels: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "demo", "labels": labels}})
}

/// Two applications in one namespace on `one`; the first made it.
async fn sharing() -> World {
    let world = World::start().await;
    world.server("one").mend();
    world.server("one").erase("namespaces", "", "demo");
    for (name, map) in [("first", "a"), ("second", "b")] {
        world.krake.change(|store| store.create(name, &[namespace(json!({})), config_map(map)], "one"));
        world.until_phases(name, &[("one", Phase::Running)]).await;
    }
    world
}

async fn delete(world: &World, name: &str) {
    world.krake.change(|store| store.delete::<Application>(name));
    world.krake.until("erased", |store| (!store.applications.contains_key(name)).then_some(())).await;
}

#[tokio::test]
async fn a_namespace_of_somebody_else_keeps_what_it_says_and_bears_no_mark() {
    for theirs in [
        namespace(json!({"level": "restricted"})),
        labelled(namespace(json!({})), "inst", "app-2"),
        labelled(namespace(json!({})), "elsewhere", "app-2"),
    ] {
        let server = ApiServer::start();
        let before = server.put("namespaces", theirs);
        let wanted = namespace(json!({"level": "privileged", "tier": "edge"}));
        let applied = apply_all(&server, &[wanted.clone(), config_map("c")], "app-1", false).await.unwrap();
        assert!(applied[0].used && applied[0].inventory_entry().uid.is_none());
        assert!(!applied[1].used && applied[1].inventory_entry().uid.is_some());
        let after = server.get("namespaces", "", "demo").unwrap();
        let mut expected = before["metadata"]["labels"].clone();
        expected["tier"] = json!("edge");
        if expected["level"].is_null() {
            expected["level"] = json!("privileged");
        }
        assert_eq!(after["metadata"]["labels"], expected);
        assert_eq!(after["metadata"].get("annotations"), before["metadata"].get("annotations"));
        let writes = server.writes();
        apply_all(&server, &[wanted], "app-1", false).await.unwrap();
        assert_eq!(server.writes(), writes, "there is nothing more to add");
    }
}

#[tokio::test]
async fn a_definition_that_says_the_same_is_used_and_another_is_not() {
    let server = ApiServer::start();
    server.put("customresourcedefinitions", definition());
    let applied = apply_all(&server, &[definition()], "app-1", false).await.unwrap();
    assert!(applied[0].used);
    assert_eq!(server.writes(), [""; 0]);
    let mut other = definition();
    other["spec"]["scope"] = json!("Cluster");
    assert!(apply_all(&server, &[other], "app-1", false).await.is_err());
}

#[tokio::test]
async fn what_is_used_is_told_and_left_at_the_end() {
    let mut world = World::start().await;
    let theirs = world.server("one").put("namespaces", namespace(json!({"team": "blue"})));
    world.krake.change(|store| store.create("app", &[namespace(json!({})), config_map("a")], "one"));
    world.until_phases("app", &[("one", Phase::Running)]).await;
    let told = || reason(&world, "app", "one", types::APPLIED).unwrap();
    world.until("told", || told().0 == reasons::USED).await;
    assert!(told().1.ends_with("Namespace demo"), "{}", told().1);
    // A new process knows it as well.
    world.kill_adapter().await;
    world.start_adapter();
    world.server("one").erase("configmaps", "demo", "a");
    world.until("repaired", || world.server("one").get("configmaps", "demo", "a").is_some()).await;
    world.until_phases("app", &[("one", Phase::Running)]).await;
    delete(&world, "app").await;
    assert_eq!(world.server("one").get("namespaces", "", "demo"), Some(theirs));
    assert_eq!(world.server("one").names("configmaps"), [""; 0]);
    world.stop().await;
}

#[tokio::test]
async fn a_used_namespace_that_is_deleted_is_made_anew() {
    let world = World::start().await;
    let server = world.server("one");
    server.mend();
    server.put("namespaces", namespace(json!({})));
    world.krake.change(|store| store.create("app", &[namespace(json!({})), config_map("a")], "one"));
    world.until_phases("app", &[("one", Phase::Running)]).await;
    server.erase("namespaces", "", "demo");
    server.erase("configmaps", "demo", "a");
    world.until("made", || server.get("namespaces", "", "demo").is_some()).await;
    let made = server.get("namespaces", "", "demo").unwrap();
    assert!(made["metadata"]["labels"][APPLICATION_LABEL].is_string(), "now it is the application's");
    world.until("repaired", || server.get("configmaps", "demo", "a").is_some()).await;
    delete(&world, "app").await;
    assert_eq!(server.get("namespaces", "", "demo"), None);
    world.stop().await;
}

#[tokio::test]
async fn a_namespace_that_krake_made_goes_with_its_last_user() {
    for order in [["first", "second"], ["second", "first"]] {
        let world = sharing().await;
        let server = world.server("one");
        delete(&world, order[0]).await;
        world.until("one is gone", || server.names("configmaps").len() == 1).await;
        let left = server.get("namespaces", "", "demo").expect("the other application is in it");
        let is_left = left["metadata"]["labels"].get(MADE_LABEL).is_some();
        assert_eq!(is_left, order[0] == "first", "{left}");
        world.until_phases(order[1], &[("one", Phase::Running)]).await;
        delete(&world, order[1]).await;
        assert_eq!(server.get("namespaces", "", "demo"), None, "{order:?}");
        world.stop().await;
    }
}

#[tokio::test]
async fn a_namespace_that_was_left_stays_while_somebody_else_is_in_it() {
    let world = sharing().await;
    let server = world.server("one");
    delete(&world, "first").await;
    server.put(
        "secrets",
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "theirs", "namespace": "demo"}}),
    );
    delete(&world, "second").await;
    assert!(server.get("namespaces", "", "demo").is_some());
    tokio::time::timeout(Duration::from_secs(60), world.stop()).await.unwrap();
}
