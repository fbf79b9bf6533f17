//! Laws of commits that are made at the same time: they may share a revision, and each has its own answer.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use futures::FutureExt;
use futures::future::join_all;
use krake_state::store::{Guard, MAX_TXN_OPS, Revision, StoreError, Txn};
use tokio::task::JoinSet;

use super::{AnyStore, commit, key, list, next, pairs, put};
use crate::support::{Etcd, have_etcd};

fn create(name: &str, value: &str) -> Txn {
    Txn::new().guard(Guard::Absent(key(name))).put(name, value.to_owned())
}

pub(crate) async fn concurrent_commits_are_answered_one_by_one(store: AnyStore) {
    const COUNT: usize = 100;
    let start = put(&store, "c/007", "taken").await;
    let mut watch = store.watch(&key("c/"), start);
    // Every name twice: one of each pair is refused, and tells what the other one wrote.
    let names: Vec<String> = (0..2 * COUNT).map(|number| format!("c/{:03}", number % COUNT)).collect();
    let commits =
        names.iter().enumerate().map(|(number, name)| store.commit(create(name, &number.to_string())));
    let mut written = BTreeMap::from([("c/007".to_owned(), (start, "taken".to_owned()))]);
    let mut refused = Vec::new();
    for ((number, name), answer) in names.iter().enumerate().zip(join_all(commits).await) {
        match answer.unwrap() {
            Ok(revision) => {
                assert!(revision > start);
                let before = written.insert(name.clone(), (revision, number.to_string()));
                assert_eq!(before, None, "{name} was created twice");
            }
            Err(conflict) => refused.push((name, conflict)),
        }
    }
    assert_eq!((written.len(), refused.len()), (COUNT, COUNT + 1));
    for (name, conflict) in refused {
        let current = conflict.current.unwrap();
        let value = String::from_utf8(current.value.to_vec()).unwrap();
        assert_eq!(conflict.key, key(name));
        assert_eq!(written[name], (current.modified, value));
        assert!(conflict.revision >= current.modified);
    }
    let mut told = BTreeMap::from([("c/007".to_owned(), start)]);
    while told.len() < COUNT {
        let batch = next(&mut watch).await.unwrap();
        for change in batch.changes {
            assert_eq!(told.insert(change.key.to_string(), batch.revision), None, "told twice");
        }
    }
    assert!(told.iter().all(|(name, revision)| written[name].0 == *revision));
}

pub(crate) async fn concurrent_updates_of_one_key_each_get_a_later_revision(store: AnyStore) {
    let answers =
        join_all((0..40).map(|number| commit(&store, Txn::new().put("a", number.to_string())))).await;
    let distinct: BTreeSet<Revision> = answers.iter().copied().collect();
    assert_eq!(distinct.len(), answers.len(), "revisions rise strictly per key");
    let last = store.get(&key("a")).await.unwrap().unwrap();
    assert_eq!(Some(&last.modified), distinct.last());
    let place = answers.iter().position(|revision| *revision == last.modified).unwrap();
    assert_eq!(last.value, place.to_string(), "the answer is that of the commit's own write");
}

pub(crate) async fn a_guard_sees_no_write_that_is_made_at_the_same_time(store: AnyStore) {
    // Of two commits that each refuse to happen after the other one, one is refused.
    for round in 0..20 {
        let (left, right) = (format!("{round}/l"), format!("{round}/r"));
        let either = |own: &str, other: &str| Txn::new().guard(Guard::Absent(key(other))).put(own, "");
        let (one, other) =
            tokio::join!(store.commit(either(&left, &right)), store.commit(either(&right, &left)));
        assert_ne!(one.unwrap().is_ok(), other.unwrap().is_ok());
    }
}

