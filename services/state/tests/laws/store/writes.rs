//! Laws of commits.

use std::collections::BTreeSet;
use std::sync::Arc;

use krake_state::store::{Entry, Guard, Revision, StoreError, Txn};
use tokio::task::JoinSet;

use super::{AnyStore, commit, conflict, key, list, next, pairs, put};

pub(crate) async fn revisions_rise_strictly_and_are_those_of_the_entries(store: AnyStore) {
    let before = store.revision().await.unwrap();
    let first = put(&store, "a", "1").await;
    let second = put(&store, "b", "1").await;
    let third = put(&store, "a", "2").await;
    assert!(before < first && first < second && second < third);
    assert!(store.revision().await.unwrap() >= third);
    let entry = store.get(&key("a")).await.unwrap().unwrap();
    assert_eq!(entry, Entry { key: key("a"), value: "2".into(), created: first, modified: third });
    assert_eq!(store.get(&key("c")).await.unwrap(), None);
}

pub(crate) async fn a_refused_create_tells_what_is_there(store: AnyStore) {
    let create = |value| Txn::new().guard(Guard::Absent(key("a"))).put("a", value);
    let created = commit(&store, create("1")).await;
    let refused = conflict(&store, create("2")).await;
    assert_eq!(refused.key, key("a"));
    assert_eq!(refused.current, store.get(&key("a")).await.unwrap());
    assert_eq!(refused.current.map(|entry| (entry.value, entry.modified)), Some(("1".into(), created)));
    assert!(refused.revision >= created);
}

pub(crate) async fn a_stale_update_conflicts(store: AnyStore) {
    let update = |seen, value| Txn::new().guard(Guard::At(key("a"), seen)).put("a", value);
    let first = put(&store, "a", "1").await;
    let second = commit(&store, update(first, "2")).await;
    let refused = conflict(&store, update(first, "3")).await;
    assert_eq!(refused.current.map(|entry| (entry.value, entry.modified)), Some(("2".into(), second)));
    commit(&store, Txn::new().guard(Guard::At(key("a"), second)).delete("a")).await;
    assert_eq!(conflict(&store, update(second, "4")).await.current, None);
}

pub(crate) async fn guards_on_existence_and_creation_hold(store: AnyStore) {
    let guarded = |guard| Txn::new().guard(guard).put("other", "x");
    assert_eq!(conflict(&store, guarded(Guard::Exists(key("a")))).await.current, None);
    let created = put(&store, "a", "1").await;
    let modified = put(&store, "a", "2").await;
    commit(&store, guarded(Guard::Exists(key("a")))).await;
    commit(&store, guarded(Guard::CreatedAt(key("a"), created))).await;
    let refused = conflict(&store, guarded(Guard::CreatedAt(key("a"), modified))).await;
    assert_eq!(refused.current.map(|entry| (entry.created, entry.modified)), Some((created, modified)));
}

pub(crate) async fn a_transaction_happens_whole_or_not_at_all(store: AnyStore) {
    put(&store, "a", "1").await;
    put(&store, "b", "1").await;
    let change = || Txn::new().put("a", "2").delete("b").put("c", "2");
    let guards = |txn: Txn| txn.guard(Guard::Exists(key("a"))).guard(Guard::Absent(key("b")));
    let refused = conflict(&store, guards(change())).await;
    assert_eq!(refused.key, key("b"), "the first guard that failed is named");
    assert_eq!(pairs(&list(&store, "").await), ["a=1", "b=1"]);
    let at = commit(&store, change().guard(Guard::Exists(key("b")))).await;
    let after = list(&store, "").await;
    assert_eq!(pairs(&after), ["a=2", "c=2"]);
    assert!(after.entries.iter().all(|entry| entry.modified == at));
}

pub(crate) async fn malformed_transactions_are_refused(store: AnyStore) {
    let malformed = [
        Txn::new(),
        Txn::new().guard(Guard::Absent(key("a"))),
        Txn::new().put("a", "1").put("a", "2"),
        Txn::new().put("a", "1").delete("a"),
        Txn::new().put("", "1"),
        Txn::new().guard(Guard::Exists(key(""))).put("a", "1"),
        Txn::new().guard(Guard::At(key("a"), Revision(0))).put("a", "1"),
        Txn::new().guard(Guard::CreatedAt(key("a"), Revision(0))).put("a", "1"),
    ];
    for txn in malformed {
        let refused = store.commit(txn.clone()).await;
        assert!(matches!(refused, Err(StoreError::Invalid { .. })), "{txn:?}: {refused:?}");
        assert!(!refused.unwrap_err().retryable());
    }
    assert!(matches!(store.get(&key("")).await, Err(StoreError::Invalid { .. })));
    assert_eq!(list(&store, "").await.entries, []);
}

pub(crate) async fn a_recreated_key_is_a_new_one(store: AnyStore) {
    let first = put(&store, "a", "1").await;
    commit(&store, Txn::new().delete("a")).await;
    assert_eq!(store.get(&key("a")).await.unwrap(), None);
    let again = commit(&store, Txn::new().guard(Guard::Absent(key("a"))).put("a", "2")).await;
    let entry = store.get(&key("a")).await.unwrap().unwrap();
    assert_eq!((entry.created, entry.modified), (again, again));
    let fence = Txn::new().guard(Guard::CreatedAt(key("a"), first)).put("b", "x");
    assert_eq!(conflict(&store, fence).await.current, Some(entry));
}

pub(crate) async fn deleting_nothing_makes_no_revision(store: AnyStore) {
    let before = put(&store, "a", "1").await;
    let mut watch = store.watch(&key(""), before);
    assert!(commit(&store, Txn::new().delete("b")).await >= before);
    let after = commit(&store, Txn::new().delete("b").put("a", "2")).await;
    let batch = next(&mut watch).await.unwrap();
    assert_eq!((batch.revision, batch.changes.len()), (after, 1), "a change that is none is not told");
}

pub(crate) async fn one_writer_wins_each_version(store: AnyStore) {
    const WRITERS: usize = 8;
    const ROUNDS: usize = 10;
    put(&store, "a", "0").await;
    let mut writers = JoinSet::new();
    for _ in 0..WRITERS {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            let mut won = Vec::new();
            let mut seen = store.get(&key("a")).await.unwrap().unwrap();
            while won.len() < ROUNDS {
                let count: usize = String::from_utf8(seen.value.to_vec()).unwrap().parse().unwrap();
                let guard = Guard::At(key("a"), seen.modified);
                match store.commit(Txn::new().guard(guard).put("a", (count + 1).to_string())).await.unwrap() {
                    Ok(_) => {
                        won.push(seen.modified);
                        seen = store.get(&key("a")).await.unwrap().unwrap();
                    }
                    Err(lost) => seen = lost.current.unwrap(),
                }
            }
            won
        });
    }
    let won: Vec<Revision> = writers.join_all().await.concat();
    assert_eq!(won.iter().collect::<BTreeSet<_>>().len(), won.len(), "two writers replaced the same version");
    let last = store.get(&key("a")).await.unwrap().unwrap();
    assert_eq!(last.value, (WRITERS * ROUNDS).to_string(), "an update was lost");
}
