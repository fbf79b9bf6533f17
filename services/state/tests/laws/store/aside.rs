//! Laws of keys aside (`/krake/~…`): large values that no watch of objects shows and no read waits for.

use futures::{FutureExt, StreamExt};
use krake_proto::krake::core::v1::Metric;
use krake_state::store::{Page, Revision, Txn};
use tokio::time::Instant;

use super::{AnyStore, commit, key, next, put, told};
use crate::support::PATIENCE;
use crate::support::server::{Server, metric};

/// A watch of Krake's keys shows none that are aside, live or when it catches up, and is told of their revisions where it
/// asks for progress. A watch of keys aside shows them.
pub(crate) async fn keys_aside_are_seen_by_their_own_watches_alone(store: AnyStore) {
    let start = put(&store, "/krake/core/first", "").await;
    let mut live = store.watch(&key("/krake/"), start);
    let mut reports = store.watch_progress(&key("/krake/"), start);
    assert!(live.next().now_or_never().is_none() && reports.next().now_or_never().is_none());
    // Other reports of progress may come in between.
    let mut reported = async |revision: Revision| loop {
        let batch = next(&mut reports).await.unwrap();
        if batch.revision >= revision || !batch.changes.is_empty() {
            return batch;
        }
    };
    let aside = put(&store, "/krake/~a/1", "x").await;
    assert_eq!(reported(aside).await.changes, []);
    let mixed = commit(&store, Txn::new().put("/krake/~a/1", "y").put("/krake/core/m", "z")).await;
    assert_eq!(told(&reported(mixed).await), format!("{mixed}: /krake/core/m=z<--"));
    let gone = commit(&store, Txn::new().delete("/krake/~a/1")).await;
    assert_eq!(reported(gone).await.changes, []);
    let last = put(&store, "/krake/core/n", "").await;
    assert_eq!(told(&reported(last).await), format!("{last}: /krake/core/n=<--"));
    let objects = [format!("{mixed}: /krake/core/m=z<--"), format!("{last}: /krake/core/n=<--")];
    for watch in [&mut live, &mut store.watch(&key("/krake/"), start)] {
        for expected in &objects {
            assert_eq!(told(&next(watch).await.unwrap()), *expected);
        }
    }
    let mut own = store.watch(&key("/krake/~a/"), start);
    for expected in [
        format!("{aside}: /krake/~a/1=x<--"),
        format!("{mixed}: /krake/~a/1=y<-x"),
        format!("{gone}: /krake/~a/1=-<-y"),
    ] {
        assert_eq!(told(&next(&mut own).await.unwrap()), expected);
    }
    assert_eq!(store.list(&key("/krake/~a/"), Page::first(9)).await.unwrap().entries, []);
}

/// Keys are listed without their values, as the entries that they are.
pub(crate) async fn keys_are_listed_without_values(store: AnyStore) {
    for name in ["/krake/~k/1", "/krake/~k/2", "/krake/~k/3"] {
        put(&store, name, "value").await;
    }
    commit(&store, Txn::new().delete("/krake/~k/2")).await;
    let (prefix, page) = (key("/krake/~k/"), Page::first(1));
    let keys = store.keys(&prefix, page.clone()).await.unwrap();
    let whole = store.list(&prefix, page).await.unwrap();
    assert!(keys.more && keys.revision <= whole.revision);
    let (key, entry) = (&keys.entries[0], &whole.entries[0]);
    assert_eq!((&key.key, key.created, key.modified), (&entry.key, entry.created, entry.modified));
    assert_eq!((key.value.len(), entry.value.len()), (0, 5));
    let rest = store.keys(&prefix, keys.next_page(9).unwrap()).await.unwrap();
    assert_eq!(rest.entries.iter().map(|entry| entry.key.to_string()).collect::<Vec<_>>(), ["/krake/~k/3"]);
}

/// A read after a commit aside makes no write to find out where the store is. A machine that is busy may deliver a change
/// late, and then a read does write: so it is tried again until a round of reads writes nothing.
pub(crate) async fn a_commit_aside_slows_no_read(store: AnyStore) {
    let server = Server::start(store.clone()).await;
    let api = server.client.api::<Metric>();
    api.create(&metric("", "m", 1.0)).await.unwrap();
    let written = async || store.get(&key("/krake/_tick")).await.unwrap().map(|entry| entry.modified);
    let start = Instant::now();
    loop {
        let before = written().await;
        for number in 0..20 {
            commit(&store, Txn::new().put(format!("/krake/~x/{}", number % 3), vec![number; 400_000])).await;
            api.get("", "m").await.unwrap();
        }
        if written().await == before {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "reads write to learn of commits aside");
    }
}
