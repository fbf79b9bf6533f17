//! Laws of lists and of compaction.

use krake_state::store::{Page, Revision, StoreError, Txn, WatchError};

use super::{AnyStore, commit, key, list, list_at, next, pairs, put, told, until};

pub(crate) async fn lists_are_ordered_and_end_at_the_prefix(store: AnyStore) {
    for name in ["b", "a/2", "a0", "a", "a/1", "a/", "a/10", "a.", "a/\u{7f}", "a/ä"] {
        put(&store, name, "v").await;
    }
    let names = |listing: krake_state::store::Listing| -> Vec<String> {
        listing.entries.iter().map(|entry| entry.key.to_string()).collect()
    };
    assert_eq!(names(list(&store, "a/").await), ["a/", "a/1", "a/10", "a/2", "a/\u{7f}", "a/ä"]);
    assert_eq!(names(list(&store, "a/1").await), ["a/1", "a/10"]);
    assert_eq!(names(list(&store, "").await).len(), 10);
    assert_eq!(names(list(&store, "c").await), [""; 0]);
    let after = async |after: &str| {
        let page = Page { after: Some(key(after)), ..Page::first(100) };
        names(store.list(&key("a/"), page).await.unwrap())
    };
    assert_eq!(after("a/10").await, ["a/2", "a/\u{7f}", "a/ä"]);
    assert_eq!(after("a").await.len(), 6, "a start before the prefix is no start");
    assert_eq!(after("b").await, [""; 0]);
}

pub(crate) async fn pages_show_one_revision(store: AnyStore) {
    for number in 0..7 {
        put(&store, &format!("a/{number}"), "old").await;
    }
    let first = store.list(&key("a/"), Page::first(3)).await.unwrap();
    assert!(first.more);
    commit(&store, Txn::new().put("a/1", "new").put("a/4", "new").delete("a/5").put("a/9", "new")).await;
    let (mut shown, mut page) = (pairs(&first), first.next_page(3));
    while let Some(next) = page {
        let listing = store.list(&key("a/"), next).await.unwrap();
        assert_eq!(listing.revision, first.revision);
        assert!(listing.entries.len() <= 3);
        shown.extend(pairs(&listing));
        page = listing.next_page(3);
    }
    let expected: Vec<String> = (0..7).map(|number| format!("a/{number}=old")).collect();
    assert_eq!(shown, expected);
    let exact = store.list(&key("a/"), Page { at: Some(first.revision), ..Page::first(7) }).await.unwrap();
    assert_eq!((exact.entries.len(), exact.more), (7, false), "a full page need not have a next one");
}

pub(crate) async fn a_list_in_the_future_fails(store: AnyStore) {
    let now = put(&store, "a", "1").await;
    let asked = Revision(now.0 + 1_000_000);
    let refused = list_at(&store, asked).await.unwrap_err();
    assert_eq!(refused, StoreError::Future { asked });
    assert!(!refused.retryable());
    assert_eq!(store.compact(asked).await, Err(StoreError::Future { asked }));
    for senseless in [Page { at: Some(Revision(0)), ..Page::first(1) }, Page::first(0)] {
        assert!(matches!(store.list(&key(""), senseless).await, Err(StoreError::Invalid { .. })));
    }
}

pub(crate) async fn compaction_ends_old_reads_and_old_watches_alike(store: AnyStore) {
    let mut revisions = vec![];
    for (name, value) in [("a", "1"), ("b", "1"), ("a", "2"), ("c", "1")] {
        revisions.push(put(&store, name, value).await);
    }
    let mut idle = store.watch(&key(""), revisions[0]);
    next(&mut idle).await.unwrap();
    // The revision that the history is compacted to deletes something: its deletion is forgotten with it.
    let oldest = commit(&store, Txn::new().delete("b")).await;
    let later = commit(&store, Txn::new().put("a", "3").delete("c")).await;
    let last = put(&store, "d", "1").await;
    let expected = list_at(&store, oldest).await.unwrap();

    store.compact(oldest).await.unwrap();
    store.compact(oldest).await.unwrap();
    store.compact(revisions[2]).await.unwrap();
    store.compact(Revision(0)).await.unwrap();

    assert_eq!(list_at(&store, oldest).await.unwrap(), expected, "the oldest revision is kept");
    assert_eq!(pairs(&expected), ["a=2", "c=1"]);
    for forgotten in &revisions {
        let read = list_at(&store, *forgotten).await.unwrap_err();
        assert_eq!(read, StoreError::Compacted { oldest });
        assert!(!read.retryable());
        let mut watch = store.watch(&key(""), *forgotten);
        assert_eq!(next(&mut watch).await, Err(WatchError::Compacted { oldest }));
        assert!(futures::StreamExt::next(&mut watch).await.is_none(), "it ends with the error");
    }
    assert_eq!(next(&mut store.watch(&key(""), Revision(0))).await, Err(WatchError::Compacted { oldest }));

    let expected = [format!("{later}: a=3<-2 c=-<-1"), format!("{last}: d=1<--")];
    let batches = until(&mut store.watch(&key(""), oldest), last).await;
    assert_eq!(
        batches.iter().map(told).collect::<Vec<_>>(),
        expected,
        "watches after it are told everything"
    );
    let resumed = until(&mut store.watch(&key(""), later), last).await;
    assert_eq!(resumed.iter().map(told).collect::<Vec<_>>(), expected[1..]);

    assert_eq!(pairs(&list(&store, "").await), ["a=3", "d=1"]);
    store.compact(last).await.unwrap();
    assert_eq!(
        pairs(&list_at(&store, last).await.unwrap()),
        ["a=3", "d=1"],
        "the present can be compacted to"
    );
    let next_one = put(&store, "a", "4").await;
    let batches = until(&mut store.watch(&key(""), last), next_one).await;
    assert_eq!(batches.iter().map(told).collect::<Vec<_>>(), [format!("{next_one}: a=4<-3")]);
}
