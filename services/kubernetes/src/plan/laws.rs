//! The laws of the planner, checked over random histories in a simulated world: clusters that come, go and fall ill, an
//! application that is changed, moved and deleted, steps that fail or are recorded too late.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::error::ClusterError;
use crate::object::ObjectKey;
use crate::object::apply::ApplyError;
use crate::object::remove::Remaining;

mod memory;

use memory::Remembered;

const CLUSTERS: [&str; 3] = ["a", "b", "c"];
const DEADLINE: Duration = Duration::from_secs(300);

#[derive(Clone, Copy, Debug)]
enum Event {
    Update,
    /// The scheduler decides for the present generation.
    Bind(usize),
    Delete,
    Reachable(usize, bool),
    Healthy(usize, bool),
    /// The cluster refuses manifests.
    Accepting(usize, bool),
    /// Objects have finalizers that nobody removes.
    Lingering(usize, bool),
    /// Somebody deletes an object by hand.
    Vandal(usize),
    Pass(u32),
    /// A user asks for a retry.
    Retry,
    /// The adapter begins anew, without what it remembered.
    Restart,
    /// The adapter plans once; a step on a cluster may fail, or succeed without being recorded.
    Adapter {
        fail: u8,
    },
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let cluster = 0..CLUSTERS.len();
    let event = prop_oneof![
        2 => Just(Event::Update),
        4 => cluster.clone().prop_map(Event::Bind),
        1 => Just(Event::Delete),
        3 => (cluster.clone(), any::<bool>()).prop_map(|(c, up)| Event::Reachable(c, up)),
        3 => (cluster.clone(), any::<bool>()).prop_map(|(c, well)| Event::Healthy(c, well)),
        1 => (cluster.clone(), any::<bool>()).prop_map(|(c, accepts)| Event::Accepting(c, accepts)),
        1 => (cluster.clone(), any::<bool>()).prop_map(|(c, lingers)| Event::Lingering(c, lingers)),
        1 => cluster.prop_map(Event::Vandal),
        2 => (1u32..400).prop_map(Event::Pass),
        1 => Just(Event::Restart),
        1 => Just(Event::Retry),
        20 => (0u8..12).prop_map(|fail| Event::Adapter { fail }),
    ];
    prop::collection::vec(event, 1..60)
}

use proptest::strategy::Strategy;

#[derive(Default)]
struct Cluster {
    unreachable: bool,
    ill: bool,
    refuses: bool,
    lingers: bool,
    /// Object → generation of the manifest that it was last applied from.
    objects: BTreeMap<ObjectKey, i64>,
}

struct World {
    clusters: BTreeMap<ClusterUid, Cluster>,
    seconds: i64,
    generation: i64,
    scheduled_generation: i64,
    retry_requests: i64,
    deleted: bool,
    bindings: Vec<ClusterUid>,
    copies: BTreeMap<ClusterUid, CopyRecord>,
    memory: BTreeMap<ClusterUid, Remembered>,
    strategy: super::Strategy,
    finalizer_dropped: bool,
}

/// Every generation has an object that all have, and one of its own.
fn keys(generation: i64) -> Vec<ObjectKey> {
    let key =
        |name: String| ObjectKey { api_version: "v1".into(), kind: "Pod".into(), namespace: None, name };
    vec![key("always".into()), key(format!("of-{}", generation % 3))]
}

impl World {
    fn new(strategy: super::Strategy) -> Self {
        Self {
            clusters: CLUSTERS.iter().map(|uid| ((*uid).into(), Cluster::default())).collect(),
            seconds: 1_000_000,
            generation: 1,
            scheduled_generation: 0,
            retry_requests: 0,
            deleted: false,
            bindings: Vec::new(),
            copies: BTreeMap::new(),
            memory: BTreeMap::new(),
            strategy,
            finalizer_dropped: false,
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.seconds).unwrap()
    }

    /// Whether all that a generation means is there and well.
    fn works(&self, uid: &ClusterUid, generation: i64) -> bool {
        let cluster = &self.clusters[uid];
        !cluster.ill && keys(generation).iter().all(|key| cluster.objects.get(key) == Some(&generation))
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot {
            deleted: self.deleted,
            generation: self.generation,
            scheduled_generation: self.scheduled_generation,
            retry_requests: self.retry_requests,
            bindings: self.bindings.clone(),
            copies: self.copies.values().cloned().collect(),
            // An application is released only from clusters that go.
            leaving: self.clusters.keys().filter(|_| self.bindings.is_empty()).cloned().collect(),
            strategy: self.strategy,
            clusters: self.clusters.keys().map(|uid| (uid.clone(), self.view(uid))).collect(),
            now: self.now(),
            deadline: DEADLINE,
        }
    }

