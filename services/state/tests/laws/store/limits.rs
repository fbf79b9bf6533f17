//! Laws of the limits: every backend accepts and refuses the same.

use krake_state::store::{Guard, MAX_TXN_BYTES, MAX_TXN_OPS, Page, StoreError, Txn};

use super::{AnyStore, commit, key, list};

pub(crate) async fn values_from_empty_to_large_are_kept(store: AnyStore) {
    for (name, size) in [("empty", 0), ("large", 1024 * 1024)] {
        let value = vec![7; size];
        commit(&store, Txn::new().guard(Guard::Absent(key(name))).put(name, value.clone())).await;
        assert_eq!(store.get(&key(name)).await.unwrap().unwrap().value, value);
    }
    assert_eq!(list(&store, "").await.entries.len(), 2);
    for number in 0..40 {
        commit(&store, Txn::new().put(format!("many/{number:02}"), vec![number; 1024 * 1024])).await;
    }
    let (mut seen, mut page) = (Vec::new(), Some(Page::first(500)));
    while let Some(next) = page {
        let listing = store.list(&key("many/"), next).await.unwrap();
        seen.extend(listing.entries.iter().map(|entry| (entry.value[0], entry.value.len())));
        page = listing.next_page(500);
    }
    assert_eq!(seen, (0..40).map(|number| (number, 1024 * 1024)).collect::<Vec<_>>());
}

pub(crate) async fn transactions_up_to_the_limits_pass(store: AnyStore) {
    // As many guards and operations as there may be, with keys long enough to fill the transaction.
    let name = |number: usize| format!("{number:03}/{}", "k".repeat(2000));
    let fullest = |last_value: usize| {
        (0..MAX_TXN_OPS).fold(Txn::new(), |txn, number| {
            let value = if number == 0 { vec![b'v'; last_value] } else { Vec::new() };
            txn.guard(Guard::Absent(key(&name(number)))).put(name(number), value)
        })
    };
    let room = MAX_TXN_BYTES - fullest(0).size();
    let refused = store.commit(fullest(room + 1)).await;
    assert!(matches!(refused, Err(StoreError::TooLarge { .. })), "{refused:?}");
    assert!(!refused.unwrap_err().retryable());
    assert_eq!(list(&store, "").await.entries, [], "nothing of a refused transaction is stored");
    commit(&store, fullest(room)).await;
    assert_eq!(list(&store, "").await.entries.len(), MAX_TXN_OPS);

    let one_value = |size| Txn::new().put("value", vec![0; size]);
    let room = MAX_TXN_BYTES - one_value(0).size();
    commit(&store, one_value(room)).await;
    assert!(matches!(store.commit(one_value(room + 1)).await, Err(StoreError::TooLarge { .. })));

    let ops = |count| (0..count).fold(Txn::new(), |txn, number| txn.delete(format!("{number}")));
    commit(&store, ops(MAX_TXN_OPS)).await;
    assert!(matches!(store.commit(ops(MAX_TXN_OPS + 1)).await, Err(StoreError::TooLarge { .. })));
    let guards =
        |count| (0..count).fold(Txn::new().delete("a"), |txn, _| txn.guard(Guard::Absent(key("absent"))));
    commit(&store, guards(MAX_TXN_OPS)).await;
    assert!(matches!(store.commit(guards(MAX_TXN_OPS + 1)).await, Err(StoreError::TooLarge { .. })));
}
