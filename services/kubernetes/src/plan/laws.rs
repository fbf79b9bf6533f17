//! The laws of the planner, checked over random histories in a simulated world: clusters that come, go and fall ill, an
//! application that is changed, moved and deleted, steps that fail or are recorded too late.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::object::ObjectKey;
use crate::object::rendering::{DocumentHash, DocumentSet};

mod effects;
mod events;
mod handover;
mod jobs;
mod memory;
mod view;

use events::{Event, events, events_of_clusters};
use handover::Health;
use jobs::Jobs;
use memory::Remembered;
use view::Sight;

const CLUSTERS: [&str; 3] = ["a", "b", "c"];
const DEADLINE: Duration = Duration::from_secs(300);

#[derive(Default)]
struct Cluster {
    unreachable: bool,
    sight: Sight,
    health: Health,
    refuses: bool,
    /// An object that all documents have is there already, and somebody else's: it is used.
    theirs: bool,
    lingers: bool,
    hides: bool,
    /// The Job that is there has run to its end.
    ended: bool,
    /// Object → documents that it was last applied from.
    objects: BTreeMap<ObjectKey, i64>,
    /// All that it ever accepted.
    accepted: BTreeSet<(ObjectKey, i64)>,
}

struct World {
    clusters: BTreeMap<ClusterUid, Cluster>,
    seconds: i64,
    generation: i64,
    /// The documents of the spec, and those of before: documents are numbers, and the highest was used last.
    documents: i64,
    former: i64,
    newest: i64,
    unreadable: bool,
    scheduled_generation: i64,
    retry_requests: i64,
    deleted: bool,
    bindings: Vec<ClusterUid>,
    /// Clusters that are being deleted.
    leaving: BTreeSet<ClusterUid>,
    copies: BTreeMap<ClusterUid, CopyRecord>,
    memory: BTreeMap<ClusterUid, Remembered>,
    jobs: Jobs,
    strategy: super::Strategy,
    claims_volumes: bool,
    /// Clusters that an attempt failed on which was given up for another one.
    given_up: BTreeSet<ClusterUid>,
    finalizer_dropped: bool,
}

impl Cluster {
    /// Whether an object is used, and not the application's.
    fn is_used(&self, key: &ObjectKey) -> bool {
        self.theirs && key.name == "always" && !self.objects.contains_key(key)
    }
}

/// All documents have an object that all have, one that few others have, and a Job.
fn keys(documents: i64) -> Vec<ObjectKey> {
    let key =
        |name: String| ObjectKey { api_version: "v1".into(), kind: "Pod".into(), namespace: None, name };
    vec![key("always".into()), key(format!("of-{}", documents % 2)), jobs::key()]
}

/// The name of documents.
fn set(documents: i64) -> DocumentSet {
    DocumentSet { hash: DocumentHash::of(&documents.to_be_bytes()), hash_version: 1, size: 1 }
}

impl World {
    fn new(strategy: super::Strategy) -> Self {
        Self {
            clusters: CLUSTERS.iter().map(|uid| ((*uid).into(), Cluster::default())).collect(),
            seconds: 1_000_000,
            generation: 1,
            documents: 1,
            former: 1,
            newest: 1,
            unreadable: false,
            scheduled_generation: 0,
            retry_requests: 0,
            deleted: false,
            bindings: Vec::new(),
            leaving: BTreeSet::new(),
            copies: BTreeMap::new(),
            memory: BTreeMap::new(),
            jobs: Jobs::default(),
            strategy,
            claims_volumes: false,
            given_up: BTreeSet::new(),
            finalizer_dropped: false,
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.seconds).unwrap()
    }

    /// The documents of a set.
    fn documents_of(&self, hash: DocumentHash) -> i64 {
        (1..=self.newest).find(|documents| set(*documents).hash == hash).expect("documents of the spec")
    }