    /// The state service: compare-and-set, versions, transition times.
    fn record(&mut self, mut copy: CopyRecord) {
        let before = self.copies.get(&copy.cluster);
        assert!(!(self.deleted && before.is_none()), "a new copy for a deleted application");
        let ran = before.is_some_and(|before| before.phase == Phase::Running);
        assert!(!ran || copy.phase != Phase::Failed, "a running copy failed: {copy:?}");
        let failed = copy.phase == Phase::Failed;
        assert_eq!(copy.failure.is_some(), failed, "a failure and nothing else has a class: {copy:?}");
        copy.version = before.map_or(0, |before| before.version) + 1;
        if before.is_none_or(|before| before.phase != copy.phase) {
            copy.since = self.now();
        }
        self.copies.insert(copy.cluster.clone(), copy);
    }

    fn others_run(&self) -> bool {
        self.bindings.iter().all(|uid| {
            let running = self.copies.get(uid).filter(|copy| copy.phase == Phase::Running);
            running.is_some_and(|copy| self.works(uid, copy.observed_generation))
        })
    }

    /// Plans and acts once. `fail`: the step that fails; every third one of those after its effect.
    fn adapter(&mut self, fail: u8) {
        let mut broken = BTreeSet::new();
        for uid in CLUSTERS {
            self.look(&uid.into());
        }
        for (number, step) in plan(&self.snapshot()).into_iter().enumerate() {
            if step.cluster().is_some_and(|cluster| broken.contains(cluster)) {
                continue;
            }
            let fails = number == usize::from(fail / 3);
            if fails && !fail.is_multiple_of(3) {
                broken.extend(step.cluster().cloned());
                continue;
            }
            let follows = self.act(step.clone());
            if fails {
                broken.extend(step.cluster().cloned());
            } else if let Some(follows) = follows {
                self.act(follows);
            }
        }
        self.check();
    }

    /// Does one step, checking the laws; returns what follows.
    fn act(&mut self, step: Step) -> Option<Step> {
        match step {
            Step::RecordIntent(copy) => {
                assert!(!self.deleted && self.scheduled_generation == self.generation);
                assert!(self.bindings.contains(&copy.cluster));
                self.record(copy);
            }
            Step::Apply { cluster, basis } => return self.apply(&cluster, basis),
            Step::Report(copy) => self.record(copy),
            Step::MarkRemoving(copy) => {
                let uid = &copy.cluster;
                let unbound = self.scheduled_generation > 0 && !self.bindings.contains(uid);
                assert!(self.deleted || unbound, "{uid} is wanted");
                let failed = self.copies[uid].phase == Phase::Failed && !self.bindings.is_empty();
                if !self.deleted && !failed && self.strategy == super::Strategy::CreateFirst {
                    assert!(self.others_run(), "{uid} goes before its successors run");
                }
                self.record(copy);
            }
            Step::Remove { cluster, inventory } => {
                assert_eq!(self.copies[&cluster].phase, Phase::Removing);
                let remaining = self.remove(&cluster, &inventory);
                return Some(after_remove(
                    &self.copies[&cluster],
                    &remaining,
                    self.view(&cluster).attempt.elapsed,
                    DEADLINE,
                ));
            }
            Step::Withdraw { cluster, inventory } => {
                assert_eq!(self.copies[&cluster].phase, Phase::Failed);
                let running = |copy: &CopyRecord| copy.cluster != cluster && copy.phase == Phase::Running;
                assert!(self.copies.values().any(running), "withdrawn, but nothing else runs");
                let remaining = self.remove(&cluster, &inventory);
                return Some(after_withdraw(&self.copies[&cluster], &remaining));
            }
            Step::Prune { cluster, surplus } => {
                for entry in &surplus {
                    assert!(!keys(self.generation).contains(&entry.key), "pruned what is wanted");
                }
                let remaining = self.remove(&cluster, &surplus);
                return Some(after_prune(&self.copies[&cluster], &surplus, &remaining));
            }
            Step::Forget(copy) => {
                let objects = &self.clusters[&copy.cluster].objects;
                assert!(objects.is_empty(), "forgotten with {objects:?}");
                self.copies.remove(&copy.cluster);
            }
            Step::DropFinalizer => {
                assert!(self.deleted && self.clusters.values().all(|cluster| cluster.objects.is_empty()));
                self.finalizer_dropped = true;
            }
            Step::Wait(_) => {}
        }
        None
    }

