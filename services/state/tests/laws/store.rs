//! The laws: one function each, over any store that nobody else writes to below its prefix.

mod aside;
mod copies;
mod faults;
mod leases;
mod limits;
mod machine;
mod model;
mod progress;
mod reads;
mod replicas;
mod sharing;
mod watches;
mod writes;

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::BoxStream;
use krake_state::store::{
    Batch, ChangeKind, Conflict, Key, Listing, Page, Revision, Store, StoreError, Txn, WatchError,
};
use tokio::time::timeout;

use crate::support::PATIENCE;

pub(crate) use aside::*;
pub(crate) use leases::*;
pub(crate) use limits::*;
pub(crate) use progress::*;
pub(crate) use reads::*;
pub(crate) use sharing::*;
pub(crate) use watches::*;
pub(crate) use writes::*;

/// A store under test.
pub(crate) type AnyStore = Arc<dyn Store>;

/// A watch under test.
pub(crate) type Watch = BoxStream<'static, Result<Batch, WatchError>>;

/// A key from text.
pub(crate) fn key(text: &str) -> Key {
    text.into()
}

/// Commits a transaction that must pass.
pub(crate) async fn commit(store: &AnyStore, txn: Txn) -> Revision {
    store.commit(txn).await.unwrap().unwrap()
}

/// Puts one value, unguarded.
pub(crate) async fn put(store: &AnyStore, key: &str, value: &'static str) -> Revision {
    commit(store, Txn::new().put(key, value)).await
}

/// Commits a transaction that must conflict.
pub(crate) async fn conflict(store: &AnyStore, txn: Txn) -> Conflict {
    store.commit(txn).await.unwrap().unwrap_err()
}

/// The first page at the present.
pub(crate) async fn list(store: &AnyStore, prefix: &str) -> Listing {
    store.list(&key(prefix), Page::first(1000)).await.unwrap()
}

/// The first page at a revision.
pub(crate) async fn list_at(store: &AnyStore, at: Revision) -> Result<Listing, StoreError> {
    store.list(&key(""), Page { at: Some(at), ..Page::first(1000) }).await
}

/// The keys of a list with their values, as `key=value`.
pub(crate) fn pairs(listing: &Listing) -> Vec<String> {
    let pair = |value: &[u8], key: &Key| format!("{key}={}", String::from_utf8_lossy(value));
    listing.entries.iter().map(|entry| pair(&entry.value, &entry.key)).collect()
}

/// The next item of a watch, which must come.
pub(crate) async fn next(watch: &mut Watch) -> Result<Batch, WatchError> {
    timeout(PATIENCE, watch.next()).await.expect("a batch in time").expect("a watch has no end")
}

/// Everything that a watch tells up to the revision `last`, which must have a change that it watches.
pub(crate) async fn until(watch: &mut Watch, last: Revision) -> Vec<Batch> {
    let mut batches = Vec::new();
    loop {
        let batch = next(watch).await.unwrap();
        assert!(batch.revision <= last, "the watch skipped revision {last}");
        let done = batch.revision == last;
        batches.push(batch);
        if done {
            return batches;
        }
    }
}

/// A batch as text: `revision: key=value<-previous …`, with `-` for absent.
pub(crate) fn told(batch: &Batch) -> String {
    let text =
        |value: Option<&[u8]>| value.map_or("-".into(), |value| String::from_utf8_lossy(value).into_owned());
    let changes: Vec<String> = batch
        .changes
        .iter()
        .map(|change| {
            let current = match &change.kind {
                ChangeKind::Put(entry) => {
                    assert_eq!((&entry.key, entry.modified), (&change.key, batch.revision));
                    Some(&entry.value[..])
                }
                ChangeKind::Delete => None,
            };
            let previous = change.previous.as_ref().map(|entry| &entry.value[..]);
            format!("{}={}<-{}", change.key, text(current), text(previous))
        })
        .collect();
    format!("{}: {}", batch.revision, changes.join(" "))
}
