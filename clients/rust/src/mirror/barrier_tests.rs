//! Laws of the barrier, over a watch whose streams say nothing after they have told what was there when they were opened:
//! whatever comes later, the mirror does not hear of it by itself.

use std::sync::Mutex;

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use krake_proto::krake::core::v1::Metric;
use krake_proto::krake::meta::v1::{EventType, Metadata};
use tonic::Status;

use super::super::{Mirror, NamespacedName};
use super::*;
use crate::error::Error;
use crate::options::Start;
use crate::watch::{Message, MessageStream, Source, Watch};

/// A store's history, and how its server behaves.
#[derive(Default)]
struct Store {
    epoch: &'static str,
    /// Names and revisions of its objects, in order.
    objects: Vec<(&'static str, i64)>,
    revision: i64,
    /// How many streams were opened.
    opened: usize,
    /// What the next streams are instead of an answer.
    troubles: Vec<Result<MessageStream<Metric>, Error>>,
}

#[derive(Clone, Default)]
struct Server(Arc<Mutex<Store>>);

impl Server {
    fn new(epoch: &'static str) -> Self {
        let server = Server::default();
        server.0.lock().unwrap().epoch = epoch;
        server
    }

    fn write(&self, name: &'static str) -> i64 {
        let mut store = self.0.lock().unwrap();
        store.revision += 1;
        let revision = store.revision;
        store.objects.push((name, revision));
        revision
    }

    /// A revision that the watch does not show.
    fn write_elsewhere(&self) -> i64 {
        let mut store = self.0.lock().unwrap();
        store.revision += 1;
        store.revision
    }

    fn opened(&self) -> usize {
        self.0.lock().unwrap().opened
    }

    fn trouble(&self, next: Vec<Result<MessageStream<Metric>, Error>>) {
        self.0.lock().unwrap().troubles = next;
    }
}

impl Source for Server {
    type Object = Metric;

    fn what(&self) -> &'static str {
        "Metric"
    }

    fn open(&self, start: Start) -> BoxFuture<'static, Result<MessageStream<Metric>, Error>> {
        let mut store = self.0.lock().unwrap();
        store.opened += 1;
        if !store.troubles.is_empty() {
            return futures::future::ready(store.troubles.remove(0)).boxed();
        }
        let after = match start {
            Start::After { resource_version, .. } => resource_version,
            Start::InitialState | Start::Now => 0,
        };
        let message = |resource_version, changes| Message {
            changes,
            resource_version,
            epoch: store.epoch.to_owned(),
            synced: start == Start::InitialState && resource_version == store.revision,
            partial: false,
        };
        let news = store.objects.iter().filter(|(_, revision)| *revision > after);
        let mut messages: Vec<_> = news
            .map(|(name, revision)| Ok(message(*revision, vec![(EventType::Added, metric(name, *revision))])))
            .collect();
        messages.push(Ok(message(store.revision, vec![])));
        let told: BoxStream<'static, _> = stream::iter(messages).chain(stream::pending()).boxed();
        async { Ok(told) }.boxed()
    }

    fn metadata(object: &Metric) -> Option<&Metadata> {
        object.metadata.as_ref()
    }
}

fn metric(name: &str, resource_version: i64) -> Metric {
    let metadata = Metadata { name: name.into(), uid: name.into(), resource_version, ..Default::default() };
    Metric { metadata: Some(metadata), spec: None }
}

type Told = Arc<Mutex<Vec<String>>>;

/// A mirror of the server's metrics, and the names that were told of.
fn mirror(server: &Server) -> (Mirror<i64>, Told, BoxFuture<'static, Result<(), Error>>) {
    let version = |metric: &Metric| metric.metadata.as_ref().map(|metadata| metadata.resource_version);
    let (mirror, feed) = Mirror::of_kind(version);
    let told = Told::default();
    let teller = told.clone();
    let tell = move |notice: super::super::Notice<i64>| teller.lock().unwrap().push(notice.key.name);
    let watch = Watch::new(server.clone(), Start::InitialState);
    (mirror, told, feed.run(watch, tell).boxed())
}

