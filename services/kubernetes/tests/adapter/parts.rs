//! Applies that take long: they end before all is accepted, and go on where they were.

use std::time::Duration;

use axum::http::Method;
use krake_proto::condition::{find, types};
use krake_proto::krake::kubernetes::v1::{Copy, Phase};
use krake_proto::krake::meta::v1::ConditionStatus;

use crate::apply::config_map;
use crate::works::until_copy;
use crate::world::World;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// A world in which an apply writes one object at a time, and ends.
async fn world() -> World {
    let mut world = World::prepare().await;
    world.longest_part = Duration::ZERO;
    world.start_adapter();
    world
}

/// The writes to the cluster `one` so far, without those before. An object that was created is changed by two in a row, of
/// which the first takes over its fields.
fn writes(world: &World, before: usize) -> Vec<String> {
    let writes = world.journal().into_iter().filter(|entry| entry.starts_with("one "));
    let mut writes: Vec<_> = writes.skip(before).collect();
    writes.dedup();
    writes
}

fn names(copy: &Copy) -> Vec<&str> {
    copy.inventory.iter().map(|object| object.name.as_str()).collect()
}

#[tokio::test]
async fn each_object_is_written_once_in_however_many_parts() {
    let world = world().await;
    world.krake.change(|store| store.create("app", &NAMES.map(config_map), "one"));
    let copy = until_copy(&world, "applied", |copy| copy.phase() == Phase::Running).await;
    assert_eq!(writes(&world, 0), NAMES.map(|name| format!("one POST configmaps/{name}")));
    assert_eq!(names(&copy), NAMES);
    assert!(copy.inventory.iter().all(|object| !object.uid.is_empty()));
    // An update.
    let changed = NAMES.map(|name| {
        let mut object = config_map(name);
        object["data"]["k"] = "changed".into();
        object
    });
    world.krake.change(|store| {
        store.update("app", &changed);
        store.bind("app", &["one"]);
    });
    until_copy(&world, "updated", |copy| copy.observed_generation == 2).await;
    assert_eq!(writes(&world, NAMES.len()), NAMES.map(|name| format!("one PATCH configmaps/{name}")));
    world.stop().await;
}

#[tokio::test]
async fn what_is_taken_away_between_two_parts_is_written_again() {
    let world = world().await;
    let server = world.server("one").clone();
    // The last object waits for a person.
    server.fail(Method::POST, "/secrets", 500, "InternalError", "failed calling webhook");
    let secret = serde_json::json!({"apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "s", "namespace": "demo"}});
    world.krake.change(|store| store.create("app", &[config_map("a"), secret], "one"));
    world.until("the first part", || server.get("configmaps", "demo", "a").is_some()).await;
    server.erase("configmaps", "demo", "a");
    world.until("it is back", || server.get("configmaps", "demo", "a").is_some()).await;
    server.heal();
    until_copy(&world, "applied", |copy| copy.phase() == Phase::Running).await;
    world.stop().await;
}

#[tokio::test]
async fn trouble_with_an_object_is_told_and_is_not_taken_for_a_slow_cluster() {
    let world = world().await;
    world.server("one").fail(Method::POST, "/secrets", 500, "InternalError", "failed calling webhook");
    let secret = serde_json::json!({"apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "s", "namespace": "demo"}});
    let manifest = [secret, config_map("a"), config_map("b"), config_map("c")];
    world.krake.change(|store| store.create("app", &manifest, "one"));
    let told = |copy: &Copy| {
        let applied = find(&copy.conditions, types::APPLIED);
        applied.is_some_and(|applied| {
            applied.status() == ConditionStatus::False && applied.message.contains("failed calling webhook")
        })
    };
    until_copy(&world, "the trouble told", told).await;
    world.server("one").heal();
    let copy = until_copy(&world, "applied", |copy| copy.phase() == Phase::Running).await;
    assert_eq!(copy.inventory.len(), manifest.len());
    world.stop().await;
}
