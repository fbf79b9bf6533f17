//! What steps do to clusters in the simulated world, and what must hold when they do it.

use super::{DEADLINE, World, set};
use crate::error::ClusterError;
use crate::object::apply::ApplyError;
use crate::object::remove::Remaining;
use crate::object::{ClusterUid, InventoryEntry, ObjectKey};
use crate::plan::{
    Again, Aim, Applied, Apply, Attempt, ClusterView, CopyRecord, Phase, Step, Waited, after_apply,
};

/// What a cluster answers to an apply.
struct Answered {
    entries: Vec<InventoryEntry>,
    used: Vec<ObjectKey>,
    outcome: Result<(), ApplyError>,
}

impl World {
    pub(super) fn apply(&mut self, uid: &ClusterUid, what: Apply) -> Option<Step> {
        let copy = self.copies.get(uid).cloned().expect("applied without a recorded copy");
        assert!(!self.deleted, "applied for a deleted application");
        let objects = self.pieces(uid, what);
        self.check_apply(&copy, what, &objects);
        self.check_jobs(uid, &objects);
        let aim = match what {
            Apply::Wanted => Aim::Set(set(self.documents).hash),
            Apply::Repair => Aim::Set(copy.applied_work.unwrap().set.hash),
        };
        if !self.pause(uid, aim).is_zero() {
            return None;
        }
        let ClusterView { attempt: Attempt { elapsed, .. }, refused, .. } = self.view(uid);
        let Answered { entries, used, outcome } = self.answer(uid, &objects);
        let after = after_apply(Applied {
            copy: &copy,
            what,
            wanted: Some(set(self.documents)),
            generation: self.generation,
            retry_requests: self.retry_requests,
            elapsed,
            deadline: DEADLINE,
            accepted: &entries,
            used: &used,
            outcome: &outcome,
            validated: None,
            leaves_out: !refused.is_empty(),
        });
        let (is_silent, seconds) = (self.clusters[uid].unreachable, self.seconds);
        let memory = self.memory.entry(uid.clone()).or_default();
        match (after.again, aim) {
            // Of a copy that runs only the objects wait that were refused.
            (_, Aim::Set(of)) if what == Apply::Repair && copy.phase == Phase::Running && !is_silent => {
                memory.rests.retain(|(of, _)| *of != aim);
                for (key, _) in &objects {
                    let is_refused = entries.iter().all(|entry| entry.key != *key);
                    memory.repaired(of, key, is_refused.then_some(seconds + 300));
                }
            }
            (Again::No, _) => memory.rests.retain(|(of, _)| *of != aim),
            (Again::Slowly, _) => memory.rest(aim, seconds + 300),
            (Again::Soon, _) => {}
        }
        after.report
    }

    /// What a cluster makes of objects. One that refuses does not refuse the first.
    fn answer(&mut self, uid: &ClusterUid, objects: &[(ObjectKey, i64)]) -> Answered {
        let cluster = self.clusters.get_mut(uid).unwrap();
        let (number, error) = match (cluster.unreachable, cluster.refuses) {
            (true, _) => (0, ClusterError::Unreachable("x".into())),
            (false, true) => (objects.len().saturating_sub(1).min(1), ClusterError::Rejected("x".into())),
            (false, false) => (objects.len(), ClusterError::Rejected("none".into())),
        };
        let (accepted, others) = objects.split_at(number);
        let outcome = match others.first() {
            Some((key, _)) => Err(ApplyError::Object { key: key.clone(), error }),
            None => Ok(()),
        };
        let memory = self.memory.entry(uid.clone()).or_default();
        let (mut entries, mut used) = (Vec::new(), Vec::new());
        for (key, documents) in accepted {
            let is_used = cluster.is_used(key);
            match is_used {
                true => used.push(key.clone()),
                false => cluster.write(key, *documents),
            }
            cluster.accepted.insert((key.clone(), *documents));
            memory.accepted.insert(key.clone(), set(*documents).hash);
            entries.push(InventoryEntry { key: key.clone(), uid: (!is_used).then(|| "u".into()) });
        }
        Answered { entries, used, outcome }
    }

    /// What is applied is recorded, and either wanted and decided, or was accepted before.
    fn check_apply(&self, copy: &CopyRecord, what: Apply, objects: &[(ObjectKey, i64)]) {
        let uid = &copy.cluster;
        let keys: Vec<_> = objects.iter().map(|(key, _)| key.clone()).collect();
        assert!(copy.covers(&keys), "applied objects that are not recorded");
        let named = [copy.applied_work, copy.intended_work].into_iter().flatten();
        let named: Vec<_> = named.map(|work| self.documents_of(work.set.hash)).collect();
        for (key, documents) in objects {
            assert!(named.contains(documents), "applied documents that are not recorded");
            let was_accepted = self.clusters[uid].accepted.contains(&(key.clone(), *documents));
            assert!(what == Apply::Wanted || was_accepted, "{key} was repaired to what was never there");
        }
        if what == Apply::Wanted {
            let decided = self.scheduled_generation == self.generation && self.bindings.contains(uid);
            assert!(decided, "applied what nobody decided");
            let is_there = copy.is_whole() && copy.recorded(&set(self.documents)).is_some();
            let is_begun = matches!(copy.phase, Phase::Running | Phase::Applying);
            assert!(!(is_there && is_begun), "applied, though only the generation changed");
        }
    }

    /// How long a removal is taken to last: as long as the attempt, since nothing else is counted.
    pub(super) fn waited(&self, uid: &ClusterUid) -> Waited {
        let time = self.view(uid).attempt.elapsed;
        Waited { time, deadline: DEADLINE, deleted: self.deleted }
    }

    pub(super) fn remove(&mut self, uid: &ClusterUid, inventory: &[InventoryEntry]) -> Vec<Remaining> {
        let cluster = self.clusters.get_mut(uid).unwrap();
        let mut remaining = Vec::new();
        for InventoryEntry { key, .. } in inventory {
            if cluster.unreachable || (cluster.lingers && cluster.objects.contains_key(key)) {
                remaining.push(Remaining { key: key.clone(), waits_for: Some("x".into()) });
            } else {
                cluster.objects.remove(key);
            }
        }
        remaining
    }
}