/// What a story comes to while the mirror is fed.
async fn fed<T>(feed: BoxFuture<'static, Result<(), Error>>, story: impl Future<Output = T>) -> T {
    tokio::select! {
        told = story => told,
        ended = feed => panic!("the feed ended: {ended:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn who_passes_sees_what_an_idle_watch_had_not_told() {
    let server = Server::new("e");
    server.write("a");
    let (mirror, told, feed) = mirror(&server);
    fed(feed, async {
        mirror.synced().await.unwrap();
        server.write("b");
        let last = server.write("c");
        let fence = server.write_elsewhere();
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!((mirror.len(), mirror.resource_version()), (1, 1), "nobody tells it");
        let waiting = tokio::time::Instant::now();
        mirror.barrier().pass(fence).await.unwrap();
        assert_eq!(waiting.elapsed(), Duration::ZERO, "that needs no timer");
        assert_eq!(mirror.get(&NamespacedName::new("", "c")).as_deref(), Some(&last));
        assert_eq!(*told.lock().unwrap(), ["a", "b", "c"], "and it was told");
        assert_eq!((mirror.resource_version(), server.opened()), (fence, 2));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_revision_of_a_history_that_is_gone_opens_no_barrier() {
    let server = Server::new("former");
    for _ in 0..9 {
        server.write("old");
    }
    let (mirror, _, feed) = mirror(&server);
    fed(feed, async {
        mirror.synced().await.unwrap();
        *server.0.lock().unwrap() = Store { epoch: "restored", ..Store::default() };
        let fence = server.write("new");
        assert!(mirror.resource_version() > fence);
        mirror.barrier().pass(fence).await.unwrap();
        let names: Vec<String> = mirror.snapshot().into_iter().map(|(key, _)| key.name).collect();
        assert_eq!((names, mirror.resource_version()), (vec!["new".to_owned()], fence));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_initial_state_on_its_way_is_not_begun_anew() {
    let server = Server::new("e");
    server.write("a");
    let slow = stream::once(async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        let changes = vec![(EventType::Added, metric("a", 1))];
        Ok(Message { changes, resource_version: 1, epoch: "e".into(), synced: true, partial: false })
    });
    server.trouble(vec![Ok(slow.chain(stream::pending()).boxed())]);
    let (mirror, told, feed) = mirror(&server);
    fed(feed, async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let fence = server.write("b");
        mirror.barrier().pass(fence).await.unwrap();
        assert_eq!((mirror.len(), server.opened()), (2, 2));
        assert_eq!(*told.lock().unwrap(), ["a", "b"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_waits_before_it_connects_again_is_woken() {
    let server = Server::new("e");
    server.write("a");
    let (mirror, _, feed) = mirror(&server);
    fed(feed, async {
        mirror.synced().await.unwrap();
        let refused = || Err(Error::from(Status::unavailable("nobody there")));
        server.trouble((0..9).map(|_| refused()).collect());
        let fence = server.write_elsewhere();
        let early = mirror.barrier().pass(fence).now_or_never();
        assert!(early.is_none());
        // Long waits by now: at least 5 s until the next attempt, on average.
        while server.opened() < 9 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        server.trouble(Vec::new());
        let waiting = tokio::time::Instant::now();
        mirror.barrier().pass(fence).await.unwrap();
        assert_eq!(waiting.elapsed(), Duration::ZERO);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_hangs_is_opened_once_more() {
    let server = Server::new("e");
    server.write("a");
    let (mirror, _, feed) = mirror(&server);
    fed(feed, async {
        mirror.synced().await.unwrap();
        server.trouble(vec![Ok(stream::pending().boxed())]);
        let fence = server.write("b");
        mirror.barrier().pass(fence).await.unwrap();
        assert_eq!((mirror.len(), server.opened()), (2, 3));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_feed_that_has_ended() {
    let (mirror, _, feed) = mirror(&Server::new("e"));
    drop(feed);
    assert_eq!(mirror.barrier().pass(1).await, Err(MirrorClosed));
}
