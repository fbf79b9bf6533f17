//! What belongs to an application within its namespace, and what does not.

use super::*;
use rstest::rstest;
use serde_json::{Value, json};

use crate::object::claims;

/// The application `app` on the cluster `c`.
fn owner<'a>(going: &'a [InventoryEntry], staying: &'a [InventoryEntry]) -> Owner<'a> {
    Owner { installation: "inst", application: "app", cluster: Some("c"), going, staying, claims: &[] }
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

/// An object of the application that was applied for a registration of the cluster.
fn marked_for(cluster: &str) -> Value {
    let mut metadata = marked("app");
    metadata["annotations"] = json!({CLUSTER_ANNOTATION: cluster});
    metadata
}

fn held_with(items: Vec<Item>, staying: &[InventoryEntry]) -> Option<String> {
    let listed = [("", "Pod"), ("", "Secret"), ("apps", "Deployment"), ("apps", "ReplicaSet")];
    let listed = listed.map(|(group, kind)| (group.to_owned(), kind.to_owned()));
    let contents = Contents { items, listed: listed.into(), ..Contents::default() };
    let going =
        [entry("apps/v1", "StatefulSet", "db", "uid-db"), entry("apps/v1", "Deployment", "web", "uid-web")];
    let set = json!({"apiVersion": "apps/v1", "kind": "StatefulSet",
        "metadata": {"name": "db", "namespace": "shop"},
        "spec": {"volumeClaimTemplates": [{"metadata": {"name": "data"}}]}});
    let claims = claims::templates(&[set], "default");
    held(&contents, Owner { claims: &claims, ..owner(&going, staying) })
}

#[rstest]
#[case::account(item("v1", "ServiceAccount", "default", json!({})))]
#[case::authority(item("v1", "ConfigMap", "kube-root-ca.crt", json!({})))]
#[case::own(item("v1", "Secret", "s", marked("app")))]
#[case::applied_for_this_registration(item("v1", "Secret", "s", marked_for("c")))]
#[case::recorded_and_half_marked(item("v1", "Secret", "web", json!({"labels": {APPLICATION_LABEL: "app"}})))]
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
#[case::released_a_moment_ago(item("v1", "Secret", "web", json!({})))]
#[case::half_marked_and_not_recorded(item("v1", "Secret", "s", json!({"labels": {APPLICATION_LABEL: "app"}})))]
#[case::recorded_and_marked_by_another(item("v1", "Secret", "web", json!({"labels": {INSTALLATION_LABEL: "x"}})))]
#[case::of_another_application(item("v1", "Secret", "s", marked("other")))]
#[case::part_of_a_foreign_object(item("v1", "Pod", "p", owned_by("example.org/v1", "Tub", "uid-t")))]
#[case::part_of_own_and_of_another(item("v1", "Pod", "p", json!({"ownerReferences": [
    {"apiVersion": "apps/v1", "kind": "Deployment", "name": "x", "uid": "uid-web"},
    {"apiVersion": "v1", "kind": "Node", "name": "x", "uid": "uid-n"}]})))]
#[case::another_claim(item("v1", "PersistentVolumeClaim", "data-db-backup", json!({})))]
#[case::claim_of_another_set(item("v1", "PersistentVolumeClaim", "data-other-0", json!({})))]
#[case::claim_of_a_set_whose_name_ends_alike(item("v1", "PersistentVolumeClaim", "data-my-db-0", json!({})))]
#[case::applied_for_another_registration(item("v1", "Secret", "s", marked_for("other")))]
#[case::recorded_and_since_applied_for_another_registration(item(
    "v1",
    "Secret",
    "web",
    marked_for("other")
))]
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
    let held = |contents: Contents| super::held(&contents, owner(&[], &[]));
    let expected = "perhaps objects of kind Tub, which may not be listed";
    let hidden = Contents { hidden: vec!["Tub".into()], ..Contents::default() };
    assert_eq!(held(hidden).as_deref(), Some(expected));
    let expected = "more objects than Krake looks at, those of kind Tub";
    let crowded = Contents { crowded: vec!["Tub".into()], ..Contents::default() };
    assert_eq!(held(crowded).as_deref(), Some(expected));
}

#[test]
fn a_namespace_with_the_living_copy_of_another_registration_is_held_with_all_its_parts() {
    let web = item("apps/v1", "Deployment", "web", marked_for("other"));
    let set = item("apps/v1", "ReplicaSet", "r", owned_by("apps/v1", "Deployment", "uid-web"));
    let held_by = held_with(vec![web.clone(), set.clone()], &[]);
    assert_eq!(held_by.as_deref(), Some("Deployment shop/web, ReplicaSet shop/r"));
    // For whom registrations do not matter, all of the application is its own.
    let contents = Contents { items: vec![web, set], ..Contents::default() };
    assert_eq!(held(&contents, Owner { cluster: None, ..owner(&[], &[]) }), None);
}

/// Layers of 100 objects, each of them owned by all of the layer before; the first layer goes by itself or does not.
fn layers(first_goes: bool) -> Vec<Item> {
    let name = |layer: usize, number: usize| format!("l{layer}-{number}");
    let mut items = Vec::new();
    for layer in 0..12 {
        for number in 0..100 {
            let mut metadata = json!({});
            if layer > 0 {
                let owner = |number| {
                    json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "x",
                    "uid": format!("uid-{}", name(layer - 1, number))})
                };
                metadata["ownerReferences"] = (0..100).map(owner).collect();
            } else if first_goes {
                metadata["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            }
            items.push(item("v1", "ConfigMap", &name(layer, number), metadata));
        }
    }
    items
}

#[test]
fn a_fan_of_owners_costs_each_reference_once() {
    assert_eq!(held_with(layers(true), &[]), None);
    let held = held_with(layers(false), &[]).unwrap();
    assert!(held.ends_with("and 1197 more"), "{held}");
}

#[test]
fn a_long_chain_of_owners_is_followed_to_its_end() {
    let link = |number: usize| {
        let owner = owned_by("v1", "ConfigMap", &format!("uid-c{}", number + 1));
        item("v1", "ConfigMap", &format!("c{number}"), if number < 20_000 { owner } else { marked("app") })
    };
    assert_eq!(held_with((0..=20_000).map(link).collect(), &[]), None);
}
