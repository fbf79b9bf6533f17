//! Housekeeping of the store: compacts its history and removes old tombstones. Any number of replicas may do it.
//!
//! The replicas share one key, the mark. A replica that has seen the same mark for an interval replaces it, and compacts
//! the history to the revision of the old mark, which was the present one an interval ago or earlier. No clock is
//! compared with another one's. A replica that has written many bytes since it saw the mark replaces it early, so that
//! the history is bounded in bytes too.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::time::Instant;

use crate::object::key;
use crate::store::{
    Conflict, Entry, Forward, Guard, Key, Listing, MAX_TXN_OPS, Page, Revision, Store, StoreError, Txn,
};

/// Time between two compactions, and so the least age up to which history is kept: a first read of everything over a
/// slow connection takes a minute, and a watch resumes after a restart of its client.
const COMPACTION_INTERVAL: Duration = Duration::from_secs(5 * 60);
/// Newest revisions that are kept even if they are older, unless they are large: on a quiet store, a day's changes.
const KEPT_REVISIONS: i64 = 1000;
/// Age at which a tombstone is removed: an adapter that was away for less time still learns that an object was erased.
const TOMBSTONE_LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Tombstones that are read, and removed at most, in one step: half of what one transaction may hold, since each needs a
/// guard and a deletion.
const TOMBSTONES_PER_STEP: usize = MAX_TXN_OPS / 2;
/// Steps in an interval: removes a million tombstones within a day and a half, and stays a small part of the load.
const TOMBSTONE_STEPS_PER_INTERVAL: usize = 40;
/// Pause after the store failed: long beside an election of etcd's leader, short beside the interval.
const STORE_RETRY_DELAY: Duration = Duration::from_secs(10);

/// Returns the time of day.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// Keeps the store clean. Runs until it is dropped.
pub(crate) async fn run(store: Arc<Forward>, clock: Clock) {
    let mut keeper = Keeper::new(store.clone(), clock, COMPACTION_INTERVAL);
    let mut reason = Reason::Time;
    loop {
        match keeper.round(reason).await {
            Ok(wait) => {
                reason = tokio::select! {
                    () = tokio::time::sleep(wait) => Reason::Time,
                    () = store.enough_written() => Reason::Bytes,
                };
            }
            Err(error) => {
                tracing::warn!(%error, "cannot clean the store; trying again");
                tokio::time::sleep(STORE_RETRY_DELAY).await;
                // The mark may be as young as the failure: compacting to it early would leave the history of the pause
                // alone. If the bytes were not counted anew, they call for the next round at once.
                reason = Reason::Time;
            }
        }
    }
}

/// Why a replica looks at the mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    /// The mark may have been there for an interval.
    Time,
    /// This replica has written many bytes since it saw the mark.
    Bytes,
}

/// The mark as one replica has seen it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    /// The revision that wrote it; `None` if there is no mark.
    revision: Option<Revision>,
    /// When this replica saw it first.
    since: Instant,
}

/// What to do now.
#[derive(Debug, PartialEq, Eq)]
enum Decision {
    /// Nothing for this long.
    Wait(Duration),
    /// Replace the mark.
    Replace,
}

/// Decides whether to replace the mark. A mark that this replica had not seen before (`is_new`) is never replaced early:
/// another replica has just written it, and compacting to it would leave the history of these moments alone.
fn decide(mark: Mark, is_new: bool, reason: Reason, now: Instant, interval: Duration) -> Decision {
    if mark.revision.is_none() || (reason == Reason::Bytes && !is_new) {
        return Decision::Replace;
    }
    let wait = interval.saturating_sub(now.saturating_duration_since(mark.since));
    if wait.is_zero() { Decision::Replace } else { Decision::Wait(wait) }
}

/// The revision to compact to when `mark` is replaced at the revision `present`; `None` to keep everything.
fn compact_to(mark: Option<Revision>, reason: Reason, present: Revision) -> Option<Revision> {
    let to = match reason {
        Reason::Time => mark?.min(Revision(present.0 - KEPT_REVISIONS)),
        Reason::Bytes => mark?,
    };
    (to > Revision(1)).then_some(to)
}

/// The removal of the tombstones that are too old; `None` if there are none. Unreadable ones stay.
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

/// One replica's share of the housekeeping.
struct Keeper {
    store: Arc<Forward>,
    clock: Clock,
    interval: Duration,
    /// `None` before the first look.
    mark: Option<Mark>,
    /// The last tombstone read; `None` at the beginning of a pass.
    after: Option<Key>,
}

impl Keeper {
    fn new(store: Arc<Forward>, clock: Clock, interval: Duration) -> Self {
        Keeper { store, clock, interval, mark: None, after: None }
    }

    /// Does what is due. Returns the time until the next round.
    async fn round(&mut self, reason: Reason) -> Result<Duration, StoreError> {
        let entry = self.store.get(&key::COMPACT).await?;
        let (mark, is_new) = self.saw(entry.map(|entry| entry.modified));
        match decide(mark, is_new, reason, Instant::now(), self.interval) {
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
                let compacted = match compact_to(mark.revision, reason, present) {
                    Some(to) => self.compact(to).await,
                    None => Ok(()),
                };
                // The number of steps is for an interval. An etcd that lets only root compact does not keep from it.
                if reason == Reason::Time {
                    self.remove_tombstones().await?;
                }
                compacted?;
            }
            // Another replica was faster.
            Err(Conflict { current, .. }) => {
                self.saw(current.map(|entry| entry.modified));
            }
        }
        Ok(self.interval)
    }

    async fn compact(&self, to: Revision) -> Result<(), StoreError> {
        self.store.compact(to).await?;
        tracing::debug!(revision = %to, "compacted the store");
        Ok(())
    }

    /// Notes the revision of the mark. Returns the mark, and whether this replica had not seen it before; the count of
    /// written bytes begins anew then.
    fn saw(&mut self, revision: Option<Revision>) -> (Mark, bool) {
        match self.mark {
            Some(mark) if mark.revision == revision => (mark, false),
            _ => {
                self.store.restart_written();
                (*self.mark.insert(Mark { revision, since: Instant::now() }), true)
            }
        }
    }

    /// Continues the pass over the tombstones, or begins the next one; a bounded number of them each time.
    async fn remove_tombstones(&mut self) -> Result<(), StoreError> {
        for _ in 0..TOMBSTONE_STEPS_PER_INTERVAL {
            let page = Page { at: None, after: self.after.take(), limit: TOMBSTONES_PER_STEP };
            let Listing { entries, more, .. } = self.store.list(&key::TOMBSTONES, page).await?;
            if let Some(txn) = removal(&entries, (self.clock)()) {
                // A conflict means that another replica removed some of them: the rest waits for the next pass.
                let removed = self.store.commit(txn).await?.is_ok();
                tracing::debug!(removed, "removed old tombstones");
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
mod tests;
