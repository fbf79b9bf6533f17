//! Laws of a takeover: nobody acts on a mirror that is behind. The mirror follows a fake API server (the real one is
//! tested elsewhere) that shows no more than the test lets it.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::Request;
use axum::response::IntoResponse;
use futures::StreamExt;
use krake_client::{ConnectOptions, Mirror, NamespacedName, WatchOptions};
use krake_proto::envelope::{Event, WatchRequest, WatchResponse, WatchStart};
use krake_proto::krake::core::v1::Metric;
use krake_proto::krake::meta::v1::{EventType, Metadata};
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::Status;
use tonic::body::Body;
use tonic::server::Grpc;
use tonic_prost::ProstCodec;

use super::*;

/// Longest time that a test waits for something that must come. A machine that is busy with other work may be many times
/// slower than an idle one, so only a hang takes as long.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a replica of the API server has seen of the store: names and revisions, in order, and the revision of all.
#[derive(Clone, Debug, Default)]
struct Seen {
    metrics: Vec<(&'static str, i64)>,
    revision: i64,
}

/// A replica that tells a watch what there is when it begins, and nothing more until the test calls.
#[derive(Clone, Default)]
struct Replica {
    seen: Arc<watch::Sender<Seen>>,
    /// Raised by the test: now the watches that are open may be told.
    called: Arc<watch::Sender<u64>>,
    opened: Arc<watch::Sender<usize>>,
}

impl Replica {
    async fn client(&self) -> Client {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let replica = self.clone();
        let router = axum::Router::new().fallback(move |request: Request| replica.clone().answer(request));
        // Ends with the test's runtime.
        tokio::spawn(async move { axum::serve(listener, router).await });
        Client::new(&ConnectOptions::new(url)).unwrap()
    }

    /// Learns of a write without telling anybody.
    fn learn(&self, name: &'static str) -> i64 {
        self.seen.send_modify(|seen| {
            seen.revision += 1;
            seen.metrics.push((name, seen.revision));
        });
        self.seen.borrow().revision
    }

    async fn answer(self, request: Request) -> axum::response::Response {
        if !request.uri().path().ends_with("WatchMetrics") {
            return Status::unimplemented("only a watch").into_http::<Body>().into_response();
        }
        let handler = tower::service_fn(move |request: tonic::Request<WatchRequest>| {
            let stream = self.watch(request.into_inner());
            async move { Ok::<_, Status>(tonic::Response::new(stream)) }
        });
        let mut grpc = Grpc::new(ProstCodec::<WatchResponse, WatchRequest>::default());
        grpc.server_streaming(handler, request.map(Body::new)).await.into_response()
    }

    fn watch(
        &self,
        request: WatchRequest,
    ) -> futures::stream::BoxStream<'static, Result<WatchResponse, Status>> {
        let (after, synced) = match request.start {
            Some(WatchStart::After(revision)) => (revision, false),
            _ => (0, true),
        };
        let (replica, called) = (self.clone(), self.called.subscribe());
        let first = self.message(after, synced);
        self.opened.send_modify(|opened| *opened += 1);
        let more = futures::stream::unfold(called, move |mut called| {
            let replica = replica.clone();
            async move {
                called.changed().await.ok()?;
                Some((Ok(replica.message(after, false)), called))
            }
        });
        futures::stream::iter([Ok(first)]).chain(more).boxed()
    }

    fn message(&self, after: i64, synced: bool) -> WatchResponse {
        let seen = self.seen.borrow().clone();
        let news = seen.metrics.iter().filter(|(_, revision)| *revision > after);
        let events = news.map(|(name, revision)| Event {
            r#type: EventType::Added.into(),
            object: metric(name, *revision).encode_to_vec().into(),
        });
        WatchResponse {
            events: events.collect(),
            resource_version: seen.revision,
            epoch: "e".into(),
            synced,
            partial: false,
        }
    }
}

fn metric(name: &str, resource_version: i64) -> Metric {
    let metadata = Metadata { name: name.into(), uid: name.into(), resource_version, ..Default::default() };
    Metric { metadata: Some(metadata), spec: None }
}

/// A replica of a controller: its place in the election, whose lease the test sets, and its mirror.
struct Controller {
    replica: Replica,
    place: Leadership,
    mirror: Mirror<i64>,
    terms: AtomicUsize,
    shutdown: Shutdown,
}

