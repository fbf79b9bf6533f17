//! Why a copy goes that is not wanted where it is. Pure.

use super::{CopyRecord, Phase, Snapshot, handover, tend};

/// Why a copy goes now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Departure {
    /// Its removal has begun.
    Begun,
    /// What is wanted runs in its place, or with delete-first is not to run before it is gone.
    HandedOver,
    /// It failed, and another cluster is tried.
    Failed,
    /// Another handover interrupts its own, in which another copy serves: a third one is not needed.
    Overtaken,
    /// Its cluster goes, and a copy runs on one that stays.
    Spare,
    /// Its cluster was given up before anything was accepted there as a whole.
    Void,
}

/// Why a copy that is not wanted goes now; `None` if it stays. `keeper`: the copy that serves until the wanted ones do.
/// `handed_over`: the wanted ones do.
pub(super) fn departure(
    snapshot: &Snapshot,
    copy: &CopyRecord,
    keeper: Option<&CopyRecord>,
    handed_over: bool,
) -> Option<Departure> {
    // An application that was released, because its cluster goes and no other fits, has no successor for a copy elsewhere to
    // make room for: it runs on until there is one.
    let is_released = snapshot.bindings.is_empty();
    let has_successor = snapshot.decided() && !is_released;
    let leaves = snapshot.leaving.contains(&copy.cluster);
    let stays = |other: &CopyRecord| {
        !snapshot.leaving.contains(&other.cluster) && tend::runs(snapshot, &other.cluster)
    };
    if copy.phase == Phase::Removing {
        Some(Departure::Begun)
    } else if handed_over && (!is_released || leaves) {
        Some(Departure::HandedOver)
    } else if has_successor && handover::makes_room(snapshot, copy) {
        Some(Departure::Failed)
    } else if has_successor && handover::is_spare(snapshot, keeper, copy) {
        Some(Departure::Overtaken)
    } else if leaves && snapshot.copies.iter().any(stays) {
        Some(Departure::Spare)
    } else if is_released && copy.phase == Phase::Intended && copy.applied_work.is_none() {
        Some(Departure::Void)
    } else {
        None
    }
}
