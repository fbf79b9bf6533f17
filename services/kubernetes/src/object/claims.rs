//! The volume claims that StatefulSets of an application make: `<template>-<set>-<ordinal>`. They bear no mark and have no
//! owner, so that only their name tells, and a name that merely looks like one may be somebody's volume. Pure.

use std::collections::HashSet;

use serde_json::Value;

use crate::object::{InventoryEntry, ObjectKey, field, keys, text};

/// A StatefulSet and the names of its `volumeClaimTemplates`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimTemplates {
    /// The StatefulSet.
    set: ObjectKey,
    templates: Vec<String>,
}

/// The claim templates of documents. `default_namespace`: that of documents that name none.
pub(crate) fn templates(documents: &[Value], default_namespace: &str) -> Vec<ClaimTemplates> {
    documents.iter().filter_map(|document| templates_of(document, default_namespace)).collect()
}

fn templates_of(document: &Value, default_namespace: &str) -> Option<ClaimTemplates> {
    let namespace = text(document, &["metadata", "namespace"]).filter(|name| !name.is_empty());
    let set = ObjectKey {
        api_version: text(document, &["apiVersion"])?.to_owned(),
        kind: text(document, &["kind"])?.to_owned(),
        namespace: Some(namespace.unwrap_or(default_namespace).to_owned()),
        name: text(document, &["metadata", "name"])?.to_owned(),
    };
    let templates = field(document, &["spec", "volumeClaimTemplates"])?.as_array()?;
    let names = templates.iter().filter_map(|template| text(template, &["metadata", "name"]));
    let templates: Vec<_> = names.map(str::to_owned).collect();
    is_set(&set).then_some(ClaimTemplates { set, templates })
}

/// Whether objects of this kind make volume claims.
pub(crate) fn is_set(key: &ObjectKey) -> bool {
    (key.group(), key.kind.as_str()) == ("apps", "StatefulSet")
}

/// The claims of the StatefulSets that go.
pub(crate) struct Claims<'a> {
    /// Namespace, and the name without its ordinal.
    names: HashSet<(Option<&'a str>, String)>,
}

impl<'a> Claims<'a> {
    /// Those of the sets that are among `going`.
    pub(crate) fn of(templates: &'a [ClaimTemplates], going: &[InventoryEntry]) -> Self {
        let going = keys(going);
        let going_sets = templates.iter().filter(|templates| going.contains(&templates.set));
        let names = going_sets.flat_map(|ClaimTemplates { set, templates }| {
            templates.iter().map(|template| (set.namespace.as_deref(), format!("{template}-{}", set.name)))
        });
        Self { names: names.collect() }
    }

