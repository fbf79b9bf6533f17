//! Removal in waves, and namespaces and definitions that hold what is not the application's.

use std::time::Duration;

use axum::http::Method;
use krake_kubernetes::object::{APPLICATION_LABEL, CLUSTER_ANNOTATION, EPOCH_ANNOTATION, INSTALLATION_LABEL};
use krake_proto::condition::{reasons, types};
use krake_proto::krake::kubernetes::v1::{Application, MigrationStrategy, Phase};
use serde_json::{Value, json};

use crate::apply::{config_map, deployment};
use crate::controllers::{definition, tub};
use crate::world::{World, reason};

fn namespace() -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "demo"}})
}

fn secret(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "demo"}})
}

/// An application that runs on `one`, whose groups all answer.
async fn running(manifest: &[Value], removal_deadline: Duration) -> World {
    let mut world = World::prepare().await;
    world.removal_deadline = removal_deadline;
    world.server("one").run_workloads();
    world.server("one").mend();
    if manifest.contains(&namespace()) {
        world.server("one").erase("namespaces", "", "demo");
    }
    world.start_adapter();
    world.krake.change(|store| store.create("app", manifest, "one"));
    world.until_phases("app", &[("one", Phase::Running)]).await;
    world
}

async fn delete(world: &World) {
    world.krake.change(|store| store.delete::<Application>("app"));
    world.krake.until("erased", |store| store.applications.is_empty().then_some(())).await;
}

fn deletions(world: &World) -> Vec<String> {
    world.journal().iter().filter_map(|entry| entry.strip_prefix("one DELETE ").map(str::to_owned)).collect()
}

#[tokio::test]
async fn an_operator_outlives_its_objects_and_what_is_waited_for_is_told() {
    let mut tub = tub();
    tub["metadata"]["finalizers"] = json!(["baths.example/drain"]);
    let manifest = [namespace(), definition(), deployment("operator"), tub];
    let world = running(&manifest, Duration::from_millis(1)).await;
    world.krake.change(|store| store.delete::<Application>("app"));
    let told = || reason(&world, "app", "one", types::AVAILABLE).filter(|(_, text)| text.contains("--force"));
    world.until("told", || told().is_some()).await;
    let (why, message) = told().unwrap();
    assert_eq!(why, reasons::WAITING_FOR_REMOVAL);
    let expected = "Tub demo/t waits for its finalizers baths.example/drain; what comes after that: 3";
    assert!(message.starts_with(expected), "{message}");
    let server = world.server("one");
    assert_eq!(server.names("deployments"), ["operator"], "who could take it off");
    assert_eq!(deletions(&world), ["tubs/t"]);
    server.erase("tubs", "demo", "t");
    world.krake.until("erased", |store| store.applications.is_empty().then_some(())).await;
    let definition = "customresourcedefinitions/tubs.baths.example";
    assert_eq!(deletions(&world), ["tubs/t", "deployments/operator", definition, "namespaces/demo"]);
    world.stop().await;
}

#[tokio::test]
async fn a_namespace_that_holds_what_is_somebody_elses_is_released() {
    let world = running(&[namespace(), config_map("a")], Duration::from_secs(60)).await;
    let server = world.server("one");
    let theirs = server.put("secrets", secret("theirs"));
    delete(&world).await;
    assert_eq!(deletions(&world), ["configmaps/a"]);
    assert_eq!(server.get("secrets", "demo", "theirs"), Some(theirs));
    let left = server.get("namespaces", "", "demo").unwrap();
    for label in [INSTALLATION_LABEL, APPLICATION_LABEL] {
        assert_eq!(left["metadata"]["labels"].get(label), None, "no survey takes it for an orphan");
    }
    let journal = world.journal();
    let told = journal.iter().rposition(|entry| entry == "report Removing app/one");
    let patched = journal.iter().position(|entry| entry == "one PATCH namespaces/demo");
    assert!(patched.is_some() && told > patched, "it is told: {journal:?}");
    world.stop().await;
}

#[tokio::test]
async fn a_claim_goes_with_its_namespace_only_if_a_set_of_the_application_made_it() {
    let volume = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    let set = json!({"apiVersion": "apps/v1", "kind": "StatefulSet",
    "metadata": {"name": "web", "namespace": "demo"},
    "spec": {
        "replicas": 0, "serviceName": "web", "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "main", "image": "none"}]}},
        "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": volume}],
    }});
    let claim = |name: &str| {
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "namespace": "demo"}, "spec": volume})
    };
    // The second one is of a set `my-web` that is gone, and whose volume was kept.
    for (kept, is_left) in [(None, false), (Some("data-my-web-0"), true)] {
        let world = running(&[namespace(), set.clone()], Duration::from_secs(60)).await;
        let server = world.server("one");
        for name in [Some("data-web-0"), kept].into_iter().flatten() {
            server.put("persistentvolumeclaims", claim(name));
        }
        delete(&world).await;
        assert_eq!(server.get("namespaces", "", "demo").is_some(), is_left, "{kept:?}");
        world.stop().await;
    }
}

