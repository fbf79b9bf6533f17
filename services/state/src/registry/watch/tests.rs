//! Laws of watches in time: when bookmarks come, and what a watch tells about its opening.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::SystemTime;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::task::JoinSet;

use super::*;
use crate::object::{key, value};
use crate::store::{
    Batch, Bid, Conflict, Entry, Key, Listing, MemoryStore, Page, Standing, Store, Txn, WatchError,
};

/// A store in memory that can be told not to answer how far it is.
#[derive(Default)]
struct Moody {
    store: MemoryStore,
    silent: AtomicBool,
}

impl Moody {
    async fn answer(&self) {
        while self.silent.load(SeqCst) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[async_trait::async_trait]
impl Store for Moody {
    async fn revision(&self) -> Result<Revision, StoreError> {
        self.answer().await;
        self.store.revision().await
    }

    async fn get(&self, key: &Key) -> Result<Option<Entry>, StoreError> {
        self.store.get(key).await
    }

    async fn list(&self, prefix: &Key, page: Page) -> Result<Listing, StoreError> {
        self.store.list(prefix, page).await
    }

    async fn commit(&self, txn: Txn) -> Result<Result<Revision, Conflict>, StoreError> {
        self.store.commit(txn).await
    }

    fn watch(&self, prefix: &Key, after: Revision) -> BoxStream<'static, Result<Batch, WatchError>> {
        self.store.watch(prefix, after)
    }

    async fn compact(&self, to: Revision) -> Result<(), StoreError> {
        self.store.compact(to).await
    }

    async fn campaign(&self, bid: Bid) -> Result<Standing, StoreError> {
        self.store.campaign(bid).await
    }

    async fn resign(&self, key: Key, holder: Bytes) -> Result<(), StoreError> {
        self.store.resign(key, holder).await
    }
}

/// A registry with a cache that is kept up to date.
struct World {
    store: Arc<Moody>,
    registry: Arc<Registry>,
    _feed: JoinSet<()>,
}

impl World {
    async fn start() -> Self {
        let store = Arc::new(Moody::default());
        let cache = Arc::new(Cache::default());
        let mut feed = JoinSet::new();
        feed.spawn({
            let (cache, store) = (cache.clone(), store.clone());
            async move { cache.feed(store).await }
        });
        let registry = Arc::new(Registry::new(store.clone(), cache, Arc::new(SystemTime::now)));
        let world = World { store, registry, _feed: feed };
        let first = world.put("busy", "first").await;
        assert!(world.registry.cache.reach(first, BOOKMARK_INTERVAL).await);
        world
    }

    async fn put(&self, namespace: &str, name: &str) -> Revision {
        put(&self.store, namespace, name).await
    }

