//! What becomes of an object at the moment when its cluster accepts it, while later ones are still on their way.

use std::collections::{BTreeMap, HashMap};

use super::memory::Memory;
use super::view::Piece;
use crate::cluster::ClusterHandle;
use crate::object::apply::{Accepts, AppliedObject, ApplyError, sort_by};
use crate::object::drift::Baseline;
use crate::object::{ApplicationUid, ClusterUid, InventoryEntry, ObjectKey};
use crate::plan::Apply;

/// Shows each object to the cache, where a later event of the watch replaces it, and remembers of which documents it is.
pub(super) struct Accepting<'a> {
    handle: &'a ClusterHandle,
    memory: &'a Memory,
    application: &'a ApplicationUid,
    cluster: &'a ClusterUid,
    what: Apply,
    pieces: HashMap<&'a ObjectKey, &'a Piece>,
    entries: Vec<InventoryEntry>,
    failures: BTreeMap<ObjectKey, ApplyError>,
    used: Vec<ObjectKey>,
}

impl<'a> Accepting<'a> {
    pub(super) fn new(
        handle: &'a ClusterHandle,
        memory: &'a Memory,
        application: &'a ApplicationUid,
        cluster: &'a ClusterUid,
        (what, pieces): (Apply, &'a [Piece]),
    ) -> Self {
        let (entries, used, failures) = (Vec::new(), Vec::new(), BTreeMap::new());
        let pieces = pieces.iter().map(|piece| (&piece.target.prepared.key, piece)).collect();
        Self { handle, memory, application, cluster, what, pieces, entries, used, failures }
    }

    /// Whether nothing was accepted so far.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What was accepted; which of it is not the application's, and used; what was not accepted, and why.
    pub(super) fn into_parts(self) -> (Vec<InventoryEntry>, Vec<ObjectKey>, Vec<(ObjectKey, ApplyError)>) {
        (self.entries, self.used, self.failures.into_iter().collect())
    }
}

impl Accepts for Accepting<'_> {
    fn push(&mut self, applied: AppliedObject) {
        let entry = applied.inventory_entry();
        if self.what == Apply::Wanted {
            self.memory.applies.accept(self.application, self.cluster, entry.clone());
        }
        self.entries.push(entry);
        self.failures.remove(&applied.key);
        let Some(piece) = self.pieces.get(&applied.key).copied() else { return };
        let baseline = Baseline::of(&piece.target.prepared.observed(), &applied.object);
        let baseline = baseline.scaled(&applied.scaling);
        self.memory.accept(self.application, self.cluster, applied.key.clone(), piece.set, baseline);
        if applied.used {
            self.used.push(applied.key);
            return;
        }
        self.handle.note(&piece.target, applied.object, self.application);
    }

    fn refuse(&mut self, key: &ObjectKey, error: &ApplyError) {
        self.failures.insert(key.clone(), error.clone());
    }

    fn sort(&mut self, order: &[&ObjectKey]) {
        sort_by(&mut self.entries, order, |entry| &entry.key);
    }
}