impl Controller {
    /// Runs a story with a controller whose mirror has followed the API to the revision 1 of the metric `first`. In
    /// each of its terms it looks for a metric at once.
    async fn run(looks_for: &'static str, story: impl AsyncFnOnce(&Controller)) {
        let replica = Replica::default();
        replica.learn("first");
        let client = replica.client().await;
        let version = |metric: &Metric| metric.metadata.as_ref().map(|metadata| metadata.resource_version);
        let (mirror, feed) = Mirror::of_kind(version);
        let place = Leadership::new(&client, "gc", None);
        let controller =
            Controller { replica, place, mirror, terms: AtomicUsize::new(0), shutdown: Shutdown::new() };
        let follow = feed.run(client.api::<Metric>().watch(WatchOptions::namespace("")), drop);
        let work = async |stop: Shutdown| {
            controller.terms.fetch_add(1, Ordering::SeqCst);
            let found = controller.mirror.get(&NamespacedName::new("", looks_for));
            assert!(found.is_some(), "it acts on a mirror that is behind");
            stop.requested().await;
            Ok(())
        };
        let barriers = [controller.mirror.barrier()];
        let story = async {
            controller.mirror.synced().await.unwrap();
            story(&controller).await;
            controller.shutdown.request();
        };
        tokio::select! {
            (led, ()) = async { tokio::join!(controller.place.while_leading(&barriers, &controller.shutdown, work), story) } => led.unwrap(),
            ended = follow => panic!("the feed ended: {ended:?}"),
        }
    }

    /// Waits until it acts in its `number`th term.
    async fn acts(&self, number: usize) {
        let acts = async {
            while !(self.place.leading() && self.terms.load(Ordering::SeqCst) == number) {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, acts).await.expect("in time");
    }

    /// Waits until its watch was opened so many times.
    async fn asked(&self, times: usize) {
        let mut opened = self.replica.opened.subscribe();
        timeout(PATIENCE, opened.wait_for(|opened| *opened >= times)).await.expect("in time").unwrap();
    }
}

#[tokio::test]
async fn what_the_leader_before_wrote_last_is_seen_before_anything_is_done() {
    Controller::run("last", async |controller| {
        controller.replica.learn("last");
        let fence = controller.replica.learn("the election");
        assert_eq!(controller.mirror.len(), 1, "nobody has told it");
        controller.place.set(fence, 600);
        controller.acts(1).await;
        assert_eq!(controller.place.fence(), Some(fence));
    })
    .await;
}

#[tokio::test]
async fn who_was_elected_waits_for_a_replica_that_lags() {
    Controller::run("last", async |controller| {
        controller.place.set(3, 600);
        controller.asked(2).await;
        // The answer is there, and shows nothing beyond the first revision.
        assert!(!controller.place.leading() && controller.terms.load(Ordering::SeqCst) == 0);
        let write = controller.place.client().api::<Metric>().create(&metric("early", 0)).await;
        assert!(write.unwrap_err().is_fenced(), "nothing is written either");
        controller.replica.learn("last");
        controller.replica.learn("the election");
        controller.replica.called.send_modify(|calls| *calls += 1);
        controller.acts(1).await;
    })
    .await;
}

#[tokio::test]
async fn a_place_that_is_lost_while_waiting_begins_no_term() {
    Controller::run("last", async |controller| {
        controller.place.set(3, 600);
        controller.asked(2).await;
        controller.place.set(4, 600);
        controller.asked(3).await;
        assert!(!controller.place.leading() && controller.terms.load(Ordering::SeqCst) == 0);
        controller.replica.learn("last");
        controller.replica.learn("the election");
        controller.replica.called.send_modify(|calls| *calls += 1);
        // The fence of the term that was lost is not enough for the present one.
        timeout(PATIENCE, controller.mirror.wait_for(3)).await.unwrap().unwrap();
        assert!(!controller.place.leading() && controller.terms.load(Ordering::SeqCst) == 0);
        controller.replica.learn("more");
        controller.replica.called.send_modify(|calls| *calls += 1);
        controller.acts(1).await;
        assert_eq!(controller.place.fence(), Some(4));
    })
    .await;
}

#[tokio::test]
async fn a_mirror_that_nobody_feeds_ends_it() {
    let client = Replica::default().client().await;
    let (mirror, feed) = Mirror::of_kind(|_: &Metric| Some(()));
    drop(feed);
    let place = Leadership::new(&client, "gc", None);
    place.set(3, 600);
    let led = place.while_leading(&[mirror.barrier()], &Shutdown::new(), async |_| Ok(())).await;
    assert!(led.unwrap_err().to_string().contains("watch that feeds this mirror"));
}