    fn apply(&mut self, uid: &ClusterUid, basis: i64) -> Option<Step> {
        let copy = self.copies.get(uid).cloned().expect("applied without a recorded copy");
        assert!(!self.deleted, "applied for a deleted application");
        let decided = self.scheduled_generation == self.generation && self.bindings.contains(uid);
        let repair = basis == copy.observed_generation;
        assert!(repair || (decided && basis == self.generation), "applied what nobody decided");
        assert!(copy.covers(&keys(basis)), "applied objects that are not recorded");
        if !self.pause(uid, basis).is_zero() {
            return None;
        }
        let (seconds, elapsed) = (self.seconds, self.view(uid).attempt.elapsed);
        let cluster = self.clusters.get_mut(uid).unwrap();
        let accept = |key: &ObjectKey| InventoryEntry { key: key.clone(), uid: Some("u".into()) };
        let refuse = |key: &ObjectKey, error| Err(ApplyError::Object { key: key.clone(), error });
        let keys = keys(basis);
        let (accepted, outcome) = if cluster.unreachable {
            (0, refuse(&keys[0], ClusterError::Unreachable("x".into())))
        } else if cluster.refuses {
            // The first object is accepted, the second is not.
            (1, refuse(&keys[1], ClusterError::Rejected("x".into())))
        } else {
            (keys.len(), Ok(()))
        };
        cluster.objects.extend(keys[..accepted].iter().map(|key| (key.clone(), basis)));
        let accepted: Vec<_> = keys[..accepted].iter().map(accept).collect();
        let memory = self.memory.entry(uid.clone()).or_default();
        if outcome.is_ok() {
            (memory.applied, memory.halfway) = (Some(basis), None);
        } else if !accepted.is_empty() {
            memory.halfway = Some(basis);
        }
        let (generation, deadline) = (self.generation, DEADLINE);
        let applied = Applied {
            copy: &copy,
            basis,
            generation,
            retry_requests: self.retry_requests,
            elapsed,
            deadline,
            accepted: &accepted,
            outcome: &outcome,
            validated: None,
        };
        let after = after_apply(applied);
        match after.again {
            Again::No if memory.rests.is_some_and(|(generation, _)| generation == basis) => {
                memory.rests = None
            }
            Again::Slowly => memory.rests = Some((basis, seconds + 300)),
            Again::No | Again::Soon => {}
        }
        after.report
    }

    fn remove(&mut self, uid: &ClusterUid, inventory: &[InventoryEntry]) -> Vec<Remaining> {
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

    /// What holds at every moment: nothing is on a cluster that is not in the inventory of a recorded copy there.
    fn check(&self) {
        for (uid, cluster) in &self.clusters {
            for key in cluster.objects.keys() {
                let copy = self.copies.get(uid);
                let known = copy.is_some_and(|copy| copy.inventory.iter().any(|entry| entry.key == *key));
                assert!(known, "{key} on {uid} is an orphan");
            }
        }
    }

    fn happens(&mut self, event: Event) {
        let uid = |index: usize| ClusterUid::from(CLUSTERS[index]);
        match event {
            Event::Update if self.deleted => {}
            Event::Update => self.generation += 1,
            Event::Bind(index) => {
                self.bindings = vec![uid(index)];
                self.scheduled_generation = self.generation;
            }
            Event::Delete => self.deleted = true,
            Event::Reachable(index, up) => self.clusters.get_mut(&uid(index)).unwrap().unreachable = !up,
            Event::Healthy(index, well) => self.clusters.get_mut(&uid(index)).unwrap().ill = !well,
            Event::Accepting(index, accepts) => {
                self.clusters.get_mut(&uid(index)).unwrap().refuses = !accepts;
            }
            Event::Lingering(index, lingers) => self.clusters.get_mut(&uid(index)).unwrap().lingers = lingers,
            Event::Vandal(index) => drop(self.clusters.get_mut(&uid(index)).unwrap().objects.pop_first()),
            Event::Restart => self.memory.clear(),
            Event::Retry => self.retry_requests += 1,
            Event::Pass(seconds) => self.seconds += i64::from(seconds),
            Event::Adapter { fail } => self.adapter(fail),
        }
    }

    /// Everything is well and decided from now on: rounds until nothing is left to do.
    fn settle(&mut self) {
        for cluster in self.clusters.values_mut() {
            *cluster = Cluster { objects: std::mem::take(&mut cluster.objects), ..Cluster::default() };
        }
        // Again and again: what failed is tried again after its pause.
        for _ in 0..4 {
            if !self.deleted {
                self.happens(Event::Bind(0));
            }
            for _ in 0..20 {
                self.adapter(u8::MAX);
                self.seconds += 1;
            }
            self.seconds += 400;
        }
        self.adapter(u8::MAX);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn laws_hold_and_all_ends_well(events in events(), create_first in any::<bool>()) {
        let strategy =
            if create_first { super::Strategy::CreateFirst } else { super::Strategy::DeleteFirst };
        let mut world = World::new(strategy);
        for event in events {
            world.happens(event);
        }
        world.settle();
        if world.deleted {
            prop_assert!(world.finalizer_dropped && world.copies.is_empty(), "{:?}", world.copies);
            return Ok(());
        }
        let bound = &world.bindings[0];
        prop_assert_eq!(world.copies.keys().collect::<Vec<_>>(), vec![bound]);
        prop_assert_eq!(world.copies[bound].phase, Phase::Running);
        for (uid, cluster) in &world.clusters {
            let expected = if uid == bound { keys(world.generation) } else { Vec::new() };
            let expected: BTreeMap<_, _> = expected.into_iter().map(|key| (key, world.generation)).collect();
            prop_assert_eq!(&cluster.objects, &expected);
        }
        let steps = plan(&world.snapshot());
        prop_assert!(steps.is_empty(), "settled, but {:?}", steps);
    }
}
