//! Laws of leases: one holder at a time, and none that can write after its time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use krake_state::store::{Bid, ChangeKind, Guard, Standing, StoreError, Txn};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::{AnyStore, commit, conflict, key, next, put};
use crate::support::{Etcd, PATIENCE, have_etcd};

/// The shortest that all backends have: for what is waited for.
const SHORT: Duration = Duration::from_secs(2);
/// For places that must not end on a loaded machine.
const LONG: Duration = Duration::from_secs(60);

fn bid(holder: &str, ttl: Duration) -> Bid {
    Bid { key: key("place"), holder: holder.to_owned().into(), ttl }
}

async fn campaign(store: &AnyStore, holder: &str) -> Standing {
    store.campaign(bid(holder, LONG)).await.unwrap()
}

async fn resign(store: &AnyStore, holder: &str) {
    store.resign(key("place"), holder.to_owned().into()).await.unwrap();
}

fn fenced(standing: &Standing) -> Txn {
    Txn::new().guard(Guard::CreatedAt(key("place"), standing.entry.created)).put("work", "done")
}

/// Bids whenever the key changes, until the place is won.
async fn wins(store: &AnyStore, holder: &str) -> Standing {
    let won = async {
        loop {
            let standing = campaign(store, holder).await;
            if standing.kept.is_some() {
                return standing;
            }
            next(&mut store.watch(&key("place"), standing.revision)).await.unwrap();
        }
    };
    timeout(PATIENCE, won).await.expect("the place becomes free")
}

pub(crate) async fn a_place_has_one_holder_who_keeps_its_fence(store: AnyStore) {
    let first = campaign(&store, "a").await;
    assert_eq!(first.kept, Some(LONG));
    assert_eq!(store.get(&key("place")).await.unwrap().as_ref(), Some(&first.entry));
    assert_eq!(first.entry.created, first.entry.modified);
    let other = campaign(&store, "b").await;
    assert_eq!((other.kept, &other.entry), (None, &first.entry), "who lost is told who holds it");
    assert!(other.revision >= first.entry.created);
    let again = campaign(&store, "a").await;
    assert_eq!((again.kept, &again.entry), (Some(LONG), &first.entry), "keeping it alive changes nothing");
    commit(&store, fenced(&first)).await;
}

pub(crate) async fn of_many_bids_at_once_one_wins(store: AnyStore) {
    let mut bids = JoinSet::new();
    for holder in 0..8 {
        let store = Arc::clone(&store);
        bids.spawn(async move { campaign(&store, &format!("h{holder}")).await });
    }
    let standings = bids.join_all().await;
    assert_eq!(standings.iter().filter(|standing| standing.kept.is_some()).count(), 1);
    let entries: BTreeSet<_> = standings.iter().map(|standing| standing.entry.value.clone()).collect();
    assert_eq!(entries.len(), 1, "all are told the same holder");
}

pub(crate) async fn a_place_goes_when_nobody_bids_for_a_ttl(store: AnyStore) {
    let start = Instant::now();
    let first = store.campaign(bid("a", SHORT)).await.unwrap();
    let mut watch = store.watch(&key("place"), first.revision);
    let gone = next(&mut watch).await.unwrap();
    assert!(start.elapsed() >= SHORT, "not before its time: {:?}", start.elapsed());
    assert_eq!(gone.changes[0].kind, ChangeKind::Delete);
    assert_eq!(gone.changes[0].previous.as_ref(), Some(&first.entry));
    assert_eq!(store.get(&key("place")).await.unwrap(), None);
    assert_eq!(conflict(&store, fenced(&first)).await.current, None, "a late write is refused");
    let second = campaign(&store, "b").await;
    assert!(second.kept.is_some() && second.entry.created > first.entry.created);
    assert_eq!(conflict(&store, fenced(&first)).await.current, Some(second.entry.clone()));
    commit(&store, fenced(&second)).await;
}

pub(crate) async fn signs_of_life_keep_a_place_beyond_its_ttl(store: AnyStore) {
    let mut first = store.campaign(bid("a", SHORT)).await.unwrap();
    let (mut since, mut last) = (Instant::now(), Instant::now());
    while since.elapsed() < 2 * SHORT {
        tokio::time::sleep(SHORT / 8).await;
        let again = store.campaign(bid("a", SHORT)).await.unwrap();
        if last.elapsed() >= SHORT {
            // The machine stood still for longer than the ttl: that says nothing.
            (first, since) = (again.clone(), Instant::now());
        }
        last = Instant::now();
        assert_eq!(again.entry, first.entry);
    }
    commit(&store, fenced(&first)).await;
}

