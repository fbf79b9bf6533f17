//! Laws of the store on an etcd that freezes, dies and comes back.

use std::sync::Arc;
use std::time::Duration;

use krake_state::store::{Batch, Key, Revision, Txn};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::{AnyStore, commit, key, list, next, pairs, put, until};
use crate::support::{Etcd, PATIENCE, have_etcd};

/// The deadline of a call with some slack for a loaded machine.
const DEADLINE: Duration = Duration::from_secs(8);

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
    async fn was_told_everything(self, store: &AnyStore, last: Revision) {
        let told = timeout(PATIENCE, self.told).await.unwrap().unwrap();
        let history = until(&mut store.watch(&key(""), self.start), last).await;
        assert_eq!(told, history);
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
