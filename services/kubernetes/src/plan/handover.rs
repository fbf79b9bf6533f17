//! How many copies there may be while an application is handed over from one cluster to another. Pure.
//!
//! With create-first there are two: the one that is wanted, and the keeper, which serves until the wanted one does. If
//! another cluster becomes wanted before a handover ends, the best of the old copies becomes the keeper, the others are
//! removed, and nothing new begins before their pods are gone. Copies on clusters that do not answer are not counted,
//! because nothing can be done about them.

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

/// Whether a copy that is not wanted is removed because the keeper serves in its place. Not before the keeper is seen.
pub(super) fn is_spare(snapshot: &Snapshot, keeper: Option<&CopyRecord>, copy: &CopyRecord) -> bool {
    let is_seen = |copy: &CopyRecord| matches!(snapshot.presence(&copy.cluster), Some(Presence::Seen(_)));
    keeper.is_some_and(|keeper| keeper.cluster != copy.cluster && is_seen(keeper)) && answers(snapshot, copy)
}

/// Whether a new copy may begin: but for the keeper, nothing runs of those that are not wanted.
pub(super) fn has_room(snapshot: &Snapshot, keeper: Option<&CopyRecord>, unwanted: &[&CopyRecord]) -> bool {
    let others = unwanted.iter().filter(|copy| keeper.is_none_or(|keeper| keeper.cluster != copy.cluster));
    !others.into_iter().any(|copy| may_run(snapshot, copy))
}

/// Whether the workloads of a copy are available, by what is seen. A copy that was recorded as FAILED can be.
pub(super) fn serves(snapshot: &Snapshot, copy: &CopyRecord) -> bool {
    match snapshot.presence(&copy.cluster) {
        Some(Presence::Seen(seen)) => seen.health.verdict == Verdict::Available && !seen.present.is_empty(),
        _ => false,
    }
}

/// Whether pods of a copy can be running. For a copy that failed or is being removed, only if they are seen.
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
