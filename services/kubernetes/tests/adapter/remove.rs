//! Removing: all that is ours, nothing that is not.

use std::sync::Arc;

use axum::http::Method;
use krake_kubernetes::cluster::connection::Connection;
use krake_kubernetes::cluster::discovery::Discovery;
use krake_kubernetes::object::remove::{Going, Remaining, Surroundings, remove};
use krake_kubernetes::object::waves::Wait;
use krake_kubernetes::object::{
    ADOPTED_ANNOTATION, APPLICATION_LABEL, INSTALLATION_LABEL, InventoryEntry, ObjectKey,
};
use serde_json::{Value, json};

use crate::api_server::{ApiServer, OLD_VERSION};
use crate::apply::{config_map, deployment, far, identity, labelled};

fn entry(object: &Value) -> InventoryEntry {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let key = ObjectKey {
        api_version: text(&object["apiVersion"]).unwrap(),
        kind: text(&object["kind"]).unwrap(),
        namespace: text(&object["metadata"]["namespace"]),
        name: text(&object["metadata"]["name"]).unwrap(),
    };
    InventoryEntry { key, uid: None }
}

async fn remove_all(server: &Arc<ApiServer>, inventory: &[Value]) -> Vec<Remaining> {
    remove_shown(server, inventory, &|_| false).await
}

/// The same while the watches of the cluster show some of the objects.
async fn remove_shown(
    server: &Arc<ApiServer>,
    inventory: &[Value],
    is_shown: &(dyn Fn(&ObjectKey) -> bool + Sync),
) -> Vec<Remaining> {
    let connection = server.connection();
    remove_by(&connection, &Discovery::new(connection.clone()), inventory, is_shown).await
}

/// The same by what is known of the kinds.
async fn remove_by(
    connection: &Connection,
    discovery: &Discovery,
    inventory: &[Value],
    is_shown: &(dyn Fn(&ObjectKey) -> bool + Sync),
) -> Vec<Remaining> {
    let inventory: Vec<_> = inventory.iter().map(entry).collect();
    let identity = identity("app-1");
    let going = Going {
        objects: &inventory,
        staying: &[],
        identity: &identity,
        with_dependents: false,
        before_successor: false,
        until: far(),
        is_shown,
        surroundings: Surroundings::default(),
    };
    let removal = remove(connection, discovery, going).await;
    assert_eq!(
        removal.wave.is_none(),
        removal.remaining.is_empty(),
        "something is waited for, or nothing is left"
    );
    removal.remaining
}

#[tokio::test]
async fn ours_go_in_reverse_order_and_others_stay() {
    let server = ApiServer::start();
    for object in [config_map("first"), config_map("second")] {
        server.put("configmaps", labelled(object, "inst", "app-1"));
    }
    let bystanders = [
        labelled(config_map("theirs"), "inst", "app-2"),
        labelled(config_map("foreign"), "elsewhere", "app-1"),
        config_map("nobodys"),
    ]
    .map(|object| server.put("configmaps", object));
    let mut inventory = vec![config_map("first"), config_map("second"), config_map("never-applied")];
    inventory.extend(bystanders.clone());
    assert_eq!(remove_all(&server, &inventory).await, []);
    let path = "DELETE /api/v1/namespaces/demo/configmaps";
    assert_eq!(server.writes(), [format!("{path}/second"), format!("{path}/first")]);
    for bystander in bystanders {
        let name = bystander["metadata"]["name"].as_str().unwrap();
        assert_eq!(server.get("configmaps", "demo", name), Some(bystander.clone()));
    }
}

#[tokio::test]
async fn an_object_that_was_replaced_meanwhile_is_not_deleted() {
    let server = ApiServer::start();
    server.put("deployments", labelled(deployment("d"), "inst", "app-1"));
    let theirs = labelled(deployment("d"), "inst", "app-2");
    server.race(Method::DELETE, "/apis/apps/v1/namespaces/demo/deployments/d", move |server| {
        server.erase("deployments", "demo", "d");
        server.put("deployments", theirs);
    });
    assert_eq!(remove_all(&server, &[deployment("d")]).await.len(), 1, "look again");
    assert_eq!(remove_all(&server, &[deployment("d")]).await, []);
    let left = server.get("deployments", "demo", "d").unwrap();
    assert_eq!(left["metadata"]["labels"][APPLICATION_LABEL], "app-2");
}

