//! Which key is handed out next: the pure state behind the queue. Time is a parameter.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use tokio::time::Instant;

/// How urgent a key is. As long as a change waits, no resync is handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Something changed: a user or another controller wrote the object.
    Change,
    /// Nothing is known to have changed: timers and periodic resyncs.
    Resync,
}

/// How many keys are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Due, waiting for a worker.
    pub ready: usize,
    /// Waiting for their time.
    pub delayed: usize,
    /// Being worked on.
    pub working: usize,
}

/// Keys wanted and keys being worked on. A key is wanted at most once, so the size is bounded by the number of keys.
#[derive(Debug)]
pub(super) struct Schedule<K> {
    keys: HashMap<K, Entry>,
    ready: BTreeMap<(Priority, u64), K>,
    delayed: BTreeMap<(Instant, u64), K>,
    working: usize,
    /// Numbers demands in the order they become due: first come, first served within a priority.
    sequence: u64,
}

#[derive(Debug, Default)]
struct Entry {
    working: bool,
    wanted: Option<Wanted>,
}

#[derive(Clone, Copy, Debug)]
struct Wanted {
    priority: Priority,
    run_at: Instant,
    place: Place,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Ready(u64),
    Delayed(u64),
    /// The key is being worked on; decided when it is released.
    Held,
}

impl<K> Default for Schedule<K> {
    fn default() -> Self {
        Self {
            keys: HashMap::new(),
            ready: BTreeMap::new(),
            delayed: BTreeMap::new(),
            working: 0,
            sequence: 0,
        }
    }
}

impl<K: Clone + Eq + Hash> Schedule<K> {
    /// Wants `key` at `run_at`. If it is wanted already, the earlier time and the higher priority win.
    pub(super) fn add(&mut self, key: K, priority: Priority, run_at: Instant, now: Instant) {
        let entry = self.keys.entry(key.clone()).or_default();
        let (working, before) = (entry.working, entry.wanted);
        let (priority, run_at) = before
            .map_or((priority, run_at), |before| (before.priority.min(priority), before.run_at.min(run_at)));
        let mut queued = None;
        match before.map(|before| (before.priority, before.run_at, before.place)) {
            Some((before, _, Place::Ready(sequence))) => {
                self.ready.remove(&(before, sequence));
                // What waits already keeps its turn.
                queued = Some(sequence);
            }
            Some((_, before, Place::Delayed(sequence))) => {
                self.delayed.remove(&(before, sequence));
            }
            Some((_, _, Place::Held)) | None => {}
        }
        let place = match queued {
            Some(sequence) => {
                self.ready.insert((priority, sequence), key.clone());
                Place::Ready(sequence)
            }
            None if working => Place::Held,
            None => self.place(key.clone(), priority, run_at, now),
        };
        self.keys.entry(key).or_default().wanted = Some(Wanted { priority, run_at, place });
    }

    /// Hands out the next key that is due; it stays with the caller until [`Schedule::release`].
    pub(super) fn take(&mut self, now: Instant) -> Option<(K, Priority)> {
        while let Some(due) = self.delayed.first_entry().filter(|first| first.key().0 <= now) {
            let key = due.remove();
            self.sequence += 1;
            if let Some(wanted) = self.keys.get_mut(&key).and_then(|entry| entry.wanted.as_mut()) {
                wanted.place = Place::Ready(self.sequence);
                self.ready.insert((wanted.priority, self.sequence), key);
            }
        }
        let ((priority, _), key) = self.ready.pop_first()?;
        self.keys.insert(key.clone(), Entry { working: true, wanted: None });
        self.working += 1;
        Some((key, priority))
    }

    /// Takes back a key that was handed out. If it was wanted again meanwhile, it takes its place now.
    pub(super) fn release(&mut self, key: &K, now: Instant) {
        let Some(entry) = self.keys.get(key).filter(|entry| entry.working) else { return };
        self.working -= 1;
        let wanted = entry.wanted;
        self.keys.remove(key);
        if let Some(wanted) = wanted {
            self.add(key.clone(), wanted.priority, wanted.run_at, now);
        }
    }

