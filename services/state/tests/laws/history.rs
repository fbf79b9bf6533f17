//! Laws of stores that are replaced by an older copy of themselves: nothing of what was lost is served, and nobody
//! resumes from it.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use krake_proto::error::{ErrorReason, reason};
use krake_proto::krake::core::v1::watch_metrics_request::Start;
use krake_proto::krake::core::v1::{Metric, WatchMetricsRequest};
use krake_proto::krake::meta::v1::GetInstallationRequest;
use krake_state::store::{
    Batch, Bid, Conflict, Entry, Key, Listing, MemoryStore, Page, Revision, SqliteOptions, SqliteStore,
    Standing, Store, StoreError, Txn, WatchError,
};
use tempfile::TempDir;

use crate::support::server::{Server, metric};
use crate::support::{Etcd, PATIENCE, have_etcd};

/// Writes before a copy is made, and lost ones after it.
const WRITES: usize = 60;

/// A store in memory that can be replaced by another one under its users.
#[derive(Default)]
struct Replaceable {
    present: Mutex<MemoryStore>,
}

impl Replaceable {
    fn present(&self) -> MemoryStore {
        self.present.lock().unwrap().clone()
    }

    /// Puts a copy of what it holds now into a store of its own, whose revision is lower.
    async fn copy(&self) -> MemoryStore {
        let copy = MemoryStore::new();
        let entries = self.present().list(&Key::from(""), Page::first(1000)).await.unwrap().entries;
        let txn = entries.into_iter().fold(Txn::new(), |txn, entry| txn.put(entry.key, entry.value));
        copy.commit(txn).await.unwrap().unwrap();
        copy
    }

    fn replace(&self, by: MemoryStore) {
        *self.present.lock().unwrap() = by;
    }
}

#[async_trait]
impl Store for Replaceable {
    async fn revision(&self) -> Result<Revision, StoreError> {
        self.present().revision().await
    }

    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        self.present().get(key).await
    }

    async fn list(&self, prefix: &Key, page: Page) -> Result<Listing, StoreError> {
        self.present().list(prefix, page).await
    }

    async fn commit(&self, txn: Txn) -> Result<Result<Revision, Conflict>, StoreError> {
        self.present().commit(txn).await
    }

    fn watch(&self, prefix: &Key, after: Revision) -> BoxStream<'static, Result<Batch, WatchError>> {
        self.present().watch(prefix, after)
    }

    async fn compact(&self, to: Revision) -> Result<(), StoreError> {
        self.present().compact(to).await
    }

    async fn campaign(&self, bid: Bid) -> Result<Standing, StoreError> {
        self.present().campaign(bid).await
    }

    async fn resign(&self, key: Key, holder: Bytes) -> Result<(), StoreError> {
        self.present().resign(key, holder).await
    }
}

async fn epoch(server: &Server) -> String {
    let answer = server.client.objects().get_installation(GetInstallationRequest {}).await;
    answer.unwrap().into_inner().epoch
}

/// Creates metrics and tells the revision of the last one.
async fn write(server: &Server, name: &str) -> i64 {
    let mut last = 0;
    for number in 0..WRITES {
        let created = server.client.api().create(&metric("demo", &format!("{name}{number}"), 1.0)).await;
        last = created.unwrap().metadata.unwrap().resource_version;
    }
    last
}

/// What a client that knew the lost future meets: it has to read everything anew.
async fn cannot_resume(server: &Server, epoch: &str, after: i64) {
    let request = WatchMetricsRequest {
        namespace: "demo".into(),
        epoch: epoch.into(),
        start: Some(Start::After(after)),
        ..Default::default()
    };
    let refused = server.client.metrics().watch_metrics(request).await.unwrap_err();
    assert_eq!(reason(&refused), Some(ErrorReason::RevisionCompacted), "{refused}");
}

async fn is_there(server: &Server, name: &str) -> bool {
    server.client.api::<Metric>().get("demo", name).await.is_ok()
}

#[tokio::test]
async fn a_service_ends_when_its_store_goes_back_and_gives_it_a_new_epoch() {
    let store = Arc::new(Replaceable::default());
    let server = Server::start(store.clone()).await;
    write(&server, "kept").await;
    let (former, copy) = (epoch(&server).await, store.copy().await);
    let known = write(&server, "lost").await;
    let found = copy.revision().await.unwrap();
    store.replace(copy);
    // It is noticed by the next call or, as here, without any.
    let error = server.failed().await;
    assert!(error.contains(&format!("revision {known} ")), "{error}");
    let again = "start this process again";
    assert!(error.contains(&format!(" to {found}:")) && error.contains(again), "{error}");

    let server = Server::start(store).await;
    assert_ne!(epoch(&server).await, former);
    assert!(is_there(&server, "kept0").await && !is_there(&server, "lost0").await);
    while write(&server, &format!("new{}", rand::random::<u32>())).await <= known {}
    cannot_resume(&server, &former, known).await;
}

