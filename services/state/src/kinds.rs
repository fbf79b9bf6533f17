//! The rules of each kind, one file a kind. Everything else in this crate is generic: it asks these rules and names no
//! kind.

mod application;
mod cluster;
mod condition;
mod metric;
mod metrics_provider;
mod role;
mod role_binding;

use bytes::Bytes;
use futures::future::BoxFuture;
use krake_proto::Kind;
use krake_proto::error::Violation;
use krake_proto::krake::meta::v1::{Condition, Metadata};
use prost::{DecodeError, Message};
use prost_reflect::DynamicMessage;

use crate::admission::{Documents, Findings};
use crate::cache::{Absences, Stored};
use crate::documents::{Hash, Set};
use crate::object::sections::Sections;
use crate::object::wire::Malformed;
use crate::registry::{Call, Error, Registry};

/// What is particular about one kind. A kind sets what it needs over [`KindRules::of`].
pub(crate) struct KindRules {
    /// The kind.
    pub(crate) kind: &'static Kind,
    /// An encoded spec with the defaults of fields that a caller may leave out.
    pub(crate) defaults: fn() -> Vec<u8>,
    /// Replaces what stands for several values in a submitted spec.
    pub(crate) unfold: fn(&mut DynamicMessage),
    /// Fills output fields inside an admitted spec.
    pub(crate) complete: fn(&mut DynamicMessage, &Documents),
    /// Checks a whole encoded spec. The object's namespace decides what it may refer to.
    pub(crate) admit: fn(namespace: &str, spec: &[u8], &Documents, &mut Findings),
    /// Numbers of the status fields that the state service derives at each write.
    pub(crate) derived: &'static [u32],
    /// Computes the derived fields from the metadata and the encoded status: an encoded status that holds nothing else.
    pub(crate) derive: fn(&Metadata, status: &[u8]) -> Result<Vec<u8>, DecodeError>,
    /// Numbers of the status fields that reads derive anew for an object on clusters that are unreachable.
    pub(crate) derived_on_read: &'static [u32],
    /// Computes these fields from the metadata and the encoded status: an encoded status that holds nothing else.
    pub(crate) derive_on_read: DeriveOnRead,
    /// Why, by its encoded status, what is on a cluster of this kind can neither be seen nor changed. `None`: it can, or
    /// nothing is known, or objects of this kind are no clusters.
    pub(crate) absence: fn(status: &[u8]) -> Option<Condition>,
    /// Numbers of the status fields that `UpdateStatus` refuses, since an RPC of their own writes them.
    pub(crate) reserved: &'static [u32],
    /// The uids of the clusters that an object with this encoded status is on: the index of watches by cluster.
    pub(crate) clusters: fn(status: &[u8]) -> Result<Vec<String>, Malformed>,
    /// Whether watches may be filtered by cluster.
    pub(crate) is_on_clusters: bool,
    /// Finalizers that the state service sets. Callers can neither add nor remove them by an update.
    pub(crate) managed_finalizers: &'static [ManagedFinalizer],
    /// Krake's own condition types that have their place in `status.conditions`. Those of other programs have theirs
    /// everywhere.
    pub(crate) conditions: &'static [OwnCondition],
    /// Checks an encoded status that `UpdateStatus` submits, beyond its conditions.
    pub(crate) admit_status: fn(status: &[u8], &mut Findings),
    /// Objects that name an object of this kind, and so must not lose it by a deletion without `force`.
    pub(crate) users: &'static [Relation],
    /// Rewrites of what older versions stored; each runs once, at start.
    pub(crate) upgrades: &'static [Upgrade],
    /// The hashes of the sets of documents that an object names; `None` for kinds that have no such sets.
    pub(crate) documents: Option<NamedSets>,
    /// The part of a spec whose documents may be a set of their own.
    pub(crate) large: Option<&'static LargePart>,
    /// The status fields that show the documents of a set where one object is read.
    pub(crate) shown: Option<&'static ShownSet>,
    /// RPCs whose requests may be larger than those of all others, since they carry sets of documents.
    pub(crate) large_requests: &'static [&'static str],
    /// RPCs of the kind's service beside the standard methods.
    pub(crate) custom_methods: &'static [CustomMethod],
}

