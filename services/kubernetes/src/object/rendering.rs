//! Renderings: the documents of an application as they are applied to one cluster, without Krake's marks, and the hash that
//! names them. Pure.
//!
//! Marks say for whom an object was applied and are compared apart; guards by uid depend on what is found on the cluster.
//! Neither is part of a rendering, so a restore, a new registration of a cluster and a repair leave the hash as it is.

use std::fmt;

use bytes::Bytes;
use krake_proto::json::{CANONICAL_VERSION, canonical};
use ring::digest::{SHA256, digest};
use serde_json::Value;

use crate::object::{
    ADOPTED_ANNOTATION, APPLICATION_LABEL, CLUSTER_ANNOTATION, EPOCH_ANNOTATION, INSTALLATION_LABEL,
    ObjectKey, text,
};

/// SHA-256 of the canonical JSON of documents.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DocumentHash([u8; 32]);

impl DocumentHash {
    /// The hash of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
        Self(hash)
    }

    /// A hash as the API writes it; nothing if it is not 32 bytes long.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for DocumentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(6).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for DocumentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Names a set of documents. Equal documents have equal names as long as the rules of the hash are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DocumentSet {
    /// Hash of the canonical JSON.
    pub hash: DocumentHash,
    /// Version of the rules by which the documents were rendered and written.
    pub hash_version: u32,
    /// Bytes of the canonical JSON.
    pub size: u64,
}

/// A set of documents and its name. Kept as canonical JSON: parsed documents take ten times the memory.
#[derive(Clone, PartialEq)]
pub struct Rendering {
    set: DocumentSet,
    canonical: Bytes,
}

impl Rendering {
    /// The rendering of bodies as they are applied, in the order in which they are.
    pub fn of<'a>(bodies: impl IntoIterator<Item = &'a Value>) -> Self {
        let documents: Vec<_> = bodies.into_iter().map(unmarked).collect();
        Self::of_canonical(canonical(&documents).into(), CANONICAL_VERSION)
    }

    /// The rendering that has this canonical JSON, by the rules of a version.
    pub fn of_canonical(canonical: Bytes, hash_version: u32) -> Self {
        let size = u64::try_from(canonical.len()).unwrap_or(u64::MAX);
        let set = DocumentSet { hash: DocumentHash::of(&canonical), hash_version, size };
        Self { set, canonical }
    }

    /// The name.
    pub fn set(&self) -> DocumentSet {
        self.set
    }

    /// The canonical JSON.
    pub fn canonical(&self) -> &Bytes {
        &self.canonical
    }

    /// The documents.
    ///
    /// # Errors
    /// When what was read from elsewhere is no JSON array.
    pub fn documents(&self) -> serde_json::Result<Vec<Value>> {
        serde_json::from_slice(&self.canonical)
    }
}

impl fmt::Debug for Rendering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Documents hold values of Secrets.
        f.debug_tuple("Rendering").field(&self.set).finish()
    }
}

/// What names the object of a rendered document: a rendering holds the namespace of every object that has one.
pub fn key(document: &Value) -> Option<ObjectKey> {
    Some(ObjectKey {
        api_version: text(document, &["apiVersion"])?.to_owned(),
        kind: text(document, &["kind"])?.to_owned(),
        namespace: text(document, &["metadata", "namespace"]).map(str::to_owned),
        name: text(document, &["metadata", "name"])?.to_owned(),
    })
}

/// A body without Krake's marks.
fn unmarked(body: &Value) -> Value {
    let mut document = body.clone();
    let Some(metadata) = document.get_mut("metadata").and_then(Value::as_object_mut) else { return document };
    let marks = [
        ("labels", &[INSTALLATION_LABEL, APPLICATION_LABEL][..]),
        ("annotations", &[EPOCH_ANNOTATION, CLUSTER_ANNOTATION, ADOPTED_ANNOTATION][..]),
    ];
    for (field, names) in marks {
        let Some(map) = metadata.get_mut(field).and_then(Value::as_object_mut) else { continue };
        names.iter().for_each(|name| drop(map.remove(*name)));
        if map.is_empty() {
            metadata.remove(field);
        }
    }
    document
}

