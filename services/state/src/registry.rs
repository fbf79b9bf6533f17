//! The registry: what each method does to the stored objects, for all kinds alike.

mod conditions;
mod create;
mod decodable;
mod delete;
mod dependents;
mod documents;
mod filter;
mod finalizers;
pub(crate) mod fuzz;
mod large;
mod observed;
mod owners;
mod page;
mod patience;
mod read;
mod rounds;
mod selector;
mod status;
mod transact;
mod update;
mod watch;

use std::sync::Arc;
use std::time::SystemTime;

use krake_proto::krake::meta::v1::{Consistency, View};
use krake_proto::{Kind, POOL};
use prost_reflect::MessageDescriptor;

pub(crate) use conditions::merge_conditions;
pub(crate) use create::{check_growth, new_uid};
pub(crate) use delete::Deletion;
pub(crate) use documents::sweep;
pub(crate) use filter::Filter;
pub(crate) use observed::Seen;
pub(crate) use read::kinds;
pub(crate) use transact::{Effect, Write, sealed};
pub(crate) use watch::{Message, Start};

use documents::ShownSets;
use patience::Patience;
use rounds::Rounds;

pub(crate) use crate::access::Call;
use crate::cache::{Cache, Stored};
pub(crate) use crate::error::Error;
use crate::object::key;
use crate::store::{Conflict, Key, Revision, Store, StoreError};

/// Returns the present time; a parameter so that tests and simulations can set it.
pub(crate) type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// Serves all methods of all kinds over a store and its cache.
pub(crate) struct Registry {
    store: Arc<dyn Store>,
    cache: Arc<Cache>,
    clock: Clock,
    watches: Arc<watch::Watches>,
    /// Reads of the store's revision.
    revisions: Rounds<Result<Revision, StoreError>>,
    /// Reads that wait for a write of our own.
    ticks: Rounds<Result<Result<Revision, Conflict>, StoreError>>,
    patience: Patience,
    shown_sets: ShownSets,
}

impl Registry {
    /// A registry over `store`. `cache` must be fed from the same store.
    pub(crate) fn new(store: Arc<dyn Store>, cache: Arc<Cache>, clock: Clock) -> Self {
        let (revisions, ticks, patience, shown_sets) = Default::default();
        Registry { store, cache, clock, watches: Arc::default(), revisions, ticks, patience, shown_sets }
    }

    /// The watch cache.
    pub(crate) fn cache(&self) -> &Cache {
        &self.cache
    }

    /// The clock by which objects are stamped.
    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The object as the store has it now.
    async fn fetch(&self, key: &Key) -> Result<Option<Arc<Stored>>, Error> {
        let Some(entry) = self.store.get(key).await? else { return Ok(None) };
        let stored =
            Stored::read(self.cache.keyring(), &entry).map_err(|error| Error::Internal(error.to_string()))?;
        Ok(stored.map(Arc::new))
    }
}

/// An object for error texts, as upstream writes it.
pub(crate) fn what(kind: &Kind, namespace: &str, name: &str) -> String {
    let shown = kind.shown(namespace);
    if namespace.is_empty() {
        format!("{shown} {name:?}")
    } else {
        format!("{shown} {name:?} in namespace {namespace:?}")
    }
}

/// Reads the view of a request. A view of a newer version is refused: what it would hide is unknown here.
pub(crate) fn view(number: i32) -> Result<View, Error> {
    let unknown = |_| Error::invalid("view", format!("is {number}; allowed are 0, 1 (BASIC) and 2 (FULL)"));
    View::try_from(number).map_err(unknown)
}

/// Reads the consistency of a request. One of a newer version is refused: what it promises is unknown here.
fn consistency(number: i32) -> Result<Consistency, Error> {
    let allowed = "allowed are 0, 1 (LINEARIZABLE) and 2 (CACHED)";
    let unknown = |_| Error::invalid("consistency", format!("is {number}; {allowed}"));
    Consistency::try_from(number).map_err(unknown)
}

/// The message of `kind`.
fn descriptor(kind: &Kind) -> MessageDescriptor {
    POOL.get_message_by_name(kind.message).expect("kinds come from the same descriptors")
}

/// The message of one section of `kind`: "spec" or "status".
fn section_descriptor(kind: &Kind, section: &str) -> Option<MessageDescriptor> {
    match descriptor(kind).get_field_by_name(section)?.kind() {
        prost_reflect::Kind::Message(message) => Some(message),
        _ => None,
    }
}

/// The violation of a namespace that is given for a kind without namespaces.
fn no_namespace(kind: &Kind, given: &str) -> String {
    format!("is {given:?}; a {} has no namespace, leave it empty", kind.kind)
}

/// The key of an object, after namespace and name were checked.
pub(crate) fn checked_key(kind: &Kind, namespace: &str, name: &str) -> Result<Key, Error> {
    let mut violations = Vec::new();
    if let Err(error) = krake_proto::name::resource_name(name) {
        violations.push(krake_proto::error::Violation::new("metadata.name", error.to_string()));
    }
    if namespace.is_empty() {
        if !kind.can_be_global() {
            let text = format!("is empty; every {} has a namespace", kind.kind);
            violations.push(krake_proto::error::Violation::new("metadata.namespace", text));
        }
    } else if !kind.can_be_namespaced() {
        let text = no_namespace(kind, namespace);
        violations.push(krake_proto::error::Violation::new("metadata.namespace", text));
    } else if let Err(error) = krake_proto::name::resource_name(namespace) {
        violations.push(krake_proto::error::Violation::new("metadata.namespace", error.to_string()));
    }
    if violations.is_empty() {
        Ok(key::resource(kind, namespace, name))
    } else {
        Err(Error::Invalid(violations))
    }
}