/// Returns the hashes of the sets of documents that an object names.
type NamedSets = fn(&Sections) -> Result<Vec<Hash>, Malformed>;
/// Returns the set that an encoded section names.
type FindSet = fn(&[u8]) -> Result<Option<Set>, Malformed>;
/// Returns a spec that names only sets that the given specs name.
type Settle = fn(Vec<u8>, &[&[u8]]) -> Checked<Vec<u8>>;
/// Returns a spec with the text of its set.
type Merge = fn(&[u8], &[u8]) -> Result<Vec<u8>, Malformed>;
/// Returns encoded fields from the text of a set and an encoded observation.
type EncodeShown = fn(&Shown, &[u8], Option<&[u8]>) -> serde_json::Result<Vec<u8>>;
/// What was checked, or why it is refused.
type Checked<T> = Result<T, Vec<Violation>>;

/// A part of a spec whose documents are stored apart where they are large. Then the spec names their set.
pub(crate) struct LargePart {
    /// The field of the spec.
    pub(crate) field: &'static str,
    /// The field of the spec that names the set.
    pub(crate) set_field: &'static str,
    /// Takes large documents out of an encoded spec, after their admission. `None` if they are not large. The first
    /// argument is the object's namespace.
    pub(crate) extract: fn(&str, &Bytes) -> Checked<Option<Extracted>>,
    /// The encoded spec with a part that holds its documents, or names a set that one of the given specs names.
    pub(crate) settle: Settle,
    /// The set that an encoded spec names.
    pub(crate) set: FindSet,
    /// The encoded spec with the documents of its set, whose text is the second argument.
    pub(crate) merge: Merge,
}

/// Status fields that are not stored: whoever reads one object gets them from a set of documents, and from what was seen of
/// their objects. All are of [`KindRules::derived`], so that nobody writes them.
pub(crate) struct ShownSet {
    /// What an encoded status shows.
    pub(crate) find: fn(status: &[u8]) -> Result<Option<Shown>, Malformed>,
    /// The encoded fields, from the text of the set and what was seen.
    pub(crate) encode: EncodeShown,
}

/// What is shown with an object.
pub(crate) struct Shown {
    /// The set.
    pub(crate) set: Set,
    /// uid of the cluster on which its objects are looked at.
    pub(crate) cluster_uid: String,
}

/// What was taken out of a spec.
pub(crate) struct Extracted {
    /// The encoded spec, which names the set.
    pub(crate) spec: Bytes,
    /// The text of the set.
    pub(crate) documents: Bytes,
}

/// An RPC that only one kind has.
#[derive(Clone, Copy)]
pub(crate) struct CustomMethod {
    /// Name of the RPC, for example `BindApplication`.
    pub(crate) name: &'static str,
    /// It changes nothing, so a large answer may wait for room and be read again.
    pub(crate) reads: bool,
    /// Serves one encoded request.
    pub(crate) serve: Serve,
}

/// Computes derived fields from the metadata, the encoded status, and what is absent at present.
type DeriveOnRead = fn(&Metadata, status: &[u8], &Absences) -> Result<Vec<u8>, DecodeError>;

/// Serves an encoded request with an encoded response.
type Serve = for<'a> fn(&'a Registry, &'a Call, Bytes) -> BoxFuture<'a, Result<Bytes, Error>>;

/// A finalizer that the state service sets and guards.
pub(crate) struct ManagedFinalizer {
    /// Its name, from `krake_proto::finalizer`.
    pub(crate) name: &'static str,
    /// What it stands for.
    pub(crate) needed: Need,
}

/// A condition type of Krake's own, in its place.
pub(crate) struct OwnCondition {
    /// Its name, from `krake_proto::condition::types`.
    pub(crate) r#type: &'static str,
    /// The service that writes it.
    pub(crate) writer: &'static str,
}

