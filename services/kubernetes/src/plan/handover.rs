//! How many copies there may be while an application is handed over from one cluster to another. Pure.
//!
//! With create-first there are two: the one that is wanted, and the keeper, which serves until the wanted one does. If
//! another cluster becomes wanted before a handover ends, the best of the old copies becomes the keeper, and the others are
//! removed to make room, but none that may be the only one that serves: a copy that was not seen yet, or not whole, stays
//! until the keeper is seen to serve. Copies on clusters that do not answer are not counted, because nothing can be done
//! about them.

use std::cmp::Reverse;

use super::{CopyRecord, Phase, Presence, Snapshot};
use crate::object::health::Verdict;

/// How far a copy serves, by what is seen of it. The later ones are worth more than those before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Service {
    /// No pod of it runs, and its workloads are not available.
    None,
    /// It was not seen yet, or part of it cannot be seen: it may serve.
    Unknown,
    /// Some of its pods run.
    Partial,
    /// Its workloads are available.
    Full,
}

impl Service {
    /// How far a copy serves. One that was recorded as FAILED can do so by now.
    pub(super) fn of(snapshot: &Snapshot, copy: &CopyRecord) -> Self {
        let Some(Presence::Seen(seen)) = snapshot.presence(&copy.cluster) else { return Self::Unknown };
        match seen.health.verdict {
            Verdict::Available if !seen.present.is_empty() => Self::Full,
            _ if !seen.hidden.is_empty() => Self::Unknown,
            _ if seen.health.containers.running > 0 => Self::Partial,
            _ => Self::None,
        }
    }
}

/// The copy that serves until the wanted ones do.
pub(super) fn keeper<'a>(snapshot: &Snapshot, unwanted: &[&'a CopyRecord]) -> Option<&'a CopyRecord> {
    let may_serve = unwanted.iter().filter(|copy| match copy.phase {
        Phase::Intended | Phase::Applying | Phase::Running => answers(snapshot, copy),
        Phase::Failed => serves(snapshot, copy),
        Phase::Removing => false,
    });
    let worth = |copy: &&&CopyRecord| {
        let stays = !snapshot.leaving.contains(&copy.cluster);
        let is_running = copy.phase == Phase::Running;
        (Service::of(snapshot, copy), is_running, stays, copy.since, Reverse(copy.cluster.clone()))
    };
    may_serve.max_by_key(worth).copied()
}

/// Whether a copy that is not wanted is removed to make room, since the keeper stays. What is removed cannot be brought
/// back, so that a copy which may serve goes only if the keeper is seen to serve. The keeper serves no less than any other.
pub(super) fn is_spare(snapshot: &Snapshot, keeper: Option<&CopyRecord>, copy: &CopyRecord) -> bool {
    let Some(keeper) = keeper.filter(|keeper| keeper.cluster != copy.cluster) else { return false };
    let may_go = serves(snapshot, keeper) || Service::of(snapshot, copy) != Service::Unknown;
    may_go && answers(snapshot, copy)
}

/// Whether a copy that failed makes room for the next attempt: it was never the one that served, unless it is seen to do so
/// by now. Not before it is seen.
pub(super) fn makes_room(snapshot: &Snapshot, copy: &CopyRecord) -> bool {
    let is_unseen = matches!(snapshot.presence(&copy.cluster), Some(Presence::Unseen));
    copy.phase == Phase::Failed && !serves(snapshot, copy) && (!is_unseen || copy.inventory.is_empty())
}

/// Whether a new copy may begin: but for the keeper, nothing runs of those that are not wanted.
pub(super) fn has_room(snapshot: &Snapshot, keeper: Option<&CopyRecord>, unwanted: &[&CopyRecord]) -> bool {
    let is_served = keeper.is_some_and(|keeper| serves(snapshot, keeper));
    let others = unwanted.iter().filter(|copy| keeper.is_none_or(|keeper| keeper.cluster != copy.cluster));
    !others.into_iter().any(|copy| may_run(snapshot, copy, is_served))
}

/// Whether a copy is left that failed and was given up, and has to be seen to be gone: its volumes, or what holds them, may
/// be. One that serves after all is handed over like any other.
pub(super) fn is_given_up(snapshot: &Snapshot, unwanted: &[&CopyRecord]) -> bool {
    unwanted.iter().filter(|copy| snapshot.given_up.contains(&copy.cluster)).any(|copy| match copy.phase {
        Phase::Failed => !serves(snapshot, copy),
        Phase::Removing => true,
        Phase::Intended | Phase::Applying | Phase::Running => false,
    })
}

/// Whether the workloads of a copy are available, by what is seen.
pub(super) fn serves(snapshot: &Snapshot, copy: &CopyRecord) -> bool {
    Service::of(snapshot, copy) == Service::Full
}

/// Whether pods of a copy can be running. For a copy that failed or is being removed, only if they are seen; and while it
/// is not seen yet, if nothing is lost by waiting because another one serves.
fn may_run(snapshot: &Snapshot, copy: &CopyRecord, is_served: bool) -> bool {
    match (copy.phase, snapshot.presence(&copy.cluster)) {
        (Phase::Failed | Phase::Removing, Some(Presence::Seen(seen))) => {
            seen.health.containers.running > 0 || copy.phase == Phase::Failed && serves(snapshot, copy)
        }
        (Phase::Failed | Phase::Removing, Some(Presence::Unseen)) => is_served && !copy.inventory.is_empty(),
        (Phase::Failed | Phase::Removing, _) => false,
        _ => answers(snapshot, copy),
    }
}

/// Whether the cluster of a copy answers.
fn answers(snapshot: &Snapshot, copy: &CopyRecord) -> bool {
    matches!(snapshot.presence(&copy.cluster), Some(Presence::Unseen | Presence::Seen(_)))
}
