//! Random histories: what a store answers is what the model of it allows.

use std::collections::BTreeMap;

use futures::StreamExt;
use futures::future::join_all;
use krake_state::store::{Batch, Entry, Guard, MemoryStore, Page, Revision, StoreError, Txn, WatchError};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, TestRunner};

use super::model::{Model, Proposal};
use super::{AnyStore, Watch, commit, key, next};
use crate::support::{Etcd, have_etcd, sqlite, sqlite_with};

const KEYS: [&str; 6] = ["a", "a/", "a/b", "a/b/c", "a0", "b"];
const PREFIXES: [&str; 4] = ["", "a", "a/", "x"];

/// How many watches are kept open at most.
const WATCHERS: usize = 6;

/// One call, or several at once. `Index` picks a point of the history so far.
#[derive(Debug, Clone)]
enum Step {
    Commits(Vec<Write>),
    List {
        at: Option<Index>,
        prefix: &'static str,
        after: Option<&'static str>,
        limit: usize,
    },
    /// All pages of a list, with commits between them.
    Walk {
        prefix: &'static str,
        limit: usize,
        between: Vec<Write>,
    },
    Get {
        key: &'static str,
    },
    Watch {
        after: Index,
        prefix: &'static str,
    },
    Compact {
        to: Index,
    },
}

#[derive(Debug, Clone)]
struct Write {
    guards: Vec<(&'static str, Condition, Index)>,
    ops: BTreeMap<&'static str, Option<u8>>,
}

#[derive(Debug, Clone, Copy)]
enum Condition {
    Absent,
    Exists,
    At,
    CreatedAt,
}

fn write() -> impl Strategy<Value = Write> {
    use Condition::{Absent, At, CreatedAt, Exists};
    let guard = (select(&KEYS), select(&[Absent, Exists, At, At, CreatedAt]), any::<Index>());
    let ops = prop::collection::btree_map(select(&KEYS), any::<Option<u8>>(), 1..4);
    (prop::collection::vec(guard, 0..3), ops).prop_map(|(guards, ops)| Write { guards, ops })
}

fn step() -> impl Strategy<Value = Step> {
    let point = any::<Index>;
    let list = (prop::option::of(point()), select(&PREFIXES), prop::option::of(select(&KEYS)), 1..5_usize);
    let walk = (select(&PREFIXES), 1..3_usize, prop::collection::vec(write(), 1..4));
    prop_oneof![
        5 => write().prop_map(|write| Step::Commits(vec![write])),
        5 => prop::collection::vec(write(), 2..6).prop_map(Step::Commits),
        3 => list.prop_map(|(at, prefix, after, limit)| Step::List { at, prefix, after, limit }),
        1 => walk.prop_map(|(prefix, limit, between)| Step::Walk { prefix, limit, between }),
        1 => select(&KEYS).prop_map(|key| Step::Get { key }),
        2 => (point(), select(&PREFIXES)).prop_map(|(after, prefix)| Step::Watch { after, prefix }),
        1 => point().prop_map(|to| Step::Compact { to }),
    ]
}

/// A guard as a client makes it that has seen the key at some point of the history.
fn guard(model: &Model, name: &str, condition: Condition, seen: Index) -> Guard {
    let seen = model.point(seen).1.get(&key(name));
    match (condition, seen) {
        (Condition::Exists, _) => Guard::Exists(key(name)),
        (Condition::At, Some(entry)) => Guard::At(key(name), entry.modified),
        (Condition::CreatedAt, Some(entry)) => Guard::CreatedAt(key(name), entry.created),
        (Condition::Absent | Condition::At | Condition::CreatedAt, _) => Guard::Absent(key(name)),
    }
}

/// A watch that is open to the end.
struct Watcher {
    prefix: &'static str,
    /// Everything up to here was told.
    seen: Revision,
    watch: Watch,
}

impl Watcher {
    /// The next batch, its changes by key: the model does not know the order of commits that share a revision.
    async fn next(&mut self) -> Result<Batch, WatchError> {
        let mut batch = next(&mut self.watch).await?;
        assert!(batch.revision > self.seen, "revisions come in order");
        self.seen = batch.revision;
        batch.changes.sort_by(|one, other| one.key.cmp(&other.key));
        Ok(batch)
    }

    /// Takes what the history holds for it, unless the watch was overtaken by a compaction.
    async fn catches_up(&mut self, model: &Model) -> bool {
        for expected in model.told(self.prefix, self.seen) {
            match self.next().await {
                Ok(batch) => assert_eq!(batch, expected),
                Err(WatchError::Compacted { oldest }) => {
                    // It may have ended before the last compaction.
                    assert!(self.seen < oldest && oldest <= model.compacted);
                    return false;
                }
            }
        }
        true
    }
}

/// A store, the model of it, and watches on it.
struct Machine<'a> {
    store: &'a AnyStore,
    model: Model,
    watchers: Vec<Watcher>,
}

