//! What belongs to an application within its namespace, and what does not.

use super::*;
use rstest::rstest;
use serde_json::{Value, json};

fn identity() -> Identity {
    Identity {
        installation: "inst".into(),
        application: "app".into(),
        cluster: "c".into(),
        epoch: "e".into(),
    }
}

fn entry(api_version: &str, kind: &str, name: &str, uid: &str) -> InventoryEntry {
    let key = ObjectKey {
        api_version: api_version.into(),
        kind: kind.into(),
        namespace: Some("shop".into()),
        name: name.into(),
    };
    InventoryEntry { key, uid: Some(uid.into()) }
}

fn item(api_version: &str, kind: &str, name: &str, more: Value) -> Item {
    let mut metadata = json!({"name": name, "namespace": "shop", "uid": format!("uid-{name}")});
    for (field, value) in more.as_object().into_iter().flatten() {
        metadata[field] = value.clone();
    }
    Item::of(api_version, kind, serde_json::from_value(metadata).unwrap()).unwrap()
}

fn owned_by(api_version: &str, kind: &str, uid: &str) -> Value {
    json!({"ownerReferences": [{"apiVersion": api_version, "kind": kind, "name": "x", "uid": uid}]})
}

fn marked(application: &str) -> Value {
    json!({"labels": {INSTALLATION_LABEL: "inst", APPLICATION_LABEL: application}})
}

fn held_with(items: Vec<Item>, staying: &[InventoryEntry]) -> Option<String> {
    let listed = [("", "Pod"), ("", "Secret"), ("apps", "Deployment"), ("apps", "ReplicaSet")];
    let listed = listed.map(|(group, kind)| (group.to_owned(), kind.to_owned()));
    let contents = Contents { items, listed: listed.into(), hidden: Vec::new() };
    let going =
        [entry("apps/v1", "StatefulSet", "db", "uid-db"), entry("apps/v1", "Deployment", "web", "uid-web")];
    held(&contents, Owner { identity: &identity(), going: &going, staying })
}

#[rstest]
#[case::account(item("v1", "ServiceAccount", "default", json!({})))]
#[case::authority(item("v1", "ConfigMap", "kube-root-ca.crt", json!({})))]
#[case::own(item("v1", "Secret", "s", marked("app")))]
#[case::recorded(item("v1", "Secret", "web", json!({})))]
#[case::part_of_own(item("apps/v1", "ReplicaSet", "r", owned_by("apps/v1", "Deployment", "uid-web")))]
#[case::part_of_what_is_gone(item("v1", "Pod", "p", owned_by("apps/v1", "ReplicaSet", "uid-gone")))]
#[case::going(item("v1", "Pod", "p", json!({"deletionTimestamp": "2026-01-01T00:00:00Z"})))]
#[case::claim(item("v1", "PersistentVolumeClaim", "data-db-0", json!({})))]
#[case::token(item("v1", "Secret", "t", json!({"annotations": {TOKEN_OF: "default"}})))]
fn the_applications_own(#[case] item: Item) {
    assert_eq!(held_with(vec![item], &[]), None);
}

#[rstest]
#[case::unmarked(item("v1", "Secret", "s", json!({})))]
#[case::of_another_application(item("v1", "Secret", "s", marked("other")))]
#[case::part_of_a_foreign_object(item("v1", "Pod", "p", owned_by("example.org/v1", "Tub", "uid-t")))]
#[case::part_of_own_and_of_another(item("v1", "Pod", "p", json!({"ownerReferences": [
    {"apiVersion": "apps/v1", "kind": "Deployment", "name": "x", "uid": "uid-web"},
    {"apiVersion": "v1", "kind": "Node", "name": "x", "uid": "uid-n"}]})))]
#[case::another_claim(item("v1", "PersistentVolumeClaim", "data-db-backup", json!({})))]
#[case::claim_of_another_set(item("v1", "PersistentVolumeClaim", "data-other-0", json!({})))]
#[case::another_account(item("v1", "ServiceAccount", "builder", json!({})))]
#[case::another_group(item("example.org/v1", "PersistentVolumeClaim", "data-db-0", json!({})))]
fn what_is_somebody_elses(#[case] item: Item) {
    let name = item.key.to_string();
    assert_eq!(held_with(vec![item], &[]), Some(name));
}

#[test]
fn parts_are_followed_to_their_last_owner() {
    let set = item("apps/v1", "ReplicaSet", "r", owned_by("apps/v1", "Deployment", "uid-web"));
    let pod = item("v1", "Pod", "p", owned_by("apps/v1", "ReplicaSet", "uid-r"));
    assert_eq!(held_with(vec![set.clone(), pod.clone()], &[]), None);
    let foreign = item("apps/v1", "ReplicaSet", "r", json!({}));
    let expected = "Pod shop/p, ReplicaSet shop/r";
    assert_eq!(held_with(vec![foreign, pod], &[]).as_deref(), Some(expected));
    // A ring of owners comes to an end.
    let ring = |name: &str, uid: &str| item("v1", "Pod", name, owned_by("v1", "Pod", uid));
    assert!(held_with(vec![ring("a", "uid-b"), ring("b", "uid-a")], &[]).is_some());
}

#[test]
fn what_of_the_application_stays_holds_the_namespace() {
    let stays = entry("v1", "Secret", "s", "uid-s");
    let held = held_with(vec![item("v1", "Secret", "s", marked("app"))], &[stays]);
    assert_eq!(held.as_deref(), Some("Secret shop/s"));
}

#[test]
fn the_first_are_named_and_hidden_kinds_count() {
    let names = ["d", "a", "c", "b"];
    let items = names.map(|name| item("v1", "Secret", name, json!({}))).into();
    let held = held_with(items, &[]);
    assert_eq!(held.as_deref(), Some("Secret shop/a, Secret shop/b, Secret shop/c and 1 more"));
    let contents = Contents { hidden: vec!["Tub".into()], ..Contents::default() };
    let owner = Owner { identity: &identity(), going: &[], staying: &[] };
    let expected = "perhaps objects of kind Tub, which may not be listed";
    assert_eq!(super::held(&contents, owner).as_deref(), Some(expected));
}
