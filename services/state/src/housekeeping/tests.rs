//! Laws of housekeeping: replicas agree, and keep what watches and readers need.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use async_trait::async_trait;
use futures::stream::BoxStream;

use super::*;
use crate::store::{Batch, Bid, Lineage, MemoryStore, SqliteOptions, SqliteStore, Standing, WatchError};

const MINUTE: Duration = Duration::from_secs(60);
const STEP_BYTES: u64 = 10_000;

#[tokio::test(start_paused = true)]
async fn a_mark_is_replaced_when_it_was_seen_for_an_interval() {
    let since = Instant::now();
    let decision =
        |revision, waited| decide(Mark { revision, since }, false, Reason::Time, since + waited, 5 * MINUTE);
    assert_eq!(decision(None, Duration::ZERO), Decision::Replace, "the first one");
    assert_eq!(decision(Some(Revision(9)), Duration::ZERO), Decision::Wait(5 * MINUTE));
    assert_eq!(decision(Some(Revision(9)), 4 * MINUTE), Decision::Wait(MINUTE));
    assert_eq!(decision(Some(Revision(9)), 5 * MINUTE), Decision::Replace);
    assert_eq!(decision(Some(Revision(9)), 50 * MINUTE), Decision::Replace);
    let young = Mark { revision: Some(Revision(9)), since };
    let early = |is_new| decide(young, is_new, Reason::Bytes, since, 5 * MINUTE);
    assert_eq!(early(false), Decision::Replace, "too much was written");
    assert_eq!(early(true), Decision::Wait(5 * MINUTE), "another replica has just replaced it");
}

#[test]
fn the_history_since_the_mark_and_the_last_thousand_revisions_are_kept() {
    let to = |mark: Option<i64>, present| compact_to(mark.map(Revision), Reason::Time, Revision(present));
    assert_eq!(to(None, 50_000), None, "nobody knows what was the present an interval ago");
    assert_eq!(to(Some(7_000), 50_000), Some(Revision(7_000)));
    assert_eq!(to(Some(49_500), 50_000), Some(Revision(49_000)));
    assert_eq!(to(Some(500), 1_001), None);
    assert_eq!(to(Some(500), 1_002), Some(Revision(2)));
    let large = compact_to(Some(Revision(49_500)), Reason::Bytes, Revision(50_000));
    assert_eq!(large, Some(Revision(49_500)), "a thousand large revisions are not kept");
}

async fn tombstone(store: &MemoryStore, uid: usize, value: String) {
    store.commit(Txn::new().put(key::tombstone(&format!("{uid:05}")), value)).await.unwrap().unwrap();
}

async fn write(store: &MemoryStore, times: usize) -> Revision {
    let mut last = Revision(0);
    for _ in 0..times {
        last = store.commit(Txn::new().put("/krake/x", "")).await.unwrap().unwrap();
    }
    last
}

async fn reads_at(store: &MemoryStore, revision: Revision) -> bool {
    store.list(&key::ROOT, Page { at: Some(revision), ..Page::first(1) }).await.is_ok()
}

/// A replica whose clock has stopped, and which cleans up early after `STEP_BYTES`.
fn replica(store: &MemoryStore) -> Keeper {
    keeper(store, at(0))
}

fn keeper(store: &MemoryStore, clock: Clock) -> Keeper {
    let store = Forward::with_step(Arc::new(store.clone()), STEP_BYTES);
    Keeper::new(Arc::new(store), clock, 5 * MINUTE)
}

fn at(seconds: u64) -> Clock {
    Arc::new(move || UNIX_EPOCH + Duration::from_secs(seconds))
}