#[tokio::test]
async fn kinds_that_may_not_be_listed_count_as_somebody_elses() {
    let world = running(&[namespace(), config_map("a")], Duration::from_secs(60)).await;
    world.server("one").fail(Method::GET, "/namespaces/demo/secrets", 403, "Forbidden", "not you");
    delete(&world).await;
    assert!(world.server("one").get("namespaces", "", "demo").is_some());
    world.stop().await;
}

#[tokio::test]
async fn a_namespace_whose_contents_cannot_be_known_is_waited_for() {
    let world = running(&[namespace()], Duration::from_millis(1)).await;
    let server = world.server("one");
    server.fail(Method::GET, "/namespaces/demo/secrets", 500, "InternalError", "etcd is away");
    world.krake.change(|store| store.delete::<Application>("app"));
    let told = || reason(&world, "app", "one", types::AVAILABLE);
    world.until("told", || told().is_some_and(|(_, text)| text.contains("etcd is away"))).await;
    assert!(server.get("namespaces", "", "demo").is_some());
    server.heal();
    world.krake.until("erased", |store| store.applications.is_empty().then_some(())).await;
    assert_eq!(server.get("namespaces", "", "demo"), None);
    world.stop().await;
}

#[tokio::test]
async fn a_definition_with_objects_of_others_is_released() {
    let world = running(&[definition(), tub()], Duration::from_secs(60)).await;
    let server = world.server("one");
    let mut theirs = tub();
    theirs["metadata"]["name"] = json!("theirs");
    theirs["metadata"]["namespace"] = json!("elsewhere");
    server.put("tubs", theirs);
    delete(&world).await;
    assert_eq!(deletions(&world), ["tubs/t"]);
    assert_eq!(server.names("tubs"), ["theirs"]);
    let left = server.get("customresourcedefinitions", "", "tubs.baths.example").unwrap();
    assert_eq!(left["metadata"]["labels"].get(APPLICATION_LABEL), None);
    world.stop().await;
}

#[tokio::test]
async fn a_namespace_that_leaves_the_manifest_takes_nothing_along() {
    let world = running(&[namespace(), config_map("a")], Duration::from_secs(60)).await;
    world.krake.change(|store| {
        store.update("app", &[config_map("a")]);
        store.bind("app", &["one"]);
    });
    let server = world.server("one");
    let released = || {
        let namespace = server.get("namespaces", "", "demo");
        namespace.is_some_and(|namespace| namespace["metadata"]["labels"].get(APPLICATION_LABEL).is_none())
    };
    world.until("released", released).await;
    assert!(server.get("configmaps", "demo", "a").is_some());
    let pruned = |store: &crate::fake_store::Store| {
        let copies = store.copies("app");
        (copies[0].inventory.len() == 1 && copies[0].phase() == Phase::Running).then_some(())
    };
    world.krake.until("pruned", pruned).await;
    world.stop().await;
}

#[tokio::test]
async fn an_orphaned_namespace_goes_after_its_contents_unless_it_holds_what_is_somebody_elses() {
    let mut world = World::prepare().await;
    let server = world.server("one").clone();
    server.mend();
    world.krake.change(|store| store.tombstones.insert("uid-erased".into()));
    let orphan = |mut object: Value| {
        object["metadata"]["labels"] = json!({INSTALLATION_LABEL: "inst", APPLICATION_LABEL: "uid-erased"});
        object["metadata"]["annotations"] = json!({EPOCH_ANNOTATION: "e1", CLUSTER_ANNOTATION: "uid-one"});
        object
    };
    let mut shared = namespace();
    shared["metadata"]["name"] = json!("shared");
    let mut theirs = secret("theirs");
    theirs["metadata"]["namespace"] = json!("shared");
    server.put("namespaces", orphan(namespace()));
    server.put("namespaces", orphan(shared));
    server.put("secrets", orphan(secret("own")));
    server.put("secrets", theirs);
    world.start_adapter();
    world.until("swept", || server.names("secrets") == ["theirs"]).await;
    world.until("the empty one swept", || server.get("namespaces", "", "demo").is_none()).await;
    let released = || {
        let left = server.get("namespaces", "", "shared").unwrap();
        left["metadata"]["labels"].get(APPLICATION_LABEL).is_none()
    };
    world.until("the shared one released", released).await;
    world.stop().await;
}

/// Deletes an application with this strategy; returns whether its objects went only with all that they own.
async fn waits_for_dependents(strategy: MigrationStrategy) -> Vec<bool> {
    let world = running(&[config_map("a"), deployment("echo")], Duration::from_secs(120)).await;
    world.krake.change(|store| {
        let mut application = store.applications["app"].clone();
        application.spec.as_mut().unwrap().migration_strategy = strategy.into();
        store.put(application);
    });
    delete(&world).await;
    let requests = world.server("one").requests();
    let deletions = requests.iter().filter(|request| request.starts_with("DELETE "));
    let waits = deletions.map(|request| request.ends_with(" (foreground)")).collect();
    world.stop().await;
    waits
}

#[tokio::test]
async fn what_must_not_run_twice_is_gone_only_with_what_it_owns() {
    assert_eq!(waits_for_dependents(MigrationStrategy::DeleteFirst).await, [true, true]);
    assert_eq!(waits_for_dependents(MigrationStrategy::CreateFirst).await, [false, false]);
}
