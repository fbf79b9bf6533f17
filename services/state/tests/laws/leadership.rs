//! Laws of elections over the API: campaigns at any replica, and writes that only a leader makes.

use std::sync::Arc;
use std::time::Duration;

use krake_client::{Client, DeleteOptions, Error, Fence, Mask, Ticket};
use krake_proto::error::{self, ErrorReason};
use krake_proto::krake::core::v1::{CampaignRequest, CampaignResponse, CreateMetricRequest};
use krake_proto::krake::core::v1::{Metric, MetricSpec};
use krake_state::store::{Bid, Key, Store};
use krake_state::{Authentication, Authorization, Callers};
use prost::Message;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use crate::support::server::{Server, metric};
use crate::support::{PATIENCE, memory};

/// The shortest ttl in seconds, for what is waited for; and one that does not end on a loaded machine.
const SHORT: i64 = 2;
pub(crate) const LONG: i64 = 60;

pub(crate) struct Campaign {
    requests: mpsc::Sender<CampaignRequest>,
    answers: Streaming<CampaignResponse>,
    sequence: i64,
}

pub(crate) fn request(holder: &str, seconds: i64) -> CampaignRequest {
    CampaignRequest {
        election: "test/0".into(),
        holder: holder.into(),
        address: format!("{holder}:1"),
        ttl: Some(prost_types::Duration { seconds, nanos: 0 }),
        sequence: 1,
        resign: false,
        ticket: String::new(),
    }
}

/// The first request of a holder that comes back with its ticket.
fn again(holder: &str, won: &CampaignResponse) -> CampaignRequest {
    CampaignRequest { ticket: won.ticket.clone(), ..request(holder, LONG) }
}

fn ticket(won: &CampaignResponse) -> Ticket {
    Ticket::from(won.ticket.as_str())
}

impl Campaign {
    pub(crate) async fn start(client: &Client, first: CampaignRequest) -> Self {
        Self::open(client, first).await.unwrap()
    }

    pub(crate) async fn open(client: &Client, first: CampaignRequest) -> Result<Self, Status> {
        let (requests, receiver) = mpsc::channel(8);
        requests.send(first).await.unwrap();
        let answers = client.leadership().campaign(ReceiverStream::new(receiver)).await?.into_inner();
        Ok(Campaign { requests, answers, sequence: 1 })
    }

    pub(crate) async fn answer(&mut self) -> CampaignResponse {
        timeout(PATIENCE, self.answers.message()).await.unwrap().unwrap().expect("the campaign goes on")
    }

    /// How the campaign ended.
    async fn end(mut self) -> Option<Status> {
        loop {
            match timeout(PATIENCE, self.answers.message()).await.unwrap() {
                Ok(Some(_)) => {}
                Ok(None) => return None,
                Err(status) => return Some(status),
            }
        }
    }

    async fn send(&mut self, request: CampaignRequest) {
        self.sequence += 1;
        self.requests.send(CampaignRequest { sequence: self.sequence, ..request }).await.unwrap();
    }

    async fn sign_of_life(&mut self) -> CampaignResponse {
        self.send(CampaignRequest::default()).await;
        self.answer().await
    }

    async fn resign(mut self) {
        self.send(CampaignRequest { resign: true, ..Default::default() }).await;
        assert!(self.end().await.is_none());
    }
}

async fn replicas() -> [Server; 2] {
    let store: Arc<dyn Store> = memory();
    [Server::start(store.clone()).await, Server::start(store).await]
}

#[tokio::test]
async fn one_leads_and_the_next_is_told_when_its_turn_comes() {
    let [one, two] = replicas().await;
    let mut first = Campaign::start(&one.client, request("a", LONG)).await;
    let won = first.answer().await;
    assert_eq!((won.leader.as_str(), won.address.as_str(), won.sequence), ("a", "a:1", 1));
    assert!(won.fence > 0);
    assert_eq!(won.ttl.unwrap().seconds, LONG);
    let mut second = Campaign::start(&two.client, request("b", LONG)).await;
    let lost = second.answer().await;
    assert_eq!((lost.leader.as_str(), lost.address.as_str(), lost.fence), ("a", "a:1", 0));
    let kept = first.sign_of_life().await;
    assert_eq!((kept.fence, kept.sequence), (won.fence, 2), "a sign of life changes nothing");
    assert_eq!(second.sign_of_life().await.leader, "a");
    first.resign().await;
    let told = second.answer().await;
    assert_eq!((told.leader.as_str(), told.sequence), ("b", 2), "without a further request");
    assert!(told.fence > won.fence);
}

