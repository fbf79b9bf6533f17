//! Laws of reports of progress, which spare reads beside foreign writes a write of their own.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use krake_proto::krake::core::v1::Metric;
use krake_state::store::Txn;
use tokio::time::{sleep, timeout};

use super::{AnyStore, commit, key, put};
use crate::support::server::{Server, metric};
use crate::support::{ETCD, ETCD_3_5, Etcd, PATIENCE, have_etcd, have_etcd_3_5};

/// Where a store reports progress, everything before it has been delivered; where it does not, nothing changes.
pub(crate) async fn reports_of_progress_overtake_no_change(store: AnyStore) {
    const WRITES: usize = 300;
    let start = store.revision().await.unwrap();
    let mut changes = store.watch_progress(&key("own/"), start);
    let writers = (0..3).map(|writer| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for number in 0..WRITES / 3 {
                // Foreign ones among them.
                put(&store, "other", "").await;
                commit(&store, Txn::new().put(format!("own/{writer}"), number.to_string())).await;
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    let (mut seen, mut delivered) = (start, 0);
    while delivered < WRITES {
        store.request_progress().await.unwrap();
        let batch = timeout(PATIENCE, changes.next()).await.unwrap().unwrap().unwrap();
        assert!(batch.revision > seen, "{} after {seen}", batch.revision);
        seen = batch.revision;
        delivered += batch.changes.len();
    }
    futures::future::join_all(writers).await;
}

/// Whether a watch on a server of this release shows a revision that is not of its own keys.
async fn shows_foreign_revisions(executable: &'static str) -> bool {
    let etcd = Etcd::start_release(executable).await;
    let store = etcd.store("/progress/").await;
    let start = put(&store, "own/a", "").await;
    let mut changes = store.watch_progress(&key("own/"), start);
    let foreign = put(&store, "other", "").await;
    // The first requests find out whether the server can be trusted.
    let next = async {
        loop {
            store.request_progress().await.unwrap();
            if let Ok(next) = timeout(Duration::from_millis(20), changes.next()).await {
                return next.unwrap().unwrap();
            }
            // A server that is not trusted reports as well, but nothing is made of it.
            if executable == ETCD {
                put(&store, "own/a", "end").await;
            }
        }
    };
    let batch = timeout(PATIENCE, next).await.unwrap();
    assert!(batch.revision >= foreign);
    assert_eq!(store.request_progress().await.unwrap(), batch.changes.is_empty());
    batch.changes.is_empty()
}

#[tokio::test]
async fn a_server_of_a_sound_version_is_trusted() {
    if have_etcd_3_5() {
        assert!(shows_foreign_revisions(ETCD_3_5).await);
    }
}

#[tokio::test]
async fn a_server_whose_reports_may_overtake_changes_is_not_trusted() {
    if have_etcd() {
        assert!(!shows_foreign_revisions(ETCD).await);
    }
}

#[tokio::test]
async fn reads_beside_foreign_writes_write_nothing() {
    if !have_etcd_3_5() {
        return;
    }
    let etcd = Etcd::start_release(ETCD_3_5).await;
    let (store, foreign) = (etcd.store("/krake-test/").await, etcd.store("/foreign/").await);
    let server = Server::start(Arc::clone(&store)).await;
    server.client.api().create(&metric("demo", "m", 1.0)).await.unwrap();
    let marker = async || store.get(&key("/krake/_tick")).await.unwrap().map(|entry| entry.modified);
    let read = async || {
        put(&foreign, "x", "").await;
        let before = marker().await;
        server.client.api::<Metric>().get("demo", "m").await.unwrap();
        marker().await == before
    };
    // The first reads find out that the server can be trusted, and a busy machine may delay a report.
    let quiet = async {
        while !read().await {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, quiet).await.expect("a read without a write of its own");
}