#[tokio::test(start_paused = true)]
async fn replicas_agree_and_keep_the_last_interval() {
    let store = MemoryStore::new();
    let mut replicas = [(); 3].map(|()| replica(&store));
    let mut ends = Vec::new();
    let mut marks = Vec::new();
    for _ in 0..4 {
        for replica in &mut replicas {
            replica.round(Reason::Time).await.unwrap();
        }
        marks.push(store.get(&key::COMPACT).await.unwrap().unwrap().modified);
        ends.push(write(&store, 1500).await);
        tokio::time::advance(5 * MINUTE).await;
    }
    marks.dedup();
    assert_eq!(marks.len(), 4, "one mark an interval");
    let written: i64 = store.revision().await.unwrap().0;
    assert_eq!(written, 1 + 4 + 4 * 1500, "and no more writes than that");
    assert!(reads_at(&store, marks[2]).await, "an interval before the last mark is kept");
    assert!(!reads_at(&store, Revision(marks[2].0 - 1)).await, "what is older is not");
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_comes_late_waits_and_one_that_is_left_alone_takes_over() {
    let store = MemoryStore::new();
    let (mut first, mut second) = (replica(&store), replica(&store));
    first.round(Reason::Time).await.unwrap();
    let mark = store.get(&key::COMPACT).await.unwrap();
    tokio::time::advance(4 * MINUTE).await;
    assert_eq!(second.round(Reason::Time).await.unwrap(), 5 * MINUTE, "it has not seen the mark before");
    tokio::time::advance(4 * MINUTE).await;
    assert_eq!(second.round(Reason::Time).await.unwrap(), MINUTE);
    assert_eq!(store.get(&key::COMPACT).await.unwrap(), mark);
    tokio::time::advance(MINUTE).await;
    second.round(Reason::Time).await.unwrap();
    assert_ne!(store.get(&key::COMPACT).await.unwrap(), mark, "the first one is gone");
}

/// Whether the replica has written enough to clean up early.
async fn enough(replica: &Keeper) -> bool {
    tokio::time::timeout(Duration::ZERO, replica.store.enough_written()).await.is_ok()
}

#[tokio::test(start_paused = true)]
async fn replicas_that_write_much_at_once_compact_once() {
    let store = MemoryStore::new();
    let mut replicas = [(); 3].map(|()| replica(&store));
    for replica in &mut replicas {
        replica.round(Reason::Time).await.unwrap();
    }
    let mut marks = vec![store.get(&key::COMPACT).await.unwrap().unwrap().modified];
    for _ in 0..3 {
        // Requests are spread evenly, so that all replicas have written enough within moments.
        for replica in &replicas {
            let much = Txn::new().put("/krake/x", vec![0; STEP_BYTES as usize]);
            replica.store.commit(much).await.unwrap().unwrap();
        }
        for replica in &mut replicas {
            assert!(enough(replica).await);
            replica.round(Reason::Bytes).await.unwrap();
            assert!(!enough(replica).await, "it counts from the mark that it saw");
        }
        marks.push(store.get(&key::COMPACT).await.unwrap().unwrap().modified);
        let [.., before, last] = marks[..] else { panic!("two marks") };
        assert!(before < last, "the history is compacted early");
        assert!(reads_at(&store, before).await, "what all of them wrote since the mark before is kept");
    }
    assert!(!reads_at(&store, Revision(marks[2].0 - 1)).await, "and what is older is not");
}

#[tokio::test(start_paused = true)]
async fn tombstones_are_removed_when_they_are_old_a_bounded_number_at_a_time() {
    const COUNT: usize = TOMBSTONES_PER_STEP * TOMBSTONE_STEPS_PER_INTERVAL + 100;
    let store = MemoryStore::new();
    let day = 24 * 60 * 60;
    for uid in 0..COUNT {
        tombstone(&store, uid, day.to_string()).await;
    }
    for (uid, value) in [(COUNT, (2 * day).to_string()), (COUNT + 1, "what?".into())] {
        tombstone(&store, uid, value).await;
    }
    let left = async || store.list(&key::TOMBSTONES, Page::first(COUNT + 9)).await.unwrap().entries.len();
    let mut early = keeper(&store, at(31 * day));
    early.remove_tombstones().await.unwrap();
    assert_eq!(left().await, COUNT + 2, "30 days are not over");
    let mut keeper = keeper(&store, at(31 * day + 1));
    keeper.remove_tombstones().await.unwrap();
    assert_eq!(left().await, 102, "a bounded number");
    keeper.remove_tombstones().await.unwrap();
    assert_eq!(left().await, 2, "younger ones and unreadable ones stay");
    keeper.remove_tombstones().await.unwrap();
    assert_eq!(left().await, 2);
}

#[tokio::test(start_paused = true)]
async fn it_runs_by_itself() {
    let store = MemoryStore::new();
    let forward = Arc::new(Forward::new(Arc::new(store.clone())));
    let running = tokio::spawn(run(forward, at(0)));
    tokio::time::sleep(COMPACTION_INTERVAL / 2).await;
    let old = write(&store, 2000).await;
    tokio::time::sleep(COMPACTION_INTERVAL).await;
    let young = write(&store, 2000).await;
    assert!(reads_at(&store, old).await);
    tokio::time::sleep(COMPACTION_INTERVAL * 2).await;
    assert!(!reads_at(&store, old).await && reads_at(&store, young).await);
    running.abort();
}

/// A store in memory whose first compaction fails.
struct FailsToCompact {
    memory: MemoryStore,
    failed: AtomicBool,
}

#[async_trait]
impl Store for FailsToCompact {
    async fn revision(&self) -> Result<Revision, StoreError> {
        self.memory.revision().await
    }

    async fn lineage(&self) -> Result<Option<Lineage>, StoreError> {
        self.memory.lineage().await
    }

    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        self.memory.get(key).await
    }

    async fn list(&self, prefix: &Key, page: Page) -> Result<Listing, StoreError> {
        self.memory.list(prefix, page).await
    }

    async fn commit(&self, txn: Txn) -> Result<Result<Revision, Conflict>, StoreError> {
        self.memory.commit(txn).await
    }

    fn watch(&self, prefix: &Key, after: Revision) -> BoxStream<'static, Result<Batch, WatchError>> {
        self.memory.watch(prefix, after)
    }

    async fn compact(&self, to: Revision) -> Result<(), StoreError> {
        if !self.failed.swap(true, SeqCst) {
            return Err(StoreError::Unavailable { reason: "the first compaction fails".to_owned() });
        }
        self.memory.compact(to).await
    }

    async fn campaign(&self, bid: Bid) -> Result<Standing, StoreError> {
        self.memory.campaign(bid).await
    }

    async fn resign(&self, key: Key, holder: Bytes) -> Result<(), StoreError> {
        self.memory.resign(key, holder).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_early_compaction_is_not_repeated_with_the_new_mark() {
    let memory = MemoryStore::new();
    let store = Arc::new(FailsToCompact { memory: memory.clone(), failed: AtomicBool::new(false) });
    let forward = Arc::new(Forward::with_step(store.clone(), STEP_BYTES));
    // There is something to forget.
    write(&memory, 5).await;
    let running = tokio::spawn(run(forward.clone(), at(0)));
    let much = async || {
        let txn = Txn::new().put("/krake/x", vec![0; STEP_BYTES as usize]);
        forward.commit(txn).await.unwrap().unwrap()
    };
    tokio::time::sleep(MINUTE).await;
    let before = much().await;
    tokio::time::sleep(MINUTE).await;
    assert!(store.failed.load(SeqCst), "it was compacted early");
    assert!(reads_at(&memory, before).await, "what was written before the failure is kept");
    much().await;
    tokio::time::sleep(MINUTE).await;
    assert!(!reads_at(&memory, before).await, "until as much was written again");
    running.abort();
}

#[tokio::test]
async fn a_file_whose_values_are_replaced_stays_small() {
    const STEP: usize = 8 * 1024 * 1024;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("krake.db");
    let minute = Duration::from_secs(60);
    let options = SqliteOptions { request_timeout: minute, ..SqliteOptions::new(&file) };
    let store = SqliteStore::open(options).await.unwrap();
    let forward = Arc::new(Forward::with_step(Arc::new(store), STEP as u64));
    let running = tokio::spawn(run(forward.clone(), at(0)));
    // 100 MiB, in what is no time compared with the interval.
    let size = || usize::try_from(std::fs::metadata(&file).unwrap().len()).unwrap();
    let mut last = Revision(0);
    for number in 0..100_u8 {
        let txn = Txn::new().put("/krake/x", vec![number; 1024 * 1024]);
        last = forward.commit(txn).await.unwrap().unwrap();
    }
    let shrunk = async {
        while size() > 5 * STEP {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(minute, shrunk).await.unwrap_or_else(|_| panic!("{} bytes", size()));
    let at = |back| Page { at: Some(Revision(last.0 - back)), ..Page::first(1) };
    assert!(forward.list(&key::ROOT, at(4)).await.is_ok(), "what was written last is kept");
    assert!(forward.list(&key::ROOT, at(60)).await.is_err());
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn tombstones_are_removed_by_a_store_that_does_not_compact_too() {
    let memory = MemoryStore::new();
    let store = FailsToCompact { memory: memory.clone(), failed: AtomicBool::new(false) };
    let forward = Arc::new(Forward::new(Arc::new(store)));
    let mut keeper = Keeper::new(forward, at(31 * 24 * 60 * 60), COMPACTION_INTERVAL);
    keeper.round(Reason::Time).await.unwrap();
    write(&memory, 2000).await;
    tombstone(&memory, 1, "0".to_owned()).await;
    tokio::time::advance(COMPACTION_INTERVAL).await;
    keeper.round(Reason::Time).await.unwrap_err();
    assert_eq!(memory.list(&key::TOMBSTONES, Page::first(9)).await.unwrap().entries, []);
}
