//! Planning for copies that go.

use super::{CopyRecord, LOOK_AGAIN, Phase, Presence, Snapshot, Step};

/// Steps for a copy that is positively not wanted any more: recorded as removing, removed, forgotten.
pub(super) fn retire(snapshot: &Snapshot, copy: &CopyRecord) -> Vec<Step> {
    match snapshot.presence(&copy.cluster) {
        None | Some(Presence::Unreachable(_)) => vec![Step::Wait(LOOK_AGAIN)],
        Some(Presence::Erased) => vec![Step::Forget(copy.clone())],
        Some(Presence::Unseen | Presence::Seen(_)) => {
            let mark = (copy.phase != Phase::Removing).then(|| {
                Step::MarkRemoving(CopyRecord { phase: Phase::Removing, failure: None, ..copy.clone() })
            });
            let remove = Step::Remove { cluster: copy.cluster.clone(), inventory: copy.inventory.clone() };
            mark.into_iter().chain([remove]).collect()
        }
    }
}
