//! Which copies run in the simulated world, and which may.

use super::{CopyRecord, Phase, World};
use crate::object::ClusterUid;

impl World {
    /// The copies elsewhere that may run, on clusters that answer.
    pub(super) fn others<'a>(&'a self, uid: &'a ClusterUid) -> impl Iterator<Item = &'a CopyRecord> {
        self.copies.values().filter(move |copy| {
            let is_coming = matches!(copy.phase, Phase::Intended | Phase::Applying | Phase::Running);
            copy.cluster != *uid && is_coming && !self.clusters[&copy.cluster].unreachable
        })
    }

    /// Whether another copy that is not bound stays in the place of this one.
    pub(super) fn another_stays(&self, uid: &ClusterUid) -> bool {
        self.others(uid).any(|copy| !self.bindings.contains(&copy.cluster))
    }

    /// Whether all that is bound runs.
    pub(super) fn others_run(&self) -> bool {
        self.bindings.iter().all(|uid| {
            let running = self.copies.get(uid).filter(|copy| copy.phase == Phase::Running);
            running.is_some_and(|copy| self.works(uid, copy))
        })
    }
}
