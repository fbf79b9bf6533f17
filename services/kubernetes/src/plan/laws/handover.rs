//! Which copies run and serve in the simulated world, and which may.

use super::{CopyRecord, Phase, World};
use crate::object::ClusterUid;
use crate::plan::handover::Service;
use crate::plan::{ClusterView, Presence, Snapshot, Strategy};

/// How the workloads on a cluster do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Health {
    #[default]
    Well,
    /// Some pods run.
    Limps,
    /// None does.
    Dead,
}

impl World {
    /// The copies elsewhere that may run, on clusters that answer.
    fn others<'a>(&'a self, uid: &'a ClusterUid) -> impl Iterator<Item = &'a CopyRecord> {
        let answers = |copy: &&CopyRecord| !self.clusters[&copy.cluster].unreachable;
        self.copies.values().filter(move |copy| copy.cluster != *uid).filter(answers)
    }

    fn is_coming(copy: &&CopyRecord) -> bool {
        matches!(copy.phase, Phase::Intended | Phase::Applying | Phase::Running)
    }

    /// The number of copies elsewhere that run or will, as far as that can be seen.
    pub(super) fn running_elsewhere(&self, uid: &ClusterUid) -> usize {
        let has_pods = |copy: &CopyRecord| match self.view(&copy.cluster).presence {
            Presence::Seen(seen) => seen.health.containers.running > 0,
            _ => false,
        };
        self.others(uid).filter(|copy| Self::is_coming(copy) || has_pods(copy)).count()
    }

    /// Whether another copy that is not bound stays in the place of this one.
    pub(super) fn another_stays(&self, uid: &ClusterUid) -> bool {
        let may_stay = |copy: &&CopyRecord| match copy.phase {
            Phase::Failed => self.service(copy) == Service::Full,
            _ => Self::is_coming(copy),
        };
        self.others(uid).filter(may_stay).any(|copy| !self.bindings.contains(&copy.cluster))
    }

    /// Whether all that is bound runs.
    pub(super) fn others_run(&self) -> bool {
        self.bindings.iter().all(|uid| {
            let running = self.copies.get(uid).filter(|copy| copy.phase == Phase::Running);
            running.is_some_and(|copy| self.works(uid, copy))
        })
    }

    /// How far a copy serves in truth, whether that can be seen or not.
    fn service(&self, copy: &CopyRecord) -> Service {
        let uid = &copy.cluster;
        let presence = Presence::Seen(Box::new(self.in_truth(uid)));
        let view = ClusterView { presence, ..self.view(uid) };
        Service::of(&Snapshot { clusters: [(uid.clone(), view)].into(), ..self.snapshot() }, copy)
    }

    /// Whether a copy begins only after those are gone that it has to wait for. One that fails no more is handed over as any
    /// other.
    pub(super) fn check_what_begins(&self, uid: &ClusterUid) {
        let begins = self.copies.get(uid).is_none_or(|copy| copy.phase == Phase::Removing);
        let is_left = |copy: &CopyRecord| match self.strategy {
            Strategy::DeleteFirst => true,
            Strategy::CreateFirst => {
                let is_unwell = match copy.phase {
                    Phase::Failed => !self.works(&copy.cluster, copy),
                    phase => phase == Phase::Removing,
                };
                self.claims_volumes && self.given_up.contains(&copy.cluster) && is_unwell
            }
        };
        let left = self.copies.values().find(|copy| copy.cluster != *uid && is_left(copy));
        assert!(!begins || left.is_none(), "{uid} begins before this one is gone: {left:?}");
    }

    /// What is given up with create-first serves no more than another copy that stays. One that failed counts only if it is
    /// available all the same.
    pub(super) fn check_what_goes(&self, uid: &ClusterUid) {
        let copy = &self.copies[uid];
        if self.deleted || self.bindings.is_empty() || self.strategy == Strategy::DeleteFirst {
            return;
        }
        let serves = match (self.service(copy), copy.phase) {
            (Service::None | Service::Unknown, _) => return,
            (Service::Partial, Phase::Failed) => return,
            // What failed and cannot be seen whole is not waited for.
            (_, Phase::Failed) if self.clusters[uid].hides => return,
            (serves, _) => serves,
        };
        let stays = self.others(uid).filter(|copy| copy.phase != Phase::Removing);
        let best = stays.map(|copy| self.service(copy)).max();
        assert!(best >= Some(serves), "{uid} goes, the only one that serves: {serves:?}, {best:?} elsewhere");
    }
}
