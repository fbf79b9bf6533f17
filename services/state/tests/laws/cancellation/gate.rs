//! A store that holds an operation up, so that the call that makes it can be cancelled there.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use krake_state::store::*;
use tokio::sync::Notify;

/// Where a call is held up: at its nth operation on the store, before or after that took effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Before(usize),
    After(usize),
}

/// A store that holds one operation up for ever once it is armed. Only operations on objects count, which are what calls
/// do: the service's own work, at its own times, is on keys below `/krake/_`.
pub(super) struct Gate {
    store: Arc<dyn Store>,
    /// Operations until the gate closes; 0 = open.
    left: AtomicUsize,
    before: std::sync::atomic::AtomicBool,
    pub(super) held: Notify,
}

impl Gate {
    pub(super) fn over(store: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Gate { store, left: 0.into(), before: false.into(), held: Notify::new() })
    }

    pub(super) fn arm(&self, place: Place) {
        let (before, count) = match place {
            Place::Before(count) => (true, count),
            Place::After(count) => (false, count),
        };
        self.before.store(before, SeqCst);
        self.left.store(count, SeqCst);
    }

    pub(super) fn open(&self) {
        self.left.store(0, SeqCst);
    }

    async fn pass<'a, T>(
        &self,
        keys: impl IntoIterator<Item = &'a Key>,
        operation: impl Future<Output = T>,
    ) -> T {
        let is_object = |key: &Key| key.as_str().is_some_and(|key| !key.starts_with("/krake/_"));
        if !keys.into_iter().any(is_object) {
            return operation.await;
        }
        let left = self.left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1));
        if left != Ok(1) {
            return operation.await;
        }
        if !self.before.load(SeqCst) {
            let _ = operation.await;
        }
        self.held.notify_one();
        std::future::pending().await
    }
}

#[async_trait]
impl Store for Gate {
    async fn revision(&self) -> Result<Revision, StoreError> {
        self.store.revision().await
    }

    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        self.pass([key], self.store.get(key)).await
    }

    async fn list(&self, prefix: &Key, page: Page) -> Result<Listing, StoreError> {
        self.store.list(prefix, page).await
    }

    async fn commit(&self, txn: Txn) -> Result<Result<Revision, Conflict>, StoreError> {
        let keys: Vec<Key> = txn.ops.iter().map(|op| op.key().clone()).collect();
        self.pass(&keys, self.store.commit(txn)).await
    }

    fn watch(&self, prefix: &Key, after: Revision) -> BoxStream<'static, Result<Batch, WatchError>> {
        self.store.watch(prefix, after)
    }

    async fn compact(&self, to: Revision) -> Result<(), StoreError> {
        self.store.compact(to).await
    }

    async fn campaign(&self, bid: Bid) -> Result<Standing, StoreError> {
        self.store.campaign(bid).await
    }

    async fn resign(&self, key: Key, holder: Bytes) -> Result<(), StoreError> {
        self.store.resign(key, holder).await
    }
}