#[tokio::test]
async fn an_object_with_finalizers_remains_until_they_are_gone() {
    let server = ApiServer::start();
    let mut object = labelled(config_map("c"), "inst", "app-1");
    object["metadata"]["finalizers"] = json!(["example.org/backup"]);
    server.put("configmaps", object);
    assert_eq!(
        remove_all(&server, &[config_map("c")]).await[0].waits_for.as_ref().map(Wait::why),
        Some("its finalizers example.org/backup")
    );
    let remaining = remove_all(&server, &[config_map("c")]).await;
    assert_eq!(remaining[0].waits_for.as_ref().map(Wait::why), Some("its finalizers example.org/backup"));
    server.erase("configmaps", "demo", "c");
    assert_eq!(remove_all(&server, &[config_map("c")]).await, []);
}

#[tokio::test]
async fn an_adopted_object_is_released() {
    let server = ApiServer::start();
    let mut object = labelled(config_map("found"), "inst", "app-1");
    object["metadata"]["annotations"] = json!({ADOPTED_ANNOTATION: "true", "note": "mine"});
    object["metadata"]["labels"]["tier"] = json!("edge");
    server.put("configmaps", object);
    assert_eq!(remove_all(&server, &[config_map("found")]).await, []);
    let left = server.get("configmaps", "demo", "found").unwrap();
    assert_eq!(left["metadata"]["labels"], json!({"tier": "edge"}));
    assert_eq!(left["metadata"]["annotations"], json!({"note": "mine"}));
}

#[tokio::test]
async fn an_object_is_found_by_another_version_than_it_was_applied_by() {
    let server = ApiServer::start();
    server.put("deployments", labelled(deployment("d"), "inst", "app-1"));
    let mut applied = deployment("d");
    applied["apiVersion"] = json!("apps/v1beta1");
    assert_eq!(remove_all(&server, &[applied]).await, []);
    assert_eq!(server.get("deployments", "demo", "d"), None);
}

#[tokio::test]
async fn an_object_whose_version_was_withdrawn_meanwhile_is_found_by_another() {
    let server = ApiServer::start();
    server.put("deployments", labelled(deployment("d"), "inst", "app-1"));
    let mut applied = deployment("d");
    applied["apiVersion"] = json!(OLD_VERSION);
    server.serve_old_version(true);
    let connection = server.connection();
    let discovery = Discovery::new(connection.clone());
    discovery.resolve(OLD_VERSION, "Deployment").await.unwrap();
    server.serve_old_version(false);
    assert_eq!(remove_by(&connection, &discovery, &[applied], &|_| false).await, []);
    assert_eq!(server.get("deployments", "demo", "d"), None);
}

#[tokio::test]
async fn an_object_that_lost_one_mark_goes_and_one_that_lost_both_stays() {
    let server = ApiServer::start();
    let mut left = Vec::new();
    for (name, lost) in
        [("one", &[APPLICATION_LABEL][..]), ("both", &[APPLICATION_LABEL, INSTALLATION_LABEL][..])]
    {
        let mut object = labelled(config_map(name), "inst", "app-1");
        for label in lost {
            object["metadata"]["labels"].as_object_mut().unwrap().remove(*label);
        }
        let live = server.put("configmaps", object);
        let uid = live["metadata"]["uid"].as_str().map(str::to_owned);
        left.push(InventoryEntry { uid, ..entry(&config_map(name)) });
    }
    let connection = server.connection();
    let discovery = Discovery::new(connection.clone());
    let identity = identity("app-1");
    let going = Going {
        objects: &left,
        staying: &[],
        identity: &identity,
        with_dependents: false,
        before_successor: false,
        until: far(),
        is_shown: &|_| false,
        surroundings: Surroundings::default(),
    };
    assert_eq!(remove(&connection, &discovery, going).await.remaining, []);
    assert_eq!(server.get("configmaps", "demo", "one"), None);
    assert!(server.get("configmaps", "demo", "both").is_some());
}

#[tokio::test]
async fn a_kind_that_is_no_more_has_no_objects_and_trouble_is_not_absence() {
    let server = ApiServer::start();
    let object =
        |api_version: &str| json!({"apiVersion": api_version, "kind": "Foo", "metadata": {"name": "x"}});
    assert_eq!(remove_all(&server, &[object("gone.example/v1")]).await, []);
    server.put("configmaps", labelled(config_map("c"), "inst", "app-1"));
    let remaining = remove_all(&server, &[config_map("c"), object("metrics.k8s.io/v1beta1")]).await;
    assert_eq!(remaining.len(), 1, "{remaining:?}");
    assert!(remaining[0].waits_for.as_ref().map(Wait::why).unwrap().contains("HTTP 503"), "{remaining:?}");
    assert_eq!(server.get("configmaps", "demo", "c"), None, "trouble with one does not keep the others");
}