#[tokio::test]
async fn a_holder_keeps_its_place_when_it_comes_back_at_another_replica() {
    let [one, two] = replicas().await;
    let mut first = Campaign::start(&one.client, request("a", LONG)).await;
    let won = first.answer().await;
    let mut waiting = Campaign::start(&one.client, request("b", LONG)).await;
    assert_eq!(waiting.answer().await.fence, 0);
    drop(first);
    let mut resumed = Campaign::start(&two.client, again("a", &won)).await;
    let answer = resumed.answer().await;
    assert_eq!((answer.fence, &answer.ticket), (won.fence, &won.ticket));
    resumed.resign().await;
    assert_eq!(waiting.answer().await.leader, "b", "who came back may also resign");
}

#[tokio::test]
async fn nobody_takes_or_gives_up_the_place_of_another_by_its_name() {
    let [one, two] = replicas().await;
    let mut leader = Campaign::start(&one.client, request("a", LONG)).await;
    let won = leader.answer().await;
    assert!(!won.ticket.is_empty());
    let other = Campaign::start(&two.client, request("other", LONG)).await.answer().await;
    assert!(other.ticket.is_empty(), "only the leader has one");
    // The name, as everybody can read it; with a ticket that is not the place's; at another address.
    let invented = CampaignResponse { ticket: "A".repeat(43), ..Default::default() };
    let elsewhere = CampaignRequest { address: "elsewhere:1".into(), ..again("a", &won) };
    for theft in [request("a", LONG), again("a", &invented), again("b", &won), elsewhere] {
        for client in [&one.client, &two.client] {
            let mut thief = Campaign::start(client, theft.clone()).await;
            let answer = thief.answer().await;
            assert_eq!((answer.fence, answer.ticket.as_str()), (0, ""), "{theft:?}");
            thief.resign().await;
        }
        let resigned = CampaignRequest { resign: true, ..theft.clone() };
        assert!(Campaign::start(&two.client, resigned).await.end().await.is_none());
        assert_eq!(leader.sign_of_life().await.fence, won.fence, "{theft:?}");
    }
}

#[tokio::test]
async fn another_user_does_not_lead_by_a_ticket_that_it_got_hold_of() {
    let store: Arc<dyn Store> = memory();
    let of = async |user: &str| {
        let known = Authentication { static_user: Some(user.to_owned()), allow_anonymous: false };
        Server::start_for(store.clone(), known).await
    };
    let (alice, mallory) = (of("alice").await, of("mallory").await);
    let mut leader = Campaign::start(&alice.client, request("a", LONG)).await;
    let won = leader.answer().await;
    let mut thief = Campaign::start(&mallory.client, again("a", &won)).await;
    assert_eq!(thief.answer().await.fence, 0);
    thief.resign().await;
    assert_eq!(leader.sign_of_life().await.fence, won.fence);
    let fence = Fence::new("test/0");
    fence.raise(won.fence, ticket(&won));
    let stolen = mallory.client.fenced(fence.clone()).api::<Metric>().create(&metric("", "heat", 1.0)).await;
    assert_eq!(stolen.unwrap_err().reason(), Some(ErrorReason::Forbidden));
    alice.client.fenced(fence).api::<Metric>().create(&metric("", "heat", 1.0)).await.unwrap();
}

