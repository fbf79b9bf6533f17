//! How long a read waits for the cache before it helps it along by a write. Pure, but for the type of its clock.
//!
//! The cache learns of revisions from changes of Krake's own keys only. If others write to the same etcd, the present
//! revision is theirs and never comes, so waiting for it is in vain.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The wait while the store moves by Krake's own writes, whose changes are under way: far longer than they take.
const USUAL: Duration = Duration::from_millis(50);
/// The wait while others write to the store: a change of Krake's own that is under way comes within it, in most cases.
const SHORT: Duration = Duration::from_millis(2);
/// How long others are expected to go on after a wait that was in vain.
const MEMORY: Duration = Duration::from_secs(5);

/// What was seen of others who write to the store.
#[derive(Debug, Default)]
pub(super) struct Patience {
    /// When a wait was in vain last.
    missed: Mutex<Option<Instant>>,
}

impl Patience {
    /// How long to wait now.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        let missed = *self.missed.lock().unwrap_or_else(PoisonError::into_inner);
        let lately = missed.is_some_and(|missed| now.saturating_duration_since(missed) < MEMORY);
        if lately { SHORT } else { USUAL }
    }

    /// A wait of this length, which ended now, was in vain. A short one proves nothing.
    pub(super) fn missed(&self, waited: Duration, now: Instant) {
        if waited >= USUAL {
            *self.missed.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
        }
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
            registry.refresh(0).await.unwrap();
            start.elapsed()
        };
        own().await;
        assert!(read().await < USUAL, "its own change is on its way");
        foreign().await;
        assert!(read().await >= USUAL);
        for _ in 0..100 {
            let written = foreign().await;
            let waited = read().await;
            assert!((SHORT..USUAL).contains(&waited), "{waited:?}");
            assert!(cache.revision() >= written, "it shows what was written before");
        }
        own().await;
        assert!(read().await < SHORT);
        tokio::time::advance(MEMORY).await;
        foreign().await;
        assert!(read().await >= USUAL, "after a while it is tried again");
        feeding.abort();
    }
}
