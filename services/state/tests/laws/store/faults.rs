//! Laws of the store on an etcd that freezes, dies and comes back.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use krake_runtime::reachable::Contact;
use krake_state::store::{
    Batch, Bid, EtcdOptions, EtcdStore, Guard, Key, Page, Revision, StoreError, Txn, WatchError,
};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout};

use super::{AnyStore, commit, key, list, next, pairs, put, until};
use crate::support::{Etcd, PATIENCE, have_etcd};

/// Longest duration of a call. The store's own deadline is far shorter; without one a call on a frozen etcd has no end.
const DEADLINE: Duration = PATIENCE;

/// A watch that is being read all the time, since a start.
struct Witness {
    start: Revision,
    told: JoinHandle<Vec<Batch>>,
    progress: watch::Receiver<usize>,
}

impl Witness {
    async fn of(store: &AnyStore, last_key: &str) -> Self {
        let start = store.revision().await.unwrap();
        let mut watch = store.watch(&key(""), start);
        let (sender, progress) = watch::channel(0);
        let last_key: Key = last_key.into();
        let told = tokio::spawn(async move {
            let mut batches = Vec::new();
            loop {
                batches.push(next(&mut watch).await.unwrap());
                sender.send_replace(batches.len());
                if batches
                    .last()
                    .is_some_and(|batch| batch.changes.iter().any(|change| change.key == last_key))
                {
                    return batches;
                }
            }
        });
        Self { start, told, progress }
    }

    /// Waits until it was told so many batches more.
    async fn sees(&mut self, more: usize) {
        let goal = *self.progress.borrow() + more;
        timeout(PATIENCE, self.progress.wait_for(|seen| *seen >= goal)).await.unwrap().unwrap();
    }

    /// Whether it was told what the store's history holds, after a put of the last key at `last`.
    async fn was_told_everything(self, store: &AnyStore, last: Revision) -> Vec<Batch> {
        let told = timeout(PATIENCE, self.told).await.unwrap().unwrap();
        let history = until(&mut store.watch(&key(""), self.start), last).await;
        assert_eq!(told, history);
        told
    }
}

/// Writes without end; what fails is not tried again.
fn write_on(store: &AnyStore) -> JoinHandle<()> {
    let store = Arc::clone(store);
    tokio::spawn(async move {
        for number in 0_u64.. {
            if let Err(failed) =
                store.commit(Txn::new().put(format!("n/{}", number % 5), number.to_string())).await
            {
                assert!(failed.retryable(), "{failed}");
            }
            tokio::task::yield_now().await;
        }
    })
}