#[tokio::test]
async fn a_fence_without_its_ticket_lets_nothing_pass() {
    let [one, two] = replicas().await;
    let mut leader = Campaign::start(&one.client, request("a", LONG)).await;
    let won = leader.answer().await;
    let write = async |client: &Client, shown: Ticket, name: &str| {
        let fence = Fence::new("test/0");
        fence.raise(won.fence, shown);
        client.fenced(fence).api::<Metric>().create(&metric("", name, 1.0)).await
    };
    // Before and after a replica has seen the right one, and again after that.
    for name in ["first", "second"] {
        for client in [&one.client, &two.client] {
            for wrong in [Ticket::default(), Ticket::from("A".repeat(43).as_str()), Ticket::from("x")] {
                let refused = write(client, wrong, name).await.unwrap_err();
                assert_eq!(refused.reason(), Some(ErrorReason::Forbidden), "{refused}");
                assert!(!refused.to_string().contains(&won.ticket));
            }
        }
        write(&one.client, ticket(&won), name).await.unwrap();
        write(&two.client, ticket(&won), &format!("{name}-2")).await.unwrap();
    }
}

/// A store as the version before has left it: its leader's record has no ticket.
#[tokio::test]
async fn a_place_of_the_version_before_is_taken_until_it_ends_and_its_holder_writes_on() {
    let store: Arc<dyn Store> = memory();
    let old = CampaignRequest { holder: "a".into(), address: "a:1".into(), ..Default::default() };
    let key = Key::from("/krake/_elections/test/0".to_owned());
    let bid = Bid { key, holder: old.encode_to_vec().into(), ttl: Duration::from_secs(60) };
    let fence = Fence::new("test/0");
    fence.raise(store.campaign(bid.clone()).await.unwrap().entry.created.0, Ticket::default());
    let server = Server::start(store.clone()).await;
    server.client.fenced(fence.clone()).api::<Metric>().create(&metric("", "heat", 1.0)).await.unwrap();
    let mut next = Campaign::start(&server.client, request("a", LONG)).await;
    let first = next.answer().await;
    assert_eq!((first.leader.as_str(), first.fence), ("a", 0), "the same name is not enough");
    store.resign(bid.key, bid.holder).await.unwrap();
    let won = next.answer().await;
    assert!(won.fence > fence.revision().unwrap());
    let late = server.client.fenced(fence).api::<Metric>().create(&metric("", "cold", 1.0)).await;
    assert!(late.unwrap_err().is_fenced());
}

#[tokio::test]
async fn a_crashed_leader_is_replaced_after_its_ttl() {
    let [one, two] = replicas().await;
    let started = Instant::now();
    let mut first = Campaign::start(&one.client, request("a", SHORT)).await;
    let won = first.answer().await;
    let mut second = Campaign::start(&two.client, request("b", LONG)).await;
    drop(first);
    let won_after = loop {
        let answer = second.answer().await;
        if answer.fence > 0 {
            assert!(answer.leader == "b" && answer.fence > won.fence);
            break started.elapsed();
        }
        assert_eq!(answer.leader, "a");
    };
    assert!(won_after >= Duration::from_secs(SHORT.unsigned_abs()), "{won_after:?}");
}

#[tokio::test]
async fn a_campaign_without_signs_of_life_is_ended() {
    let [one, _] = replicas().await;
    let mut leader = Campaign::start(&one.client, request("a", LONG)).await;
    assert!(leader.answer().await.fence > 0);
    let silent = Campaign::start(&one.client, request("b", SHORT)).await;
    let status = silent.end().await.expect("not for ever");
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(Error::from(status).retryable());
}

#[tokio::test]
async fn campaigns_that_make_no_sense_are_refused_field_by_field() {
    let [one, _] = replicas().await;
    for (wrong, fields) in [
        (CampaignRequest { election: "No".into(), ..request("a", LONG) }, ["election"].as_slice()),
        (CampaignRequest { holder: String::new(), ttl: None, ..request("a", LONG) }, &["holder", "ttl"]),
        (request("a", 61), &["ttl"]),
    ] {
        let Err(status) = Campaign::open(&one.client, wrong).await else { panic!("it must not begin") };
        let named: Vec<_> = error::violations(&status).into_iter().map(|wrong| wrong.field).collect();
        assert_eq!(named, fields);
    }
}

