//! What steps do to clusters in the simulated world, and what must hold when they do it.

use super::{DEADLINE, World, set};
use crate::error::ClusterError;
use crate::object::apply::ApplyError;
use crate::object::remove::Remaining;
use crate::object::{ClusterUid, InventoryEntry, ObjectKey};
use crate::plan::{Again, Aim, Applied, Apply, CopyRecord, Phase, Step, after_apply};

impl World {
    pub(super) fn apply(&mut self, uid: &ClusterUid, what: Apply) -> Option<Step> {
        let copy = self.copies.get(uid).cloned().expect("applied without a recorded copy");
        assert!(!self.deleted, "applied for a deleted application");
        let objects = self.pieces(uid, what);
        self.check_apply(&copy, what, &objects);
        let aim = match what {
            Apply::Wanted => Aim::Set(set(self.documents).hash),
            Apply::Repair => Aim::Set(copy.applied_work.unwrap().set.hash),
        };
        if !self.pause(uid, aim).is_zero() {
            return None;
        }
        let (seconds, elapsed) = (self.seconds, self.view(uid).attempt.elapsed);
        let cluster = self.clusters.get_mut(uid).unwrap();
        let refuse = |error| match objects.first() {
            Some((key, _)) => Err(ApplyError::Object { key: key.clone(), error }),
            None => Ok(()),
        };
        let (accepted, outcome) = if cluster.unreachable {
            (0, refuse(ClusterError::Unreachable("x".into())))
        } else if cluster.refuses {
            // The first object is accepted, the others are not.
            (objects.len().min(1), refuse(ClusterError::Rejected("x".into())))
        } else {
            (objects.len(), Ok(()))
        };
        let memory = self.memory.entry(uid.clone()).or_default();
        for (key, documents) in &objects[..accepted] {
            cluster.objects.insert(key.clone(), *documents);
            cluster.accepted.insert((key.clone(), *documents));
            memory.accepted.insert(key.clone(), set(*documents).hash);
        }
        let entry = |(key, _): &(ObjectKey, i64)| InventoryEntry { key: key.clone(), uid: Some("u".into()) };
        let accepted: Vec<_> = objects[..accepted].iter().map(entry).collect();
        let after = after_apply(Applied {
            copy: &copy,
            what,
            wanted: Some(set(self.documents)),
            generation: self.generation,
            retry_requests: self.retry_requests,
            elapsed,
            deadline: DEADLINE,
            accepted: &accepted,
            used: &[],
            outcome: &outcome,
            validated: None,
            leaves_out: false,
        });
        match after.again {
            Again::No => memory.rests.retain(|(of, _)| *of != aim),
            Again::Slowly => memory.rest(aim, seconds + 300),
            Again::Soon => {}
        }
        after.report
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
