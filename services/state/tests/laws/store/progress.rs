//! Laws of reports of progress, which spare reads beside foreign writes a write of their own.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use krake_proto::krake::core::v1::Metric;
use krake_state::store::{Batch, EtcdOptions, EtcdStore, Txn};
use tokio::time::{sleep, timeout};

use super::{AnyStore, Watch, commit, key, next, put};
use crate::support::proxy::Proxy;
use crate::support::server::{Server, metric};
use crate::support::{ETCD_3_5, Etcd, PATIENCE, etcd_is_3_4, have_etcd, have_etcd_3_5};

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

/// A store on a load balancer, with a watch on `watched` and all connections after it on `queried`.
async fn balanced(watched: &Etcd, queried: &Etcd) -> (Proxy, AnyStore, Watch) {
    let proxy = Proxy::start(&watched.endpoint()).await;
    let options = EtcdOptions::new(vec![proxy.endpoint.clone()], "/progress/");
    let store: AnyStore = Arc::new(EtcdStore::connect(options).await.unwrap());
    let start = store.revision().await.unwrap();
    let mut changes = store.watch_progress(&key("own/"), start);
    let shown = put(&store, "own/a", "").await;
    assert_eq!(next(&mut changes).await.unwrap().revision, shown);
    proxy.lead_to(&queried.endpoint());
    (proxy, store, changes)
}

/// The next batch of a watch, if it comes soon.
async fn soon(changes: &mut Watch) -> Option<Batch> {
    let next = timeout(Duration::from_millis(20), changes.next()).await.ok()?;
    Some(next.unwrap().unwrap())
}

/// Requests reports of progress until the version must be known, and longer. None may be made.
async fn reports_nothing(watched: &Etcd, queried: &Etcd) {
    let (proxy, store, mut changes) = balanced(watched, queried).await;
    put(&store, "other", "").await;
    let mut request = async || {
        assert!(!store.request_progress().await.unwrap(), "the server is trusted");
        assert_eq!(soon(&mut changes).await, None);
    };
    let queried = async {
        while !proxy.has_ended_one() {
            request().await;
        }
    };
    timeout(PATIENCE, queried).await.expect("the version is queried");
    for _ in 0..50 {
        request().await;
    }
    let own = put(&store, "own/a", "").await;
    let batch = next(&mut changes).await.unwrap();
    assert_eq!((batch.revision, batch.changes.len()), (own, 1), "changes still come");
}

#[tokio::test]
async fn a_server_of_a_sound_version_is_trusted() {
    if !have_etcd_3_5() {
        return;
    }
    let etcd = Etcd::start_release(ETCD_3_5).await;
    let (_proxy, store, mut changes) = balanced(&etcd, &etcd).await;
    let foreign = put(&store, "other", "").await;
    // The first requests find out that the server can be trusted.
    let report = async {
        loop {
            store.request_progress().await.unwrap();
            if let Some(report) = soon(&mut changes).await {
                return report;
            }
        }
    };
    let report = timeout(PATIENCE, report).await.unwrap();
    assert_eq!((report.revision, report.changes.len()), (foreign, 0));
    assert!(store.request_progress().await.unwrap());
}

#[tokio::test]
async fn a_server_whose_reports_may_overtake_changes_is_not_trusted() {
    if have_etcd() && etcd_is_3_4() {
        let etcd = Etcd::start().await;
        reports_nothing(&etcd, &etcd).await;
    }
}

#[tokio::test]
async fn the_version_of_another_member_than_that_of_the_watch_gives_no_trust() {
    if have_etcd() && have_etcd_3_5() {
        reports_nothing(&Etcd::start().await, &Etcd::start_release(ETCD_3_5).await).await;
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
    let mut quiet = 0;
    for _ in 0..20 {
        quiet += usize::from(read().await);
    }
    assert!(quiet > 10, "{quiet} of 20 reads wrote nothing");
}
