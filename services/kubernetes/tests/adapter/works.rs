//! Works end to end: what was applied is stored, compared, judged and repaired, whatever the spec says by then.

use std::time::Duration;

use axum::http::Method;
use krake_proto::condition::{find, reasons, types};
use krake_proto::krake::kubernetes::v1::{Copy, Phase};
use krake_proto::krake::meta::v1::ConditionStatus;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::api_server::Mood;
use crate::apply::{config_map, deployment};
use crate::controllers::{definition, tub};
use crate::fake_store::Store;
use crate::jobs::job;
use crate::world::World;

fn copy_on(store: &Store, cluster: &str) -> Option<Copy> {
    let copies = store.copies("app");
    copies.into_iter().find(|copy| copy.cluster.as_ref().is_some_and(|on| on.name == cluster))
}

pub(crate) async fn until_copy(world: &World, what: &str, condition: impl Fn(&Copy) -> bool) -> Copy {
    world.krake.until(what, |store| copy_on(store, "one").filter(|copy| condition(copy))).await
}

fn answer(copy: &Copy, r#type: &str) -> (ConditionStatus, String) {
    let condition = find(&copy.conditions, r#type).unwrap();
    (condition.status(), condition.message.clone())
}

pub(crate) fn is_available(copy: &Copy) -> bool {
    answer(copy, types::AVAILABLE).0 == ConditionStatus::True
}

async fn running(manifest: &[Value]) -> World {
    let world = World::start().await;
    world.server("one").run_workloads();
    world.krake.change(|store| store.create("app", manifest, "one"));
    world.until_phases("app", &[("one", Phase::Running)]).await;
    world
}

/// Deletes an object by hand, and waits until it is there again.
pub(crate) async fn repaired(world: &World, name: &str) {
    let server = world.server("one");
    server.erase("configmaps", "demo", name);
    world.until("repaired", || server.get("configmaps", "demo", name).is_some()).await;
}

#[tokio::test]
async fn what_is_applied_is_stored_before_and_named_after() {
    let world = World::start().await;
    // The fake refuses a report that names what is not stored.
    world.krake.change(|store| store.create("app", &[config_map("a")], "one"));
    world.until_phases("app", &[("one", Phase::Running)]).await;
    let (copy, documents) = world.krake.change(|store| {
        let copy = copy_on(store, "one").unwrap();
        let key = ("uid-app".to_owned(), copy.applied_work.clone().unwrap().sha256);
        (copy, store.documents[&key].clone())
    });
    assert_eq!(copy.applied_work, copy.intended_work);
    assert_eq!(copy.applied_work.unwrap().generation, copy.observed_generation);
    let documents: Vec<Value> = serde_json::from_slice(&documents).unwrap();
    assert_eq!(documents, [config_map("a")], "no marks, no guards");
    world.stop().await;
}

#[tokio::test]
async fn a_spec_that_changes_and_means_the_same_is_not_applied() {
    let world = running(&[config_map("a")]).await;
    let before = world.server("one").writes();
    world.krake.change(|store| {
        store.update("app", &[config_map("a")]);
        store.bind("app", &["one"]);
    });
    let renewed = until_copy(&world, "renewed", |copy| copy.observed_generation == 2).await;
    assert_eq!(renewed.applied_work, renewed.intended_work);
    assert_eq!(renewed.applied_work.unwrap().generation, 2);
    assert_eq!(world.server("one").writes(), before);
    world.stop().await;
}

#[tokio::test]
async fn an_old_copy_is_repaired_by_its_own_work_while_the_spec_has_moved_on() {
    let mut world = running(&[config_map("a")]).await;
    world.krake.change(|store| store.update("app", &[config_map("b")]));
    repaired(&world, "a").await;
    // Under a new adapter too, which reads what was applied.
    world.kill_adapter().await;
    world.server("one").erase("configmaps", "demo", "a");
    world.start_adapter();
    world.until("repaired", || world.server("one").get("configmaps", "demo", "a").is_some()).await;
    assert!(world.journal().contains(&"read documents app".to_owned()));
    // And while it is handed over to a cluster where the new copy does not come up.
    world.server("two").fail(Method::POST, "configmaps", 500, "InternalError", "not now");
    world.krake.change(|store| store.bind("app", &["two"]));
    world.until_phases("app", &[("one", Phase::Running), ("two", Phase::Intended)]).await;
    repaired(&world, "a").await;
    assert_eq!(world.server("one").names("configmaps"), ["a"]);
    world.server("two").heal();
    world.until_phases("app", &[("two", Phase::Running)]).await;
    assert_eq!(world.server("two").names("configmaps"), ["b"]);
    world.stop().await;
}

#[tokio::test]
async fn what_cannot_be_read_is_kept_and_not_repaired_and_said() {
    let mut world = running(&[config_map("a"), config_map("b")]).await;
    world.kill_adapter().await;
    world.server("one").erase("configmaps", "demo", "a");
    world.krake.change(|store| {
        store.documents.clear();
        store.update("app", &[config_map("c")]);
    });
    world.start_adapter();
    let told = until_copy(&world, "told", |copy| {
        answer(copy, types::APPLIED).0 == ConditionStatus::Unknown && !is_available(copy)
    });
    let told = told.await;
    let (_, message) = answer(&told, types::APPLIED);
    assert!(message.starts_with("kept as it is, and not repaired"), "{message}");
    assert_eq!((told.phase(), told.inventory.len()), (Phase::Running, 2));
    assert_eq!(world.server("one").names("configmaps"), ["b"]);
    // What is wanted is applied once that is decided.
    world.krake.change(|store| store.bind("app", &["one"]));
    until_copy(&world, "updated", |copy| copy.observed_generation == 2 && is_available(copy)).await;
    world.until("pruned", || world.server("one").names("configmaps") == ["c"]).await;
    world.stop().await;
}

#[tokio::test]
async fn an_update_that_was_accepted_in_part_is_repaired_by_both_works() {
    let mut changed = config_map("a");
    changed["data"]["k"] = json!("new");
    let mut world = running(&[config_map("a"), config_map("b")]).await;
    world.server("one").fail(Method::POST, "deployments", 422, "Invalid", "not so");
    world.krake.change(|store| {
        store.update("app", &[changed, config_map("b"), deployment("web")]);
        store.bind("app", &["one"]);
    });
    let value = |world: &World| {
        world.server("one").get("configmaps", "demo", "a").map(|object| object["data"]["k"].clone())
    };
    let refused = |copy: &Copy| answer(copy, types::APPLIED).0 == ConditionStatus::False;
    until_copy(&world, "refused", refused).await;
    for restart in [false, true] {
        if restart {
            world.kill_adapter().await;
            world.start_adapter();
        }
        // What only the former Work has to restore, and what it shares with the new one.
        repaired(&world, "b").await;
        assert_eq!(value(&world), Some(json!("new")), "it was accepted, and is not taken back");
        let copy = until_copy(&world, "still refused", refused).await;
        assert_eq!((copy.phase(), copy.observed_generation), (Phase::Running, 1));
        assert_ne!(copy.applied_work, copy.intended_work);
    }
    world.stop().await;
}

/// The copies as an older version of Krake recorded them.
fn as_of_an_older_version(store: &mut Store) {
    let applications: Vec<_> = store.applications.values().cloned().collect();
    for mut application in applications {
        for copy in &mut application.status.as_mut().unwrap().copies {
            (copy.applied_work, copy.intended_work) = (None, None);
        }
        store.put(application);
    }
    store.documents.clear();
}

#[tokio::test]
async fn copies_of_an_older_version_are_taken_over_one_a_second() {
    let mut world = World::start().await;
    let names = ["a", "b", "c"];
    world.krake.change(|store| names.map(|name| store.create(name, &[config_map(name)], "one")));
    for name in names {
        world.until_phases(name, &[("one", Phase::Running)]).await;
    }
    world.kill_adapter().await;
    world.krake.change(as_of_an_older_version);
    let begun = Instant::now();
    world.start_adapter();
    let is_taken_over = |store: &Store| {
        let named = |name: &str| store.copies(name).iter().all(|copy| copy.applied_work.is_some());
        names.into_iter().all(named).then_some(())
    };
    world.krake.until("taken over", is_taken_over).await;
    assert!(begun.elapsed() >= Duration::from_secs(2), "three in {:?}", begun.elapsed());
    world.stop().await;
}

#[tokio::test]
async fn a_copy_of_an_older_version_is_taken_over_without_an_effect() {
    let mut world = World::prepare().await;
    // What the server makes of it differs for ever from what is written.
    world.server("one").overrule("overruled");
    world.start_adapter();
    world.krake.change(|store| store.create("app", &[config_map("a"), config_map("b")], "one"));
    world.until_phases("app", &[("one", Phase::Running)]).await;
    world.kill_adapter().await;
    world.krake.change(as_of_an_older_version);
    let before = world.server("one").writes();
    world.start_adapter();
    until_copy(&world, "taken over", |copy| copy.applied_work.is_some()).await;
    world.krake.change(|store| store.create("beside", &[], "one"));
    world.until_phases("beside", &[("one", Phase::Running)]).await;
    let server = world.server("one");
    assert_eq!(server.writes(), before);
    assert!(server.requests().iter().any(|request| request.ends_with("configmaps/a (dry run)")));
    // What really changed is repaired.
    repaired(&world, "b").await;
    world.stop().await;
}

#[tokio::test]
async fn a_copy_of_an_older_version_and_generation_is_kept_until_it_is_replaced() {
    let mut world = running(&[config_map("a")]).await;
    world.kill_adapter().await;
    world.krake.change(|store| {
        as_of_an_older_version(store);
        store.update("app", &[config_map("b")]);
    });
    world.server("one").erase("configmaps", "demo", "a");
    world.start_adapter();
    let told = until_copy(&world, "told", |copy| {
        answer(copy, types::APPLIED).0 == ConditionStatus::Unknown && !is_available(copy)
    });
    assert_eq!(told.await.applied_work, None);
    assert_eq!(world.server("one").names("configmaps"), [""; 0]);
    world.krake.change(|store| store.bind("app", &["one"]));
    until_copy(&world, "updated", |copy| copy.observed_generation == 2 && is_available(copy)).await;
    world.stop().await;
}

#[tokio::test]
async fn one_kind_that_is_gone_blinds_nothing_else() {
    let mut world = World::prepare().await;
    let mut established = definition();
    established["status"] = json!({"conditions": [{"type": "Established", "status": "True"}]});
    world.server("one").put("customresourcedefinitions", established.clone());
    world.start_adapter();
    world.krake.change(|store| store.create("app", &[tub(), config_map("a")], "one"));
    world.until_phases("app", &[("one", Phase::Running)]).await;
    for restart in [true, false] {
        if restart {
            world.kill_adapter().await;
        }
        let server = world.server("one").clone();
        server.erase("tubs", "demo", "t");
        server.erase("customresourcedefinitions", "", "tubs.baths.example");
        if restart {
            server.erase("configmaps", "demo", "a");
            world.start_adapter();
        } else {
            // Watches are taken up anew, and find the kind gone.
            let tries = || server.requests().iter().filter(|request| request.contains("tubs")).count();
            let before = tries();
            server.set_mood(Mood::Down);
            world.until("taken up anew", || tries() > before).await;
            server.set_mood(Mood::Well);
            server.erase("configmaps", "demo", "a");
        }
        world.until("the rest repaired", || server.get("configmaps", "demo", "a").is_some()).await;
        let told = until_copy(&world, "told", |copy| !is_available(copy)).await;
        assert!(answer(&told, types::AVAILABLE).1.contains("Tub"), "{told:?}");
        assert_eq!(told.phase(), Phase::Running);
        server.put("customresourcedefinitions", established.clone());
        // No watch tells of it, so a later look finds it.
        world.until("the custom resource", || server.get("tubs", "demo", "t").is_some()).await;
        until_copy(&world, "available", is_available).await;
    }
    world.stop().await;
}

#[tokio::test]
async fn a_definition_and_its_objects_that_are_gone_come_back() {
    let mut world = running(&[definition(), tub(), config_map("a")]).await;
    world.kill_adapter().await;
    let server = world.server("one").clone();
    server.erase("tubs", "demo", "t");
    server.erase("customresourcedefinitions", "", "tubs.baths.example");
    server.erase("configmaps", "demo", "a");
    world.start_adapter();
    world
        .until("all", || {
            server.get("tubs", "demo", "t").is_some() && server.get("configmaps", "demo", "a").is_some()
        })
        .await;
    until_copy(&world, "available", is_available).await;
    world.stop().await;
}

#[tokio::test]
async fn an_object_that_is_deleted_while_a_later_one_is_written_is_missed() {
    let world = World::start().await;
    let server = world.server("one");
    server.run_workloads();
    world.krake.change(|store| store.create("beside", &[config_map("m")], "one"));
    world.until_phases("beside", &[("one", Phase::Running)]).await;
    server.hang_writes_to("deployments");
    world.krake.change(|store| store.create("app", &[config_map("a"), deployment("web")], "one"));
    world.until("the first object", || server.get("configmaps", "demo", "a").is_some()).await;
    server.erase("configmaps", "demo", "a");
    // The watch has told of it when it has told of what happened later.
    repaired(&world, "m").await;
    server.hang_writes(false);
    world.until("missed", || server.get("configmaps", "demo", "a").is_some()).await;
    until_copy(&world, "available", is_available).await;
    world.stop().await;
}

#[tokio::test]
async fn a_group_that_cannot_be_discovered_hides_only_its_own_objects() {
    let mut waits = job();
    waits["spec"]["suspend"] = json!(true);
    let mut world = running(&[waits, config_map("a")]).await;
    world.kill_adapter().await;
    let server = world.server("one").clone();
    server.fail(Method::GET, "/apis/batch/v1", 503, "ServiceUnavailable", "the aggregated API is broken");
    server.erase("configmaps", "demo", "a");
    world.start_adapter();
    world.until("repaired", || server.get("configmaps", "demo", "a").is_some()).await;
    let told = until_copy(&world, "told", |copy| !is_available(copy)).await;
    let (_, message) = answer(&told, types::AVAILABLE);
    assert!(message.contains("Job demo/j cannot be seen"), "{message}");
    let reason = find(&told.conditions, types::AVAILABLE).unwrap().reason.clone();
    assert_eq!((told.phase(), reason.as_str()), (Phase::Running, reasons::UNHEALTHY));
    world.stop().await;
}
