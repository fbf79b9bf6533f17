//! Reading the cache in pieces: each piece holds the lock for a bounded time and shows one revision.
//!
//! A reader that needs several pieces remembers the last key that it has passed. Before the next piece it takes in the
//! changes of the keys that it has passed ([`Cache::since`]); what lies ahead it will see as it is then. So whatever it
//! has read shows the revision of its last piece, and it holds no objects in between.

use std::ops::Bound;
use std::sync::Arc;

use super::{Cache, Stored};
use crate::store::{Key, Revision};

/// Maximum number of objects that an iteration copies at a time: some microseconds under the lock.
const OBJECTS_PER_PIECE: usize = 500;

/// A range of keys: those that begin with a prefix, or a single key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Span {
    prefix: Key,
    /// The first key that may be in the range.
    start: Key,
    /// Only the key that equals the prefix.
    single: bool,
}

impl Span {
    /// All keys that begin with `prefix`.
    pub(crate) fn below(prefix: Key) -> Self {
        Span { start: prefix.clone(), prefix, single: false }
    }

    /// The keys that begin with `prefix`, from `start` on.
    pub(crate) fn below_from(prefix: Key, start: Key) -> Self {
        Span { prefix, start, single: false }
    }

    /// One key.
    pub(crate) fn single(key: Key) -> Self {
        Span { start: key.clone(), prefix: key, single: true }
    }

    /// What all keys of the range begin with.
    pub(crate) fn prefix(&self) -> &Key {
        &self.prefix
    }

    /// Whether `key` is in the range.
    pub(crate) fn contains(&self, key: &Key) -> bool {
        if self.single { *key == self.prefix } else { *key >= self.start && key.starts_with(&self.prefix) }
    }

    /// Whether the whole range lies before `key`.
    pub(crate) fn is_before(&self, key: &Key) -> bool {
        self.prefix < *key && !key.starts_with(&self.prefix)
    }
}

/// Some of the objects of a range, at one revision.
#[derive(Debug)]
pub(crate) struct Piece {
    /// The objects, in order of their keys.
    pub found: Vec<(Key, Arc<Stored>)>,
    /// The revision that it shows.
    pub revision: Revision,
    /// Nothing follows.
    pub done: bool,
}

impl Cache {
    /// The next objects of `spans`, which are disjoint and in ascending order, after the key `passed`: at most `limit`,
    /// which bounds how long the lock is held. Looks at no others. `None` if `at` is given and the cache shows another
    /// revision by now.
    ///
    /// What a filter hides of them is the caller's matter, so that no filter, however long, is matched under the lock.
    pub(crate) fn piece(
        &self,
        spans: &[Span],
        passed: Option<&Key>,
        at: Option<Revision>,
        limit: usize,
    ) -> Option<Piece> {
        let contents = self.read();
        if at.is_some_and(|at| at != contents.revision) {
            return None;
        }
        let (mut found, mut done) = (Vec::new(), true);
        'spans: for span in spans {
            let start = match passed {
                Some(passed) if *passed >= span.start => Bound::Excluded(passed),
                _ => Bound::Included(&span.start),
            };
            let entries = contents.objects.range::<Key, _>((start, Bound::Unbounded));
            for (key, stored) in entries.take_while(|(key, _)| span.contains(key)) {
                if found.len() >= limit {
                    done = false;
                    break 'spans;
                }
                found.push((key.clone(), stored.clone()));
            }
        }
        self.counters.add_visited(found.len());
        Some(Piece { found, revision: contents.revision, done })
    }

    /// The objects below `prefix`, read piece by piece as the iterator goes on. Each is as it was when its piece was
    /// read; what is created behind the place of the iterator is not among them.
    pub(crate) fn below(&self, prefix: Key) -> impl Iterator<Item = (Key, Arc<Stored>)> + '_ {
        let spans = [Span::below(prefix)];
        let mut next = Some(None);
        std::iter::from_fn(move || {
            let passed: Option<Key> = next.take()?;
            let piece = self.piece(&spans, passed.as_ref(), None, OBJECTS_PER_PIECE)?;
            next = (!piece.done).then(|| piece.found.last().map(|(key, _)| key.clone()));
            Some(piece.found)
        })
        .flatten()
    }
}

#[cfg(test)]
mod tests;
