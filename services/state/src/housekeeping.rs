//! Housekeeping of the store: forgets old history and old tombstones. Any number of replicas may do it.
//!
//! The replicas share one key, the mark. Whoever has seen the same mark for an interval replaces it, and whoever
//! succeeds cleans up for that interval: the history goes up to the revision of the old mark, which was the present
//! one an interval ago or earlier. No clock is compared with another one's. A replica that has written much replaces the
//! mark before its time, so that the history is bounded by bytes too.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::time::Instant;

use crate::object::key;
use crate::store::{
    Conflict, Entry, Forward, Guard, Key, Listing, MAX_TXN_OPS, Page, Revision, Store, StoreError, Txn,
};

/// Time between two compactions, and so the age of the history that is kept at least.
const INTERVAL: Duration = Duration::from_secs(5 * 60);
/// How many of the newest revisions are kept, unless they hold too many bytes.
const KEPT_REVISIONS: i64 = 1000;
/// How long it is known that an object was erased.
const TOMBSTONE_LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How many tombstones are looked at, and removed at most, at a time.
const STEP: usize = MAX_TXN_OPS / 2;
/// How many such steps an interval has.
const STEPS: usize = 40;
/// Pause before a store that does not answer is asked again.
const RETRY: Duration = Duration::from_secs(10);

/// Tells the time of day.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// Keeps the store clean. Runs until it is dropped.
pub(crate) async fn run(store: Arc<Forward>, clock: Clock) {
    let mut keeper = Keeper::new(store.clone(), clock, INTERVAL);
    let mut reason = Reason::Time;
    loop {
        let wait = keeper.round(reason).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot clean the store; trying again");
            RETRY
        });
        reason = tokio::select! {
            () = tokio::time::sleep(wait) => Reason::Time,
            () = store.enough_written() => Reason::Bytes,
        };
    }
}

/// Why a replica looks at the mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    /// It may have been there for an interval.
    Time,
    /// So much was written that the history must not wait for that.
    Bytes,
}

/// The mark as one replica has seen it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    /// The revision that wrote it; `None` if there is none.
    revision: Option<Revision>,
    /// When this replica saw it first.
    since: Instant,
}

/// What to do now.
#[derive(Debug, PartialEq, Eq)]
enum Decision {
    /// Nothing for so long.
    Wait(Duration),
    /// Replace the mark.
    Replace,
}

/// Decides whether it is time.
fn decide(mark: Mark, reason: Reason, now: Instant, interval: Duration) -> Decision {
    let wait = interval.saturating_sub(now.saturating_duration_since(mark.since));
    let early = reason == Reason::Time && mark.revision.is_some() && !wait.is_zero();
    if early { Decision::Wait(wait) } else { Decision::Replace }
}

/// How far the history is forgotten when a mark is replaced at the revision `present`; `None` if it is all kept.
fn compact_to(mark: Option<Revision>, reason: Reason, present: Revision) -> Option<Revision> {
    let to = match reason {
        Reason::Time => mark?.min(Revision(present.0 - KEPT_REVISIONS)),
        Reason::Bytes => mark?,
    };
    (to > Revision(1)).then_some(to)
}

/// The removal of the tombstones that are too old; `None` if there are none. What cannot be read stays.
fn removal(tombstones: &[Entry], now: SystemTime) -> Option<Txn> {
    let too_old = |entry: &&Entry| {
        let written = std::str::from_utf8(&entry.value).ok().and_then(|text| text.parse().ok());
        let written = written.and_then(|seconds| UNIX_EPOCH.checked_add(Duration::from_secs(seconds)));
        let age = written.and_then(|written| now.duration_since(written).ok());
        age.is_some_and(|age| age > TOMBSTONE_LIFETIME)
    };
    let remove = |txn: Txn, entry: &Entry| {
        txn.guard(Guard::At(entry.key.clone(), entry.modified)).delete(entry.key.clone())
    };
    let txn = tombstones.iter().filter(too_old).fold(Txn::new(), remove);
    (!txn.ops.is_empty()).then_some(txn)
}

/// One replica's share.
struct Keeper {
    store: Arc<dyn Store>,
    clock: Clock,
    interval: Duration,
    /// `None` before the first look.
    mark: Option<Mark>,
    /// The last tombstone looked at; `None` at the beginning of a pass.
    after: Option<Key>,
}

impl Keeper {
    fn new(store: Arc<dyn Store>, clock: Clock, interval: Duration) -> Self {
        Keeper { store, clock, interval, mark: None, after: None }
    }