    /// Whether an object is one of them.
    pub(crate) fn hold(&self, key: &ObjectKey) -> bool {
        let is_claim = (key.group(), key.kind.as_str()) == ("", "PersistentVolumeClaim");
        let Some((name, ordinal)) = key.name.rsplit_once('-').filter(|_| is_claim) else { return false };
        let is_ordinal = ordinal == "0"
            || !ordinal.is_empty()
                && !ordinal.starts_with('0')
                && ordinal.bytes().all(|byte| byte.is_ascii_digit());
        is_ordinal && self.names.contains(&(key.namespace.as_deref(), name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::discovery::ResolvedKind;
    use crate::object::Identity;
    use crate::object::prepare::prepare_all;
    use crate::object::rendering::Rendering;
    use kube::core::{ApiResource, GroupVersionKind};
    use proptest::prelude::*;
    use serde_json::json;

    fn set(name: &str, templates: &[&str]) -> Value {
        let templates: Vec<_> = templates.iter().map(|name| json!({"metadata": {"name": name}})).collect();
        json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": name, "namespace": "shop"},
            "spec": {"volumeClaimTemplates": templates}})
    }

    fn key(api_version: &str, kind: &str, name: &str) -> ObjectKey {
        ObjectKey {
            api_version: api_version.into(),
            kind: kind.into(),
            namespace: Some("shop".into()),
            name: name.into(),
        }
    }

    /// Whether a claim is one of the set `web` with these templates.
    fn is_of_web(templates: &[&str], claim: &str) -> bool {
        let known = super::templates(&[set("web", templates)], "default");
        let going = [InventoryEntry { key: key("apps/v1", "StatefulSet", "web"), uid: None }];
        Claims::of(&known, &going).hold(&key("v1", "PersistentVolumeClaim", claim))
    }

    #[test]
    fn a_claim_is_a_sets_own_only_by_the_name_of_a_template() {
        assert!(is_of_web(&["data"], "data-web-0") && is_of_web(&["log", "data"], "data-web-17"));
        // Of a StatefulSet `my-web`, which may be gone while its volume is kept.
        assert!(!is_of_web(&["data"], "data-my-web-0"));
        assert!(is_of_web(&["data-my"], "data-my-web-0"));
        assert!(!is_of_web(&[], "data-web-0"), "what the set does not make is somebody else's");
        for other in
            ["data-web", "data-web-", "data-web-a", "data-web-00", "data-web-01", "web-0", "data-web-1-0"]
        {
            assert!(!is_of_web(&["data"], other), "{other}");
        }
    }

    #[test]
    fn only_sets_that_go_count_and_only_claims_of_their_namespace() {
        let known = super::templates(&[set("web", &["data"]), set("db", &["data"])], "default");
        let going = [InventoryEntry { key: key("apps/v1", "StatefulSet", "web"), uid: None }];
        let claims = Claims::of(&known, &going);
        let claim = key("v1", "PersistentVolumeClaim", "data-web-0");
        assert!(claims.hold(&claim));
        assert!(!claims.hold(&key("v1", "PersistentVolumeClaim", "data-db-0")), "the set stays");
        assert!(!claims.hold(&ObjectKey { namespace: Some("other".into()), ..claim }));
        assert!(!claims.hold(&key("v1", "ConfigMap", "data-web-0")));
        assert!(!claims.hold(&key("example.org/v1", "PersistentVolumeClaim", "data-web-0")));
    }

    #[test]
    fn documents_without_a_namespace_are_of_the_default_one() {
        let mut document = set("web", &["data"]);
        document["metadata"]["namespace"] = json!("");
        let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"volumeClaimTemplates": [{"metadata": {"name": "data"}}]}});
        let known = super::templates(&[document, deployment, json!({}), json!(7)], "shop");
        let expected =
            ClaimTemplates { set: key("apps/v1", "StatefulSet", "web"), templates: vec!["data".into()] };
        assert_eq!(known, [expected]);
    }

    #[test]
    fn templates_are_found_in_the_documents_that_a_cluster_was_given() {
        let identity = Identity {
            installation: "inst".into(),
            application: "app".into(),
            cluster: "c".into(),
            epoch: "e".into(),
        };
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("apps", "v1", "StatefulSet"));
        let kind = ResolvedKind { resource, namespaced: true, watchable: true, promised: false };
        let mut document = set("web", &["data"]);
        document["metadata"].as_object_mut().unwrap().remove("namespace");
        let targets = prepare_all(&[(&document, kind)], &identity, "shop").unwrap();
        let rendering = Rendering::of(targets.iter().map(|target| &target.prepared.body));
        let known = super::templates(&rendering.documents().unwrap(), "another default");
        let set = key("apps/v1", "StatefulSet", "web");
        assert_eq!(known, [ClaimTemplates { set, templates: vec!["data".into()] }]);
    }

    proptest! {
        #[test]
        fn a_claim_of_one_set_is_of_another_only_if_both_would_make_it(
            template in "[ab](-[ab]){0,2}", set_name in "[ab](-[ab]){0,2}", other in "[ab](-[ab]){0,2}",
            number in 0_u32..20,
        ) {
            let claim = format!("{template}-{set_name}-{number}");
            let makes_it = format!("{template}-{other}-{number}") == claim;
            let known = super::templates(&[set(&other, &[&template])], "default");
            let going = [InventoryEntry { key: key("apps/v1", "StatefulSet", &other), uid: None }];
            let held = Claims::of(&known, &going).hold(&key("v1", "PersistentVolumeClaim", &claim));
            prop_assert_eq!(held, makes_it);
        }
    }
}
