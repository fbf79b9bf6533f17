//! What is seen of a copy is reported when it changes, and only then.

use axum::http::Method;
use krake_proto::krake::kubernetes::v1::{Observation, Phase};
use serde_json::Value;

use crate::apply::config_map;
use crate::fake_store::Store;
use crate::world::World;

/// What was reported last of the application on the cluster `one`.
fn seen(store: &Store) -> Option<Observation> {
    store.observations.get(&("uid-app".to_owned(), "uid-one".to_owned())).cloned()
}

/// The place and the value of each object that was not seen as applied.
fn differing(observation: &Observation) -> Vec<(u32, Option<Value>)> {
    let value = |text: &String| serde_json::from_str::<Value>(text).unwrap()["data"]["k"].clone();
    observation.objects.iter().map(|object| (object.index, object.fields.as_ref().map(value))).collect()
}

async fn until_seen(world: &World, what: &str, expected: &[(u32, Option<Value>)]) -> Observation {
    world.krake.until(what, |store| seen(store).filter(|seen| differing(seen) == expected)).await
}

async fn running() -> World {
    let world = World::start().await;
    world.krake.change(|store| store.create("app", &[config_map("a"), config_map("b")], "one"));
    world.until_phases("app", &[("one", Phase::Running)]).await;
    world
}

#[tokio::test]
async fn what_is_seen_is_reported_when_it_changes() {
    let world = running().await;
    let first = until_seen(&world, "all as applied", &[]).await;
    let applied = world.krake.change(|store| store.copies("app").remove(0).applied_work.unwrap());
    assert_eq!(first.sha256, applied.sha256);
    // It is gone, and cannot be made again.
    let server = world.server("one");
    server.fail(Method::POST, "configmaps", 500, "InternalError", "not now");
    server.erase("configmaps", "demo", "b");
    until_seen(&world, "gone", &[(1, None)]).await;
    server.heal();
    until_seen(&world, "there again", &[]).await;
    // What the server makes of an object for ever differs from what was applied.
    server.overrule("overruled");
    server.erase("configmaps", "demo", "a");
    // A repair writes what is missing, and nothing else.
    until_seen(&world, "overruled", &[(0, Some("overruled".into()))]).await;
    world.stop().await;
}

#[tokio::test]
async fn nothing_is_written_while_nothing_changes_and_a_restart_changes_nothing() {
    let mut world = running().await;
    until_seen(&world, "all as applied", &[]).await;
    let before = world.krake.change(|store| store.observed);
    world.kill_adapter().await;
    world.start_adapter();
    world.krake.until("reported again", |store| (store.observed.0 > before.0).then_some(())).await;
    // Looked at again and again, and nothing is told of it.
    for _ in 0..3 {
        let looks = world.krake.change(|store| {
            store.retry("app");
            store.revision
        });
        world.krake.until("looked at", |store| (store.revision > looks).then_some(())).await;
    }
    let after = world.krake.change(|store| store.observed);
    assert_eq!(after, (before.0 + 1, before.1));
    world.stop().await;
}

#[tokio::test]
async fn what_was_applied_anew_is_seen_as_such() {
    let world = running().await;
    let former = until_seen(&world, "all as applied", &[]).await;
    world.krake.change(|store| {
        store.update("app", &[config_map("a"), config_map("c")]);
        store.bind("app", &["one"]);
    });
    let later = world
        .krake
        .until("of the new documents", |store| seen(store).filter(|seen| seen.sha256 != former.sha256))
        .await;
    assert_eq!(differing(&later), []);
    world.stop().await;
}
