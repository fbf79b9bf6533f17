//! How long a read waits for the cache before it asks the store for help. Pure, but for the type of its clock.
//!
//! The cache learns of revisions from changes of Krake's own keys only. If other programs write to the same etcd, the
//! present revision is theirs and does not come by itself, so waiting for it is in vain. A report of progress or, where
//! the store has none, a write of Krake's own then shows that nothing is missing.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The wait before a write, while only Krake writes to the store: far longer than a change takes to come, because a write
/// for each read would cost much.
const WAIT_BEFORE_WRITE: Duration = Duration::from_millis(50);
/// The wait before a report of progress, which costs little: a change that is under way mostly comes within it. Also the
/// wait before a write while other programs write to the store.
const WAIT_FOR_CHANGES_UNDER_WAY: Duration = Duration::from_millis(2);
/// Time for which other programs are expected to go on writing after a wait in vain: one wait in so many seconds is not
/// felt.
const FOREIGN_WRITES_EXPECTED_FOR: Duration = Duration::from_secs(5);

/// What reads have learned about the store.
#[derive(Debug, Default)]
pub(super) struct Patience {
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// When a wait was last in vain.
    missed: Option<Instant>,
    /// Whether the store reports progress.
    reports: bool,
}

impl Seen {
    /// The wait while only Krake writes to the store.
    fn usual(&self) -> Duration {
        if self.reports { WAIT_FOR_CHANGES_UNDER_WAY } else { WAIT_BEFORE_WRITE }
    }
}

impl Patience {
    /// The time to wait now.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let lately = seen
            .missed
            .is_some_and(|missed| now.saturating_duration_since(missed) < FOREIGN_WRITES_EXPECTED_FOR);
        match (lately, seen.reports) {
            (true, true) => Duration::ZERO,
            (true, false) => WAIT_FOR_CHANGES_UNDER_WAY,
            (false, _) => seen.usual(),
        }
    }

    /// Notes that a wait of this length, which ended now, was in vain. A short one proves nothing.
    pub(super) fn missed(&self, waited: Duration, now: Instant) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if waited >= seen.usual() {
            seen.missed = Some(now);
        }
    }

    /// Notes whether the store reports progress.
    pub(super) fn reports(&self, reports: bool) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).reports = reports;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::SystemTime;

    use super::*;
    use crate::cache::Cache;
    use crate::registry::Registry;
    use crate::store::{MemoryStore, Revision, Store, Txn};

    #[tokio::test(start_paused = true)]
    async fn a_read_beside_foreign_writes_waits_in_vain_once_in_a_while_only() {
        let store = Arc::new(MemoryStore::new());
        let cache = Arc::new(Cache::default());
        let feeding = tokio::spawn({
            let (cache, store) = (cache.clone(), store.clone());
            async move { cache.feed(store).await }
        });
        assert!(cache.reach(Revision(1), Duration::from_secs(1)).await);
        let registry = Registry::new(store.clone(), cache.clone(), Arc::new(SystemTime::now));
        let foreign = async || store.commit(Txn::new().put("/theirs", "")).await.unwrap().unwrap();
        let own = async || store.commit(Txn::new().put("/krake/_x", "")).await.unwrap().unwrap();
        let read = async || {
            let start = Instant::now();
            registry.refresh().await.unwrap();
            start.elapsed()
        };
        own().await;
        assert!(read().await < WAIT_BEFORE_WRITE, "its own change is on its way");
        foreign().await;
        assert!(read().await >= WAIT_BEFORE_WRITE);
        for _ in 0..100 {
            let written = foreign().await;
            let waited = read().await;
            assert!((WAIT_FOR_CHANGES_UNDER_WAY..WAIT_BEFORE_WRITE).contains(&waited), "{waited:?}");
            assert!(cache.revision() >= written, "it shows what was written before");
        }
        own().await;
        assert!(read().await < WAIT_FOR_CHANGES_UNDER_WAY);
        tokio::time::advance(FOREIGN_WRITES_EXPECTED_FOR).await;
        foreign().await;
        assert!(read().await >= WAIT_BEFORE_WRITE, "after a while it is tried again");
        feeding.abort();
    }

    #[test]
    fn a_report_of_progress_is_asked_for_sooner_than_a_write_is_made() {
        let (patience, start) = (Patience::default(), Instant::now());
        assert_eq!(patience.wait(start), WAIT_BEFORE_WRITE);
        patience.reports(true);
        assert_eq!(patience.wait(start), WAIT_FOR_CHANGES_UNDER_WAY);
        patience.missed(Duration::ZERO, start);
        assert_eq!(patience.wait(start), WAIT_FOR_CHANGES_UNDER_WAY, "that proves nothing");
        patience.missed(WAIT_FOR_CHANGES_UNDER_WAY, start);
        assert_eq!(patience.wait(start), Duration::ZERO);
        patience.reports(false);
        assert_eq!(patience.wait(start), WAIT_FOR_CHANGES_UNDER_WAY);
        assert_eq!(patience.wait(start + FOREIGN_WRITES_EXPECTED_FOR), WAIT_BEFORE_WRITE);
    }
}