/// Makes the calls and compares every answer with the model's.
async fn follow(store: &AnyStore, steps: Vec<Step>) {
    let start = store.revision().await.unwrap();
    let whole = Watcher { prefix: "", seen: start, watch: store.watch(&key(""), start) };
    let mut machine = Machine { store, model: Model::new(start), watchers: vec![whole] };
    for step in steps {
        machine.take(step).await;
    }
    // Every watch is told everything, and this last. What was compacted is not told, but never left out silently.
    let everywhere = PREFIXES.iter().fold(Txn::new(), |txn, prefix| txn.put(format!("{prefix}~last"), ""));
    let last = commit(store, everywhere).await;
    for mut watcher in machine.watchers {
        if watcher.catches_up(&machine.model).await {
            match watcher.next().await {
                Ok(batch) => assert_eq!(batch.revision, last),
                Err(WatchError::Compacted { oldest }) => assert!(watcher.seen < oldest),
            }
        }
    }
}

impl Machine<'_> {
    async fn take(&mut self, step: Step) {
        match step {
            Step::Commits(writes) => self.commit(writes).await,
            Step::List { at, prefix, after, limit } => self.list(at, prefix, after, limit).await,
            Step::Walk { prefix, limit, between } => self.walk(prefix, limit, between).await,
            Step::Get { key: name } => {
                let expected = self.model.present().1.get(&key(name));
                assert_eq!(self.store.get(&key(name)).await.unwrap().as_ref(), expected);
            }
            Step::Watch { after, prefix } => self.watch(self.model.point(after).0, prefix).await,
            Step::Compact { to } => {
                let to = self.model.point(to).0;
                self.store.compact(to).await.unwrap();
                // Before revision 2 there is nothing to forget.
                if to > Revision(1) {
                    self.model.compacted = self.model.compacted.max(to);
                }
            }
        }
    }

    async fn commit(&mut self, writes: Vec<Write>) {
        let proposal = |write: Write| {
            let guards = write.guards.into_iter();
            let guards = guards.map(|(name, condition, seen)| guard(&self.model, name, condition, seen));
            Proposal { guards: guards.collect(), ops: write.ops }
        };
        let proposals: Vec<Proposal> = writes.into_iter().map(proposal).collect();
        let answers = join_all(proposals.iter().map(|proposal| self.store.commit(proposal.txn()))).await;
        let answers = answers.into_iter().map(Result::unwrap);
        self.model.settle(proposals.into_iter().zip(answers).collect());
    }

    async fn list(&self, at: Option<Index>, prefix: &str, after: Option<&str>, limit: usize) {
        let (revision, state) = at.map_or(self.model.present(), |at| self.model.point(at));
        let page = Page { at: at.map(|_| *revision), after: after.map(key), limit };
        let answer = self.store.list(&key(prefix), page).await;
        if at.is_some() && *revision < self.model.compacted {
            assert_eq!(answer, Err(StoreError::Compacted { oldest: self.model.compacted }));
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

    async fn walk(&mut self, prefix: &str, limit: usize, between: Vec<Write>) {
        let below = |entry: &&Entry| entry.key.as_str().unwrap().starts_with(prefix);
        let expected: Vec<Entry> = self.model.present().1.values().filter(below).cloned().collect();
        let (mut entries, mut page) = (Vec::new(), Some(Page::first(limit)));
        while let Some(asked) = page {
            let listing = self.store.list(&key(prefix), asked).await.unwrap();
            page = listing.next_page(limit);
            entries.extend(listing.entries);
            self.commit(between.clone()).await;
        }
        assert_eq!(entries, expected, "all pages show the state that the first one was read from");
    }

    async fn watch(&mut self, after: Revision, prefix: &'static str) {
        let mut watcher = Watcher { prefix, seen: after, watch: self.store.watch(&key(prefix), after) };
        if after < self.model.compacted {
            let compacted = WatchError::Compacted { oldest: self.model.compacted };
            assert_eq!(watcher.next().await, Err(compacted));
            return;
        }
        assert!(watcher.catches_up(&self.model).await);
        let more = futures::FutureExt::now_or_never(watcher.watch.next());
        assert!(more.is_none(), "more than there was");
        if self.watchers.len() < WATCHERS {
            self.watchers.push(watcher);
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
fn sqlite_follows_the_model() {
    let runtime = runtime();
    check(100, 40, || runtime.block_on(sqlite()), &runtime);
}

#[test]
fn sqlite_follows_the_model_when_watches_read_the_file() {
    let runtime = runtime();
    check(100, 40, || runtime.block_on(sqlite_with(|options| options.watch_memory = 0)), &runtime);
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
    check(20, 40, store, &runtime);
}
