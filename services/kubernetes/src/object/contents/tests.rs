//! How much of a namespace is looked at.

use serde_json::{Value, json};

use super::*;
use crate::cluster::scripted::{Scripted, not_served};

fn kind(name: &str, plural: &str) -> ResolvedKind {
    let resource = kube::core::ApiResource {
        group: String::new(),
        version: "v1".into(),
        api_version: "v1".into(),
        kind: name.into(),
        plural: plural.into(),
    };
    ResolvedKind { resource, namespaced: true, watchable: true, promised: false }
}

/// A page with so many objects, after which others come or not.
fn page(objects: usize, goes_on: bool) -> (u16, Value) {
    let item = |number: usize| json!({"metadata": {"name": format!("o{number}"), "namespace": "demo"}});
    let items: Vec<_> = (0..objects).map(item).collect();
    let token = if goes_on { "next" } else { "" };
    (
        200,
        json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
        "metadata": {"continue": token}, "items": items}),
    )
}

const FEW: Limits = Limits { of_kind: 20, objects: 30, pages: 5 };

async fn looked_at(answer: fn(&str) -> (u16, Value)) -> (Contents, usize) {
    let cluster = Scripted::new(move |asked| answer(&asked.line));
    let kinds = vec![kind("ConfigMap", "configmaps"), kind("Secret", "secrets")];
    let contents = contents(&cluster.connection, kinds, Some("demo"), FEW).await.unwrap();
    (contents, cluster.asked("GET ").len())
}

#[tokio::test]
async fn all_is_looked_at_where_it_is_not_much() {
    let (contents, _) = looked_at(|_| page(5, false)).await;
    assert_eq!((contents.items.len(), contents.listed.len(), contents.crowded.len()), (10, 2, 0));
}

#[tokio::test]
async fn pages_that_bring_nothing_come_to_an_end() {
    let (contents, asked) = looked_at(|_| page(0, true)).await;
    assert_eq!((contents.crowded, asked), (vec!["ConfigMap".to_owned(), "Secret".to_owned()], 10));
}

#[tokio::test]
async fn one_kind_and_all_kinds_have_a_bound_each() {
    let (contents, asked) = looked_at(|line| page(10, line.contains("/secrets"))).await;
    assert_eq!((contents.crowded, asked), (vec!["Secret".to_owned()], 3), "20 of a kind");
    let all = Limits { of_kind: 1_000, ..FEW };
    let cluster = Scripted::new(|asked| page(15, asked.line.contains("/secrets")));
    let kinds = vec![kind("ConfigMap", "configmaps"), kind("Secret", "secrets")];
    let contents = super::contents(&cluster.connection, kinds, Some("demo"), all).await.unwrap();
    assert_eq!(contents.crowded, ["Secret"]);
    assert!(contents.items.len() <= 45, "30 of all kinds, to the end of a page: {}", contents.items.len());
}

#[tokio::test]
async fn that_a_kind_is_not_found_which_was_just_listed_is_trouble_and_not_absence() {
    for first_page in [false, true] {
        let cluster = Scripted::new(move |asked| match first_page && !asked.line.contains("continue") {
            true => page(5, true),
            false => not_served(),
        });
        let kinds = vec![kind("ConfigMap", "configmaps")];
        let looked = contents(&cluster.connection, kinds, Some("demo"), FEW).await;
        assert!(matches!(looked, Err(ClusterError::Busy(_))), "{looked:?}");
    }
}

/// A definition of `tubs.example.org`, and what is found in it by a cluster that does not serve it.
async fn looked_into(status: Value, served: bool) -> Result<Contents, ClusterError> {
    let cluster = Scripted::new(|_| not_served());
    let spec = json!({"group": "example.org", "names": {"kind": "Tub", "plural": "tubs"},
        "versions": [{"name": "v1", "served": served}]});
    let live = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "tubs.example.org"}, "spec": spec, "status": status});
    let live: DynamicObject = serde_json::from_value(live).unwrap();
    let key = ObjectKey {
        api_version: "apiextensions.k8s.io/v1".into(),
        kind: "CustomResourceDefinition".into(),
        namespace: None,
        name: "tubs.example.org".into(),
    };
    look_into(&cluster.connection, &key, &live).await
}

#[tokio::test]
async fn a_definition_whose_names_others_have_holds_nothing() {
    let status = |names: &str, established: &str| {
        let named = json!({"type": "NamesAccepted", "status": names});
        json!({"conditions": [named, {"type": "Established", "status": established}]})
    };
    assert!(looked_into(status("False", "False"), true).await.unwrap().items.is_empty());
    assert!(looked_into(status("True", "True"), true).await.is_err());
    assert!(looked_into(status("True", "False"), true).await.is_err(), "it is being installed");
    assert!(looked_into(json!({}), true).await.is_err());
}

#[tokio::test]
async fn a_definition_that_serves_nothing_may_have_objects_all_the_same() {
    let contents = looked_into(json!({}), false).await.unwrap();
    assert_eq!(contents.hidden, ["tubs.example.org"]);
}
