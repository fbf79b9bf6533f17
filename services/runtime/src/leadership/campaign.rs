//! The campaign: signs of life to the election, its answers as leases.

use std::time::Duration;

use krake_client::{Client, Ticket};
use krake_proto::krake::core::v1::{CampaignRequest, CampaignResponse};
use rand::Rng;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::config::Candidacy;
use super::lease::{Lease, Signs};

/// Signs of life within a ttl.
const SIGNS: u32 = 3;
/// The first and the longest pause before campaigning again.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// Campaigns until `resign` is cancelled, and gives the place up then.
pub(super) async fn run(
    client: Client,
    candidacy: Candidacy,
    lease: watch::Sender<Option<Lease>>,
    resign: CancellationToken,
) {
    let ended = resign.clone();
    let mut campaign =
        Campaign { candidacy, lease, resign, signs: Signs::default(), leader: None, ticket: None };
    let mut pause = RETRY.0;
    loop {
        // Also when asked to resign meanwhile: there may be a place to give up.
        let result = match campaign.open(&client).await {
            Ok(stream) => {
                pause = RETRY.0;
                campaign.hold(stream).await
            }
            Err(status) => Err(status),
        };
        let Err(status) = result else { return };
        let error = krake_client::Error::from(status);
        // What is held is held until it ends: another replica may be reached before.
        tracing::warn!(election = campaign.candidacy.election, %error, "campaigning again");
        let jitter = rand::rng().random_range(0.5..1.0);
        tokio::select! {
            () = tokio::time::sleep(pause.mul_f64(jitter)) => {}
            () = ended.cancelled() => return,
        }
        pause = (pause * 2).min(RETRY.1);
    }
}

/// A stream to the election and its answers.
struct Stream {
    requests: mpsc::Sender<CampaignRequest>,
    answers: Streaming<CampaignResponse>,
}

struct Campaign {
    candidacy: Candidacy,
    lease: watch::Sender<Option<Lease>>,
    resign: CancellationToken,
    signs: Signs,
    /// Who led when it was last told.
    leader: Option<String>,
    /// What proves that the place is ours; `None` while it is not.
    ticket: Option<Ticket>,
}

impl Campaign {
    async fn open(&mut self, client: &Client) -> Result<Stream, Status> {
        let (requests, receiver) = mpsc::channel(1);
        let Candidacy { election, holder, address, ttl } = self.candidacy.clone();
        let first = CampaignRequest {
            election,
            holder,
            address,
            ttl: prost_types::Duration::try_from(ttl).ok(),
            sequence: self.signs.next(Instant::now()),
            resign: false,
            ticket: self.ticket.as_ref().map(|ticket| ticket.reveal().to_owned()).unwrap_or_default(),
        };
        send(&requests, first)?;
        let mut leadership = client.leadership();
        let call = leadership.campaign(ReceiverStream::new(receiver));
        match timeout(ttl, call).await {
            Ok(answers) => Ok(Stream { requests, answers: answers?.into_inner() }),
            Err(_) => Err(Status::deadline_exceeded("the election does not answer")),
        }
    }

    /// Goes on until the stream breaks, or until the place was given up.
    async fn hold(&mut self, mut stream: Stream) -> Result<(), Status> {
        let period = self.candidacy.ttl / SIGNS;
        let mut ticks = interval_at(Instant::now() + period, period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        loop {
            tokio::select! {
                () = self.resign.cancelled() => return self.give_up(stream).await,
                answer = stream.answers.message() => {
                    let closed = || Status::unavailable("the election ended the campaign");
                    self.settle(&answer?.ok_or_else(closed)?);
                    heard = Instant::now();
                }
                _ = ticks.tick() => {
                    // Each sign of life is answered, so the one before the last should have been by now.
                    if heard.elapsed() > 2 * period {
                        return Err(Status::deadline_exceeded("the election does not answer"));
                    }
                    let sequence = self.signs.next(Instant::now());
                    send(&stream.requests, CampaignRequest { sequence, ..Default::default() })?;
                }
            }
        }
    }

    fn settle(&mut self, answer: &CampaignResponse) {
        let lease = self.signs.lease(answer);
        self.ticket = (answer.fence > 0).then(|| Ticket::from(answer.ticket.as_str()));
        // Somebody else leads, or what was won is over already: either way the answer is newer than what is known.
        self.lease.send_if_modified(|known| {
            let changed = *known != lease;
            *known = lease;
            changed
        });
        if self.leader.as_ref() != Some(&answer.leader) {
            let Candidacy { election, holder, .. } = &self.candidacy;
            if answer.leader != *holder {
                tracing::info!(election, leader = answer.leader, "standing by");
            }
            self.leader = Some(answer.leader.clone());
        }
    }

    /// Frees the place and waits until that is done.
    async fn give_up(&mut self, mut stream: Stream) -> Result<(), Status> {
        self.lease.send_replace(None);
        let last =
            CampaignRequest { sequence: self.signs.next(Instant::now()), resign: true, ..Default::default() };
        // The service may still be reading the sign of life before.
        if stream.requests.send(last).await.is_ok() {
            while let Ok(Some(_)) = stream.answers.message().await {}
        }
        Ok(())
    }
}

/// Sends without waiting: where the one before was not even read, the connection is broken.
fn send(requests: &mpsc::Sender<CampaignRequest>, request: CampaignRequest) -> Result<(), Status> {
    let broken = |_| Status::unavailable("the connection to the election is stuck");
    requests.try_send(request).map_err(broken)
}
