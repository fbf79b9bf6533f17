//! A store that was replaced by a copy of itself and written to until its revisions tell nothing.

use bytes::Bytes;
use futures::StreamExt;
use krake_state::store::{Revision, Store, StoreError, Txn};

use crate::support::{Etcd, have_etcd};

async fn put(store: &dyn Store, key: &str, value: &str) -> Revision {
    store.commit(Txn::new().put(key, Bytes::from(value.to_owned()))).await.unwrap().unwrap()
}

/// Writes until the store has this revision.
async fn write_up_to(store: &dyn Store, revision: Revision) {
    while put(store, "/krake/new", "n").await < revision {}
}

#[tokio::test]
async fn neither_reads_nor_watches_go_on_in_a_restored_snapshot_of_the_same_revision() {
    if !have_etcd() {
        return;
    }
    let mut etcd = Etcd::start().await;
    let store = etcd.store("/copies/").await;
    let unaware = etcd.store("/copies/").await;
    put(store.as_ref(), "/krake/_epoch", "one").await;
    store.expect_history("/krake/_epoch".into(), "one".into());
    etcd.save_snapshot();
    let mut known = put(store.as_ref(), "/krake/lost", "l").await;
    for _ in 0..20 {
        known = put(store.as_ref(), "/krake/lost", "l").await;
    }
    assert_eq!(store.revision().await.unwrap(), known, "it is the same history");
    let prefix = "/krake/".into();
    let (mut watch, mut other) = (store.watch(&prefix, known), unaware.watch(&prefix, known));
    // Both are open.
    known = put(store.as_ref(), "/krake/last", "l").await;
    for watch in [&mut watch, &mut other] {
        assert_eq!(watch.next().await.unwrap().unwrap().revision, known);
    }
    etcd.kill();
    etcd.restore_snapshot();
    etcd.restart().await;
    let replica = etcd.store("/copies/").await;
    put(replica.as_ref(), "/krake/_epoch", "two").await;
    write_up_to(replica.as_ref(), known).await;
    assert_eq!(store.revision().await, Err(StoreError::Replaced));
    for _ in 0..5 {
        put(replica.as_ref(), "/krake/new", "n").await;
        tokio::select! {
            biased;
            shown = watch.next() => panic!("a watch shows another history: {shown:?}"),
            shown = other.next() => assert!(shown.unwrap().unwrap().revision > known),
        }
    }
}