#[tokio::test]
async fn one_answer_that_an_object_is_not_there_proves_nothing_while_its_watch_shows_it() {
    let server = ApiServer::start();
    server.put("configmaps", labelled(config_map("a"), "inst", "app-1"));
    let all = [config_map("a")];
    for method in [Method::GET, Method::DELETE] {
        server.fail(method.clone(), "configmaps/a", 404, "NotFound", "a proxy says so");
        let left = remove_shown(&server, &all, &|key| key.name == "a").await;
        assert_eq!(left.len(), 1, "{method}");
        server.heal();
        assert_eq!(server.names("configmaps"), ["a"], "{method}");
    }
    assert_eq!(remove_shown(&server, &all, &|key| key.name == "a").await, []);
}

#[tokio::test]
async fn a_server_whose_answers_name_no_object_is_believed_when_it_serves_the_kind() {
    let server = ApiServer::start();
    server.fail(Method::GET, "configmaps/a", 404, "NotFound", "not found");
    assert_eq!(remove_all(&server, &[config_map("a")]).await, []);
    let looks = server.requests().iter().filter(|request| request.ends_with("configmaps/a")).count();
    assert_eq!(looks, 2, "once more after it was asked for its kinds");
}

#[tokio::test]
async fn an_object_whose_marks_were_taken_off_is_left_and_named() {
    let server = ApiServer::start();
    let live = server.put("configmaps", config_map("ours-once"));
    let uid = live["metadata"]["uid"].as_str().map(str::to_owned);
    let others = server.put("configmaps", config_map("never-ours"));
    let objects = [
        InventoryEntry { uid, ..entry(&live) },
        InventoryEntry { uid: Some("other".into()), ..entry(&others) },
    ];
    let (connection, identity) = (server.connection(), identity("app-1"));
    let discovery = Discovery::new(connection.clone());
    let is_shown = |_: &ObjectKey| false;
    let going = Going {
        objects: &objects,
        staying: &[],
        identity: &identity,
        with_dependents: false,
        before_successor: false,
        until: far(),
        is_shown: &is_shown,
        surroundings: Surroundings::default(),
    };
    let removal = remove(&connection, &discovery, going).await;
    assert_eq!((removal.remaining, server.writes().len()), (vec![], 0));
    let named: Vec<_> = removal.released.iter().map(|left| format!("{} {}", left.key, left.why)).collect();
    assert_eq!(named, ["ConfigMap demo/ours-once bears no mark of Krake any more"]);
}

/// Removes the namespace `demo`, which the application made, with `object` in it. Both are recorded with their uids.
async fn remove_namespace_with(server: &Arc<ApiServer>, object: Value) -> Vec<String> {
    server.mend();
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "demo"}});
    let lives =
        [server.put("namespaces", labelled(namespace, "inst", "app-1")), server.put("configmaps", object)];
    let recorded = |live: &Value| {
        let uid = live["metadata"]["uid"].as_str().map(str::to_owned);
        InventoryEntry { uid, ..entry(live) }
    };
    let objects = lives.each_ref().map(recorded);
    let (connection, identity) = (server.connection(), identity("app-1"));
    let going = Going {
        objects: &objects,
        staying: &[],
        identity: &identity,
        with_dependents: false,
        before_successor: false,
        until: far(),
        is_shown: &|_| false,
        surroundings: Surroundings::default(),
    };
    let discovery = Discovery::new(connection.clone());
    let mut released = Vec::new();
    loop {
        let removal = remove(&connection, &discovery, going).await;
        released.extend(removal.released.iter().map(|left| format!("{} {}", left.key, left.why)));
        if removal.remaining.is_empty() {
            return released;
        }
    }
}

#[tokio::test]
async fn a_namespace_stays_with_what_was_released_in_it_a_moment_before() {
    let mut adopted = labelled(config_map("left"), "inst", "app-1");
    adopted["metadata"]["annotations"] = json!({ADOPTED_ANNOTATION: "true"});
    let holds = "Namespace demo holds ConfigMap demo/left";
    let taken_off = "ConfigMap demo/left bears no mark of Krake any more";
    for (object, named) in [(adopted, vec![holds]), (config_map("left"), vec![taken_off, holds])] {
        let server = ApiServer::start();
        assert_eq!(remove_namespace_with(&server, object).await, named);
        assert!(server.get("configmaps", "demo", "left").is_some());
        assert!(server.get("namespaces", "", "demo").is_some());
    }
    let server = ApiServer::start();
    let ours = labelled(config_map("ours"), "inst", "app-1");
    assert_eq!(remove_namespace_with(&server, ours).await, [""; 0]);
    assert_eq!(server.get("namespaces", "", "demo"), None);
}
