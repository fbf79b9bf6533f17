//! Figures about the cache, for metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use krake_proto::{KINDS, Kind};

use super::{Cache, Stored};
use crate::store::Revision;

/// What the cache counts.
#[derive(Debug)]
pub(super) struct Counters {
    /// Objects of each kind, in the order of [`KINDS`].
    objects: Box<[AtomicI64]>,
    /// Objects that pieces have looked at.
    visited: AtomicU64,
}

/// The cache in figures, as of the moment of the call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Figures {
    /// The revision that the cache shows.
    pub revision: Revision,
    /// Number of objects of each kind.
    pub objects: Vec<(&'static Kind, i64)>,
    /// Number of revisions kept for watches that resume.
    pub history: usize,
    /// Encoded bytes of the objects in these revisions.
    pub history_bytes: usize,
    /// Objects that lists and initial states have looked at since the start of the process.
    pub visited: u64,
}

impl Default for Counters {
    fn default() -> Self {
        Counters {
            objects: KINDS.iter().map(|_| AtomicI64::default()).collect(),
            visited: AtomicU64::default(),
        }
    }
}

impl Counters {
    /// An object was created, replaced or erased.
    pub(super) fn changed(&self, before: Option<&Arc<Stored>>, after: Option<&Arc<Stored>>) {
        match (before, after) {
            (None, Some(stored)) => self.add(stored.kind, 1),
            (Some(stored), None) => self.add(stored.kind, -1),
            _ => {}
        }
    }

    /// These are all objects.
    pub(super) fn filled<'a>(&self, objects: impl Iterator<Item = &'a Arc<Stored>>) {
        self.objects.iter().for_each(|count| count.store(0, Relaxed));
        objects.for_each(|stored| self.add(stored.kind, 1));
    }

    /// A piece has looked at so many objects.
    pub(super) fn add_visited(&self, visited: usize) {
        self.visited.fetch_add(visited as u64, Relaxed);
    }

    fn add(&self, kind: &Kind, count: i64) {
        if let Some(place) = KINDS.iter().position(|known| **known == *kind) {
            self.objects[place].fetch_add(count, Relaxed);
        }
    }
}

impl Cache {
    /// The cache in figures. Takes its lock for a moment.
    pub(crate) fn figures(&self) -> Figures {
        let (history, history_bytes) = {
            let contents = self.read();
            (contents.history.len(), contents.history_bytes)
        };
        let counts = self.counters.objects.iter().map(|count| count.load(Relaxed));
        Figures {
            revision: self.revision(),
            objects: KINDS.iter().copied().zip(counts).collect(),
            history,
            history_bytes,
            visited: self.counters.visited.load(Relaxed),
        }
    }
}