/// Calls until one succeeds.
async fn recovered(store: &AnyStore) {
    let recovery = async {
        while let Err(failed) = store.revision().await {
            assert!(failed.retryable(), "{failed}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, recovery).await.expect("the store finds etcd again");
}

/// Every call fails in time and may be tried again.
async fn unavailable(store: &AnyStore) {
    let start = Instant::now();
    let name = key("a");
    let write = Txn::new().put("a", "lost");
    let (revision, get, commit) = tokio::join!(store.revision(), store.get(&name), store.commit(write));
    for failed in [revision.unwrap_err(), get.unwrap_err(), commit.unwrap_err()] {
        assert!(failed.retryable(), "{failed}");
    }
    assert!(start.elapsed() < DEADLINE, "a call took {:?}", start.elapsed());
}

#[tokio::test]
async fn a_frozen_etcd_fails_calls_in_time_and_the_watch_goes_on_afterwards() {
    if !have_etcd() {
        return;
    }
    let server = Etcd::start().await;
    let store = server.store("/frozen/").await;
    let mut witness = Witness::of(&store, "last").await;
    let writer = write_on(&store);
    witness.sees(20).await;
    server.freeze();
    unavailable(&store).await;
    unavailable(&store).await;
    server.thaw();
    recovered(&store).await;
    witness.sees(20).await;
    writer.abort();
    let last = put(&store, "last", "").await;
    witness.was_told_everything(&store, last).await;
}

#[tokio::test]
async fn a_killed_etcd_fails_calls_and_the_watch_goes_on_after_its_restart() {
    if !have_etcd() {
        return;
    }
    let mut server = Etcd::start().await;
    let store = server.store("/killed/").await;
    let mut witness = Witness::of(&store, "last").await;
    let writer = write_on(&store);
    for _ in 0..2 {
        let kept = put(&store, "kept", "yes").await;
        witness.sees(20).await;
        server.kill();
        unavailable(&store).await;
        server.restart().await;
        recovered(&store).await;
        assert_eq!(store.get(&key("kept")).await.unwrap().unwrap().modified, kept);
        witness.sees(20).await;
    }
    writer.abort();
    let last = put(&store, "last", "").await;
    witness.was_told_everything(&store, last).await;
}

#[tokio::test]
async fn a_dead_etcd_is_unreachable_and_a_frozen_one_does_not_answer() {
    if !have_etcd() {
        return;
    }
    let mut server = Etcd::start().await;
    let store = server.store("/contact/").await;
    let becomes = async |expected: Contact| {
        let contact = async {
            while store.contact().await != expected {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, contact).await.unwrap_or_else(|_| panic!("never {expected:?}"));
    };
    becomes(Contact::Answered).await;
    server.freeze();
    // Silent, or unreachable once the connection is given up.
    assert_ne!(store.contact().await, Contact::Answered);
    server.thaw();
    becomes(Contact::Answered).await;
    server.kill();
    becomes(Contact::Unreachable).await;
    for _ in 0..3 {
        assert_eq!(store.contact().await, Contact::Unreachable);
    }
    server.restart().await;
    becomes(Contact::Answered).await;
}

#[tokio::test]
async fn an_etcd_with_a_dead_member_is_never_unreachable() {
    if !have_etcd() {
        return;
    }
    let server = Etcd::start().await;
    let (store, _dead) = server.store_with_dead_member(server.options("/half/")).await;
    // Each of them meets the dead member with a probability of one half.
    for _ in 0..200 {
        assert_ne!(store.contact().await, Contact::Unreachable);
    }
}

/// Until the dead member is left out, each call meets it with a probability of one half, and is not sent then.
#[tokio::test]
async fn calls_that_meet_a_dead_member_are_made_over_another_one() {
    if !have_etcd() {
        return;
    }
    let server = Etcd::start().await;
    let (store, _dead) = server.store_with_dead_member(server.options("/half/")).await;
    let bid = Bid { key: key("place"), holder: "a".into(), ttl: Duration::from_secs(60) };
    for round in 0..100 {
        let written = put(&store, &format!("k/{round}"), "").await;
        assert_eq!(store.get(&key(&format!("k/{round}"))).await.unwrap().unwrap().modified, written);
        assert_eq!(list(&store, "k/").await.entries.len(), round + 1);
        store.lineage().await.unwrap().unwrap();
        store.compact(Revision(written.0 - 1)).await.unwrap();
        assert!(store.campaign(bid.clone()).await.unwrap().kept.is_some());
        if round > 0 {
            let past = Page { at: Some(Revision(1)), ..Page::first(1) };
            let compacted = store.list(&key("k/"), past).await.unwrap_err();
            assert!(matches!(compacted, StoreError::Compacted { .. }), "{compacted}");
        }
    }
    store.resign(bid.key, bid.holder).await.unwrap();
}

/// Leads to an etcd; what arrives while it is frozen waits, as with a member that is stopped.
async fn freezable(etcd: &Etcd) -> (String, watch::Sender<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let target = etcd.endpoint().strip_prefix("http://").unwrap().to_owned();
    let (freeze, frozen) = watch::channel(false);
    tokio::spawn(async move {
        while let Ok((mut inward, _)) = listener.accept().await {
            let (target, mut frozen) = (target.clone(), frozen.clone());
            tokio::spawn(async move {
                let mut outward = TcpStream::connect(target).await.unwrap();
                loop {
                    frozen.wait_for(|frozen| !frozen).await.unwrap();
                    tokio::select! {
                        _ = copy_bidirectional(&mut inward, &mut outward) => return,
                        _ = frozen.wait_for(|frozen| *frozen) => {}
                    }
                }
            });
        }
    });
    (url, freeze)
}

#[tokio::test]
async fn calls_go_to_the_members_that_answer() {
    if !have_etcd() {
        return;
    }
    let etcd = Etcd::start().await;
    let ((one, freeze_one), (two, freeze_two)) = (freezable(&etcd).await, freezable(&etcd).await);
    let options = EtcdOptions { endpoints: vec![one, two], ..etcd.options("/frozen/") };
    let store: AnyStore = Arc::new(EtcdStore::connect(options).await.unwrap());
    // By chance alone that many calls in a row would not succeed.
    let answers = async || {
        let mut in_a_row = 0;
        while in_a_row < 50 {
            let answered = store.get(&key("a")).await.is_ok();
            in_a_row = if answered { in_a_row + 1 } else { 0 };
        }
    };
    for (freeze, thaw) in [(&freeze_one, &freeze_two), (&freeze_two, &freeze_one), (&freeze_one, &freeze_two)]
    {
        thaw.send_replace(false);
        freeze.send_replace(true);
        timeout(PATIENCE, answers()).await.expect("the other member answers");
    }
}

/// Creates one key after the other without end; what is unavailable is tried again. The keys, each with the revision
/// that was answered, or `None` where an earlier attempt turned out to have been applied.
async fn create_on(
    store: AnyStore,
    writer: usize,
    enough: watch::Receiver<bool>,
) -> Vec<(Key, Option<Revision>)> {
    let mut created = Vec::new();
    while !*enough.borrow() {
        let name = key(&format!("w/{writer}/{}", created.len()));
        let create = Txn::new().guard(Guard::Absent(name.clone())).put(name.clone(), writer.to_string());
        let mut lost = false;
        let answered = loop {
            let start = Instant::now();
            let answer = store.commit(create.clone()).await;
            assert!(start.elapsed() < DEADLINE, "a commit took {:?}", start.elapsed());
            match answer {
                Ok(Ok(revision)) => break Some(revision),
                Ok(Err(conflict)) => {
                    assert!(lost, "nobody else creates {name}");
                    assert_eq!(conflict.current.unwrap().value, writer.to_string());
                    break None;
                }
                Err(failed) => {
                    assert!(failed.retryable(), "{failed}");
                    lost = true;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        };
        created.push((name, answered));
    }
    created
}

#[tokio::test]
async fn commits_under_way_when_etcd_is_killed_happen_once() {
    if !have_etcd() {
        return;
    }
    let mut server = Etcd::start().await;
    let store = server.store("/underway/").await;
    let mut witness = Witness::of(&store, "last").await;
    let (stop, enough) = watch::channel(false);
    let mut writers = JoinSet::new();
    for writer in 0..40 {
        writers.spawn(create_on(Arc::clone(&store), writer, enough.clone()));
    }
    for _ in 0..2 {
        witness.sees(20).await;
        server.kill();
        server.restart().await;
        recovered(&store).await;
    }
    witness.sees(20).await;
    stop.send_replace(true);
    let created = writers.join_all().await.concat();
    let last = put(&store, "last", "").await;
    let mut told: HashMap<Key, Revision> = HashMap::new();
    for batch in witness.was_told_everything(&store, last).await {
        for change in batch.changes {
            assert_eq!(told.insert(change.key, batch.revision), None, "each was created once");
        }
    }
    assert_eq!(told.len(), created.len() + 1);
    for (name, answered) in created {
        let at = told[&name];
        assert!(answered.is_none_or(|answered| answered == at), "{name}: {answered:?}, but written at {at}");
    }
}

#[tokio::test]
async fn a_watch_that_misses_a_compaction_while_etcd_is_away_says_so() {
    if !have_etcd() {
        return;
    }
    let mut server = Etcd::start().await;
    let store = server.store("/missed/").await;
    let start = store.revision().await.unwrap();
    let mut watch = store.watch(&key(""), start);
    let first = put(&store, "a", "1").await;
    assert_eq!(next(&mut watch).await.unwrap().revision, first);
    server.kill();
    server.restart().await;
    recovered(&store).await;
    for _ in 0..10 {
        put(&store, "a", "2").await;
    }
    let oldest = put(&store, "a", "3").await;
    let last = put(&store, "a", "4").await;
    store.compact(oldest).await.unwrap();
    assert_eq!(next(&mut watch).await, Err(WatchError::Compacted { oldest }));
    let told = until(&mut store.watch(&key(""), oldest), last).await;
    assert_eq!(told.len(), 1, "from there on it can be followed");
}

#[tokio::test]
async fn a_store_may_be_made_before_its_etcd_is_there() {
    if !have_etcd() {
        return;
    }
    let mut server = Etcd::start().await;
    server.kill();
    let store = server.store("/early/").await;
    let mut watch = store.watch(&key(""), Revision(0));
    unavailable(&store).await;
    server.restart().await;
    recovered(&store).await;
    let first = commit(&store, Txn::new().put("a", "1")).await;
    assert_eq!(next(&mut watch).await.unwrap().revision, first);
    assert_eq!(pairs(&list(&store, "").await), ["a=1"]);
}
