//! Laws of leadership: terms over leases that are set by hand, and campaigns against a fake election (the real one is
//! the API server's, and tested with it).

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use krake_client::ConnectOptions;
use krake_proto::krake::core::v1::leadership_service_server::{LeadershipService, LeadershipServiceServer};
use krake_proto::krake::core::v1::{CampaignRequest, CampaignResponse};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

use super::*;

/// Longest time that a test waits for something that must come. A machine that is busy with other work may be many times
/// slower than an idle one, so only a hang takes as long.
const PATIENCE: Duration = Duration::from_secs(120);

fn client(url: &str) -> Client {
    Client::new(&ConnectOptions::new(url)).unwrap()
}

/// A place whose lease the test sets.
fn place() -> Leadership {
    Leadership::new(&client("http://127.0.0.1:1"), "gc", None)
}

impl Leadership {
    /// The lease of this fence holds for so long from now on.
    pub(super) fn set(&self, fence: i64, seconds: u64) {
        let until = Instant::now() + Duration::from_secs(seconds);
        let ticket = Ticket::from(format!("ticket of {fence}").as_str());
        self.shared.lease.send_replace(Some(Lease { fence, ticket, until }));
    }
}

/// Work that counts its terms and ends when asked to.
fn counted(
    terms: &Arc<AtomicUsize>,
) -> impl FnMut(Shutdown) -> futures::future::BoxFuture<'static, anyhow::Result<()>> {
    let terms = terms.clone();
    move |stop| {
        terms.fetch_add(1, Ordering::SeqCst);
        async move {
            stop.requested().await;
            Ok(())
        }
        .boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn work_runs_for_as_long_as_the_lease_is_renewed() {
    let (place, shutdown, terms) = (place(), Shutdown::new(), Arc::default());
    let run = place.while_leading(&[], &shutdown, counted(&terms));
    let story = async {
        assert!(!place.leading(), "nothing is held");
        place.set(7, 10);
        tokio::time::sleep(Duration::from_secs(9)).await;
        assert_eq!((place.leading(), place.fence()), (true, Some(7)));
        place.set(7, 10);
        tokio::time::sleep(Duration::from_secs(9)).await;
        assert!(place.leading(), "renewed");
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(!place.leading(), "over, though nobody said so");
        assert_eq!(terms.load(Ordering::SeqCst), 1);
        place.set(9, 10);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!((terms.load(Ordering::SeqCst), place.fence()), (2, Some(9)));
        shutdown.request();
    };
    let (ended, ()) = tokio::join!(run, story);
    ended.unwrap();
    assert!(!place.leading());
}

#[tokio::test(start_paused = true)]
async fn a_paused_process_finds_its_lease_over_before_anything_tells_it() {
    let (place, shutdown, terms) = (place(), Shutdown::new(), Arc::default());
    let mut run = Box::pin(place.while_leading(&[], &shutdown, counted(&terms)));
    place.set(7, 10);
    assert!(run.as_mut().now_or_never().is_none());
    assert!(place.leading());
    // The clock goes on while no task of this process does.
    tokio::time::advance(Duration::from_secs(11)).await;
    assert!(!place.leading());
}

#[tokio::test(start_paused = true)]
async fn another_fence_is_another_term() {
    let (place, shutdown, terms) = (place(), Shutdown::new(), Arc::default());
    let run = place.while_leading(&[], &shutdown, counted(&terms));
    let story = async {
        place.set(7, 10);
        tokio::time::sleep(Duration::from_secs(1)).await;
        place.set(9, 10);
        assert!(!place.leading(), "the work of the term before must not act under the new fence");
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!((terms.load(Ordering::SeqCst), place.fence()), (2, Some(9)));
        shutdown.request();
    };
    tokio::join!(run, story).0.unwrap();
}

#[tokio::test(start_paused = true)]
async fn work_that_does_not_stop_is_dropped() {
    let (place, shutdown) = (place(), Shutdown::new());
    let token = Arc::new(());
    let held = token.clone();
    let run = place.while_leading(&[], &shutdown, move |_| {
        let held = held.clone();
        async move {
            std::future::pending::<()>().await;
            drop(held);
            Ok(())
        }
    });
    let story = async {
        place.set(7, 10);
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(Arc::strong_count(&token), 3);
        tokio::time::sleep(Duration::from_secs(5) + STEP_DOWN * 2).await;
        assert_eq!(Arc::strong_count(&token), 2, "the future is gone");
        shutdown.request();
    };
    tokio::join!(run, story).0.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_effect_ends_with_the_lease_and_goes_on_while_it_is_renewed() {
    let (place, shutdown) = (place(), Shutdown::new());
    let seconds = |number| sleep(Duration::from_secs(number));
    assert!(place.within_lease(async {}).await.is_none(), "nothing is held");
    place.set(7, 10);
    let work = async |_| {
        let renewed = async {
            seconds(5).await;
            place.set(7, 20);
        };
        let (done, ()) = tokio::join!(place.within_lease(seconds(15)), renewed);
        assert!(done.is_some(), "it takes longer than the lease of its beginning");
        assert!(place.within_lease(seconds(60)).await.is_none());
        assert_eq!(place.fence(), None);
        shutdown.request();
        Ok(())
    };
    place.while_leading(&[], &shutdown, work).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_paused_process_takes_no_further_step_outside() {
    let (place, shutdown, steps) = (place(), Shutdown::new(), AtomicUsize::new(0));
    place.set(7, 10);
    let wake = tokio::sync::Notify::new();
    let work = async |_| {
        let effect = async {
            loop {
                steps.fetch_add(1, Ordering::SeqCst);
                wake.notified().await;
            }
        };
        let mut effect = pin!(place.within_lease::<()>(effect));
        assert!(futures::poll!(&mut effect).is_pending());
        wake.notify_one();
        assert!(futures::poll!(&mut effect).is_pending());
        assert_eq!(steps.load(Ordering::SeqCst), 2);
        // The clock goes on while no task of this process does, and no timer has told it yet.
        tokio::time::advance(Duration::from_secs(11)).await;
        wake.notify_one();
        assert!(futures::poll!(&mut effect).is_ready());
        shutdown.request();
        Ok(())
    };
    place.while_leading(&[], &shutdown, work).await.unwrap();
    assert_eq!(steps.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn work_that_ends_by_itself_ends_it_all() {
    let (place, shutdown) = (place(), Shutdown::new());
    place.set(7, 10);
    let failed = place.while_leading(&[], &shutdown, async |_| Err(anyhow::anyhow!("no"))).await;
    assert_eq!(failed.unwrap_err().to_string(), "no");
    assert!(!place.leading());
}

#[tokio::test(start_paused = true)]
async fn without_an_election_one_leads_for_ever() {
    let (place, shutdown) = (Leadership::unopposed(&client("http://127.0.0.1:1"), "gc"), Shutdown::new());
    let metrics = Metrics::new();
    place.register(&metrics);
    assert!(metrics.encode().unwrap().contains("krake_leader{election=\"gc\"} 0"));
    let run = place.while_leading(&[], &shutdown, async |stop: Shutdown| {
        tokio::time::sleep(Duration::from_secs(1_000_000)).await;
        assert!(place.leading());
        assert!(metrics.encode().unwrap().contains("krake_leader{election=\"gc\"} 1"));
        shutdown.request();
        stop.requested().await;
        Ok(())
    });
    run.await.unwrap();
}

/// A fake election: the test answers each request.
struct Election {
    campaigns: mpsc::Sender<Campaigner>,
}

/// One stream as the election sees it.
struct Campaigner {
    requests: Streaming<CampaignRequest>,
    answers: mpsc::Sender<Result<CampaignResponse, Status>>,
}

impl Campaigner {
    async fn request(&mut self) -> CampaignRequest {
        timeout(PATIENCE, self.requests.message()).await.unwrap().unwrap().unwrap()
    }

    async fn answer(&self, leader: &str, fence: i64, sequence: i64, ttl: Duration) {
        let ttl = prost_types::Duration::try_from(ttl).ok();
        let ticket = if fence > 0 { format!("ticket of {fence}") } else { String::new() };
        let leader = leader.to_owned();
        let answer = CampaignResponse { leader, fence, ttl, sequence, ticket, ..Default::default() };
        self.answers.send(Ok(answer)).await.unwrap();
    }
}

#[tonic::async_trait]
impl LeadershipService for Election {
    type CampaignStream = BoxStream<'static, Result<CampaignResponse, Status>>;

    async fn campaign(
        &self,
        request: Request<Streaming<CampaignRequest>>,
    ) -> Result<Response<Self::CampaignStream>, Status> {
        let (answers, receiver) = mpsc::channel(8);
        let campaigner = Campaigner { requests: request.into_inner(), answers };
        self.campaigns.send(campaigner).await.map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(ReceiverStream::new(receiver).boxed()))
    }
}

/// Starts a fake election: a client of it, and the campaigns that reach it.
async fn election() -> (Client, mpsc::Receiver<Campaigner>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (campaigns, receiver) = mpsc::channel(8);
    // Ends with the test's runtime.
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(LeadershipServiceServer::new(Election { campaigns }))
            .serve_with_incoming(TcpListenerStream::new(listener)),
    );
    (client(&url), receiver)
}

fn candidacy(ttl: Duration) -> Candidacy {
    Candidacy { ttl, ..Candidacy::new("gc") }
}

async fn campaigner(campaigns: &mut mpsc::Receiver<Campaigner>) -> Campaigner {
    timeout(PATIENCE, campaigns.recv()).await.unwrap().unwrap()
}

#[tokio::test]
async fn signs_of_life_keep_the_place_and_the_end_gives_it_up() {
    // Long enough for a busy machine to keep a lease, of which a third passes between two signs of life.
    let ttl = Duration::from_secs(5);
    let (client, mut campaigns) = election().await;
    let candidacy = candidacy(ttl);
    let (place, shutdown) = (Leadership::campaign(&client, candidacy.clone()), Shutdown::new());
    let terms = Arc::default();
    let run = place.while_leading(&[], &shutdown, counted(&terms));
    let story = async {
        let mut stream = campaigner(&mut campaigns).await;
        let first = stream.request().await;
        assert_eq!((first.election.as_str(), &first.holder), ("gc", &candidacy.holder));
        assert_eq!(Duration::try_from(first.ttl.unwrap()).unwrap(), ttl);
        let mut last = first.sequence;
        stream.answer(&candidacy.holder, 7, last, ttl).await;
        // Longer than a ttl: without signs of life there would be a second term.
        for _ in 0..4 {
            let sign = stream.request().await;
            assert!(sign.sequence > last && !sign.resign);
            last = sign.sequence;
            stream.answer(&candidacy.holder, 7, last, ttl).await;
        }
        assert!(place.leading());
        shutdown.request();
        while !stream.request().await.resign {}
    };
    let (ended, ()) = tokio::join!(run, story);
    ended.unwrap();
    assert_eq!(terms.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_broken_stream_is_taken_up_again_by_the_same_holder() {
    let ttl = Duration::from_secs(60);
    let (client, mut campaigns) = election().await;
    let (place, shutdown) = (Leadership::campaign(&client, candidacy(ttl)), Shutdown::new());
    let terms = Arc::default();
    let run = place.while_leading(&[], &shutdown, counted(&terms));
    let story = async {
        let mut stream = campaigner(&mut campaigns).await;
        let first = stream.request().await;
        stream.answer(&first.holder, 7, first.sequence, ttl).await;
        timeout(PATIENCE, place.elected()).await.unwrap();
        stream.answers.send(Err(Status::unavailable("restarted"))).await.unwrap();
        let mut again = campaigner(&mut campaigns).await;
        let second = again.request().await;
        assert_eq!((&second.holder, &second.election), (&first.holder, &first.election));
        assert_eq!((first.ticket.as_str(), second.ticket.as_str()), ("", "ticket of 7"));
        assert!(second.sequence > first.sequence, "answers to the broken stream prove nothing for this one");
        assert!(place.leading(), "the lease goes on meanwhile");
        again.answer(&first.holder, 7, second.sequence, ttl).await;
        shutdown.request();
        while !again.request().await.resign {}
    };
    tokio::join!(run, story).0.unwrap();
    assert_eq!(terms.load(Ordering::SeqCst), 1, "one term");
}

#[tokio::test]
async fn who_stands_by_acts_once_elected_and_steps_back_when_told() {
    let ttl = Duration::from_secs(60);
    let (client, mut campaigns) = election().await;
    let (place, shutdown) = (Leadership::campaign(&client, candidacy(ttl)), Shutdown::new());
    let terms = Arc::default();
    let run = place.while_leading(&[], &shutdown, counted(&terms));
    let story = async {
        let mut stream = campaigner(&mut campaigns).await;
        let first = stream.request().await;
        stream.answer("other", 0, first.sequence, ttl).await;
        assert!(place.elected().now_or_never().is_none());
        // Told without a further sign of life.
        stream.answer(&first.holder, 9, first.sequence, ttl).await;
        assert_eq!(timeout(PATIENCE, place.elected()).await.unwrap().0, 9);
        timeout(PATIENCE, async {
            while !place.leading() {
                tokio::task::yield_now().await
            }
        })
        .await
        .unwrap();
        stream.answer("other", 0, first.sequence, ttl).await;
        let mut lease = place.shared.lease.subscribe();
        timeout(PATIENCE, lease.wait_for(Option::is_none)).await.unwrap().unwrap();
        assert!(!place.leading());
        shutdown.request();
    };
    tokio::join!(run, story).0.unwrap();
    assert_eq!(terms.load(Ordering::SeqCst), 1);
}