/// What keeps a managed finalizer on its object.
pub(crate) enum Need {
    /// The object's own encoded status. Without the need the finalizer is dropped when the deletion begins.
    Status(fn(status: &[u8]) -> Result<bool, DecodeError>),
    /// Any other object that stands in this relation. A controller removes the finalizer when there is none.
    Others(Relation),
}

/// A relation of other objects to one.
pub(crate) struct Relation {
    /// The kind of the other objects.
    pub(crate) of: &'static Kind,
    /// Whether the first object stands in the relation to the second. An error means that it cannot be read and must
    /// count as one that does.
    pub(crate) holds: fn(other: &Stored, to: &Stored) -> Result<bool, Malformed>,
    /// The relation for error texts: "<other object> <has>".
    pub(crate) has: &'static str,
}

/// A rewrite of what an older version stored.
pub(crate) struct Upgrade {
    /// Names the record that it is done; never used again for another rewrite.
    pub(crate) name: &'static str,
    /// The sections that replace the stored ones, `None` if the object stays as it is. The derived fields of the status
    /// are computed anew afterwards. `find` returns an object of a kind by namespace and name.
    pub(crate) rewrite: fn(&Stored, find: &Find<'_>) -> Result<Option<Rewritten>, Malformed>,
}

/// Looks an object up by kind, namespace and name.
pub(crate) type Find<'a> = dyn Fn(&'static Kind, &str, &str) -> Option<std::sync::Arc<Stored>> + 'a;

/// What an upgrade makes of an object.
pub(crate) struct Rewritten {
    /// The new sections.
    pub(crate) sections: Sections,
    /// What changed, if a person should read it in the log; otherwise only the number of objects is logged.
    pub(crate) report: Option<String>,
}

impl KindRules {
    /// A kind without defaults, derived fields, relations or special finalizers, whose spec is checked by `admit`.
    const fn of(kind: &'static Kind, admit: fn(&str, &[u8], &Documents, &mut Findings)) -> Self {
        KindRules {
            kind,
            defaults: Vec::new,
            unfold: |_| {},
            complete: |_, _| {},
            admit,
            derived: &[],
            derive: |_, _| Ok(Vec::new()),
            derived_on_read: &[],
            derive_on_read: |_, _, _| Ok(Vec::new()),
            absence: |_| None,
            reserved: &[],
            clusters: |_| Ok(Vec::new()),
            is_on_clusters: false,
            managed_finalizers: &[],
            conditions: &[],
            admit_status: |_, _| {},
            users: &[],
            upgrades: &[],
            documents: None,
            large: None,
            shown: None,
            large_requests: &[],
            custom_methods: &[],
        }
    }

    /// The custom method of this name.
    pub(crate) fn custom_method(&self, name: &str) -> Option<&'static CustomMethod> {
        self.custom_methods.iter().find(|method| method.name == name)
    }

    /// The managed finalizer of this name.
    pub(crate) fn managed(&self, finalizer: &str) -> Option<&'static ManagedFinalizer> {
        self.managed_finalizers.iter().find(|managed| managed.name == finalizer)
    }
}

/// All rules. A kind without an entry is part of the contract, but its objects are refused.
static RULES: &[&KindRules] = &[
    &application::RULES,
    &cluster::RULES,
    &metric::RULES,
    &metrics_provider::RULES,
    &role::RULES,
    &role_binding::RULES,
];

/// The rules of `kind`; `None` if its objects are not supported yet.
pub(crate) fn rules(kind: &Kind) -> Option<&'static KindRules> {
    RULES.iter().copied().find(|rules| rules.kind.message == kind.message)
}

/// All rules, for work that goes through all kinds.
pub(crate) fn all() -> impl Iterator<Item = &'static KindRules> {
    RULES.iter().copied()
}

/// Runs `check` on a decoded spec; bytes that are no such spec are a finding.
fn typed<S: Message + Default>(spec: &[u8], findings: &mut Findings, check: impl FnOnce(&S, &mut Findings)) {
    if let Some(spec) = findings.check("spec", S::decode(spec)) {
        check(&spec, findings);
    }
}

#[cfg(test)]
mod tests;
