//! What the adapter sees in the simulated world, by the functions with which `controller::view` computes it: what a copy is
//! judged by, and what its objects may be.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::handover::Health;
use super::{Apply, World, keys, set};
use crate::object::expectation::{Expected, Objects, expected};
use crate::object::health::{self, ContainerHealth, Verdict};
use crate::object::observation::{Hidden, Observation};
use crate::object::rendering::DocumentHash;
use crate::object::{ClusterUid, InventoryEntry, ObjectKey};
use crate::plan::{Aim, Attempt, Basis, ClusterView, Presence, RecordedAttempt, Targets, basis};

/// What the watches of a cluster show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sight {
    #[default]
    Whole,
    /// Not all of them have told yet.
    Pending,
    /// Nothing is known of the cluster yet.
    Blind,
}

impl World {
    /// Whether nothing can be done on a cluster, because nothing is known of it yet.
    pub(super) fn is_blind(&self, uid: &ClusterUid) -> bool {
        let cluster = &self.clusters[uid];
        !cluster.unreachable && cluster.sight == Sight::Blind
    }

    fn objects(&self, hash: DocumentHash) -> Objects<i64> {
        let documents = self.documents_of(hash);
        Objects { hash, objects: keys(documents).into_iter().map(|key| (key, documents)).collect() }
    }

    /// Whether documents can be read: those of the spec are at hand.
    fn readable(&self, hash: DocumentHash) -> Result<(), String> {
        let at_hand = hash == set(self.documents).hash;
        if at_hand || !self.unreadable { Ok(()) } else { Err("lost".into()) }
    }

    /// By what a copy is judged.
    fn judgement(&self, uid: &ClusterUid) -> (Basis, Vec<Expected<i64>>) {
        let Some(copy) = self.copies.get(uid) else { return (Basis::Nothing, Vec::new()) };
        let wanted = set(self.documents);
        let basis = basis(copy, self.generation, Some(&wanted), |set| self.readable(set.hash));
        let (applied, intended) = copy.works(self.generation, Some(&wanted));
        let (Basis::Works, Some(applied)) = (&basis, applied) else {
            let expectation = |entry: &InventoryEntry| Expected {
                key: entry.key.clone(),
                candidates: Vec::new(),
                optional: basis != Basis::Nothing && entry.uid.is_none(),
                done: copy.completed.contains_key(&entry.key),
            };
            let expected = copy.inventory.iter().map(expectation).collect();
            return (basis, expected);
        };
        let intended = intended.filter(|intended| self.readable(intended.set.hash).is_ok());
        let intended = intended.map(|intended| self.objects(intended.set.hash));
        let last = |key: &ObjectKey| self.memory.get(uid)?.accepted.get(key).copied();
        let applied = self.objects(applied.set.hash);
        let completed = |key: &ObjectKey, set| copy.has_completed(key, set);
        (basis, expected(&applied, intended.as_ref(), last, completed))
    }

    fn is_hidden(&self, uid: &ClusterUid, key: &ObjectKey) -> bool {
        self.clusters[uid].hides && key.name == "always"
    }

    /// The objects that a step applies.
    pub(super) fn pieces(&self, uid: &ClusterUid, what: Apply) -> Vec<(ObjectKey, i64)> {
        if what == Apply::Wanted {
            assert!(!self.clusters[uid].hides, "applied objects whose kind is not known");
            let wanted = self.objects(set(self.documents).hash);
            let is_due = |(key, _): &(ObjectKey, i64)| !self.copies[uid].has_completed(key, wanted.hash);
            return wanted.objects.iter().filter(|object| is_due(object)).cloned().collect();
        }
        let live = &self.clusters[uid].objects;
        let refused = self.view(uid).refused;
        let (basis, expected) = self.judgement(uid);
        assert_eq!(basis, Basis::Works, "repaired to what is not known");
        let piece = |expected: Expected<i64>| {
            let is = live.get(&expected.key);
            let is_due = !expected.done && !expected.optional && !refused.contains_key(&expected.key);
            if !is_due || self.is_hidden(uid, &expected.key) {
                return None;
            }
            let fitting = expected.candidates.iter().find(|(_, documents)| is == Some(documents));
            let (_, documents) = fitting.or(expected.candidates.first())?;
            Some((expected.key, *documents))
        };
        expected.into_iter().filter_map(piece).collect()
    }

    /// What there is of a copy, whether it can be seen or not.
    pub(super) fn in_truth(&self, uid: &ClusterUid) -> Observation {
        self.seen(uid, &self.judgement(uid).1, |_| false)
    }

