//! How many copies there may be while an application is handed over from one cluster to another. Pure.
//!
//! With create-first they are two: the one that is wanted, and one that serves until then. If another cluster becomes wanted
//! before a handover ends, the best of the copies that are not wanted stays and the others go, and nothing new begins
//! before their pods are gone. Copies on clusters that do not answer are not counted: nothing can be done about them.

use std::cmp::Reverse;

use super::{CopyRecord, Phase, Presence, Snapshot};
use crate::object::health::Verdict;

/// The copy that serves until the wanted ones do.
pub(super) fn keeper<'a>(snapshot: &Snapshot, unwanted: &[&'a CopyRecord]) -> Option<&'a CopyRecord> {
    let may_serve = unwanted.iter().filter(|copy| match copy.phase {
        Phase::Intended | Phase::Applying | Phase::Running => answers(snapshot, copy),
        Phase::Failed => serves(snapshot, copy),
        Phase::Removing => false,
    });
    let worth = |copy: &&&CopyRecord| {
        let stays = !snapshot.leaving.contains(&copy.cluster);
        (
            serves(snapshot, copy),
            copy.phase == Phase::Running,
            stays,
            copy.since,
            Reverse(copy.cluster.clone()),
        )
    };
    may_serve.max_by_key(worth).copied()
}

/// Whether a copy that is not wanted goes since the keeper serves in its place: not before it is seen which of them does.
pub(super) fn is_spare(snapshot: &Snapshot, keeper: Option<&CopyRecord>, copy: &CopyRecord) -> bool {
    let is_seen = |copy: &CopyRecord| matches!(snapshot.presence(&copy.cluster), Some(Presence::Seen(_)));
    keeper.is_some_and(|keeper| keeper.cluster != copy.cluster && is_seen(keeper)) && answers(snapshot, copy)
}

/// Whether a new copy may begin: but for the keeper, nothing runs of those that are not wanted.
pub(super) fn has_room(snapshot: &Snapshot, keeper: Option<&CopyRecord>, unwanted: &[&CopyRecord]) -> bool {
    let others = unwanted.iter().filter(|copy| keeper.is_none_or(|keeper| keeper.cluster != copy.cluster));
    !others.into_iter().any(|copy| may_run(snapshot, copy))
}

/// Whether a copy that failed is seen to be available all the same.
pub(super) fn serves(snapshot: &Snapshot, copy: &CopyRecord) -> bool {
    match snapshot.presence(&copy.cluster) {
        Some(Presence::Seen(seen)) => seen.health.verdict == Verdict::Available && !seen.present.is_empty(),
        _ => false,
    }
}

/// Whether pods of a copy may run: of one that failed or goes, only if they are seen.
fn may_run(snapshot: &Snapshot, copy: &CopyRecord) -> bool {
    match (copy.phase, snapshot.presence(&copy.cluster)) {
        (Phase::Failed | Phase::Removing, Some(Presence::Seen(seen))) => {
            seen.health.containers.running > 0 || copy.phase == Phase::Failed && serves(snapshot, copy)
        }
        (Phase::Failed | Phase::Removing, _) => false,
        _ => answers(snapshot, copy),
    }
}

/// Whether the cluster of a copy answers.
fn answers(snapshot: &Snapshot, copy: &CopyRecord) -> bool {
    matches!(snapshot.presence(&copy.cluster), Some(Presence::Unseen | Presence::Seen(_)))
}
