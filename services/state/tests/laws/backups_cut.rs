//! Restores that are cut off at each of their writes, and writes whose answers are lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use krake_state::backup::{self, Source};
use krake_state::store::{
    Batch, Bid, Conflict, Entry, Key, Listing, MemoryStore, Page, Revision, Standing, Store, StoreError, Txn,
    WatchError,
};
use tempfile::TempDir;

/// What happens to one of the writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// It never happens, and nothing does afterwards.
    Ends,
    /// It happens, but nobody is told.
    AnswerLost,
}

/// A store one of whose writes goes wrong.
struct Faulty {
    inner: MemoryStore,
    fault: Fault,
    /// The number of the write, and how many there were.
    at: usize,
    writes: AtomicUsize,
}

#[async_trait]
impl Store for Faulty {
    async fn revision(&self) -> Result<Revision, StoreError> {
        self.inner.revision().await
    }

    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        self.inner.get(key).await
    }

    async fn list(&self, prefix: &Key, page: Page) -> Result<Listing, StoreError> {
        self.inner.list(prefix, page).await
    }

    async fn commit(&self, txn: Txn) -> Result<Result<Revision, Conflict>, StoreError> {
        let number = self.writes.fetch_add(1, Ordering::SeqCst);
        let unavailable = || StoreError::Unavailable { reason: "as arranged".to_owned() };
        match self.fault {
            Fault::Ends if number >= self.at => Err(unavailable()),
            Fault::AnswerLost if number == self.at => {
                let _ = self.inner.commit(txn).await?;
                Err(unavailable())
            }
            _ => self.inner.commit(txn).await,
        }
    }

    fn watch(&self, prefix: &Key, after: Revision) -> BoxStream<'static, Result<Batch, WatchError>> {
        self.inner.watch(prefix, after)
    }

    async fn compact(&self, to: Revision) -> Result<(), StoreError> {
        self.inner.compact(to).await
    }

    async fn campaign(&self, bid: Bid) -> Result<Standing, StoreError> {
        self.inner.campaign(bid).await
    }

    async fn resign(&self, key: Key, holder: Bytes) -> Result<(), StoreError> {
        self.inner.resign(key, holder).await
    }
}

async fn put(store: &MemoryStore, key: &str, value: &str) {
    store.commit(Txn::new().put(key, value.to_owned())).await.unwrap().unwrap();
}

/// All keys and values but the epoch.
async fn contents(store: &MemoryStore) -> Vec<(Key, Bytes)> {
    let listing = store.list(&Key::from(""), Page::first(1000)).await.unwrap();
    let pairs = listing.entries.into_iter().map(|entry| (entry.key, entry.value));
    pairs.filter(|(key, _)| *key != Key::from("/krake/_epoch")).collect()
}

async fn is_whole(store: &MemoryStore) -> bool {
    let there = async |key: &str| store.get(&Key::from(key)).await.unwrap().is_some();
    there("/krake/_installation").await && there("/krake/_epoch").await && !there("/krake/_restoring").await
}

/// Restores into a store that is empty or holds something else, with a fault at each write in turn.
async fn with_each_fault(fault: Fault, replace: bool) {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("backup");
    let from = MemoryStore::new();
    put(&from, "/krake/_installation", "1-2-3").await;
    put(&from, "/krake/_epoch", "4-5-6").await;
    for number in 0..200 {
        put(&from, &format!("/krake/x/{number:03}"), "new").await;
    }
    backup::back_up(Source::Store(&from), &file).await.unwrap();
    let expected = contents(&from).await;
    let backup = backup::verify(&file).unwrap();
    for at in 0.. {
        let inner = MemoryStore::new();
        if replace {
            put(&inner, "/krake/_installation", "7-8-9").await;
            put(&inner, "/krake/_epoch", "0").await;
            for number in 0..100 {
                put(&inner, &format!("/krake/y/{number:03}"), "old").await;
            }
        }
        let before = contents(&inner).await;
        let store = Arc::new(Faulty { inner: inner.clone(), fault, at, writes: AtomicUsize::new(0) });
        let restored = backup::restore(store.as_ref(), &backup, replace).await;
        let writes = store.writes.load(Ordering::SeqCst);
        if restored.is_ok() {
            assert_eq!(contents(&inner).await, expected, "{fault:?} at {at}");
            assert!(is_whole(&inner).await, "{fault:?} at {at}");
            if writes <= at {
                // There was no such write: all of them have been tried.
                assert!(at > 4);
                return;
            }
        } else if contents(&inner).await == before {
            assert_eq!((fault, at), (Fault::Ends, 0), "only what never began left nothing");
        } else {
            assert!(!is_whole(&inner).await, "{fault:?} at {at}");
            assert!(backup::restore(&inner, &backup, false).await.is_err(), "{fault:?} at {at}");
            backup::restore(&inner, &backup, true).await.unwrap();
            assert_eq!(contents(&inner).await, expected, "{fault:?} at {at}");
        }
        assert!(restored.is_ok() || fault == Fault::Ends || at == 0, "{fault:?} at {at}: {restored:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_restore_that_ends_at_any_write_is_seen_to_be_cut_off() {
    with_each_fault(Fault::Ends, false).await;
    with_each_fault(Fault::Ends, true).await;
}

#[tokio::test(start_paused = true)]
async fn a_restore_outlives_the_loss_of_any_answer() {
    with_each_fault(Fault::AnswerLost, false).await;
    with_each_fault(Fault::AnswerLost, true).await;
}
