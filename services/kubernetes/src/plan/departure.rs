//! Whether a copy goes that is not wanted where it is. Pure.

use super::{CopyRecord, Phase, Snapshot, handover, tend};

/// Whether a copy that is not wanted goes now. `keeper`: the copy that serves until the wanted ones do. `handed_over`: the
/// wanted ones do, if there are any, or with delete-first are not to run before it is gone.
pub(super) fn departs(
    snapshot: &Snapshot,
    copy: &CopyRecord,
    keeper: Option<&CopyRecord>,
    handed_over: bool,
) -> bool {
    // An application that was released, because its cluster goes and no other fits, has no successor for a copy elsewhere to
    // make room for: it runs on until there is one.
    let is_released = snapshot.bindings.is_empty();
    let has_successor = snapshot.decided() && !is_released;
    let leaves = snapshot.leaving.contains(&copy.cluster);
    let stays = |other: &CopyRecord| {
        !snapshot.leaving.contains(&other.cluster) && tend::runs(snapshot, &other.cluster)
    };
    if copy.phase == Phase::Removing {
        return true;
    }
    if is_released {
        // Nothing was ever accepted there as a whole.
        let is_void = copy.phase == Phase::Intended && copy.applied_work.is_none();
        // The cluster that goes waits for its copy, which no other cluster takes.
        return is_void || leaves && (handed_over || snapshot.copies.iter().any(stays));
    }
    // A cluster that goes need not wait for a successor as long as another copy stays.
    let is_spare = leaves && snapshot.copies.iter().any(stays);
    // It failed, and another cluster is tried.
    let makes_room = has_successor && handover::makes_room(snapshot, copy);
    // Where one handover interrupts another, a third copy is not needed.
    let is_overtaken = has_successor && handover::is_spare(snapshot, keeper, copy);
    handed_over || makes_room || is_overtaken || is_spare
}
