//! What the laws ask for, with a file in the place of memory. What is about etcd is tested beside the laws themselves.

#[path = "../laws/support.rs"]
#[allow(dead_code, reason = "the laws of stores use the rest")]
mod laws;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use krake_state::store::{
    Batch, Bid, Conflict, Entry, Key, Lineage, Listing, Page, Revision, Standing, Store, StoreError, Txn,
    WatchError,
};
use tokio::sync::OnceCell;

pub(crate) use laws::{Etcd, PATIENCE, requests, server, shared_etcd};

/// A store in a new file.
pub(crate) fn memory() -> Arc<dyn Store> {
    Arc::new(Later::default())
}

pub(crate) fn have_etcd() -> bool {
    false
}

/// A store in a file that is made by the first call, which can wait for it.
#[derive(Default, Clone)]
struct Later(Arc<OnceCell<Arc<dyn Store>>>);

impl Later {
    async fn open(&self) -> &dyn Store {
        self.0.get_or_init(laws::sqlite).await.as_ref()
    }
}

#[async_trait]
impl Store for Later {
    async fn revision(&self) -> Result<Revision, StoreError> {
        self.open().await.revision().await
    }

    async fn lineage(&self) -> Result<Option<Lineage>, StoreError> {
        self.open().await.lineage().await
    }

    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        self.open().await.get(key).await
    }

    async fn list(&self, prefix: &Key, page: Page) -> Result<Listing, StoreError> {
        self.open().await.list(prefix, page).await
    }

    async fn commit(&self, txn: Txn) -> Result<Result<Revision, Conflict>, StoreError> {
        self.open().await.commit(txn).await
    }

    fn watch(&self, prefix: &Key, after: Revision) -> BoxStream<'static, Result<Batch, WatchError>> {
        let (store, prefix) = (self.clone(), prefix.clone());
        let opened = async move { store.open().await.watch(&prefix, after) };
        stream::once(opened).flatten().boxed()
    }

    async fn compact(&self, to: Revision) -> Result<(), StoreError> {
        self.open().await.compact(to).await
    }

    async fn campaign(&self, bid: Bid) -> Result<Standing, StoreError> {
        self.open().await.campaign(bid).await
    }

    async fn resign(&self, key: Key, holder: Bytes) -> Result<(), StoreError> {
        self.open().await.resign(key, holder).await
    }
}
