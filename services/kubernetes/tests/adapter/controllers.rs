//! The controllers end to end.

use std::time::Duration;

use krake_kubernetes::object::EPOCH_ANNOTATION;
use krake_proto::condition::{find, reasons, types};
use krake_proto::krake::kubernetes::v1::{Application, Cluster, Phase};
use krake_proto::krake::meta::v1::ConditionStatus;
use serde_json::{Value, json};

use crate::api_server::Mood;
use crate::apply::{config_map, deployment};
use crate::fake_store::Store;
use crate::world::{World, reason};

#[tokio::test]
async fn the_intent_is_recorded_before_the_first_write_and_forgotten_after_the_last() {
    let world = World::start().await;
    world.krake.change(|store| store.create("app", &[config_map("a"), config_map("b")], "one"));
    world.until_phases("app", &[("one", Phase::Running)]).await;
    world.krake.change(|store| store.delete::<Application>("app"));
    world.krake.until("erased", |store| store.applications.is_empty().then_some(())).await;
    let journal = world.journal();
    let expected = [
        "report Intended app/one",
        "one POST configmaps/a",
        "one POST configmaps/b",
        "report Applying app/one",
        "report Running app/one",
        "report Removing app/one",
        "one DELETE configmaps/b",
        "one DELETE configmaps/a",
        "forget app/one",
    ];
    assert_eq!(journal, expected);
    world.stop().await;
}

#[tokio::test]
async fn a_refused_report_touches_nothing_and_is_planned_anew() {
    let mut world = World::prepare().await;
    world.krake.outdate_next_report(|store| store.bind("app", &["two"]));
    world.krake.change(|store| store.create("app", &[config_map("a")], "one"));
    world.start_adapter();
    world.until_phases("app", &[("two", Phase::Running)]).await;
    assert!(world.journal().contains(&"refused".to_owned()));
    assert_eq!(world.server("one").writes(), [""; 0]);
    world.stop().await;
}

#[tokio::test]
async fn a_deletion_waits_for_our_turn() {
    let world = World::start().await;
    world.krake.change(|store| store.create("app", &[config_map("a")], "one"));
    world.until_phases("app", &[("one", Phase::Running)]).await;
    world.krake.change(|store| {
        let mut application = store.applications["app"].clone();
        let metadata = application.metadata.as_mut().unwrap();
        metadata.finalizers.push("cascade_deletion".into());
        store.put(application);
        store.delete::<Application>("app");
        store.create("other", &[config_map("b")], "one");
    });
    // What came later is done, so the deletion was looked at.
    world.until_phases("other", &[("one", Phase::Running)]).await;
    world.until_phases("app", &[("one", Phase::Running)]).await;
    assert!(world.server("one").get("configmaps", "demo", "a").is_some());
    world.krake.change(|store| {
        let mut application = store.applications["app"].clone();
        application.metadata.as_mut().unwrap().finalizers.pop();
        store.put(application);
    });
    world.krake.until("erased", |store| (!store.applications.contains_key("app")).then_some(())).await;
    assert_eq!(world.server("one").names("configmaps"), ["b"]);
    world.stop().await;
}

#[tokio::test]
async fn a_handover_that_fails_is_taken_back_and_an_update_tries_again() {
    let mut world = World::prepare().await;
    // Short enough to be waited for, and long enough for a copy that can run on a busy machine.
    world.rollout_deadline = Duration::from_secs(4);
    world.start_adapter();
    world.server("one").run_workloads();
    world.krake.change(|store| store.create("app", &[deployment("web")], "one"));
    world.until_phases("app", &[("one", Phase::Running)]).await;
    // Nothing becomes available on the other cluster.
    world.krake.change(|store| store.bind("app", &["two"]));
    world.until_phases("app", &[("one", Phase::Running), ("two", Phase::Failed)]).await;
    world.until("withdrawn", || world.server("two").names("deployments").is_empty()).await;
    let (why, _) = reason(&world, "app", "two", types::AVAILABLE).unwrap();
    assert_eq!(why, reasons::DEADLINE_EXCEEDED);
    assert_eq!(world.server("one").names("deployments"), ["web"], "the old copy stays");

    world.server("two").run_workloads();
    world.krake.change(|store| {
        store.update("app", &[deployment("web"), config_map("more")]);
        store.bind("app", &["two"]);
    });
    world.until_phases("app", &[("two", Phase::Running)]).await;
    assert_eq!(world.server("one").names("deployments"), [""; 0], "the old copy went after the new one ran");
    world.stop().await;
}

