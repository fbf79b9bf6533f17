//! Laws of erasing sets of documents: what is named stays, and what nothing names goes after an hour.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::UNIX_EPOCH;

use krake_proto::Resource;
use krake_proto::krake::kubernetes::v1::{Application, ApplicationStatus, Copy, Work};
use krake_proto::krake::meta::v1::Metadata;
use prost::Message;
use tokio::task::JoinSet;

use super::*;
use crate::cache::Cache;
use crate::documents::Set;
use crate::housekeeping;
use crate::object::value;
use crate::registry::Call;
use crate::store::{Forward, MemoryStore, SqliteOptions, SqliteStore, Store};

const HOUR: u64 = 3600;

struct World {
    store: Arc<dyn Store>,
    registry: Arc<Registry>,
    now: Arc<AtomicU64>,
    _feed: JoinSet<()>,
}

fn name() -> Key {
    key::resource(Application::KIND, "demo", "a")
}

impl World {
    async fn over(store: Arc<dyn Store>) -> Self {
        let (cache, now) = (Arc::new(Cache::default()), Arc::new(AtomicU64::new(HOUR)));
        let mut feed = JoinSet::new();
        let (fed, from) = (cache.clone(), store.clone());
        feed.spawn(async move { fed.feed(from).await });
        let time = now.clone();
        let clock = Arc::new(move || UNIX_EPOCH + Duration::from_secs(time.load(SeqCst)));
        let registry = Arc::new(Registry::new(store.clone(), cache, clock));
        let world = World { store, registry, now, _feed: feed };
        world.write(&[]).await;
        world
    }

    async fn start() -> Self {
        Self::over(Arc::new(MemoryStore::new())).await
    }

    /// Writes the application with copies that name these sets.
    async fn write(&self, named: &[Set]) {
        let copies = named.iter().map(|set| {
            let work = Work { sha256: set.sha256.to_vec().into(), size: set.size, ..Default::default() };
            Copy { applied_work: Some(work), ..Default::default() }
        });
        let application = Application {
            metadata: Some(Metadata {
                name: "a".into(),
                namespace: "demo".into(),
                uid: "u".into(),
                ..Default::default()
            }),
            status: Some(ApplicationStatus { copies: copies.collect(), ..Default::default() }),
            spec: None,
        };
        let value = value::encode(Application::KIND.message, &application.encode_to_vec());
        self.store.commit(Txn::new().put(name(), value)).await.unwrap().unwrap();
    }

    async fn put(&self, text: &[u8]) -> Set {
        self.registry.put_documents(&Call::by("adapter"), Some(&name()), "u", text).await.unwrap()
    }

    async fn has(&self, set: &Set) -> bool {
        self.registry.read_documents("u", &set.sha256).await.unwrap().is_some()
    }

    async fn keys(&self) -> usize {
        self.store.keys(&key::DOCUMENTS, Page::first(10_000)).await.unwrap().entries.len()
    }

    /// A whole pass, `seconds` later.
    async fn sweep_after(&self, seconds: u64) {
        self.now.fetch_add(seconds, SeqCst);
        let mut place = None;
        self.registry.sweep_documents(&mut place).await.unwrap();
        while place.is_some() {
            self.registry.sweep_documents(&mut place).await.unwrap();
        }
    }
}

#[tokio::test]
async fn what_nothing_names_goes_after_an_hour() {
    let world = World::start().await;
    let (named, replaced) = (world.put(b"[1]").await, world.put(&vec![b'['; 600 * 1024]).await);
    world.write(&[named, replaced]).await;
    world.sweep_after(2 * HOUR).await;
    assert!(world.has(&named).await && world.has(&replaced).await, "they are named");
    world.write(&[named]).await;
    let staged = world.put(b"[2]").await;
    world.sweep_after(HOUR - 1).await;
    assert!(!world.has(&replaced).await && world.has(&staged).await);
    world.put(b"[2]").await;
    world.sweep_after(HOUR - 1).await;
    assert!(world.has(&staged).await, "what is stored again is young again");
    world.sweep_after(1).await;
    assert!(world.has(&named).await && !world.has(&staged).await);
    assert_eq!(world.keys().await, 1, "no piece is left");
    world.store.commit(Txn::new().delete(name())).await.unwrap().unwrap();
    world.sweep_after(0).await;
    assert_eq!(world.keys().await, 0, "the application is gone");
}