    fn seen(
        &self,
        uid: &ClusterUid,
        all: &[Expected<i64>],
        is_hidden: impl Fn(&ObjectKey) -> bool,
    ) -> Observation {
        let cluster = &self.clusters[uid];
        let mut seen = Observation {
            missing: Vec::new(),
            drifted: Vec::new(),
            hidden: Vec::new(),
            health: health::Health { containers: ContainerHealth::default(), verdict: Verdict::Available },
            services: BTreeMap::new(),
            present: Vec::new(),
            used: Vec::new(),
            unready: Vec::new(),
            cause: None,
            replicas: Default::default(),
            completed: Vec::new(),
        };
        for Expected { key, candidates, optional, done } in all {
            match cluster.objects.get(key) {
                _ if is_hidden(key) && !optional => {
                    seen.hidden.push(Hidden { key: key.clone(), why: "not served".into() });
                }
                _ if cluster.is_used(key) => seen.used.push(key.clone()),
                None if *optional || *done => {}
                None => seen.missing.push(key.clone()),
                Some(is) => {
                    let fitting = candidates.iter().find(|(_, documents)| documents == is);
                    if !optional && !done && !candidates.is_empty() && fitting.is_none() {
                        seen.drifted.push(key.clone());
                    }
                    let judged = fitting.or(candidates.first()).and_then(|(set, _)| *set);
                    let ended = judged.filter(|_| cluster.has_ended(key));
                    seen.completed.extend(ended.map(|set| (key.clone(), set)));
                    seen.present.push(InventoryEntry { key: key.clone(), uid: Some("u".into()) });
                }
            }
        }
        if cluster.health != Health::Dead {
            seen.health.containers.running = i64::try_from(seen.present.len()).unwrap();
        }
        if !seen.missing.is_empty() || !seen.hidden.is_empty() || cluster.health != Health::Well {
            seen.health.verdict = Verdict::Progressing("starting".into());
        }
        seen
    }

    pub(super) fn view(&self, uid: &ClusterUid) -> ClusterView {
        let cluster = &self.clusters[uid];
        let (aim, since) = (self.aim(uid), self.memory.get(uid).and_then(|memory| memory.attempt));
        let elapsed = self.seconds - since.map_or(self.seconds, |(_, since)| since);
        let (basis, expected) = match self.is_blind(uid) {
            true => (Basis::Nothing, Vec::new()),
            false => self.judgement(uid),
        };
        let applied = self.copies.get(uid).and_then(|copy| copy.applied_work);
        let repair = applied.map(|applied| self.pause(uid, Aim::Set(applied.set.hash)));
        let is_known = !cluster.unreachable && cluster.sight != Sight::Blind;
        let presence = match (cluster.unreachable, cluster.sight) {
            (true, _) => Presence::Unreachable("down".into()),
            (false, Sight::Whole) => {
                Presence::Seen(Box::new(self.seen(uid, &expected, |key| self.is_hidden(uid, key))))
            }
            (false, _) => Presence::Unseen,
        };
        let refused = match &presence {
            Presence::Seen(seen) => self.refused(uid, applied.map(|applied| applied.set.hash), seen),
            _ => BTreeMap::new(),
        };
        ClusterView {
            presence,
            unseen: Duration::ZERO,
            hidden: Duration::ZERO,
            webhook: false,
            basis,
            wanted: is_known.then(|| set(self.documents)),
            targets: match (is_known, cluster.hides) {
                (false, _) => Targets::Unknown(String::new()),
                (true, true) => Targets::Unknown("503".into()),
                (true, false) => Targets::Known(keys(self.documents)),
            },
            every_cluster: BTreeSet::new(),
            scaled: false,
            today: BTreeMap::new(),
            renewal: Duration::ZERO,
            attempt: Attempt {
                elapsed: Duration::from_secs(elapsed.try_into().unwrap_or_default()),
                pause: self.pause(uid, aim),
                repair_pause: repair.unwrap_or_default(),
                ..self.recorded(uid, aim, elapsed)
            },
            refused,
        }
    }

    /// What is to be recorded of an attempt that has lasted for so many seconds.
    fn recorded(&self, uid: &ClusterUid, aim: Aim, elapsed: i64) -> Attempt {
        let elapsed = Duration::from_secs(elapsed.try_into().unwrap_or_default());
        let Some(copy) = self.copies.get(uid).filter(|copy| aim.is_awaited(copy)) else {
            return Attempt::default();
        };
        let recorded = copy.attempt.filter(|attempt| attempt.aim == aim).map(|attempt| attempt.elapsed);
        let due = (recorded.unwrap_or_default() + Duration::from_secs(60)).saturating_sub(elapsed);
        let record = RecordedAttempt { aim, retry: self.retry_requests, elapsed };
        let record_in = (!self.is_blind(uid)).then_some(due);
        Attempt { record: Some(record), record_in, ..Attempt::default() }
    }
}