#[tokio::test]
async fn what_a_store_has_lost_is_not_served() {
    let store = Arc::new(Replaceable::default());
    let server = Server::start(store.clone()).await;
    write(&server, "kept").await;
    let copy = store.copy().await;
    write(&server, "lost").await;
    store.replace(copy);
    let metrics = server.client.api::<Metric>();
    assert!(metrics.get("demo", "lost0").await.is_err());
    assert!(metrics.create(&metric("demo", "more", 1.0)).await.is_err());
    server.failed().await;
}

#[tokio::test]
async fn a_snapshot_of_etcd_that_is_restored_under_a_service_ends_it() {
    if !have_etcd() {
        return;
    }
    let mut etcd = Etcd::start().await;
    let server = Server::start(etcd.store("/history/").await).await;
    write(&server, "kept").await;
    let former = epoch(&server).await;
    etcd.save_snapshot();
    let known = write(&server, "lost").await;
    etcd.kill();
    etcd.restore_snapshot();
    etcd.restart().await;
    let error = server.failed().await;
    assert!(error.contains("the store went back from revision") && error.contains("new epoch"), "{error}");

    let server = Server::start(etcd.store("/history/").await).await;
    assert_ne!(epoch(&server).await, former);
    assert!(is_there(&server, "kept0").await && !is_there(&server, "lost0").await);
    while write(&server, &format!("new{}", rand::random::<u32>())).await <= known {}
    cannot_resume(&server, &former, known).await;
}

#[tokio::test]
async fn a_snapshot_that_was_restored_while_nothing_ran_is_noticed_at_the_next_start() {
    if !have_etcd() {
        return;
    }
    let mut etcd = Etcd::start().await;
    let server = Server::start(etcd.store("/history/").await).await;
    write(&server, "kept").await;
    let former = epoch(&server).await;
    etcd.save_snapshot();
    let known = write(&server, "lost").await;
    drop(server);
    etcd.kill();
    etcd.restore_snapshot();
    etcd.restart().await;
    // Others write until no revision tells any more.
    let store = etcd.store("/others/").await;
    while store.commit(Txn::new().put("x", "y")).await.unwrap().unwrap().0 <= known {}
    let server = Server::start(etcd.store("/history/").await).await;
    assert_ne!(epoch(&server).await, former);
    cannot_resume(&server, &former, known).await;
    // And once is enough.
    let present = epoch(&server).await;
    drop(server);
    let server = Server::start(etcd.store("/history/").await).await;
    assert_eq!(epoch(&server).await, present);
}

#[tokio::test]
async fn an_etcd_that_is_restarted_keeps_its_epoch() {
    if !have_etcd() {
        return;
    }
    let mut etcd = Etcd::start().await;
    let server = Server::start(etcd.store("/history/").await).await;
    write(&server, "kept").await;
    let former = epoch(&server).await;
    for _ in 0..3 {
        etcd.kill();
        etcd.restart().await;
        let again = async {
            while !is_there(&server, "kept0").await {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(PATIENCE, again).await.expect("the service goes on");
        let other = Server::start(etcd.store("/history/").await).await;
        assert_eq!(epoch(&other).await, former);
    }
    assert_eq!(epoch(&server).await, former);
}

#[tokio::test]
async fn a_file_that_is_replaced_by_an_older_copy_gets_a_new_epoch() {
    let folder = TempDir::new().unwrap();
    let (file, copy) = (folder.path().join("krake.db"), folder.path().join("copy.db"));
    let open = async || {
        let options = SqliteOptions { request_timeout: PATIENCE, ..SqliteOptions::new(&file) };
        SqliteStore::open(options).await.unwrap()
    };
    let store = open().await;
    let server = Server::start(Arc::new(store.clone())).await;
    write(&server, "kept").await;
    let former = epoch(&server).await;
    drop(server);
    store.close().await;
    std::fs::copy(&file, &copy).unwrap();

    let store = open().await;
    let server = Server::start(Arc::new(store.clone())).await;
    assert_eq!(epoch(&server).await, former, "a restart changes nothing");
    let known = write(&server, "lost").await;
    drop(server);
    store.close().await;
    std::fs::copy(&copy, &file).unwrap();

    let store = open().await;
    let server = Server::start(Arc::new(store.clone())).await;
    let present = epoch(&server).await;
    assert_ne!(present, former);
    while write(&server, &format!("new{}", rand::random::<u32>())).await <= known {}
    cannot_resume(&server, &former, known).await;
    drop(server);
    store.close().await;
    let server = Server::start(Arc::new(open().await)).await;
    assert_eq!(epoch(&server).await, present, "once is enough");
}