    /// When the first delayed key is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.delayed.first_key_value().map(|((run_at, _), _)| *run_at)
    }

    /// Whether anything waits, due or not.
    pub(super) fn is_waiting(&self) -> bool {
        !self.ready.is_empty() || !self.delayed.is_empty()
    }

    /// How many keys are in which state. Keys wanted again while being worked on count as working.
    pub(super) fn depth(&self) -> Depth {
        Depth { ready: self.ready.len(), delayed: self.delayed.len(), working: self.working }
    }

    fn place(&mut self, key: K, priority: Priority, run_at: Instant, now: Instant) -> Place {
        self.sequence += 1;
        if run_at <= now {
            self.ready.insert((priority, self.sequence), key);
            Place::Ready(self.sequence)
        } else {
            self.delayed.insert((run_at, self.sequence), key);
            Place::Delayed(self.sequence)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[derive(Clone, Debug)]
    enum Step {
        Add {
            key: u8,
            priority: Priority,
            delay: u64,
        },
        Advance(u64),
        Take,
        /// Releases the n-th key being worked on, modulo their number.
        Release(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        let priority = prop_oneof![Just(Priority::Change), Just(Priority::Resync)];
        prop_oneof![
            4 => (0..6u8, priority, prop_oneof![Just(0), 0..9u64])
                .prop_map(|(key, priority, delay)| Step::Add { key, priority, delay }),
            2 => (0..4u64).prop_map(Step::Advance),
            3 => Just(Step::Take),
            3 => any::<usize>().prop_map(Step::Release),
        ]
    }

    /// The simplest thing that could be right: what is wanted, and what is worked on.
    #[derive(Default)]
    struct Model {
        wanted: BTreeMap<u8, (Priority, u64)>,
        working: BTreeSet<u8>,
    }

    impl Model {
        fn due(&self, now: u64) -> impl Iterator<Item = (u8, Priority)> {
            self.wanted
                .iter()
                .filter(move |(key, (_, run_at))| *run_at <= now && !self.working.contains(key))
                .map(|(key, (priority, _))| (*key, *priority))
        }

        /// Checks one hand-out against the laws and follows it.
        fn take(&mut self, taken: Option<(u8, Priority)>, now: u64) -> Result<(), TestCaseError> {
            let best = self.due(now).map(|(_, priority)| priority).min();
            match taken {
                None => prop_assert_eq!(best, None, "something due was withheld"),
                Some((key, priority)) => {
                    prop_assert!(!self.working.contains(&key), "handed out twice at once");
                    let demand = self.wanted.remove(&key);
                    prop_assert!(demand.is_some_and(|(_, run_at)| run_at <= now), "not wanted, or early");
                    prop_assert_eq!(demand.map(|(priority, _)| priority), Some(priority));
                    prop_assert_eq!(best, Some(priority), "a change waited behind a resync");
                    self.working.insert(key);
                }
            }
            Ok(())
        }
    }

    proptest! {
        #[test]
        fn every_demand_is_met_once_in_time_and_in_order(steps in prop::collection::vec(step(), 1..80)) {
            let start = Instant::now();
            let at = |second: u64| start + SECOND * u32::try_from(second).unwrap();
            let (mut schedule, mut model, mut now) = (Schedule::default(), Model::default(), 0);
            for step in steps {
                match step {
                    Step::Add { key, priority, delay } => {
                        schedule.add(key, priority, at(now + delay), at(now));
                        let demand = model.wanted.entry(key).or_insert((priority, now + delay));
                        *demand = (demand.0.min(priority), demand.1.min(now + delay));
                    }
                    Step::Advance(seconds) => now += seconds,
                    Step::Take => model.take(schedule.take(at(now)), now)?,
                    Step::Release(nth) => {
                        let nth = nth.checked_rem(model.working.len()).unwrap_or(0);
                        if let Some(key) = model.working.iter().nth(nth).copied() {
                            model.working.remove(&key);
                            schedule.release(&key, at(now));
                        }
                    }
                }
                let depth = schedule.depth();
                prop_assert_eq!(depth.working, model.working.len());
                let waiting = model.wanted.keys().filter(|key| !model.working.contains(key)).count();
                prop_assert_eq!(depth.ready + depth.delayed, waiting);
            }
            // Whatever is still wanted is handed out once all is released and its time has come.
            for key in std::mem::take(&mut model.working) {
                schedule.release(&key, at(now));
            }
            now += 10;
            while !model.wanted.is_empty() {
                let taken = schedule.take(at(now));
                prop_assert!(taken.is_some(), "lost: {:?}", model.wanted);
                model.take(taken, now)?;
            }
            for key in model.working {
                schedule.release(&key, at(now));
            }
            prop_assert_eq!(schedule.take(at(now)), None);
            prop_assert!(schedule.keys.is_empty(), "nothing is kept of keys that are done");
        }
    }

    #[test]
    fn first_come_first_served_and_a_repeated_demand_keeps_its_turn() {
        let now = Instant::now();
        let mut schedule = Schedule::default();
        for key in ["a", "b", "c", "a"] {
            schedule.add(key, Priority::Change, now, now);
        }
        let order: Vec<_> = std::iter::from_fn(|| schedule.take(now)).map(|(key, _)| key).collect();
        assert_eq!(order, ["a", "b", "c"]);
    }

    #[test]
    fn an_earlier_time_replaces_a_later_one_and_not_the_other_way_round() {
        let now = Instant::now();
        let mut schedule = Schedule::default();
        schedule.add("a", Priority::Change, now + SECOND * 9, now);
        schedule.add("a", Priority::Change, now + SECOND * 3, now);
        schedule.add("a", Priority::Change, now + SECOND * 6, now);
        assert_eq!(schedule.next_due(), Some(now + SECOND * 3));
        assert_eq!(schedule.take(now + SECOND * 2), None);
        assert_eq!(schedule.take(now + SECOND * 3), Some(("a", Priority::Change)));
    }
}
