//! What becomes of an object at the moment when its cluster accepts it, while later ones are still on their way.

use super::memory::Memory;
use super::view::Piece;
use crate::cluster::ClusterHandle;
use crate::object::apply::{Accepts, AppliedObject, ApplyError};
use crate::object::drift::Baseline;
use crate::object::{ApplicationUid, ClusterUid, InventoryEntry, ObjectKey};

/// Shows each object to the cache, where a later event of the watch replaces it, and remembers of which documents it is.
pub(super) struct Accepting<'a> {
    handle: &'a ClusterHandle,
    memory: &'a Memory,
    application: &'a ApplicationUid,
    cluster: &'a ClusterUid,
    pieces: &'a [Piece],
    entries: Vec<InventoryEntry>,
    failures: Vec<(ObjectKey, ApplyError)>,
    used: Vec<ObjectKey>,
}

impl<'a> Accepting<'a> {
    pub(super) fn new(
        handle: &'a ClusterHandle,
        memory: &'a Memory,
        application: &'a ApplicationUid,
        cluster: &'a ClusterUid,
        pieces: &'a [Piece],
    ) -> Self {
        let (entries, used, failures) = (Vec::new(), Vec::new(), Vec::new());
        Self { handle, memory, application, cluster, pieces, entries, used, failures }
    }

    /// Whether nothing was accepted so far.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What was accepted; which of it is not the application's, and used; what was not accepted, and why.
    pub(super) fn into_parts(self) -> (Vec<InventoryEntry>, Vec<ObjectKey>, Vec<(ObjectKey, ApplyError)>) {
        (self.entries, self.used, self.failures)
    }
}

impl Accepts for Accepting<'_> {
    fn push(&mut self, applied: AppliedObject) {
        self.entries.push(applied.inventory_entry());
        self.failures.retain(|(key, _)| *key != applied.key);
        let Some(piece) = self.pieces.iter().find(|piece| piece.target.prepared.key == applied.key) else {
            return;
        };
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
        self.failures.retain(|(other, _)| other != key);
        self.failures.push((key.clone(), error.clone()));
    }

    fn sort(&mut self, order: &[&ObjectKey]) {
        self.entries.sort_by_cached_key(|entry| order.iter().position(|key| **key == entry.key));
    }
}
