//! Kinds: what the descriptors say about each, and the trait that its message implements.

use crate::krake::meta::v1::{KindScope, Metadata, ResourceRef};

/// A kind of resource, as its message's `krake.meta.v1.kind` option describes it.
#[derive(Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kind {
    /// API group, for example `kubernetes`.
    pub api: &'static str,
    /// Singular name, for example `Application`.
    pub kind: &'static str,
    /// Name in paths and keys, for example `applications`.
    pub plural: &'static str,
    /// Whether objects have a namespace; never `Unspecified`.
    pub scope: KindScope,
    /// Whether REST shows the fields of the spec beside the metadata.
    pub flat: bool,
    /// A usual request body in JSON; empty if the kind names none.
    pub example: &'static str,
    /// Name in REST of objects without a namespace: `kind` itself if no object has one, empty if every object has one.
    pub global_kind: &'static str,
    /// Name in REST paths of objects without a namespace.
    pub global_plural: &'static str,
    /// Full name of the message.
    pub message: &'static str,
    /// Full name of the gRPC service.
    pub service: &'static str,
    /// The plural in RPC names, from the names of the service's List and Watch: `ListApplications`.
    pub plural_rpc: &'static str,
    /// Whether the message has a status.
    pub has_status: bool,
}

impl Kind {
    /// Whether objects without a namespace exist.
    pub fn can_be_global(&self) -> bool {
        self.scope != KindScope::Namespaced
    }

    /// Whether objects with a namespace exist.
    pub fn can_be_namespaced(&self) -> bool {
        self.scope != KindScope::Global
    }

    /// The kind's name as REST and `rok` show it: the global name when the namespace is empty.
    pub fn shown(&self, namespace: &str) -> &'static str {
        if namespace.is_empty() && self.can_be_global() { self.global_kind } else { self.kind }
    }

    /// A reference to an object of this kind.
    pub fn reference(&self, metadata: &Metadata) -> ResourceRef {
        ResourceRef {
            api: self.api.into(),
            kind: self.kind.into(),
            namespace: metadata.namespace.clone(),
            name: metadata.name.clone(),
            uid: metadata.uid.clone(),
        }
    }
}

/// A message that is a resource: `metadata`, `spec` and, mostly, `status`. Implemented by the build for every kind.
pub trait Resource: prost::Message + prost::Name + Default + Clone + PartialEq + 'static {
    /// What the descriptors say about the kind.
    const KIND: &'static Kind;

    /// The metadata; every stored object has it.
    fn metadata(&self) -> Option<&Metadata>;

    /// The metadata, made if absent.
    fn metadata_mut(&mut self) -> &mut Metadata;
}

include!(concat!(env!("OUT_DIR"), "/resources.rs"));

/// Every kind, ordered by API group and name.
pub static KINDS: &[&Kind] = &ALL_KINDS;

/// Looks a kind up by API group and name; the global name is understood too.
pub fn kind(api: &str, name: &str) -> Option<&'static Kind> {
    KINDS.iter().copied().find(|kind| {
        kind.api == api && (kind.kind == name || (kind.can_be_global() && kind.global_kind == name))
    })
}