    /// A watch of the metrics of the namespace "quiet".
    async fn watch(&self, start: Start) -> impl Stream<Item = Result<Message, Error>> + Unpin + use<> {
        let metric = krake_proto::kind("core", "Metric").unwrap();
        let filter = Filter::request(metric, "quiet", "").unwrap();
        let call = Call::by("alice");
        let watch = self.registry.watch(&call, filter, start, false, CancellationToken::new()).await.unwrap();
        Box::pin(watch)
    }
}

async fn put(store: &Moody, namespace: &str, name: &str) -> Revision {
    let metric = krake_proto::kind("core", "Metric").unwrap();
    let value = value::encode(metric.message, &Bytes::new());
    let txn = Txn::new().put(key::resource(metric, namespace, name), value);
    store.commit(txn).await.unwrap().unwrap()
}

/// The next message, and how long it took.
async fn next(watch: &mut (impl Stream<Item = Result<Message, Error>> + Unpin)) -> (Message, Duration) {
    let start = Instant::now();
    let message = watch.next().await.expect("a watch goes on").unwrap();
    (message, start.elapsed())
}

#[tokio::test(start_paused = true)]
async fn changes_that_a_watch_hides_do_not_put_off_its_bookmarks() {
    let world = World::start().await;
    let mut watch = world.watch(Start::Now).await;
    next(&mut watch).await;
    let mut busy = JoinSet::new();
    let store = world.store.clone();
    busy.spawn(async move {
        loop {
            tokio::time::sleep(BOOKMARK_INTERVAL / 3).await;
            put(&store, "busy", "m").await;
        }
    });
    let mut place = Revision::default();
    for _ in 0..3 {
        let (bookmark, took) = next(&mut watch).await;
        assert!(took <= BOOKMARK_INTERVAL + Duration::from_secs(1), "{took:?}");
        assert!(bookmark.events.is_empty() && bookmark.revision > place, "it moves on");
        place = bookmark.revision;
    }
}

#[tokio::test(start_paused = true)]
async fn who_resumes_learns_at_once_that_nothing_was_missed() {
    let world = World::start().await;
    let begin = world.put("quiet", "seen").await;
    let shown = world.put("quiet", "m").await;
    let hidden = world.put("busy", "m").await;
    let mut watch = world.watch(Start::After(begin)).await;
    let (change, _) = next(&mut watch).await;
    assert_eq!((change.revision, change.events.len()), (shown, 1));
    let (bookmark, took) = next(&mut watch).await;
    assert!(bookmark.revision >= hidden && bookmark.events.is_empty() && !bookmark.partial);
    assert!(took < BOOKMARK_INTERVAL / 2, "{took:?}");
    let (_, took) = next(&mut watch).await;
    assert!(took >= BOOKMARK_INTERVAL, "and nothing is owed any more");
}

#[tokio::test(start_paused = true)]
async fn a_last_change_that_is_new_enough_needs_no_bookmark() {
    let world = World::start().await;
    let begin = world.put("quiet", "seen").await;
    let shown = world.put("quiet", "m").await;
    let mut watch = world.watch(Start::After(begin)).await;
    assert_eq!(next(&mut watch).await.0.revision, shown);
    let (bookmark, took) = next(&mut watch).await;
    assert!(took >= BOOKMARK_INTERVAL && bookmark.events.is_empty(), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_what_comes_now_learns_where_that_is() {
    let world = World::start().await;
    let hidden = world.put("busy", "m").await;
    let mut watch = world.watch(Start::Now).await;
    let (bookmark, took) = next(&mut watch).await;
    assert!(bookmark.revision >= hidden && took < BOOKMARK_INTERVAL / 2, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_watch_resumes_while_the_store_is_silent_and_catches_up_later() {
    let world = World::start().await;
    let begin = world.put("quiet", "seen").await;
    let shown = world.put("quiet", "m").await;
    assert!(world.registry.cache.reach(shown, BOOKMARK_INTERVAL).await);
    world.store.silent.store(true, SeqCst);
    let mut watch = world.watch(Start::After(begin)).await;
    assert_eq!(next(&mut watch).await.0.revision, shown, "what is known is told");
    let hidden = world.put("busy", "m").await;
    let woken = world.put("quiet", "later").await;
    assert_eq!(next(&mut watch).await.0.revision, woken, "changes go on");
    let last = world.put("busy", "n").await;
    assert!(hidden < last);
    world.store.silent.store(false, SeqCst);
    let (bookmark, took) = next(&mut watch).await;
    assert!(bookmark.events.is_empty() && bookmark.revision >= last);
    assert!(took < BOOKMARK_INTERVAL / 2, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn an_unknown_place_is_refused_in_time_while_the_store_is_silent() {
    let world = World::start().await;
    let now = world.put("quiet", "m").await;
    assert!(world.registry.cache.reach(now, BOOKMARK_INTERVAL).await);
    world.store.silent.store(true, SeqCst);
    let metric = krake_proto::kind("core", "Metric").unwrap();
    let filter = Filter::request(metric, "quiet", "").unwrap();
    let call = Call::by("alice");
    let start = Start::After(Revision(now.0 + 1));
    let refused = world.registry.watch(&call, filter, start, false, CancellationToken::new()).await;
    assert!(matches!(refused.err(), Some(Error::Store(StoreError::Unavailable { .. }))));
}

#[tokio::test(start_paused = true)]
async fn many_watches_are_told_everything_in_order_and_end_with_the_service() {
    let world = World::start().await;
    let metric = krake_proto::kind("core", "Metric").unwrap();
    let call = Call::by("alice");
    let shutdown = CancellationToken::new();
    let mut watches = JoinSet::new();
    for _ in 0..200 {
        let filter = Filter::request(metric, "quiet", "").unwrap();
        let watch = world.registry.watch(&call, filter, Start::Now, false, shutdown.clone()).await.unwrap();
        watches.spawn(async move {
            let mut watch = Box::pin(watch);
            let mut told = Vec::new();
            loop {
                match watch.next().await.expect("it ends with an error") {
                    Ok(message) => told.extend(message.events.iter().map(|_| message.revision)),
                    Err(error) => return (told, error),
                }
            }
        });
    }
    let mut written = Vec::new();
    for number in 0..20 {
        written.push(world.put("quiet", &format!("m{}", number % 3)).await);
        world.put("busy", "m").await;
    }
    // By then all have been told: time goes on only when nobody has anything to do.
    tokio::time::sleep(Duration::from_secs(1)).await;
    shutdown.cancel();
    while let Some(ended) = watches.join_next().await {
        let (told, error) = ended.unwrap();
        assert_eq!(told, written);
        assert!(matches!(error, Error::ShuttingDown), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn watches_that_nobody_reads_hold_a_message_each_and_are_counted() {
    let world = World::start().await;
    for number in 0..2_000 {
        world.put("quiet", &format!("m{number:04}")).await;
    }
    let (mut watches, mut told) = (Vec::new(), 0);
    for _ in 0..100 {
        let mut watch = world.watch(Start::InitialState).await;
        let (first, _) = next(&mut watch).await;
        assert!(first.partial && !first.synced && first.events.len() < 1_000);
        told = first.events.len();
        watches.push(watch);
    }
    let figures = world.registry.watch_figures();
    assert_eq!((figures.watches, figures.lag), (100, 0));
    assert!(figures.pending_bytes <= 100 * (64 * 1024 + 1024), "{figures:?}");
    let last = world.put("busy", "late").await;
    assert!(world.registry.cache.reach(last, BOOKMARK_INTERVAL).await);
    assert_eq!(world.registry.watch_figures().lag, 1);
    loop {
        let (message, _) = next(&mut watches[99]).await;
        told += message.events.len();
        if message.synced {
            break;
        }
    }
    assert_eq!((told, watches.len()), (2_000, 100));
    drop(watches);
    assert_eq!(world.registry.watch_figures(), WatchFigures::default());
}