#[tokio::test]
async fn what_is_not_whole_goes_too_and_what_cannot_be_judged_stays() {
    let world = World::start().await;
    let set = world.put(&vec![b'['; 600 * 1024]).await;
    world.store.commit(Txn::new().delete(key::document_piece("u", &set.sha256, 1))).await.unwrap().unwrap();
    let other = world.put(b"[1]").await;
    world.store.commit(Txn::new().put(name(), "from the future")).await.unwrap().unwrap();
    world.sweep_after(2 * HOUR).await;
    assert_eq!(world.keys().await, 2, "the application cannot be read, and may name any set");
    world.write(&[other]).await;
    world.sweep_after(0).await;
    assert_eq!(world.keys().await, 1);
    // An object elsewhere that cannot be read may be the one that the set belongs to.
    let elsewhere = key::resource(Application::KIND, "demo", "b");
    let unread = Txn::new().put(elsewhere.clone(), "from the future").delete(name());
    world.store.commit(unread).await.unwrap().unwrap();
    world.sweep_after(0).await;
    assert_eq!(world.keys().await, 1);
    world.store.commit(Txn::new().delete(elsewhere)).await.unwrap().unwrap();
    world.sweep_after(0).await;
    assert_eq!(world.keys().await, 0);
}

#[tokio::test]
async fn a_set_that_is_named_or_stored_meanwhile_is_not_erased() {
    let world = World::start().await;
    let set = world.put(b"[1]").await;
    world.registry.refresh().await.unwrap();
    let looked = async || {
        let listing = world.store.keys(&key::DOCUMENTS, Page::first(9)).await.unwrap();
        documents::group(&listing.entries).remove(0)
    };
    let found = looked().await;
    let owners = world.registry.owners(std::slice::from_ref(&found));
    world.write(&[set]).await;
    world.registry.erase(&found, owners.get("u")).await.unwrap();
    assert!(world.has(&set).await, "it is named by now");
    world.write(&[]).await;
    world.registry.refresh().await.unwrap();
    let owners = world.registry.owners(std::slice::from_ref(&found));
    world.now.fetch_add(2 * HOUR, SeqCst);
    world.put(b"[1]").await;
    world.registry.erase(&found, owners.get("u")).await.unwrap();
    assert!(world.has(&set).await, "it was stored again");
    world.registry.erase(&looked().await, owners.get("u")).await.unwrap();
    assert!(!world.has(&set).await);
}

#[tokio::test]
async fn a_pass_goes_through_any_number_of_sets() {
    let world = World::start().await;
    let mut txn = Txn::new();
    for number in 0..1_300_u16 {
        let mut sha256 = [0; 32];
        sha256[..2].copy_from_slice(&number.to_be_bytes());
        let uid = format!("gone{}", number % 7);
        let name = key::document_piece(&uid, &sha256, 0);
        txn = txn.put(name.clone(), world.registry.cut(&name, b"[]", 0).unwrap());
        if txn.ops.len() == 100 {
            world.store.commit(std::mem::take(&mut txn)).await.unwrap().unwrap();
        }
    }
    world.sweep_after(HOUR - 1).await;
    assert_eq!(world.keys().await, 1_300);
    world.sweep_after(1).await;
    assert_eq!(world.keys().await, 0);
}

#[tokio::test]
async fn an_object_that_changes_all_the_time_keeps_its_newest_sets_only() {
    let world = World::start().await;
    let named = world.put(b"[\"named\"]").await;
    world.write(&[named]).await;
    let mut last = named;
    for number in 0..UNNAMED_PIECES + 50 {
        last = world.put(format!("[{number}]").as_bytes()).await;
    }
    assert!(world.keys().await <= UNNAMED_PIECES + 2);
    assert!(world.has(&named).await && world.has(&last).await);
    assert!(!world.has(&Set::of(b"[0]")).await && world.has(&Set::of(b"[100]")).await, "the oldest went");
}

#[tokio::test]
async fn a_file_in_which_sets_are_replaced_stays_small() {
    const STEP: usize = 2 * 1024 * 1024;
    const SET: usize = 48 * 1024;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("krake.db");
    let minute = Duration::from_secs(60);
    let options = SqliteOptions { request_timeout: minute, ..SqliteOptions::new(&file) };
    let store = SqliteStore::open(options).await.unwrap();
    let forward = Arc::new(Forward::with_step(Arc::new(store), STEP as u64));
    let keeping = tokio::spawn(housekeeping::run(forward.clone(), Arc::new(|| UNIX_EPOCH)));
    let world = World::over(forward).await;
    let mut state = 7_u64;
    for _ in 0..1_200 {
        let text: Vec<u8> = (0..SET)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 56) as u8
            })
            .collect();
        let set = world.put(&text).await;
        world.write(&[set]).await;
    }
    // 56 MiB were written; what may be kept and some steps of history are there.
    let bound = (UNNAMED_PIECES + 2) * (SET + 1024) + 6 * STEP;
    let size = || usize::try_from(std::fs::metadata(&file).unwrap().len()).unwrap();
    let shrunk = async {
        while size() > bound {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(minute, shrunk).await.unwrap_or_else(|_| panic!("{} bytes", size()));
    keeping.abort();
}
