//! Laws of watches.

use std::sync::Arc;

use futures::FutureExt;
use krake_state::store::{Revision, Txn};

use super::{AnyStore, commit, key, next, put, told, until};

pub(crate) async fn a_watch_tells_exactly_the_later_batches(store: AnyStore) {
    let start = store.revision().await.unwrap();
    let first = put(&store, "a/1", "1").await;
    put(&store, "a0", "not below the prefix").await;
    let second = commit(&store, Txn::new().put("a/2", "2").put("b", "no").put("a/1", "2")).await;
    let third = commit(&store, Txn::new().delete("a/1").put("a/3", "")).await;
    let fourth = put(&store, "a/1", "3").await;
    let all = [
        format!("{first}: a/1=1<--"),
        format!("{second}: a/2=2<-- a/1=2<-1"),
        format!("{third}: a/1=-<-2 a/3=<--"),
        format!("{fourth}: a/1=3<--"),
    ];
    for (told_before, after) in [(0, start), (1, first), (2, second), (3, third)] {
        let batches = until(&mut store.watch(&key("a/"), after), fourth).await;
        assert_eq!(batches.iter().map(told).collect::<Vec<_>>(), all[told_before..]);
    }
    let batches = until(&mut store.watch(&key("a/"), Revision(first.0 - 1)), fourth).await;
    assert_eq!(batches.len(), 4);
    let whole = until(&mut store.watch(&key(""), first), second).await;
    assert_eq!(
        told(&whole[1]),
        format!("{second}: a/2=2<-- b=no<-- a/1=2<-1"),
        "in the order of the operations"
    );
    let previous = whole[1].changes[2].previous.clone().unwrap();
    assert_eq!((previous.created, previous.modified), (first, first));
}

pub(crate) async fn a_watch_waits_for_what_comes(store: AnyStore) {
    let now = put(&store, "a", "1").await;
    let mut watch = store.watch(&key("a"), now);
    assert!(futures::StreamExt::next(&mut watch).now_or_never().is_none(), "nothing to tell yet");
    for value in ["2", "3"] {
        put(&store, "b", "elsewhere").await;
        let at = put(&store, "a", value).await;
        let previous = if value == "2" { "1" } else { "2" };
        assert_eq!(told(&next(&mut watch).await.unwrap()), format!("{at}: a={value}<-{previous}"));
    }
}

pub(crate) async fn a_watch_resumes_without_gap_or_duplicate(store: AnyStore) {
    const WRITES: usize = 60;
    let start = store.revision().await.unwrap();
    let writer = tokio::spawn({
        let store = Arc::clone(&store);
        async move {
            let mut revisions = Vec::new();
            for number in 0..WRITES {
                let txn = Txn::new().put(format!("a/{}", number % 3), number.to_string()).put("a/x", "x");
                revisions.push(commit(&store, txn).await);
            }
            revisions
        }
    });
    let (mut seen, mut told) = (start, Vec::new());
    while told.len() < WRITES {
        let mut watch = store.watch(&key("a/"), seen);
        for _ in 0..7.min(WRITES - told.len()) {
            let batch = next(&mut watch).await.unwrap();
            assert_eq!(batch.changes.len(), 2);
            seen = batch.revision;
            told.push(seen);
        }
    }
    assert_eq!(told, writer.await.unwrap());
}

pub(crate) async fn a_watch_ahead_of_the_store_waits(store: AnyStore) {
    let now = put(&store, "a", "0").await;
    let ahead = Revision(now.0 + 3);
    let mut watch = store.watch(&key("a"), ahead);
    assert!(futures::StreamExt::next(&mut watch).now_or_never().is_none());
    let mut last = now;
    while last <= ahead {
        last = put(&store, "a", "1").await;
    }
    let batch = next(&mut watch).await.unwrap();
    assert_eq!(batch.revision, last, "the first revision after the one asked for");
}

pub(crate) async fn a_large_revision_arrives_whole(store: AnyStore) {
    const KEYS: usize = 100;
    const ROUNDS: usize = 4;
    let start = store.revision().await.unwrap();
    let mut live = store.watch(&key("big/"), start);
    let mut written = Vec::new();
    for round in 0..ROUNDS {
        let value = vec![b'0' + round as u8; 14_000];
        let txn =
            (0..KEYS).fold(Txn::new(), |txn, number| txn.put(format!("big/{number:03}"), value.clone()));
        written.push(commit(&store, txn).await);
    }
    let last = written[ROUNDS - 1];
    for batches in [until(&mut live, last).await, until(&mut store.watch(&key("big/"), start), last).await] {
        assert_eq!(batches.iter().map(|batch| batch.revision).collect::<Vec<_>>(), written);
        for (round, batch) in batches.iter().enumerate() {
            let keys: Vec<String> = batch.changes.iter().map(|change| change.key.to_string()).collect();
            assert_eq!(keys, (0..KEYS).map(|number| format!("big/{number:03}")).collect::<Vec<_>>());
            for change in &batch.changes {
                let previous = change.previous.as_ref().map(|entry| (entry.value[0], entry.value.len()));
                assert_eq!(previous, round.checked_sub(1).map(|before| (b'0' + before as u8, 14_000)));
            }
        }
    }
}

pub(crate) async fn a_slow_watch_loses_nothing(store: AnyStore) {
    let start = store.revision().await.unwrap();
    let mut watch = store.watch(&key(""), start);
    put(&store, "a", "first").await;
    next(&mut watch).await.unwrap();
    let mut written = Vec::new();
    for number in 0..200 {
        let value = vec![b'x'; 50_000];
        written.push(commit(&store, Txn::new().put("a", value).put("n", number.to_string())).await);
    }
    let told = until(&mut watch, written[199]).await;
    assert_eq!(told.iter().map(|batch| batch.revision).collect::<Vec<_>>(), written);
}
