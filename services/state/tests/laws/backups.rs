//! Laws of back-ups: they go from any store to any other, whole or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use krake_client::ListOptions;
use krake_proto::krake::core::v1::Metric;
use krake_runtime::serve::ServeOptions;
use krake_runtime::shutdown::Shutdown;
use krake_state::Authentication;
use krake_state::backup::{self, BackedUp, Source};
use krake_state::store::{Bid, Key, Listing, Page, Revision, SqliteOptions, SqliteStore, Store, Txn};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::server::Server;
use crate::support::{Etcd, PATIENCE, have_etcd, memory, sqlite};

const EPOCH: &str = "/krake/_epoch";
const INSTALLATION: &str = "/krake/_installation";

async fn take(store: &Arc<dyn Store>, to: &Path) -> anyhow::Result<BackedUp> {
    backup::back_up(Source::Store(store.as_ref()), to).await
}

async fn restore(store: &Arc<dyn Store>, from: &Path, replace: bool) -> anyhow::Result<String> {
    Ok(backup::restore(store.as_ref(), &backup::verify(from)?, replace).await?.epoch)
}

/// Everything below a prefix.
async fn contents(store: &Arc<dyn Store>, prefix: &str) -> BTreeMap<String, Vec<u8>> {
    let (mut found, mut page) = (BTreeMap::new(), Some(Page::first(500)));
    while let Some(asked) = page {
        let listing: Listing = store.list(&Key::from(prefix), asked).await.unwrap();
        let pairs = listing.entries.iter().map(|entry| (entry.key.to_string(), entry.value.to_vec()));
        found.extend(pairs);
        page = listing.next_page(500);
    }
    found
}

async fn put(store: &Arc<dyn Store>, key: &str, value: Vec<u8>) -> Revision {
    store.commit(Txn::new().put(key, value)).await.unwrap().unwrap()
}

/// A store with an installation, many small values, large ones, and some that are no part of a back-up.
async fn fill(store: &Arc<dyn Store>) {
    put(store, INSTALLATION, b"1-2-3".to_vec()).await;
    put(store, EPOCH, b"4-5-6".to_vec()).await;
    for number in 0..700 {
        put(store, &format!("/krake/core/metrics/demo/{number:03}"), vec![7; number]).await;
    }
    for number in 0..4 {
        put(store, &format!("/krake/large/{number}"), vec![number; 1024 * 1024]).await;
    }
    put(store, "/krake/_tombstones/u", b"1000".to_vec()).await;
    put(store, "/krake/~documents/u/00/00", vec![9; 512 * 1024]).await;
    put(store, "/krake/_tick", Vec::new()).await;
    put(store, "/krake/_compact", Vec::new()).await;
    let (key, holder, ttl) = ("/krake/_elections/scheduler".into(), "me".into(), Duration::from_secs(60));
    store.campaign(Bid { key, holder, ttl }).await.unwrap();
}

/// What a restored store should hold, but for its epoch.
async fn kept(store: &Arc<dyn Store>) -> BTreeMap<String, Vec<u8>> {
    let mut kept = contents(store, "/krake/").await;
    for gone in [EPOCH, "/krake/_tick", "/krake/_compact", "/krake/_aside", "/krake/_elections/scheduler"] {
        kept.remove(gone);
    }
    kept
}

async fn goes_from_store_to_store(stores: Vec<Arc<dyn Store>>) {
    let folder = TempDir::new().unwrap();
    fill(&stores[0]).await;
    let expected = kept(&stores[0]).await;
    assert_eq!(expected.len(), 1 + 700 + 4 + 1 + 1);
    let mut epochs = vec![contents(&stores[0], EPOCH).await[EPOCH].clone()];
    for (number, pair) in stores.windows(2).enumerate() {
        let file = folder.path().join(format!("{number}.backup"));
        let revision = pair[0].revision().await.unwrap();
        let told = take(&pair[0], &file).await.unwrap();
        assert_eq!(told.entries as usize, expected.len() + 1);
        assert!(told.revision >= revision.0);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "it holds secrets");
        // What others keep beside Krake is theirs.
        put(&pair[1], "/other", b"theirs".to_vec()).await;
        let epoch = restore(&pair[1], &file, false).await.unwrap();
        assert_eq!(kept(&pair[1]).await, expected);
        let found = contents(&pair[1], "/").await;
        assert_eq!((&found[EPOCH], &found["/other"]), (&epoch.clone().into_bytes(), &b"theirs".to_vec()));
        assert!(!epochs.contains(&epoch.clone().into_bytes()), "each restore makes a new epoch");
        epochs.push(epoch.into_bytes());
    }
    let files = fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(files, stores.len() - 1, "nothing else is left behind");
}