    /// Whether all that a copy should have is there and well: each object as it was accepted last.
    fn works(&self, uid: &ClusterUid, copy: &CopyRecord) -> bool {
        let (Some(applied), intended) = copy.works(self.generation, Some(&set(self.documents))) else {
            return false;
        };
        let named = [Some(applied), intended].into_iter().flatten();
        let may_be: Vec<_> = named.map(|work| self.documents_of(work.set.hash)).collect();
        let cluster = &self.clusters[uid];
        let is_well = |key: &ObjectKey| {
            cluster.is_used(key)
                || cluster.objects.get(key).is_some_and(|is| may_be.contains(is))
                || may_be.iter().any(|documents| copy.has_completed(key, set(*documents).hash))
        };
        cluster.health == Health::Well && keys(may_be[0]).iter().all(is_well)
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot {
            deleted: self.deleted,
            generation: self.generation,
            scheduled_generation: self.scheduled_generation,
            retry_requests: self.retry_requests,
            bindings: self.bindings.clone(),
            copies: self.copies.values().cloned().collect(),
            completed: self.jobs.kept.clone(),
            leaving: self.leaving.clone(),
            strategy: self.strategy,
            given_up: if self.claims_volumes { self.given_up.clone() } else { BTreeSet::new() },
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
        let is_away = self.clusters[&copy.cluster].unreachable;
        assert!(
            !is_away || before.is_none_or(|before| before.attempt == copy.attempt),
            "no time passes: {copy:?}"
        );
        let failed = copy.phase == Phase::Failed;
        assert_eq!(copy.failure.is_some(), failed, "a failure and nothing else has a class: {copy:?}");
        copy.version = before.map_or(0, |before| before.version) + 1;
        // What it names is stored by now.
        for work in [&mut copy.applied_work, &mut copy.intended_work].into_iter().flatten() {
            work.pieces = 1;
        }
        if before.is_none_or(|before| before.phase != copy.phase) {
            copy.since = self.now();
        }
        self.jobs_recorded(&copy);
        self.copies.insert(copy.cluster.clone(), copy);
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
            if step.cluster().is_some_and(|uid| self.is_blind(uid)) && is_effect(&step) {
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
                let begins = !self.copies.contains_key(&copy.cluster);
                assert!(!begins || self.running_elsewhere(&copy.cluster) < 2, "a third copy");
                self.check_what_begins(&copy.cluster);
                self.record(copy);
            }
            Step::Apply { cluster, what } => return self.apply(&cluster, what),
            Step::Report(copy) => self.record(copy),
            Step::MarkRemoving(copy) => {
                let uid = &copy.cluster;
                let unbound = self.scheduled_generation > 0 && !self.bindings.contains(uid);
                assert!(self.deleted || unbound, "{uid} is wanted");
                if !self.deleted && self.bindings.is_empty() {
                    let copy = &self.copies[uid];
                    let is_void = copy.phase == Phase::Intended && copy.applied_work.is_none();
                    assert!(self.leaving.contains(uid) || is_void, "{uid} goes, and nothing takes its place");
                }
                let failed = self.copies[uid].phase == Phase::Failed && !self.bindings.is_empty();
                if !self.deleted && !failed && self.strategy == super::Strategy::CreateFirst {
                    assert!(
                        self.others_run() || self.another_stays(uid),
                        "{uid} goes before its successors run"
                    );
                }
                self.check_what_goes(uid);
                self.record(copy);
            }
            Step::Remove { cluster, inventory } => {
                assert_eq!(self.copies[&cluster].phase, Phase::Removing);
                let remaining = self.remove(&cluster, &inventory);
                return Some(after_remove(&self.copies[&cluster], &remaining, self.waited(&cluster)));
            }
            Step::Withdraw { cluster, inventory } => {
                assert_eq!(self.copies[&cluster].phase, Phase::Failed);
                let running = |copy: &CopyRecord| copy.cluster != cluster && copy.phase == Phase::Running;
                assert!(self.copies.values().any(running), "withdrawn, but nothing else runs");
                self.check_what_goes(&cluster);
                let remaining = self.remove(&cluster, &inventory);
                return Some(after_withdraw(&self.copies[&cluster], &remaining, self.waited(&cluster)));
            }
            Step::Prune { cluster, surplus } => {
                for entry in &surplus {
                    assert!(!keys(self.documents).contains(&entry.key), "pruned what is wanted");
                }
                let remaining = self.remove(&cluster, &surplus);
                let waited = self.waited(&cluster);
                return Some(after_prune(&self.copies[&cluster], &surplus, &remaining, waited));
            }
            Step::Forget(copy) => {
                let objects = &self.clusters[&copy.cluster].objects;
                assert!(objects.is_empty(), "forgotten with {objects:?}");
                self.jobs_forgotten(&copy.cluster);
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

    /// Everything is well and decided from now on: rounds until nothing is left to do.
    fn settle(&mut self) {
        for cluster in self.clusters.values_mut() {
            let (objects, accepted, ended) =
                (std::mem::take(&mut cluster.objects), std::mem::take(&mut cluster.accepted), cluster.ended);
            *cluster = Cluster { objects, accepted, ended, ..Cluster::default() };
        }
        self.leaving.clear();
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

/// Whether a step does something on its cluster.
fn is_effect(step: &Step) -> bool {
    matches!(step, Step::Apply { .. } | Step::Remove { .. } | Step::Withdraw { .. } | Step::Prune { .. })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn laws_hold_and_all_ends_well(
        events in events(), create_first in any::<bool>(), claims_volumes in any::<bool>(),
    ) {
        let strategy =
            if create_first { super::Strategy::CreateFirst } else { super::Strategy::DeleteFirst };
        let mut world = World { claims_volumes, ..World::new(strategy) };
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
        let copy = &world.copies[bound];
        prop_assert_eq!(copy.phase, Phase::Running);
        let work = Some(Work { set: set(world.documents), generation: world.generation, pieces: 1 });
        prop_assert_eq!((copy.applied_work, copy.intended_work), (work, work));
        for (uid, cluster) in &world.clusters {
            let expected = if uid == bound { keys(world.documents) } else { Vec::new() };
            let expected: BTreeMap<_, _> = expected.into_iter().map(|key| (key, world.documents)).collect();
            let mut objects = cluster.objects.clone();
            if uid == bound && copy.has_completed(&jobs::key(), set(world.documents).hash) {
                // It may have been collected, or stand there as an earlier set left it.
                objects.insert(jobs::key(), world.documents);
            }
            prop_assert_eq!(&objects, &expected);
        }
        let steps = plan(&world.snapshot());
        prop_assert!(steps.is_empty(), "settled, but {:?}", steps);
    }

    /// Bound to one cluster after another, so soon that nothing went in between.
    #[test]
    fn an_interrupted_handover_gives_up_nothing_that_serves_alone(
        rounds in 1usize..4,
        events in events_of_clusters(),
    ) {
        let mut world = World::new(super::Strategy::CreateFirst);
        for (cluster, rounds) in [(0, 4), (1, rounds), (2, 0)] {
            world.happens(Event::Bind(cluster));
            (0..rounds).for_each(|_| world.adapter(u8::MAX));
            world.seconds += 10;
        }
        for event in events {
            world.happens(event);
        }
        world.settle();
    }
}

/// An arbitrary story that once removed what served: the copy on the second cluster is refused while the third one runs, and
/// the spec changes before anything else is done.
#[test]
fn what_runs_stays_until_the_next_one_does_though_another_one_was_refused() {
    let mut world = World::new(super::Strategy::CreateFirst);
    let all_goes_well = Event::Adapter { fail: 3 };
    let story = [Event::Bind(1), all_goes_well, Event::Accepting(1, false), all_goes_well, Event::Bind(2)];
    for event in story.into_iter().chain([all_goes_well, Event::Update]) {
        world.happens(event);
    }
    world.settle();
}
