//! What the standard methods can be told beside the object's name.

use krake_proto::krake::meta::v1::{Consistency, View};
use prost_types::FieldMask;

/// Which objects a list returns, and how.
#[derive(Debug, Clone, Default)]
pub struct ListOptions {
    /// Kubernetes label selector, for example `tier=edge,zone in (a, b)`. Empty: all.
    pub label_selector: String,
    /// How much of each object. Default: everything.
    pub view: View,
    /// How fresh the answer must be. Default: sees every write answered before.
    pub consistency: Consistency,
    /// At most this many objects per page; 0 = the server's choice.
    pub page_size: i32,
}

/// Which objects a watch follows, and from where.
#[derive(Debug, Clone)]
pub struct WatchOptions {
    /// Namespace; empty for global objects, `-` for all namespaces.
    pub namespace: String,
    /// Only the object with this name, which need not exist yet. Empty: all. Cannot be used with all namespaces.
    pub name: String,
    /// Kubernetes label selector. Empty: all.
    pub label_selector: String,
    /// How much of each object. Default: everything.
    pub view: View,
    /// Applications only: uid of a cluster that they are bound to or have a copy on. Empty: all.
    pub cluster: String,
    /// Applications only: show state and reason as Get does, and repeat an application when these change because one of
    /// its clusters became reachable or unreachable. Default: as it was last written.
    pub live_state: bool,
    /// Where to begin. Default: with all objects.
    pub start: Start,
}

impl WatchOptions {
    /// All objects of one namespace, and their changes; the empty namespace holds the global objects.
    pub fn namespace(namespace: impl Into<String>) -> Self {
        WatchOptions {
            namespace: namespace.into(),
            name: String::new(),
            label_selector: String::new(),
            view: View::Unspecified,
            cluster: String::new(),
            live_state: false,
            start: Start::InitialState,
        }
    }

    /// One object and its changes, from its creation on if it does not exist yet. A global object has the empty
    /// namespace.
    pub fn object(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        WatchOptions { name: name.into(), ..Self::namespace(namespace) }
    }

    /// All objects of all namespaces, and their changes. Global objects are not among them.
    pub fn all_namespaces() -> Self {
        Self::namespace("-")
    }
}

/// Where a watch begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// With all objects as they are; what every cache needs.
    InitialState,
    /// With the next change. Changes before the first message of the stream are missed.
    Now,
    /// With the first change after a revision, for example that of a list. If the server no longer has it, the watch
    /// starts over with all objects.
    After {
        /// The revision.
        resource_version: i64,
        /// The history that it belongs to; empty = whatever the server has.
        epoch: String,
    },
}

/// How to delete.
#[derive(Debug, Clone, Default)]
pub struct DeleteOptions {
    /// Only if the object has this version; 0 = whatever it has.
    pub resource_version: i64,
    /// Delete what belongs to the object even where its owner references say release.
    pub cascade: bool,
    /// Erase at once, whatever finalizers say, and even if other objects use it. The answer tells what stays behind.
    pub force: bool,
    /// Only the object with this uid; empty = whatever has the name.
    pub uid: String,
}

/// How an object is created.
#[derive(Debug, Clone, Default)]
pub struct CreateOptions {
    /// Check everything, store nothing.
    pub validate_only: bool,
    /// Makes the call idempotent for 10 minutes: repeated with the same id and object, it returns the present object in
    /// place of "already exists". At most 64 characters, for example a UUID. Empty: not idempotent.
    pub request_id: String,
}

/// Which fields an update writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mask {
    /// Those that are set in the object; nothing can be cleared so.
    Populated,
    /// All: what is absent is cleared.
    All,
    /// These, for example `metadata.labels` or `status.conditions`; what is absent is cleared.
    Fields(Vec<String>),
}

impl Mask {
    /// The given paths, relative to the resource.
    pub fn fields<P: Into<String>>(paths: impl IntoIterator<Item = P>) -> Self {
        Mask::Fields(paths.into_iter().map(Into::into).collect())
    }

    pub(crate) fn into_wire(self) -> Option<FieldMask> {
        match self {
            Mask::Populated => None,
            Mask::All => Some(FieldMask { paths: vec!["*".to_owned()] }),
            Mask::Fields(paths) => Some(FieldMask { paths }),
        }
    }
}
