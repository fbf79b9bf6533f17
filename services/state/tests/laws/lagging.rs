//! A replica whose cache is behind the store decides nothing that the store forbids.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use krake_client::{Api, DeleteOptions};
use krake_proto::Resource;
use krake_proto::error::ErrorReason;
use krake_proto::krake::kubernetes::v1::Cluster;
use krake_state::store::*;
use tokio::sync::watch;

use crate::placement::{bind, why};
use crate::support::memory;
use crate::support::server::{Server, application, as_owner, cluster};

/// A store whose watches stand still while it is frozen. The next commit on an application, which a decision on the
/// stale cache leads to, lets them go on when it has been answered.
struct Lagging {
    store: Arc<dyn Store>,
    frozen: watch::Sender<bool>,
}

#[async_trait]
impl Store for Lagging {
    async fn revision(&self) -> Result<Revision, StoreError> {
        self.store.revision().await
    }

    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        self.store.get(key).await
    }

    async fn list(&self, prefix: &Key, page: Page) -> Result<Listing, StoreError> {
        self.store.list(prefix, page).await
    }

    async fn commit(&self, txn: Txn) -> Result<Result<Revision, Conflict>, StoreError> {
        let is_application = |key: &Key| key.as_str().is_some_and(|key| key.contains("/applications/"));
        let decided = txn.ops.iter().any(|op| is_application(op.key()));
        let answer = self.store.commit(txn).await;
        if decided {
            self.frozen.send_replace(false);
        }
        answer
    }

    fn watch(&self, prefix: &Key, after: Revision) -> BoxStream<'static, Result<Batch, WatchError>> {
        let frozen = self.frozen.subscribe();
        let held = self.store.watch(prefix, after).then(move |batch| {
            let mut frozen = frozen.clone();
            async move {
                // Without a sender the store is gone, and nobody follows it.
                let _ = frozen.wait_for(|frozen| !frozen).await;
                batch
            }
        });
        Box::pin(held)
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

/// Two replicas over one store. The cache of the first can be held back.
async fn replicas() -> (Server, Server, watch::Sender<bool>) {
    let store = memory();
    let frozen = watch::channel(false).0;
    let lagging = Lagging { store: store.clone(), frozen: frozen.clone() };
    (Server::start(Arc::new(lagging)).await, Server::start(store).await, frozen)
}

#[tokio::test]
async fn an_application_does_not_leave_a_cascade_that_the_cache_does_not_show_yet() {
    let (behind, ahead, frozen) = replicas().await;
    let client = &behind.client;
    client.api().create(&application("a")).await.unwrap();
    let one = client.api().create(&cluster("one")).await.unwrap();
    let two = client.api().create(&cluster("two")).await.unwrap();
    bind(client, &[&one], 1, &[]).await.unwrap();
    // A read of the store's present state: the cache shows the binding.
    let clusters: Api<Cluster> = client.api();
    clusters.get("demo", "one").await.unwrap();

    frozen.send_replace(true);
    let cascade = DeleteOptions { cascade: true, ..Default::default() };
    ahead.client.api::<Cluster>().delete("demo", "one", &cascade).await.unwrap();
    assert_eq!(why(bind(client, &[&two], 1, &[&one]).await), Some(ErrorReason::BeingDeleted));
    assert!(!*frozen.borrow(), "the binding was decided on the stale cache");
}

#[tokio::test]
async fn an_object_gets_no_owner_whose_deletion_the_cache_does_not_show_yet() {
    let (behind, ahead, frozen) = replicas().await;
    let one = behind.client.api().create(&cluster("one")).await.unwrap();
    let clusters: Api<Cluster> = behind.client.api();
    clusters.get("demo", "one").await.unwrap();

    frozen.send_replace(true);
    ahead.client.api::<Cluster>().delete("demo", "one", &DeleteOptions::default()).await.unwrap();
    let mut child = application("a");
    child.metadata_mut().owners = vec![as_owner(&one)];
    let refused = behind.client.api().create(&child).await.unwrap_err();
    assert!(refused.violations()[0].description.contains("is being deleted"), "{refused}");
    assert!(!*frozen.borrow(), "the creation was decided on the stale cache");
}