    /// Does what is due and tells when to come back.
    async fn round(&mut self, reason: Reason) -> Result<Duration, StoreError> {
        let mark = self.look().await?;
        match decide(mark, reason, Instant::now(), self.interval) {
            Decision::Wait(wait) => return Ok(wait),
            Decision::Replace => {}
        }
        let guard = match mark.revision {
            Some(revision) => Guard::At(key::COMPACT, revision),
            None => Guard::Absent(key::COMPACT),
        };
        match self.store.commit(Txn::new().guard(guard).put(key::COMPACT, Bytes::new())).await? {
            Ok(present) => {
                self.saw(Some(present));
                if let Some(to) = compact_to(mark.revision, reason, present) {
                    self.store.compact(to).await?;
                    tracing::debug!(revision = %to, "compacted the store");
                }
                // Their number of steps is for an interval.
                if reason == Reason::Time {
                    self.remove_tombstones().await?;
                }
            }
            // Another replica was faster.
            Err(Conflict { current, .. }) => {
                self.saw(current.map(|entry| entry.modified));
            }
        }
        Ok(self.interval)
    }

    async fn look(&mut self) -> Result<Mark, StoreError> {
        let entry = self.store.get(&key::COMPACT).await?;
        Ok(self.saw(entry.map(|entry| entry.modified)))
    }

    fn saw(&mut self, revision: Option<Revision>) -> Mark {
        let known = self.mark.filter(|mark| mark.revision == revision);
        *self.mark.insert(known.unwrap_or_else(|| Mark { revision, since: Instant::now() }))
    }

    /// Goes on with the pass over the tombstones, or begins the next one; a bounded number of them each time.
    async fn remove_tombstones(&mut self) -> Result<(), StoreError> {
        for _ in 0..STEPS {
            let page = Page { at: None, after: self.after.take(), limit: STEP };
            let Listing { entries, more, .. } = self.store.list(&key::TOMBSTONES, page).await?;
            if let Some(txn) = removal(&entries, (self.clock)()) {
                // A conflict means that somebody else touched them: they wait for the next pass.
                let removed = self.store.commit(txn).await?.is_ok();
                tracing::debug!(removed, "old tombstones");
            }
            if !more {
                break;
            }
            self.after = entries.last().map(|entry| entry.key.clone());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{MemoryStore, SqliteOptions, SqliteStore};

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_mark_is_replaced_when_it_was_seen_for_an_interval() {
        let since = Instant::now();
        let decision =
            |revision, waited| decide(Mark { revision, since }, Reason::Time, since + waited, 5 * MINUTE);
        assert_eq!(decision(None, Duration::ZERO), Decision::Replace, "the first one");
        assert_eq!(decision(Some(Revision(9)), Duration::ZERO), Decision::Wait(5 * MINUTE));
        assert_eq!(decision(Some(Revision(9)), 4 * MINUTE), Decision::Wait(MINUTE));
        assert_eq!(decision(Some(Revision(9)), 5 * MINUTE), Decision::Replace);
        assert_eq!(decision(Some(Revision(9)), 50 * MINUTE), Decision::Replace);
        let young = Mark { revision: Some(Revision(9)), since };
        assert_eq!(
            decide(young, Reason::Bytes, since, 5 * MINUTE),
            Decision::Replace,
            "too much was written"
        );
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

    fn at(seconds: u64) -> Clock {
        Arc::new(move || UNIX_EPOCH + Duration::from_secs(seconds))
    }

    #[tokio::test(start_paused = true)]
    async fn replicas_agree_and_keep_the_last_interval() {
        let store = MemoryStore::new();
        let keeper = || Keeper::new(Arc::new(store.clone()), at(0), 5 * MINUTE);
        let mut replicas = [keeper(), keeper(), keeper()];
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
        let mut first = Keeper::new(Arc::new(store.clone()), at(0), 5 * MINUTE);
        let mut second = Keeper::new(Arc::new(store.clone()), at(0), 5 * MINUTE);
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

    #[tokio::test(start_paused = true)]
    async fn tombstones_are_removed_when_they_are_old_a_bounded_number_at_a_time() {
        const COUNT: usize = STEP * STEPS + 100;
        let store = MemoryStore::new();
        let day = 24 * 60 * 60;
        for uid in 0..COUNT {
            tombstone(&store, uid, day.to_string()).await;
        }
        for (uid, value) in [(COUNT, (2 * day).to_string()), (COUNT + 1, "what?".into())] {
            tombstone(&store, uid, value).await;
        }
        let left = async || store.list(&key::TOMBSTONES, Page::first(COUNT + 9)).await.unwrap().entries.len();
        let mut early = Keeper::new(Arc::new(store.clone()), at(31 * day), 5 * MINUTE);
        early.remove_tombstones().await.unwrap();
        assert_eq!(left().await, COUNT + 2, "30 days are not over");
        let mut keeper = Keeper::new(Arc::new(store.clone()), at(31 * day + 1), 5 * MINUTE);
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
        tokio::time::sleep(INTERVAL / 2).await;
        let old = write(&store, 2000).await;
        tokio::time::sleep(INTERVAL).await;
        let young = write(&store, 2000).await;
        assert!(reads_at(&store, old).await);
        tokio::time::sleep(INTERVAL * 2).await;
        assert!(!reads_at(&store, old).await && reads_at(&store, young).await);
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
}
