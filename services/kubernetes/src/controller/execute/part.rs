//! What of the objects of a step is written now: a part that a slow cluster accepts within the time of a reconcile, without
//! what was accepted before.

use super::super::applies::Begun;
use super::super::view::Piece;
use super::Executor;
use crate::cluster::ClusterHandle;
use crate::object::ObjectKey;
use crate::object::drift::drift;
use crate::object::observation::Sight;
use crate::object::rendering::DocumentHash;
use crate::object::validation::Findings;
use crate::plan::{Apply, CopyRecord};

/// Maximum number of objects of a part: all of them are read before the first is written.
const MAX_OBJECTS: usize = 500;

/// Objects that are written now.
pub(super) struct Part {
    pub(super) what: Apply,
    pub(super) pieces: Vec<Piece>,
    /// Number of objects that were accepted before, and need not be written now.
    pub(super) done: usize,
    /// Number of objects that are left for another part.
    pub(super) more: usize,
    /// What was found of earlier parts.
    pub(super) findings: Findings,
    /// What of earlier parts is not the application's, and used.
    pub(super) used: Vec<ObjectKey>,
}

impl Executor<'_> {
    /// The set of documents that a step applies.
    pub(super) fn set(&self, what: Apply) -> Option<DocumentHash> {
        let sighting = self.sighting?;
        match what {
            Apply::Repair => sighting.repairs,
            Apply::Wanted => Some(sighting.wanted.as_ref()?.set.hash),
        }
    }

    /// The objects of a step.
    fn pieces(&self, what: Apply, copy: &CopyRecord) -> Option<Vec<Piece>> {
        let sighting = self.sighting?;
        match what {
            Apply::Repair => Some(sighting.repair.clone()),
            Apply::Wanted => {
                let wanted = sighting.wanted.as_ref()?;
                let is_due =
                    |piece: &&Piece| !copy.has_completed(&piece.target.prepared.key, wanted.set.hash);
                Some(wanted.pieces.iter().filter(is_due).cloned().collect())
            }
        }
    }

    /// What of a step is written now. A repair knows by itself what is left to do.
    pub(super) fn part(&self, what: Apply, copy: &CopyRecord, handle: &ClusterHandle) -> Option<Part> {
        let mut pieces = self.pieces(what, copy)?;
        let all = pieces.len();
        let (mut findings, mut used) = (Findings::default(), Vec::new());
        if what == Apply::Wanted {
            let begun = self.memory.applies.begin(&self.application.uid, self.cluster, self.set(what)?);
            pieces.retain(|piece| !self.is_accepted(handle, piece, &begun));
            (findings, used) = (begun.findings(), begun.used());
        }
        let done = all - pieces.len();
        let more = match what {
            Apply::Wanted => pieces.len().saturating_sub(MAX_OBJECTS),
            Apply::Repair => 0,
        };
        pieces.truncate(MAX_OBJECTS);
        Some(Part { what, pieces, done, more, findings, used })
    }

    /// Whether an object was accepted by the apply that goes on now, and need not be written again by what is seen of it.
    fn is_accepted(&self, handle: &ClusterHandle, piece: &Piece, begun: &Begun) -> bool {
        let (target, application) = (&piece.target, &self.application.uid);
        let uid = match begun.accepted(&target.prepared.key) {
            None => return false,
            // It is not the application's, so no watch shows it.
            Some(None) => return begun.goes_on(),
            Some(Some(uid)) => uid,
        };
        match handle.sight(target, application) {
            Sight::Present(live) if live.application == *application => {
                let accepted = self.memory.accepted(application, self.cluster);
                let baseline = accepted.get(&target.prepared.key).map(|(_, baseline)| baseline);
                drift(&target.prepared.observed(), &live.value(), baseline).is_empty()
            }
            Sight::Present(_) => false,
            Sight::Absent => handle.ended(target, application, uid).is_some(),
            Sight::Ended(_) => true,
            Sight::Pending | Sight::Hidden(_) | Sight::Unwatched | Sight::Used(_) => begun.goes_on(),
        }
    }
}
