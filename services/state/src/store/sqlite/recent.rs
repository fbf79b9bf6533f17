//! What was committed lately, for watches that keep up, and where the store is.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::super::{Batch, ChangeKind, Entry, Revision};
use super::log::Extent;

/// Maximum number of batches kept in memory: half a second of the most commits that a disk takes.
const KEPT_BATCHES: usize = 1024;
/// Bytes that a change counts for beside its values: about what its frame takes in memory.
const CHANGE_FRAME: usize = 128;

/// The end of the history, in memory. The writer adds to it, watches read it.
pub(super) struct Recent {
    kept: Mutex<Kept>,
    /// Wakes the watches.
    newest: watch::Sender<Revision>,
}

struct Kept {
    extent: Extent,
    /// Every batch after this revision is among `batches`.
    after: Revision,
    batches: VecDeque<(Arc<Batch>, usize)>,
    bytes: usize,
    /// The most bytes that they have together.
    room: usize,
}

/// What there is after a revision.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Later {
    /// These batches, and nothing else up to the second's revision.
    Batches(Vec<Arc<Batch>>, Revision),
    /// More than is kept here: the file has it.
    Older,
    /// The history after that revision is forgotten.
    Compacted(Revision),
}

impl Recent {
    /// Of a store that was just opened. `room` is how many bytes are kept.
    pub(super) fn new(extent: Extent, room: usize) -> Self {
        let kept = Kept { extent, after: extent.revision, batches: VecDeque::new(), bytes: 0, room };
        Self { kept: Mutex::new(kept), newest: watch::Sender::new(extent.revision) }
    }

    /// Where the store is.
    pub(super) fn extent(&self) -> Extent {
        self.kept().extent
    }

    /// Tells when there is more.
    pub(super) fn subscribe(&self) -> watch::Receiver<Revision> {
        self.newest.subscribe()
    }

    /// Takes what was committed.
    pub(super) fn add(&self, extent: Extent, batches: Vec<Batch>) {
        let mut kept = self.kept();
        kept.extent = extent;
        for batch in batches {
            let bytes = bytes(&batch);
            kept.bytes += bytes;
            kept.batches.push_back((Arc::new(batch), bytes));
        }
        while kept.batches.len() > KEPT_BATCHES || kept.bytes > kept.room {
            let Some((batch, bytes)) = kept.batches.pop_front() else { break };
            kept.bytes -= bytes;
            kept.after = batch.revision;
        }
        drop(kept);
        self.newest.send_if_modified(|newest| std::mem::replace(newest, extent.revision) < extent.revision);
    }

    /// The batches after `seen`.
    pub(super) fn later(&self, seen: Revision) -> Later {
        let kept = self.kept();
        if seen < kept.extent.compacted {
            return Later::Compacted(kept.extent.compacted);
        }
        if seen < kept.after {
            return Later::Older;
        }
        let first = kept.batches.partition_point(|(batch, _)| batch.revision <= seen);
        let batches = kept.batches.range(first..).map(|(batch, _)| batch.clone()).collect();
        Later::Batches(batches, kept.extent.revision.max(seen))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Nothing panics half way through a change, so a poisoned lock still guards a whole history.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bytes that a batch holds, more or less.
fn bytes(batch: &Batch) -> usize {
    let size = |entry: &Entry| entry.value.len();
    let changes = batch.changes.iter().map(|change| {
        let put = if let ChangeKind::Put(entry) = &change.kind { size(entry) } else { 0 };
        CHANGE_FRAME + put + change.previous.as_ref().map_or(0, size)
    });
    changes.sum()
}

#[cfg(test)]
mod tests {
    use super::super::super::Change;
    use super::*;

    fn batch(revision: i64, size: usize) -> Batch {
        let (key, revision) = (crate::store::Key::from("k"), Revision(revision));
        let entry =
            Entry { key: key.clone(), value: vec![0; size].into(), created: revision, modified: revision };
        Batch { revision, changes: vec![Change { key, kind: ChangeKind::Put(entry), previous: None }] }
    }

    fn extent(revision: i64, compacted: i64) -> Extent {
        Extent { revision: Revision(revision), compacted: Revision(compacted) }
    }

    fn revisions(later: Later) -> Vec<i64> {
        match later {
            Later::Batches(batches, _) => batches.iter().map(|batch| batch.revision.0).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn everything_after_a_revision_or_nothing() {
        let recent = Recent::new(extent(7, 3), 1 << 20);
        assert_eq!(recent.later(Revision(7)), Later::Batches(vec![], Revision(7)));
        assert_eq!(recent.later(Revision(6)), Later::Older, "what was before the start is in the file");
        assert_eq!(recent.later(Revision(2)), Later::Compacted(Revision(3)));
        recent.add(extent(9, 3), vec![batch(8, 1), batch(9, 1)]);
        assert_eq!(revisions(recent.later(Revision(7))), [8, 9]);
        assert_eq!(revisions(recent.later(Revision(8))), [9]);
        assert_eq!(recent.later(Revision(20)), Later::Batches(vec![], Revision(20)), "waits for what comes");
        recent.add(extent(9, 9), vec![]);
        assert_eq!(recent.later(Revision(8)), Later::Compacted(Revision(9)));
    }

    #[test]
    fn it_is_bounded_by_number_and_by_bytes() {
        let room = 1 << 20;
        let recent = Recent::new(extent(1, 0), room);
        for revision in 2..=KEPT_BATCHES as i64 + 11 {
            recent.add(extent(revision, 0), vec![batch(revision, 1)]);
        }
        let last = KEPT_BATCHES as i64 + 11;
        assert_eq!(recent.later(Revision(10)), Later::Older);
        assert_eq!(revisions(recent.later(Revision(11))).len(), KEPT_BATCHES);
        recent.add(extent(last + 1, 0), vec![batch(last + 1, room - 6 * CHANGE_FRAME - 5)]);
        assert_eq!(revisions(recent.later(Revision(last - 5))).len(), 6);
        assert_eq!(recent.later(Revision(last - 6)), Later::Older);
        recent.add(extent(last + 2, 0), vec![batch(last + 2, room + 1)]);
        assert_eq!(recent.later(Revision(last + 1)), Later::Older, "too large to be kept at all");
        assert_eq!(revisions(recent.later(Revision(last + 2))), [0; 0]);
    }
}
