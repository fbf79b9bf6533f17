//! Random histories: what a store answers is what a plain model of it predicts.

use std::collections::BTreeMap;

use futures::StreamExt;
use krake_state::store::{
    Batch, Change, ChangeKind, Entry, Guard, Key, MemoryStore, Page, Revision, StoreError, Txn, WatchError,
};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, TestRunner};

use super::{AnyStore, commit, key, next, until};
use crate::support::{Etcd, have_etcd};

const KEYS: [&str; 6] = ["a", "a/", "a/b", "a/b/c", "a0", "b"];
const PREFIXES: [&str; 4] = ["", "a", "a/", "x"];

/// One call. `Index` picks a point of the history so far.
#[derive(Debug, Clone)]
enum Step {
    Commit { guards: Vec<(&'static str, Condition, Index)>, ops: BTreeMap<&'static str, Option<u8>> },
    List { at: Option<Index>, prefix: &'static str, after: Option<&'static str>, limit: usize },
    Get { key: &'static str },
    Watch { after: Index, prefix: &'static str },
    Compact { to: Index },
}

#[derive(Debug, Clone, Copy)]
enum Condition {
    Absent,
    Exists,
    At,
    CreatedAt,
}

fn step() -> impl Strategy<Value = Step> {
    use Condition::{Absent, At, CreatedAt, Exists};
    let point = any::<Index>;
    let guard = (select(&KEYS), select(&[Absent, Exists, At, At, CreatedAt]), point());
    let ops = prop::collection::btree_map(select(&KEYS), any::<Option<u8>>(), 1..4);
    let list = (prop::option::of(point()), select(&PREFIXES), prop::option::of(select(&KEYS)), 1..5_usize);
    prop_oneof![
        8 => (prop::collection::vec(guard, 0..3), ops).prop_map(|(guards, ops)| Step::Commit { guards, ops }),
        3 => list.prop_map(|(at, prefix, after, limit)| Step::List { at, prefix, after, limit }),
        1 => select(&KEYS).prop_map(|key| Step::Get { key }),
        2 => (point(), select(&PREFIXES)).prop_map(|(after, prefix)| Step::Watch { after, prefix }),
        1 => point().prop_map(|to| Step::Compact { to }),
    ]
}

type State = BTreeMap<Key, Entry>;

/// The whole history, nothing forgotten.
struct Model {
    /// The state after each revision, the empty one first.
    states: Vec<(Revision, State)>,
    batches: Vec<Batch>,
    compacted: Revision,
}

impl Model {
    fn present(&self) -> &(Revision, State) {
        self.states.last().unwrap()
    }

    fn point(&self, index: Index) -> &(Revision, State) {
        index.get(&self.states)
    }

    /// A guard as a client makes it that has seen the key at some point of the history.
    fn guard(&self, name: &str, condition: Condition, seen: Index) -> Guard {
        let seen = self.point(seen).1.get(&key(name));
        match (condition, seen) {
            (Condition::Exists, _) => Guard::Exists(key(name)),
            (Condition::At, Some(entry)) => Guard::At(key(name), entry.modified),
            (Condition::CreatedAt, Some(entry)) => Guard::CreatedAt(key(name), entry.created),
            (Condition::Absent | Condition::At | Condition::CreatedAt, _) => Guard::Absent(key(name)),
        }
    }

    fn holds(&self, guard: &Guard) -> bool {
        let entry = self.present().1.get(guard.key());
        match guard {
            Guard::Absent(_) => entry.is_none(),
            Guard::Exists(_) => entry.is_some(),
            Guard::At(_, at) => entry.is_some_and(|entry| entry.modified == *at),
            Guard::CreatedAt(_, at) => entry.is_some_and(|entry| entry.created == *at),
        }
    }

    /// What the operations change, if they are applied at `revision`.
    fn changes(&self, ops: &BTreeMap<&str, Option<u8>>, revision: Revision) -> Vec<Change> {
        let present = &self.present().1;
        let change = |(name, value): (&&str, &Option<u8>)| {
            let previous = present.get(&key(name)).cloned();
            let created = previous.as_ref().map_or(revision, |entry| entry.created);
            let kind = match value {
                Some(byte) => {
                    let value = vec![*byte].into();
                    ChangeKind::Put(Entry { key: key(name), value, created, modified: revision })
                }
                None if previous.is_none() => return None,
                None => ChangeKind::Delete,
            };
            Some(Change { key: key(name), kind, previous })
        };
        ops.iter().filter_map(change).collect()
    }

    fn apply(&mut self, revision: Revision, changes: Vec<Change>) {
        let mut state = self.present().1.clone();
        for change in &changes {
            match &change.kind {
                ChangeKind::Put(entry) => state.insert(change.key.clone(), entry.clone()),
                ChangeKind::Delete => state.remove(&change.key),
            };
        }
        self.states.push((revision, state));
        self.batches.push(Batch { revision, changes });
    }

    /// The batches that a watch tells.
    fn told(&self, prefix: &str, after: Revision) -> Vec<Batch> {
        let below = |change: &&Change| change.key.as_str().unwrap().starts_with(prefix);
        let batch = |batch: &Batch| {
            let changes: Vec<Change> = batch.changes.iter().filter(below).cloned().collect();
            (!changes.is_empty()).then_some(Batch { revision: batch.revision, changes })
        };
        self.batches.iter().filter(|batch| batch.revision > after).filter_map(batch).collect()
    }
}

/// Makes the calls and compares every answer with the model's.
async fn follow(store: &AnyStore, steps: Vec<Step>) {
    let start = store.revision().await.unwrap();
    let mut model =
        Model { states: vec![(start, State::new())], batches: Vec::new(), compacted: Revision(0) };
    let mut whole = store.watch(&key(""), start);
    for step in steps {
        take(store, &mut model, step).await;
    }
    // The watch that ran all the time is told everything, if it was not overtaken by a compaction.
    let last = commit(store, Txn::new().put("last", "")).await;
    let mut told = Vec::new();
    loop {
        match next(&mut whole).await {
            Ok(batch) if batch.revision == last => break,
            Ok(batch) => told.push(batch),
            Err(WatchError::Compacted { oldest }) => {
                assert_eq!(oldest, model.compacted);
                assert!(told.last().map_or(start, |batch| batch.revision) < oldest);
                return;
            }
        }
    }
    assert_eq!(told, model.batches);
}

async fn take(store: &AnyStore, model: &mut Model, step: Step) {
    match step {
        Step::Commit { guards, ops } => {
            let guards: Vec<Guard> = guards
                .into_iter()
                .map(|(name, condition, seen)| model.guard(name, condition, seen))
                .collect();
            let txn =
                ops.iter().fold(
                    Txn { guards: guards.clone(), ops: vec![] },
                    |txn, (name, value)| match value {
                        Some(byte) => txn.put(*name, vec![*byte]),
                        None => txn.delete(*name),
                    },
                );
            let answer = store.commit(txn).await.unwrap();
            if let Some(failed) = guards.iter().find(|guard| !model.holds(guard)) {
                let conflict = answer.unwrap_err();
                assert_eq!(
                    (&conflict.key, conflict.current.as_ref()),
                    (failed.key(), model.present().1.get(failed.key()))
                );
                return;
            }
            let revision = answer.unwrap();
            let changes = model.changes(&ops, revision);
            if changes.is_empty() {
                assert!(revision >= model.present().0);
            } else {
                assert!(revision > model.present().0);
                model.apply(revision, changes);
            }
        }
        Step::List { at, prefix, after, limit } => {
            let point = at.map(|at| model.point(at).clone());
            let (revision, state) = point.as_ref().unwrap_or(model.present());
            let page = Page { at: at.map(|_| *revision), after: after.map(key), limit };
            let answer = store.list(&key(prefix), page).await;
            if *revision < model.compacted {
                assert_eq!(answer, Err(StoreError::Compacted { oldest: model.compacted }));
                return;
            }
            let mut expected: Vec<Entry> = state
                .values()
                .filter(|entry| entry.key.as_str().unwrap().starts_with(prefix))
                .filter(|entry| after.is_none_or(|after| entry.key.as_str().unwrap() > after))
                .cloned()
                .collect();
            let listing = answer.unwrap();
            assert_eq!(listing.more, expected.len() > limit);
            expected.truncate(limit);
            assert_eq!(listing.entries, expected);
            assert!(if at.is_some() { listing.revision == *revision } else { listing.revision >= *revision });
        }
        Step::Get { key: name } => {
            assert_eq!(store.get(&key(name)).await.unwrap().as_ref(), model.present().1.get(&key(name)));
        }
        Step::Watch { after, prefix } => {
            let after = model.point(after).0;
            let mut watch = store.watch(&key(prefix), after);
            if after < model.compacted {
                assert_eq!(next(&mut watch).await, Err(WatchError::Compacted { oldest: model.compacted }));
                return;
            }
            let expected = model.told(prefix, after);
            if let Some(last) = expected.last() {
                assert_eq!(until(&mut watch, last.revision).await, expected);
            }
            assert!(futures::FutureExt::now_or_never(watch.next()).is_none(), "more than there was");
        }
        Step::Compact { to } => {
            let to = model.point(to).0;
            store.compact(to).await.unwrap();
            // Before revision 2 there is nothing to forget.
            if to > Revision(1) {
                model.compacted = model.compacted.max(to);
            }
        }
    }
}

/// Checks random histories, each on a store of its own.
fn check(cases: u32, steps: usize, mut store: impl FnMut() -> AnyStore, runtime: &tokio::runtime::Runtime) {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let store = std::cell::RefCell::new(&mut store);
    let history = prop::collection::vec(step(), 1..steps);
    TestRunner::new(config)
        .run(&history, |steps| {
            let store = (store.borrow_mut())();
            runtime.block_on(follow(&store, steps));
            Ok(())
        })
        .unwrap();
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn memory_follows_the_model() {
    check(400, 40, || std::sync::Arc::new(MemoryStore::new()), &runtime());
}

#[test]
fn etcd_follows_the_model() {
    if !have_etcd() {
        return;
    }
    let runtime = runtime();
    let server = runtime.block_on(Etcd::start());
    let mut prefixes = 0..;
    let store = || runtime.block_on(server.store(&format!("/m{}/", prefixes.next().unwrap())));
    check(15, 40, store, &runtime);
}