#[tokio::test]
async fn a_restart_keeps_everything() {
    let mut world = World::start().await;
    world.krake.change(|store| store.create("app", &[config_map("a")], "one"));
    world.until_phases("app", &[("one", Phase::Running)]).await;
    let before = world.server("one").get("configmaps", "demo", "a").unwrap();
    world.kill_adapter().await;
    world.server("one").erase("configmaps", "demo", "a");
    world.start_adapter();
    world.until("repaired", || world.server("one").get("configmaps", "demo", "a").is_some()).await;
    let after = world.server("one").get("configmaps", "demo", "a").unwrap();
    assert_eq!(after["metadata"]["labels"], before["metadata"]["labels"]);
    assert!(!world.journal().iter().any(|entry| entry.contains("DELETE") || entry.contains("forget")));
    world.stop().await;
}

#[tokio::test]
async fn a_handover_of_a_former_generation_ends_under_a_new_adapter() {
    let mut world = World::start().await;
    world.krake.change(|store| store.create("app", &[config_map("a")], "one"));
    world.until_phases("app", &[("one", Phase::Running)]).await;
    world.kill_adapter().await;
    // What was killed had just applied it on the other cluster; and then the spec changed, and nobody decides on it.
    let mut applied = crate::apply::labelled(config_map("a"), "inst", "uid-app");
    applied["metadata"]["annotations"] = json!({EPOCH_ANNOTATION: "e1"});
    world.server("two").put("configmaps", applied);
    world.krake.change(|store| {
        store.bind("app", &["two"]);
        let mut application = store.applications["app"].clone();
        let status = application.status.as_mut().unwrap();
        let mut copy = status.copies[0].clone();
        copy.cluster.clone_from(&status.bindings[0].cluster);
        copy.phase = Phase::Applying.into();
        copy.inventory[0].uid.clear();
        status.copies.push(copy);
        store.put(application);
        store.update("app", &[config_map("b")]);
    });
    world.start_adapter();
    world.until_phases("app", &[("two", Phase::Running)]).await;
    assert_eq!(world.server("one").names("configmaps"), [""; 0]);
    assert_eq!(world.server("two").names("configmaps"), ["a"], "the new spec waits for a decision");
    world.stop().await;
}

#[tokio::test]
async fn a_deleted_cluster_is_drained_and_waits_while_it_is_silent() {
    let world = World::start().await;
    world.krake.change(|store| store.create("app", &[config_map("a")], "one"));
    world.until_phases("app", &[("one", Phase::Running)]).await;
    world.server("one").set_mood(Mood::Down);
    let unreachable = |store: &Store| {
        let status = store.clusters["one"].status.clone()?;
        let reachable = find(&status.conditions, types::REACHABLE)?.status();
        (reachable == ConditionStatus::False && status.unreachable_since.is_some()).then_some(())
    };
    world.krake.until("unreachable", unreachable).await;
    world.krake.change(|store| {
        store.delete::<Cluster>("one");
        store.bind("app", &["two"]);
    });
    world.until_phases("app", &[("one", Phase::Running), ("two", Phase::Running)]).await;
    assert!(!world.journal().iter().any(|entry| entry.starts_with("let go")));
    world.server("one").set_mood(Mood::Well);
    world.krake.until("let go", |store| (!store.clusters.contains_key("one")).then_some(())).await;
    world.until_phases("app", &[("two", Phase::Running)]).await;
    assert_eq!(world.server("one").names("configmaps"), [""; 0]);
    world.stop().await;
}

#[tokio::test]
async fn a_cluster_that_hangs_holds_nobody_else_back() {
    let mut world = World::prepare().await;
    world.start_adapter();
    world.krake.change(|store| store.create("first", &[config_map("first")], "one"));
    world.until_phases("first", &[("one", Phase::Running)]).await;
    // Its probe still believes that it answers: more applications than there are workers run into it.
    world.server("one").hang_writes(true);
    world.krake.change(|store| {
        for index in 0..12 {
            store.create(&format!("stuck-{index}"), &[config_map(&format!("stuck-{index}"))], "one");
        }
    });
    let tried = |request: &&String| request.starts_with("PATCH");
    world.until("stuck", || world.server("one").requests().iter().filter(tried).count() > 1).await;
    world.krake.change(|store| store.create("free", &[config_map("free")], "two"));
    world.until_phases("free", &[("two", Phase::Running)]).await;
    world.server("one").hang_writes(false);
    for index in 0..12 {
        world.until_phases(&format!("stuck-{index}"), &[("one", Phase::Running)]).await;
    }
    world.stop().await;
}

