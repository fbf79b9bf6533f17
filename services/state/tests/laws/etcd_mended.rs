//! An etcd that a person has to mend: calls fail as unavailable and say what to do, and go on once it is done.

use std::time::Duration;

use krake_state::store::{EtcdAccess, EtcdOptions, EtcdStore, Key, Store, StoreError, Txn};
use rstest::rstest;
use tokio::time::timeout;

use crate::support::{ETCD_3_5, Etcd, PATIENCE, have_etcd, have_etcd_3_5};

/// Half a MiB below a few keys, so that compaction makes room.
fn write(number: usize) -> Txn {
    Txn::new().put(format!("/krake/{}", number % 3), vec![7; 512 * 1024])
}

#[rstest]
#[case::release_3_4(false)]
#[case::release_3_5(true)]
#[tokio::test]
async fn a_full_etcd_says_how_to_make_room_and_goes_on_when_it_is_made(#[case] newer: bool) {
    if !(if newer { have_etcd_3_5() } else { have_etcd() }) {
        return;
    }
    let quota = ["--quota-backend-bytes", "4194304"];
    let etcd = match newer {
        true => Etcd::start_release_with(ETCD_3_5, &quota).await,
        false => Etcd::start_with(&quota).await,
    };
    let store = etcd.store("/full").await;
    let mut revisions = Vec::new();
    let refused = loop {
        match store.commit(write(revisions.len())).await {
            Ok(revision) => revisions.push(revision.unwrap()),
            Err(error) => break error,
        }
        assert!(revisions.len() < 100, "4 MiB do not hold a hundred halves");
    };
    assert!(refused.retryable(), "{refused}");
    for said in ["database space exceeded", "etcdctl defrag", "--quota-backend-bytes", "etcdctl alarm disarm"]
    {
        assert!(refused.to_string().contains(said), "{refused}");
    }
    let last = *revisions.last().unwrap();
    // Reads go on. etcd may have made the write that it refuses: only later ones are sure to change nothing.
    let full = store.revision().await.unwrap();
    assert!(last <= full && full.0 <= last.0 + 1, "{last} {full}");
    store.commit(write(0)).await.unwrap_err();
    assert_eq!(store.revision().await.unwrap(), full);

    let compacted = full.0.to_string();
    for command in [&["compact", &compacted][..], &["defrag"], &["alarm", "disarm"]] {
        etcd.ctl(command);
    }
    assert!(store.commit(write(0)).await.unwrap().unwrap() > full);
}

#[tokio::test]
async fn a_password_that_was_changed_is_named_and_taken_again_when_it_is_as_before() {
    if !have_etcd() {
        return;
    }
    let mut etcd = Etcd::start().await;
    for command in [
        &["user", "add", "root:r00t"][..],
        &["user", "grant-role", "root", "root"],
        &["user", "add", "krake:s3cret"],
        &["user", "grant-role", "krake", "root"],
        &["auth", "enable"],
    ] {
        etcd.ctl(command);
    }
    let user = Some(("krake".to_owned(), "s3cret".to_owned().into()));
    let access = EtcdAccess { user, ..EtcdAccess::default() };
    let store = EtcdStore::connect(EtcdOptions { access, ..etcd.options("/auth") }).await.unwrap();
    store.commit(write(0)).await.unwrap().unwrap();

    let set_password = |etcd: &Etcd, pair: &str| {
        for command in [&["delete", "krake"][..], &["add", pair], &["grant-role", "krake", "root"]] {
            etcd.ctl(&[&["--user", "root:r00t", "user"], command].concat());
        }
    };
    set_password(&etcd, "krake:other");
    // Its tokens end with it, so that the store has to log in again.
    etcd.kill();
    etcd.restart().await;
    let named = until(&store, |answer| {
        let Err(error) = answer else { panic!("answered with a wrong password") };
        assert!(error.retryable(), "{error}");
        let text = error.to_string();
        assert!(!text.contains("s3cret"), "{text}");
        text.contains("authentication failed")
    });
    named.await;
    set_password(&etcd, "krake:s3cret");
    until(&store, |answer| answer.is_ok()).await;
}

/// Reads until an answer is as wanted.
async fn until(store: &EtcdStore, wanted: impl Fn(Result<(), StoreError>) -> bool) {
    let asked = async {
        while !wanted(store.get(&Key::from("/krake/0")).await.map(|_| ())) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, asked).await.expect("an answer as wanted");
}