#[cfg(test)]
mod tests {
    use kube::core::{ApiResource, GroupVersionKind};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::cluster::discovery::ResolvedKind;
    use crate::object::Identity;
    use crate::object::prepare::prepare_all;

    fn kind(namespaced: bool) -> ResolvedKind {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("any", "v1", "Any"));
        ResolvedKind { resource, namespaced, watchable: true, promised: false }
    }

    fn identity(epoch: &str, cluster: &str) -> Identity {
        Identity {
            installation: "inst".into(),
            application: "app".into(),
            cluster: cluster.into(),
            epoch: epoch.into(),
        }
    }

    fn render(documents: &[Value], namespaced: bool, identity: &Identity, namespace: &str) -> Rendering {
        let manifest: Vec<_> = documents.iter().map(|document| (document, kind(namespaced))).collect();
        let targets = prepare_all(&manifest, identity, namespace).unwrap();
        Rendering::of(targets.iter().map(|target| &target.prepared.body))
    }

    fn config_map(metadata: Value) -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": "1"}})
    }

    #[test]
    fn marks_are_no_part_of_it_and_the_users_own_are() {
        let own = json!({"name": "c", "labels": {"tier": "edge"}, "annotations": {"note": "x"}});
        let rendered = render(&[config_map(own)], true, &identity("e1", "c1"), "d");
        let text = std::str::from_utf8(rendered.canonical()).unwrap();
        assert!(!text.contains("krake.cloud"), "{text}");
        assert!(
            text.contains(r#""labels":{"tier":"edge"}"#) && text.contains(r#""annotations":{"note":"x"}"#)
        );
        let bare = render(&[config_map(json!({"name": "c"}))], true, &identity("e1", "c1"), "d");
        assert!(!std::str::from_utf8(bare.canonical()).unwrap().contains("labels"));
    }

    #[test]
    fn a_restore_and_another_registration_leave_the_hash_and_another_namespace_does_not() {
        let documents = [config_map(json!({"name": "c"}))];
        let of = |epoch, cluster, namespace| {
            render(&documents, true, &identity(epoch, cluster), namespace).set().hash
        };
        assert_eq!(of("e1", "c1", "d"), of("e2", "c2", "d"));
        assert_ne!(of("e1", "c1", "d"), of("e1", "c1", "other"));
    }

    #[test]
    fn its_keys_are_those_of_the_objects() {
        for namespaced in [true, false] {
            let rendered = render(&[config_map(json!({"name": "c"}))], namespaced, &identity("e", "c"), "d");
            let key = key(&rendered.documents().unwrap()[0]).unwrap();
            assert_eq!((key.namespace.as_deref(), key.name.as_str()), (namespaced.then_some("d"), "c"));
        }
    }

    #[test]
    fn nothing_of_it_is_in_a_log() {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"k": "c2VjcmV0"}});
        let rendered = render(&[secret], true, &identity("e", "c"), "d");
        assert!(!format!("{rendered:?}").contains("c2VjcmV0"));
    }

    proptest! {
        /// What is read back and rendered again is the same set: a copy's own documents can be applied later.
        #[test]
        fn a_rendering_of_a_rendering_is_itself(
            kinds in prop::collection::vec(prop_oneof!["Secret", "Service", "Namespace", "Deployment"], 1..5),
            labels in prop::collection::btree_map("[a-c]", "[x-z]", 0..3),
            namespace in prop::option::of("[m-o]"),
            namespaced in any::<bool>(),
        ) {
            let documents: Vec<_> = kinds.iter().enumerate().map(|(index, kind)| {
                let api_version = if kind == "Deployment" { "apps/v1" } else { "v1" };
                json!({"apiVersion": api_version, "kind": kind, "stringData": {"k": "v"},
                    "spec": {"ports": [{"port": 80}]},
                    "metadata": {"name": format!("n{index}"), "namespace": namespace, "labels": labels}})
            }).collect();
            let first = render(&documents, namespaced, &identity("e1", "c1"), "d");
            let again = render(&first.documents().unwrap(), namespaced, &identity("e2", "c2"), "other");
            prop_assert_eq!(again, first);
        }
    }
}