#[tokio::test]
async fn trouble_is_told_in_the_copy_and_tried_again() {
    let world = World::start().await;
    world.server("one").break_writes("configmaps");
    world.krake.change(|store| store.create("app", &[config_map("a")], "one"));
    let told = |world: &World| reason(world, "app", "one", types::APPLIED);
    world.until("told", || told(&world).is_some_and(|(_, message)| message.contains("broken"))).await;
    assert_eq!(told(&world).unwrap().0, reasons::KUBERNETES_ERROR);
    world
        .until("tried again", || {
            world.server("one").requests().iter().filter(|request| request.starts_with("PATCH")).count() > 2
        })
        .await;
    let reports = world.journal().iter().filter(|entry| entry.contains("report")).count();
    assert_eq!(reports, 2, "one intent, one trouble: {:?}", world.journal());
    world.server("one").heal();
    world.until_phases("app", &[("one", Phase::Running)]).await;
    world.stop().await;
}

pub(crate) fn definition() -> Value {
    crate::api_server::definition("baths.example", "Tub", "tubs")
}

pub(crate) fn tub() -> Value {
    json!({"apiVersion": "baths.example/v1", "kind": "Tub", "metadata": {"name": "t", "namespace": "demo"}})
}

#[tokio::test]
async fn a_custom_resource_comes_with_its_definition() {
    let world = World::start().await;
    world.krake.change(|store| store.create("app", &[tub(), definition()], "one"));
    world.until_phases("app", &[("one", Phase::Running)]).await;
    let writes: Vec<_> = world.journal().into_iter().filter(|entry| entry.contains("POST")).collect();
    assert_eq!(writes, ["one POST customresourcedefinitions/tubs.baths.example", "one POST tubs/t"]);
    // It is watched like anything else.
    world.server("one").erase("tubs", "demo", "t");
    world.until("repaired", || world.server("one").get("tubs", "demo", "t").is_some()).await;

    world.krake.change(|store| store.create("alone", &[tub()], "two"));
    world.until_phases("alone", &[("two", Phase::Failed)]).await;
    let (why, _) = reason(&world, "alone", "two", types::APPLIED).unwrap();
    assert_eq!(why, reasons::UNSUPPORTED_RESOURCE, "nothing promises the kind there");
    world.stop().await;
}

#[tokio::test]
async fn who_does_not_lead_looks_and_touches_nothing() {
    let mut world = World::prepare().await;
    world.krake.change(|store| {
        store.create("app", &[config_map("a")], "one");
        store.tombstones.insert("uid-gone".into());
    });
    let mut orphan = crate::apply::labelled(config_map("orphan"), "inst", "uid-gone");
    orphan["metadata"]["annotations"] = json!({EPOCH_ANNOTATION: "e1"});
    world.server("one").put("configmaps", orphan);
    // Nobody is elected: the fake holds no elections.
    world.start_candidate("true");
    let looks = |world: &World| {
        world.server("one").requests().iter().filter(|request| request.ends_with("/kube-system")).count()
    };
    world.until("looked at often", || looks(&world) > 5).await;
    assert_eq!(world.journal(), [""; 0]);
    assert_eq!(world.krake.change(|store| store.clusters["one"].status.clone()), None);
    world.kill_adapter().await;
    world.start_adapter();
    world.until_phases("app", &[("one", Phase::Running)]).await;
    world.until("swept", || world.server("one").names("configmaps") == ["a"]).await;
    world.stop().await;
}

#[tokio::test]
async fn a_cluster_whose_deletion_takes_long_names_the_applications_that_hold_it() {
    let world = World::start().await;
    world.krake.change(|store| store.create("app", &[config_map("a")], "one"));
    world.until_phases("app", &[("one", Phase::Running)]).await;
    // Nowhere else is it to run.
    world.krake.change(|store| {
        store.delete::<Cluster>("one");
        let mut cluster = store.clusters["one"].clone();
        let began = std::time::SystemTime::now() - Duration::from_secs(60);
        cluster.metadata.get_or_insert_default().deleted = Some(began.into());
        store.put(cluster);
    });
    let told = |store: &Store| {
        let deletion = store.clusters["one"].metadata.as_ref()?.deletion.as_ref()?;
        Some(deletion.waits_for.clone()).filter(|waits_for| !waits_for.is_empty())
    };
    let told = world.krake.until("the wait told", told).await;
    assert_eq!(told, "the copies of the applications demo/app to be gone");
    world.stop().await;
}
