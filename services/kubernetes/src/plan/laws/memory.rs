//! What the adapter sees and remembers between two looks, in the simulated world: by the rules of `controller::view`,
//! `controller::attempts` and `controller::pauses`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{World, keys};
use crate::object::health::{ContainerHealth, Health, Verdict};
use crate::object::observation::Observation;
use crate::object::{ClusterUid, InventoryEntry};
use crate::plan::{Attempt, ClusterView, Phase, Presence, Targets, Truth};

/// What the adapter remembers of a copy, as `controller::view` and its neighbours do.
#[derive(Clone, Copy, Default)]
pub(super) struct Remembered {
    /// Generation that was applied last.
    pub(super) applied: Option<i64>,
    /// Generation of which some objects were accepted and others not.
    pub(super) halfway: Option<i64>,
    /// Generation that is not applied again before this second.
    pub(super) rests: Option<(i64, i64)>,
    /// Generation of the attempt, and the second when it began.
    pub(super) attempt: Option<(i64, i64)>,
    pub(super) ran: bool,
}

impl World {
    pub(super) fn pause(&self, uid: &ClusterUid, generation: i64) -> Duration {
        let rests = self.memory.get(uid).and_then(|memory| memory.rests);
        let left = rests.filter(|(of, _)| *of == generation).map_or(0, |(_, until)| until - self.seconds);
        Duration::from_secs(left.try_into().unwrap_or_default())
    }

    /// The generation by which a copy is looked at: the production code's choice.
    pub(super) fn basis(&self, uid: &ClusterUid) -> i64 {
        let memory = self.memory.get(uid).copied().unwrap_or_default();
        let Some(copy) = self.copies.get(uid).filter(|copy| copy.observed_generation > 0) else {
            return self.generation;
        };
        if self.scheduled_generation == self.generation && self.bindings.contains(uid) {
            let rests = copy.phase == Phase::Running
                && memory.halfway.is_none()
                && !self.pause(uid, self.generation).is_zero();
            let former = memory.applied.filter(|basis| rests && *basis == copy.observed_generation);
            return former.unwrap_or(self.generation);
        }
        memory.applied.unwrap_or(copy.observed_generation)
    }

    /// Takes in a look, as the production code does.
    pub(super) fn look(&mut self, uid: &ClusterUid) {
        let (now, decided) = (self.seconds, self.scheduled_generation);
        let Some(copy) = self.copies.get(uid) else {
            self.memory.remove(uid);
            return;
        };
        let memory = self.memory.entry(uid.clone()).or_default();
        memory.ran = match copy.phase {
            Phase::Running => true,
            Phase::Unreachable => memory.ran,
            _ => false,
        };
        let ended = matches!(copy.phase, Phase::Failed)
            || (copy.phase == Phase::Running && copy.available.truth == Truth::True);
        if ended || memory.attempt.is_none_or(|(generation, _)| generation != decided) {
            memory.attempt = Some((decided, now));
        }
        if copy.retry_request != self.retry_requests {
            memory.rests = None;
            return;
        }
        let resting = memory.rests.is_some_and(|(generation, _)| generation == decided);
        if copy.phase == Phase::Failed && copy.observed_generation == decided && !resting {
            memory.rests = Some((decided, now + 300));
        }
    }

    pub(super) fn view(&self, uid: &ClusterUid) -> ClusterView {
        let cluster = &self.clusters[uid];
        let memory = self.memory.get(uid).copied().unwrap_or_default();
        let basis = self.basis(uid);
        let since = memory.attempt.map_or(self.seconds, |(_, since)| since);
        let attempt = Attempt {
            elapsed: Duration::from_secs((self.seconds - since).try_into().unwrap_or_default()),
            ran: memory.ran,
            pause: self.pause(uid, self.generation),
            repair_pause: self.pause(uid, basis),
        };
        let presence = if cluster.unreachable {
            Presence::Unreachable("down".into())
        } else {
            let targets = keys(basis);
            let (present, missing): (Vec<_>, Vec<_>) =
                targets.into_iter().partition(|key| cluster.objects.contains_key(key));
            let drifted = present.iter().filter(|key| cluster.objects[*key] != basis).cloned().collect();
            let well = missing.is_empty() && !cluster.ill;
            let verdict = if well { Verdict::Available } else { Verdict::Progressing("starting".into()) };
            let uid = |key| InventoryEntry { key, uid: Some("u".into()) };
            Presence::Seen(Observation {
                missing,
                drifted,
                health: Health { containers: ContainerHealth::default(), verdict },
                services: BTreeMap::new(),
                present: present.into_iter().map(uid).collect(),
            })
        };
        // What a look finds out is compared with, and that is what could be applied.
        ClusterView { presence, basis, targets: Targets::Known(keys(basis)), attempt, unseen: String::new() }
    }
}
