//! What the adapter remembers between two looks, in the simulated world: by the rules of `controller::memory`,
//! `controller::attempts` and `controller::pauses`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{World, set};
use crate::object::observation::Observation;
use crate::object::rendering::DocumentHash;
use crate::object::{ClusterUid, ObjectKey};
use crate::plan::{Aim, Phase, Truth};

/// What the adapter remembers of a copy.
#[derive(Clone, Default)]
pub(super) struct Remembered {
    /// For each object the documents of which it was accepted last.
    pub(super) accepted: BTreeMap<ObjectKey, DocumentHash>,
    /// What is not applied again before a second.
    pub(super) rests: Vec<(Aim, i64)>,
    /// What is attempted, and the second when that began.
    pub(super) attempt: Option<(Aim, i64)>,
    /// Objects of a set whose repair was refused, and the second before which it is not tried again.
    pub(super) refusals: (Option<DocumentHash>, BTreeMap<ObjectKey, i64>),
}

impl Remembered {
    pub(super) fn rest(&mut self, aim: Aim, until: i64) {
        self.rests.retain(|(of, _)| *of != aim);
        self.rests.push((aim, until));
    }

    /// An object of a set is repaired, or refused until a second.
    pub(super) fn repaired(&mut self, set: DocumentHash, key: &ObjectKey, refused_until: Option<i64>) {
        if self.refusals.0 != Some(set) {
            self.refusals = (Some(set), BTreeMap::new());
        }
        match refused_until {
            Some(until) => drop(self.refusals.1.insert(key.clone(), until)),
            None => drop(self.refusals.1.remove(key)),
        }
    }
}

impl World {
    /// The objects whose repair is refused, and how long to wait for each.
    pub(super) fn refused(
        &self,
        uid: &ClusterUid,
        applied: Option<DocumentHash>,
        seen: &Observation,
    ) -> BTreeMap<ObjectKey, Duration> {
        let Some(memory) = self.memory.get(uid).filter(|memory| memory.refusals.0 == applied) else {
            return BTreeMap::new();
        };
        let is_troubled = |key: &ObjectKey| seen.missing.contains(key) || seen.drifted.contains(key);
        let due = |(key, until): (&ObjectKey, &i64)| {
            let rest = u64::try_from(until - self.seconds).ok().filter(|rest| *rest > 0)?;
            is_troubled(key).then(|| (key.clone(), Duration::from_secs(rest)))
        };
        memory.refusals.1.iter().filter_map(due).collect()
    }

    pub(super) fn pause(&self, uid: &ClusterUid, aim: Aim) -> Duration {
        let rests = self.memory.get(uid).and_then(|memory| memory.rests.iter().find(|(of, _)| *of == aim));
        Duration::from_secs(rests.map_or(0, |(_, until)| until - self.seconds).try_into().unwrap_or_default())
    }

    /// Whether the application is bound to a cluster for its present spec.
    pub(super) fn is_decided_for(&self, uid: &ClusterUid) -> bool {
        self.scheduled_generation == self.generation && self.bindings.contains(uid)
    }

    /// What is attempted at a copy: the production code's choice.
    pub(super) fn aim(&self, uid: &ClusterUid) -> Aim {
        let copy = self.copies.get(uid);
        if self.is_decided_for(uid) {
            return Aim::of(copy, self.generation, Some(&set(self.documents)));
        }
        let begun = copy.and_then(|copy| copy.intended_work).map(|intended| intended.generation);
        Aim::of(copy, begun.unwrap_or(self.scheduled_generation), None)
    }

    /// Takes in a look, as the production code does.
    pub(super) fn look(&mut self, uid: &ClusterUid) {
        let (now, aim, is_bound) = (self.seconds, self.aim(uid), self.is_decided_for(uid));
        let Some(copy) = self.copies.get(uid) else {
            self.memory.remove(uid);
            return;
        };
        let memory = self.memory.entry(uid.clone()).or_default();
        let ended = matches!(copy.phase, Phase::Failed)
            || (copy.phase == Phase::Running && copy.available.truth == Truth::True);
        if ended || memory.attempt.is_none_or(|(of, _)| of != aim) {
            memory.attempt = Some((aim, now));
        }
        let failed = copy.phase == Phase::Failed && is_bound;
        if copy.retry_request != self.retry_requests
            || (failed && copy.observed_generation != self.generation)
        {
            memory.rests.clear();
            memory.refusals = Default::default();
        } else if failed && memory.rests.iter().all(|(of, _)| *of != aim) {
            memory.rest(aim, now + 300);
        }
    }
}
