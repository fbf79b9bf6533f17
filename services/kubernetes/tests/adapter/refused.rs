//! What is refused for good, what is remembered of it, and what does not count.

use std::time::Duration;

use axum::http::Method;
use krake_proto::condition::{find, reasons, types};
use krake_proto::krake::kubernetes::v1::Phase;
use krake_proto::krake::meta::v1::ConditionStatus;
use serde_json::json;

use crate::apply::{config_map, deployment, labelled};
use crate::fake_store::Store;
use crate::world::{World, reason};

#[tokio::test]
async fn a_refused_repair_pauses_only_the_object_that_is_refused() {
    let world = World::start().await;
    let secret =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "demo"}});
    world.krake.change(|store| store.create("app", &[secret, config_map("a"), config_map("theirs")], "one"));
    world.until_phases("app", &[("one", Phase::Running)]).await;
    let server = world.server("one");
    let applied = || reason(&world, "app", "one", types::APPLIED).unwrap_or_default().1;

    server.fail(Method::POST, "secrets", 422, "Invalid", "not so");
    server.erase("secrets", "demo", "s");
    world.until("refused", || applied().contains("not so")).await;
    let tries = || server.writes().iter().filter(|write| write.ends_with("/secrets")).count();
    let at_first = tries();
    // Each is repaired while others are refused, by the server or because somebody else owns them.
    for round in 0..2 {
        server.erase("configmaps", "demo", "a");
        world.until("repaired", || server.get("configmaps", "demo", "a").is_some()).await;
        if round == 0 {
            server.put("configmaps", labelled(config_map("theirs"), "inst", "uid-other"));
            world.until("owned by another", || applied().contains("uid-other")).await;
        }
    }
    assert!(!applied().is_empty(), "that something is refused still holds");
    assert_eq!(tries(), at_first, "it is tried slowly");
    // A user asks for it.
    server.heal();
    world.krake.change(|store| {
        let mut application = store.applications["app"].clone();
        application.status.get_or_insert_default().retry_requests += 1;
        store.put(application);
    });
    world.until("tried at once", || server.get("secrets", "demo", "s").is_some()).await;
    world.stop().await;
}

#[tokio::test]
async fn what_was_held_against_a_copy_goes_with_it_whoever_forgot_it() {
    let world = World::start().await;
    let server = world.server("one");
    server.fail(Method::POST, "configmaps", 422, "Invalid", "not so");
    world.krake.change(|store| store.create("app", &[config_map("a")], "one"));
    world.until_phases("app", &[("one", Phase::Failed)]).await;
    server.heal();
    // Another leader forgets the copy; then the application comes back.
    world.krake.change(|store| {
        let mut application = store.applications["app"].clone();
        let status = application.status.get_or_insert_default();
        (status.copies, status.bindings) = (Vec::new(), Vec::new());
        store.put(application);
        store.create("beside", &[], "two");
    });
    world.until_phases("beside", &[("two", Phase::Running)]).await;
    world.krake.change(|store| store.bind("app", &["one"]));
    world.until_phases("app", &[("one", Phase::Running)]).await;
    world.stop().await;
}

#[tokio::test]
async fn time_in_which_a_cluster_has_too_many_requests_counts_for_no_attempt() {
    let mut world = World::prepare().await;
    world.rollout_deadline = Duration::from_secs(1);
    world.start_adapter();
    let server = world.server("one").clone();
    server.fail(Method::GET, "namespaces/kube-system", 429, "TooManyRequests", "later");
    let throttled = |store: &Store| {
        let status = store.clusters["one"].status.as_ref()?;
        let reachable = find(&status.conditions, types::REACHABLE)?;
        let is_throttled = reachable.reason == reasons::THROTTLED;
        (is_throttled && reachable.status() == ConditionStatus::True).then_some(())
    };
    // Deployments do not become available there.
    world.krake.until("throttled", throttled).await;
    world.krake.change(|store| store.create("app", &[deployment("web")], "one"));
    world.until_phases("app", &[("one", Phase::Applying)]).await;
    world.krake.change(|store| store.create("later", &[deployment("web")], "two"));
    world.until_phases("later", &[("two", Phase::Failed)]).await;
    let phase = world.krake.change(|store| store.phases("app")["one"]);
    assert_eq!(phase, Phase::Applying, "its deadline has not begun");
    server.heal();
    world.until_phases("app", &[("one", Phase::Failed)]).await;
    world.stop().await;
}

#[tokio::test]
async fn repairs_elsewhere_wait_for_no_request_to_a_cluster_that_hangs() {
    let world = World::start().await;
    let names: Vec<String> = (0..8).map(|index| format!("app-{index}")).collect();
    world.krake.change(|store| {
        for name in &names {
            store.create(&format!("one-{name}"), &[config_map(&format!("one-{name}"))], "one");
            store.create(name, &[config_map(name)], "two");
        }
    });
    for name in &names {
        world.until_phases(&format!("one-{name}"), &[("one", Phase::Running)]).await;
        world.until_phases(name, &[("two", Phase::Running)]).await;
    }
    // It takes requests and does not answer, and its probe, whose deadline is 10 s, does not know that yet.
    world.server("one").set_mood(crate::api_server::Mood::Hanging);
    world.krake.change(|store| {
        for name in &names {
            let name = format!("one-{name}");
            store.update(&name, &[config_map(&format!("{name}-changed"))]);
            store.bind(&name, &["one"]);
        }
    });
    let server = world.server("two");
    for name in &names {
        server.erase("configmaps", "demo", name);
    }
    world.until("repaired", || server.names("configmaps").len() == names.len()).await;
    let status = world.krake.change(|store| store.clusters["one"].status.clone()).unwrap();
    let reachable = find(&status.conditions, types::REACHABLE).unwrap().status();
    assert_eq!(reachable, ConditionStatus::True, "nothing has ended the requests that hang");
    world.server("one").set_mood(crate::api_server::Mood::Well);
    world.stop().await;
}
