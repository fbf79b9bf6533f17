//! How much of a namespace is looked at.

use serde_json::{Value, json};

use super::*;
use crate::cluster::scripted::Scripted;

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
async fn a_definition_that_serves_nothing_may_have_objects_all_the_same() {
    let cluster = Scripted::new(|_| page(0, false));
    let spec = json!({"group": "example.org", "names": {"kind": "Tub", "plural": "tubs"},
        "versions": [{"name": "v1", "served": false}]});
    let live = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "tubs.example.org"}, "spec": spec});
    let live: DynamicObject = serde_json::from_value(live).unwrap();
    let key = ObjectKey {
        api_version: "apiextensions.k8s.io/v1".into(),
        kind: "CustomResourceDefinition".into(),
        namespace: None,
        name: "tubs.example.org".into(),
    };
    let contents = look_into(&cluster.connection, &key, &live).await.unwrap();
    assert_eq!(contents.hidden, ["tubs.example.org"]);
}