#[test]
fn a_back_up_is_a_regular_file() {
    // A device that never ends; a pipe without a writer would keep the process from ending.
    let refused = backup::verify(Path::new("/dev/zero")).unwrap_err().to_string();
    assert!(refused.contains("/dev/zero") && refused.contains("regular file"), "{refused}");
}

#[tokio::test]
async fn a_back_up_moves_between_memory_and_files() {
    goes_from_store_to_store(vec![memory(), sqlite().await, sqlite().await, memory()]).await;
}

#[tokio::test]
async fn a_back_up_moves_from_a_file_to_etcd_and_back() {
    if !have_etcd() {
        return;
    }
    let etcd = Etcd::start().await;
    goes_from_store_to_store(vec![sqlite().await, etcd.store("/moved").await, sqlite().await]).await;
}

#[tokio::test]
async fn a_file_in_use_is_backed_up_as_it_was_at_one_moment() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("krake.db");
    let options = SqliteOptions { request_timeout: PATIENCE, ..SqliteOptions::new(&file) };
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(options).await.unwrap());
    put(&store, INSTALLATION, b"1-2-3".to_vec()).await;
    // All of these always have the same value.
    let together = |value: usize| {
        (0..40).fold(Txn::new(), |txn, number| txn.put(format!("/krake/x/{number:02}"), value.to_string()))
    };
    store.commit(together(0)).await.unwrap().unwrap();
    let (written, mut progress) = watch::channel(0);
    let mut writer = JoinSet::new();
    writer.spawn({
        let store = store.clone();
        async move {
            for value in 1.. {
                store.commit(together(value)).await.unwrap().unwrap();
                written.send_replace(value);
            }
        }
    });
    let mut seen = BTreeSet::new();
    for number in 0..10 {
        let backup = folder.path().join(format!("{number}.backup"));
        let file = file.clone();
        let to = backup.clone();
        // It reads the file without the store, as another process does.
        let taken = tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(backup::back_up(Source::SqliteFile(&file), &to)).unwrap()
        });
        assert_eq!(taken.await.unwrap().entries, 41);
        let restored = memory();
        restore(&restored, &backup, false).await.unwrap();
        let values: Vec<Vec<u8>> = contents(&restored, "/krake/x/").await.into_values().collect();
        assert!(values.iter().all(|value| *value == values[0]), "it shows a moment between two commits");
        let value: usize = String::from_utf8(values[0].clone()).unwrap().parse().unwrap();
        assert!(seen.insert(value), "it is the present");
        timeout(PATIENCE, progress.wait_for(|written| *written > value)).await.unwrap().unwrap();
    }
    assert!(writer.try_join_next().is_none(), "it was written all the time");
}

#[tokio::test]
async fn a_service_ends_when_its_store_is_restored_under_it() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("backup");
    let store = memory();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (ready, is_ready) = oneshot::channel();
    let ready = move || ready.send(()).unwrap();
    let authentication = Authentication { allow_anonymous: true, static_user: None };
    let (options, shutdown) = (ServeOptions::default(), Shutdown::new());
    let serving =
        tokio::spawn(krake_state::serve(listener, store.clone(), authentication, options, ready, shutdown));
    timeout(PATIENCE, is_ready).await.unwrap().unwrap();
    take(&store, &file).await.unwrap();
    restore(&store, &file, true).await.unwrap();
    let ended = timeout(PATIENCE, serving).await.unwrap().unwrap().unwrap_err();
    assert!(ended.to_string().contains("restored"), "{ended:#}");
}