#[tokio::test]
async fn a_write_with_two_fences_is_refused() {
    let [one, _] = replicas().await;
    let mut leader = Campaign::start(&one.client, request("a", LONG)).await;
    let won = leader.answer().await;
    let create = |fences: &[i64]| {
        let metric = Some(metric("", "heat", 1.0));
        let mut request = tonic::Request::new(CreateMetricRequest { metric, ..Default::default() });
        request.metadata_mut().insert("krake-ticket", won.ticket.parse().unwrap());
        for fence in fences {
            request.metadata_mut().append("krake-fence", format!("test/0={fence}").parse().unwrap());
        }
        request
    };
    for fences in [[won.fence, won.fence], [won.fence, won.fence + 1], [won.fence + 1, won.fence]] {
        let refused = one.client.metrics().create_metric(create(&fences)).await.unwrap_err();
        assert_eq!(error::violations(&refused)[0].field, "krake-fence", "{refused}");
    }
    one.client.metrics().create_metric(create(&[won.fence])).await.unwrap();
}

#[tokio::test]
async fn only_the_leader_writes() {
    let [one, two] = replicas().await;
    let (fence, late) = (Fence::new("test/0"), Fence::new("test/0"));
    let (leader, ex_leader) = (two.client.fenced(fence.clone()), one.client.fenced(late.clone()));
    let metrics = leader.api::<Metric>();
    let unsent = metrics.create(&metric("", "heat", 1.0)).await.unwrap_err();
    assert!(unsent.is_fenced(), "nobody leads: {unsent}");
    let mut first = Campaign::start(&one.client, request("a", LONG)).await;
    let won = first.answer().await;
    late.raise(won.fence, ticket(&won));
    let ex_metrics = ex_leader.api::<Metric>();
    let made = ex_metrics.create(&metric("", "heat", 1.0)).await.unwrap();
    first.resign().await;
    let mut second = Campaign::start(&one.client, request("b", LONG)).await;
    let second_won = second.answer().await;
    fence.raise(second_won.fence, ticket(&second_won));

    let changed =
        Metric { spec: Some(MetricSpec { max: Some(2.0), ..made.spec.clone().unwrap() }), ..made.clone() };
    let refused = ex_metrics.update(&changed, Mask::All).await.unwrap_err();
    assert!(refused.is_fenced() && !refused.retryable() && !refused.is_conflict(), "{refused}");
    timeout(PATIENCE, late.refused()).await.expect("the fence knows");
    assert_eq!(late.revision(), None, "and nothing more is sent");
    late.raise(won.fence, ticket(&won));
    let refused = ex_metrics.create(&metric("", "late", 1.0)).await.unwrap_err();
    assert!(refused.is_fenced(), "{refused}");
    late.raise(won.fence, ticket(&won));
    assert!(ex_metrics.delete("", "heat", &DeleteOptions::default()).await.unwrap_err().is_fenced());
    assert_eq!(ex_metrics.get("", "heat").await.unwrap(), made, "who does not lead may read");

    metrics.update(&changed, Mask::All).await.unwrap();
    metrics.delete("", "heat", &DeleteOptions::default()).await.unwrap();
    // Users write without.
    one.client.api::<Metric>().create(&metric("", "cold", 1.0)).await.unwrap();
}

#[tokio::test]
async fn a_caller_who_may_not_write_learns_nothing_about_tickets() {
    let store: Arc<dyn Store> = memory();
    let allowed = Server::start(store.clone()).await;
    let denied = Callers {
        authorization: Authorization::AlwaysDeny,
        ..Authentication { allow_anonymous: true, static_user: None }.into()
    };
    let denied = Server::start_for(store, denied).await;
    let mut leader = Campaign::start(&allowed.client, request("a", LONG)).await;
    let won = leader.answer().await;
    let write = async |revision: i64, shown: Ticket| {
        let fence = Fence::new("test/0");
        fence.raise(revision, shown);
        denied.client.fenced(fence).api::<Metric>().create(&metric("", "heat", 1.0)).await.unwrap_err()
    };
    let right = write(won.fence, ticket(&won)).await.to_string();
    assert!(right.contains("may not create"), "{right}");
    assert_eq!(write(won.fence, Ticket::from("A".repeat(43).as_str())).await.to_string(), right);
    assert_eq!(write(won.fence + 1, ticket(&won)).await.to_string(), right);
}