pub(crate) async fn callers_that_go_away_disturb_nobody(store: AnyStore) {
    // Before anything of theirs was sent.
    let mut waiting = Vec::new();
    for number in 0..60 {
        let mut commit = Box::pin(store.commit(create(&format!("early/{number}"), "v")));
        match (&mut commit).now_or_never() {
            Some(answer) => assert!(answer.unwrap().is_ok()),
            None => waiting.push(commit),
        }
    }
    let staying: Vec<_> = waiting.into_iter().step_by(2).collect();
    for answer in join_all(staying).await {
        assert!(answer.unwrap().is_ok());
    }
    // While they are under way.
    let tasks = (0..200).map(|number| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.commit(create(&format!("late/{number}"), "v")).await })
    });
    let mut tasks: VecDeque<_> = tasks.collect();
    assert!(tasks.pop_front().unwrap().await.unwrap().unwrap().is_ok());
    for (number, task) in tasks.into_iter().enumerate() {
        if number % 2 == 0 {
            task.abort();
        } else {
            assert!(task.await.unwrap().unwrap().is_ok());
        }
    }
}

pub(crate) async fn wide_commits_at_the_same_time_pass(store: AnyStore) {
    let mut commits = JoinSet::new();
    for number in 0..40 {
        let store = Arc::clone(&store);
        // Around the number of operations up to which a commit may share a transaction.
        let width = MAX_TXN_OPS - 36 + number % 10;
        let txn = (0..width).fold(Txn::new(), |txn, place| {
            let name = format!("{number}/{place}");
            txn.guard(Guard::Absent(key(&name))).put(name, "")
        });
        commits.spawn(async move { (width, store.commit(txn).await.unwrap().unwrap()) });
    }
    let written: usize = commits.join_all().await.into_iter().map(|(width, _)| width).sum();
    let mut page = Some(krake_state::store::Page::first(1000));
    let mut found = 0;
    while let Some(asked) = page {
        let listing = store.list(&key(""), asked).await.unwrap();
        found += listing.entries.len();
        page = listing.next_page(1000);
    }
    assert_eq!(found, written);
}

#[tokio::test]
async fn etcd_commits_share_transactions() {
    if !have_etcd() {
        return;
    }
    let server = Etcd::start().await;
    let store = server.store("/shared/").await;
    let names: Vec<String> = (0..64).map(|number| number.to_string()).collect();
    let revisions = join_all(names.iter().map(|name| commit(&store, create(name, "v")))).await;
    let distinct: BTreeSet<Revision> = revisions.into_iter().collect();
    assert!(distinct.len() <= 4, "{} transactions for 64 commits", distinct.len());
    // Those of a leader too: they only read the election's key.
    let leader = put(&store, "leader", "me").await;
    let fenced = |name: &String| {
        Txn::new().guard(Guard::CreatedAt(key("leader"), leader)).put(format!("f/{name}"), "v")
    };
    let revisions = join_all(names.iter().map(|name| commit(&store, fenced(name)))).await;
    let distinct: BTreeSet<Revision> = revisions.into_iter().collect();
    assert!(distinct.len() <= 4, "{} transactions for 64 fenced commits", distinct.len());
}

#[tokio::test]
async fn what_etcd_refuses_hurts_only_whoever_asked_for_it() {
    if !have_etcd() {
        return;
    }
    let server = Etcd::start_with(&["--max-request-bytes", "65536"]).await;
    let store = server.store("/small/").await;
    let sizes = [20_000, 20_000, 100_000, 20_000, 20_000, 20_000, 1, 20_000];
    let commits = sizes
        .iter()
        .enumerate()
        .map(|(number, size)| store.commit(Txn::new().put(number.to_string(), vec![b'v'; *size])));
    for (size, answer) in sizes.iter().zip(join_all(commits).await) {
        match answer {
            Ok(committed) => assert!(*size < 100_000 && committed.is_ok()),
            Err(refused) => {
                assert!(*size == 100_000 && matches!(refused, StoreError::TooLarge { .. }), "{refused}");
            }
        }
    }
    assert_eq!(pairs(&list(&store, "").await).len(), sizes.len() - 1);
}