pub(crate) async fn a_place_that_is_given_up_is_free_at_once(store: AnyStore) {
    let first = campaign(&store, "a").await;
    resign(&store, "b").await;
    assert_eq!(campaign(&store, "b").await.entry, first.entry, "nobody gives up the place of another");
    resign(&store, "a").await;
    resign(&store, "a").await;
    assert_eq!(conflict(&store, fenced(&first)).await.current, None);
    let second = campaign(&store, "b").await;
    assert!(second.kept.is_some() && second.entry.created > first.entry.created);
    let back = campaign(&store, "a").await;
    assert_eq!((back.kept, back.entry), (None, second.entry));
}

pub(crate) async fn who_comes_back_gets_a_new_fence(store: AnyStore) {
    let first = campaign(&store, "a").await;
    resign(&store, "a").await;
    let second = campaign(&store, "a").await;
    assert!(second.entry.created > first.entry.created);
    conflict(&store, fenced(&first)).await;
    commit(&store, fenced(&second)).await;
}

pub(crate) async fn places_do_not_touch_other_keys(store: AnyStore) {
    put(&store, "place2", "mine").await;
    campaign(&store, "a").await;
    resign(&store, "a").await;
    assert_eq!(store.get(&key("place2")).await.unwrap().unwrap().value, "mine");
    let malformed = [bid("a", Duration::from_secs(1)), bid("a", Duration::from_millis(2500))];
    for bid in malformed {
        assert!(matches!(store.campaign(bid).await, Err(StoreError::Invalid { .. })));
    }
}

#[tokio::test]
async fn an_etcd_frozen_longer_than_the_ttl_has_one_holder_afterwards() {
    if !have_etcd() {
        return;
    }
    let server = Etcd::start().await;
    let store = server.store("/leases/").await;
    let first = store.campaign(bid("a", SHORT)).await.unwrap();
    server.freeze();
    let refused = timeout(PATIENCE, store.campaign(bid("a", SHORT))).await.expect("a bid ends in time");
    assert!(refused.unwrap_err().retryable());
    server.thaw();
    let second = timeout(PATIENCE, async {
        loop {
            match store.campaign(bid("b", LONG)).await {
                Ok(standing) if standing.kept.is_some() => return standing,
                Ok(standing) => drop(next(&mut store.watch(&key("place"), standing.revision)).await),
                Err(failed) => assert!(failed.retryable(), "{failed}"),
            }
        }
    });
    let second = second.await.expect("the place of the silent holder becomes free");
    assert!(second.entry.created > first.entry.created);
    conflict(&store, fenced(&first)).await;
    commit(&store, fenced(&second)).await;
}

#[tokio::test]
async fn a_place_outlives_its_etcds_restart_while_its_holder_lives() {
    if !have_etcd() {
        return;
    }
    let mut server = Etcd::start().await;
    let store = server.store("/leases/").await;
    let first = campaign(&store, "a").await;
    server.kill();
    server.restart().await;
    let again = timeout(PATIENCE, async {
        loop {
            match store.campaign(bid("a", SHORT)).await {
                Ok(standing) => return standing,
                Err(failed) => assert!(failed.retryable(), "{failed}"),
            }
        }
    });
    let again = again.await.unwrap();
    assert_eq!(again.entry, first.entry);
    assert_eq!(again.kept, Some(LONG), "the ttl that it was won with");
    commit(&store, fenced(&first)).await;
}

#[tokio::test]
async fn a_holder_may_go_on_at_another_replica() {
    if !have_etcd() {
        return;
    }
    let server = Etcd::start().await;
    let (one, two) = (server.store("/leases/").await, server.store("/leases/").await);
    let first = one.campaign(bid("a", SHORT)).await.unwrap();
    assert_eq!(campaign(&two, "a").await.entry, first.entry);
    assert!(wins(&two, "b").await.entry.created > first.entry.created, "nobody bids for the first any more");
}