#[tokio::test]
async fn nothing_is_overwritten_unless_told_so() {
    let folder = TempDir::new().unwrap();
    let (file, other) = (folder.path().join("one"), folder.path().join("two"));
    let (first, second) = (memory(), memory());
    fill(&first).await;
    take(&first, &file).await.unwrap();
    let refused = take(&first, &file).await.unwrap_err().to_string();
    assert!(refused.contains("exists"), "{refused}");
    let empty = take(&second, &other).await.unwrap_err().to_string();
    assert!(empty.contains("no Krake") && !other.exists(), "{empty}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);

    put(&second, "/krake/core/metrics/demo/mine", b"mine".to_vec()).await;
    let before = contents(&second, "").await;
    let refused = restore(&second, &file, false).await.unwrap_err().to_string();
    assert!(refused.contains("--replace"), "{refused}");
    assert_eq!(contents(&second, "").await, before);
    restore(&second, &file, true).await.unwrap();
    assert_eq!(kept(&second).await, kept(&first).await, "what was there is gone");
}

#[tokio::test]
async fn a_damaged_back_up_changes_nothing() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("backup");
    let (from, to) = (memory(), memory());
    fill(&from).await;
    take(&from, &file).await.unwrap();
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, &bytes).unwrap();
    for replace in [false, true] {
        let refused = format!("{:#}", restore(&to, &file, replace).await.unwrap_err());
        assert!(refused.contains("damaged") && refused.contains(file.to_str().unwrap()), "{refused}");
    }
    fs::write(&file, &bytes[..middle]).unwrap();
    let refused = format!("{:#}", restore(&to, &file, false).await.unwrap_err());
    assert!(refused.contains("cut off"), "{refused}");
    assert!(contents(&to, "").await.is_empty());
}

#[tokio::test]
async fn objects_that_nobody_can_read_are_restored_and_counted() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("backup");
    let (from, to) = (memory(), memory());
    put(&from, INSTALLATION, b"1-2-3".to_vec()).await;
    let stored = |message: &[u8]| {
        let name = "krake.kubernetes.v1.Cluster";
        [b"KRK\x01\x00", &[name.len() as u8][..], name.as_bytes(), message].concat()
    };
    let cluster = |name: &str| format!("/krake/kubernetes/clusters/demo/{name}");
    put(&from, &cluster("whole"), stored(&[])).await;
    put(&from, &cluster("foreign"), b"something else".to_vec()).await;
    // The end of a group that never began, as a status: the sections can be told apart, but not decoded.
    put(&from, &cluster("status"), stored(&[0x1a, 1, 0x0c])).await;
    take(&from, &file).await.unwrap();
    let restored = backup::restore(to.as_ref(), &backup::verify(&file).unwrap(), false).await.unwrap();
    assert_eq!((restored.entries, restored.unreadable), (4, 2));
    assert_eq!(kept(&to).await, kept(&from).await, "as they were");
}

/// As a restore leaves it that was cut off after a while.
async fn cut_off(store: &Arc<dyn Store>) {
    put(store, "/krake/_restoring", b"some file".to_vec()).await;
    put(store, "/krake/core/metrics/demo/half", b"of it".to_vec()).await;
}

#[tokio::test]
async fn a_restore_that_was_cut_off_does_not_look_whole() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("backup");
    let (from, to) = (memory(), memory());
    fill(&from).await;
    take(&from, &file).await.unwrap();
    cut_off(&to).await;
    assert!(take(&to, &folder.path().join("other")).await.is_err(), "there is nothing to back up");
    let refused = restore(&to, &file, false).await.unwrap_err().to_string();
    assert!(refused.contains("cut off") && refused.contains("--replace"), "{refused}");
    // A service that is started meanwhile waits, and serves what was restored.
    let server = Server::start(to.clone()).await;
    let (metrics, options) = (server.client.api::<Metric>(), ListOptions::default());
    let waiting = metrics.list("demo", &options);
    let early = timeout(Duration::from_millis(1500), waiting).await;
    assert!(!matches!(early, Ok(Ok(_))), "it serves a store that is not whole");
    assert_eq!(contents(&to, INSTALLATION).await.len(), 0);
    let epoch = restore(&to, &file, true).await.unwrap();
    assert_eq!(kept(&to).await.len(), kept(&from).await.len());
    assert_eq!(contents(&to, EPOCH).await[EPOCH], epoch.into_bytes());
    let served = async {
        while metrics.list("demo", &options).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, served).await.expect("it serves now");
}
