//! `LeadershipService`: one task per campaign turns heartbeats and vacancies into bids.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use krake_proto::error::{self, ErrorReason, Violation};
use krake_proto::krake::core::v1::leadership_service_server::LeadershipService;
use krake_proto::krake::core::v1::{CampaignRequest, CampaignResponse};
use krake_runtime::counts::{Counts, Place};
use krake_runtime::serve::peer_network;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Code, Request, Response, Status, Streaming};

use super::pipeline::{Authorizer, peer};
use super::{MAX_SMALL_REQUEST, transport};
use crate::elections::{Candidate, Elections, Vacancy};
use crate::error::Error;

/// Maximum number of campaigns that one replica serves at a time, since each may hold a watch on the store. A controller
/// has one.
const MAX_CAMPAIGNS: usize = 256;
/// Maximum number of these of one caller: far more than the controllers of a host, and few enough to leave room for others.
const MAX_CAMPAIGNS_PER_CALLER: usize = 64;
/// Time for the first request of a campaign. A controller sends it with the call.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The service.
pub(super) struct Leadership {
    elections: Arc<Elections>,
    shutdown: CancellationToken,
    campaigns: Arc<Semaphore>,
    by_caller: Counts<Counted>,
}

/// Whose campaigns are counted together: those of one user at one address. All callers without credentials are one user,
/// and so are all of a service with a static user.
type Counted = (String, IpAddr);

impl Leadership {
    pub(super) fn new(elections: Arc<Elections>, shutdown: CancellationToken) -> Self {
        let campaigns = Arc::new(Semaphore::new(MAX_CAMPAIGNS));
        Leadership { elections, shutdown, campaigns, by_caller: Counts::new(MAX_CAMPAIGNS_PER_CALLER) }
    }

    /// The place of one more campaign of a caller.
    ///
    /// # Errors
    /// TOO_MANY_CALLS if this caller, or all callers together, have as many as one replica serves.
    fn admit(&self, user: &str, peer: IpAddr) -> Result<Admitted, Status> {
        let refused = |text| error::status(Code::ResourceExhausted, ErrorReason::TooManyCalls, text);
        let own = self.by_caller.admit((user.to_owned(), peer)).ok_or_else(|| {
            refused(format!(
                "{user:?} has {MAX_CAMPAIGNS_PER_CALLER} campaigns from {peer} at this replica already, the most for one \
                 caller; end some, or try another replica"
            ))
        })?;
        let place = self.campaigns.clone().try_acquire_owned().map_err(|_| {
            refused(format!("this replica serves {MAX_CAMPAIGNS} campaigns already; try another one"))
        })?;
        Ok(Admitted { _own: own, _place: place })
    }
}

/// The place of a campaign, given back when it is dropped.
struct Admitted {
    _own: Place<Counted>,
    _place: OwnedSemaphorePermit,
}

#[tonic::async_trait]
impl LeadershipService for Leadership {
    type CampaignStream = BoxStream<'static, Result<CampaignResponse, Status>>;

    /// Begins the stream once the first request was authorized: until then the campaign holds nothing, and a refusal is
    /// the outcome of the call.
    async fn campaign(
        &self,
        request: Request<Streaming<CampaignRequest>>,
    ) -> Result<Response<Self::CampaignStream>, Status> {
        let authorizer = Authorizer::of(request.extensions())?;
        let peer = peer_network(peer(request.extensions()).address);
        let mut requests = request.into_inner();
        let first = next(&mut requests, Instant::now() + FIRST_REQUEST_TIMEOUT).await?;
        let first = first.ok_or_else(|| {
            error::invalid(&[Violation::new(
                "",
                "the stream ended before its first request, which names the election",
            )])
        })?;
        let election = first.election.clone();
        let (call, first) = authorizer.named("", &election, first).await?.into_parts();
        let candidate = Candidate::read(&call.user, &first)?;
        let place = self.admit(&call.user, peer)?;
        let (answers, receiver) = mpsc::channel(1);
        let (elections, shutdown) = (self.elections.clone(), self.shutdown.clone());
        let campaign =
            Campaign { user: call.user.clone(), election, elections, candidate, requests, answers };
        let task = AbortOnDropHandle::new(tokio::spawn(campaign.run(first, shutdown, place)));
        // The task ends with the stream, and the stream when the task has ended.
        let stream = futures::stream::unfold((receiver, task), |(mut receiver, task)| async {
            let answer = receiver.recv().await?;
            Some((answer, (receiver, task)))
        });
        Ok(Response::new(Box::pin(stream)))
    }
}

/// A campaign that was let in.
struct Campaign {
    user: String,
    election: String,
    elections: Arc<Elections>,
    candidate: Candidate,
    requests: Streaming<CampaignRequest>,
    answers: mpsc::Sender<Result<CampaignResponse, Status>>,
}

impl Campaign {
    async fn run(mut self, first: CampaignRequest, shutdown: CancellationToken, _place: Admitted) {
        let end = tokio::select! {
            end = self.hold(first) => end,
            () = shutdown.cancelled() => Err(Error::ShuttingDown.into()),
        };
        // The audit of the call ended when its stream began.
        let (user, election, code) =
            (&self.user, &self.election, end.as_ref().err().map_or(Code::Ok, Status::code));
        tracing::debug!(target: "krake_audit", user, election, ?code, "campaign ended");
        if let Err(status) = end {
            // The caller may be gone.
            let _ = self.answers.send(Err(status)).await;
        }
    }

    /// Bids until the campaign ends.
    async fn hold(&mut self, first: CampaignRequest) -> Result<(), Status> {
        let (elections, candidate) = (&self.elections, &self.candidate);
        let (mut request, mut vacancy) = (Some(first), None);
        let (mut sequence, mut patience) = (0, Instant::now());
        loop {
            if let Some(CampaignRequest { resign: true, .. }) = request {
                return Ok(elections.resign(candidate.clone()).await?);
            }
            if let Some(request) = request.take() {
                (sequence, patience) = (request.sequence, Instant::now() + candidate.ttl());
            }
            let standing = elections.campaign(candidate).await?;
            let answer = candidate.answer(&standing, sequence);
            if self.answers.send_timeout(Ok(answer), candidate.ttl()).await.is_err() {
                return Ok(());
            }
            vacancy = elections.vacancy(candidate, &standing, vacancy);
            tokio::select! {
                next = next(&mut self.requests, patience) => match next? {
                    // It may have broken off: only an explicit resignation frees the place.
                    None => return Ok(()),
                    next => request = next,
                },
                () = vacated(vacancy.as_mut()) => vacancy = None,
            }
        }
    }
}

/// The next request; `None` at the end of the stream.
async fn next<T>(requests: &mut Streaming<T>, patience: Instant) -> Result<Option<T>, Status> {
    match timeout_at(patience, requests.message()).await {
        Ok(received) => {
            received.map_err(|status| transport::explained(&status, MAX_SMALL_REQUEST).unwrap_or(status))
        }
        Err(_) => {
            let text = "no request came in time; campaign again";
            Err(error::status(Code::DeadlineExceeded, ErrorReason::DeadlineExceeded, text))
        }
    }
}

async fn vacated(vacancy: Option<&mut Vacancy>) {
    match vacancy {
        Some(vacancy) => vacancy.comes().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;
    use krake_proto::codec::RawCodec;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_sends_nothing_ends_with_an_error() {
        let silent = futures::stream::pending::<Result<Bytes, Infallible>>();
        let body = axum::body::Body::from_stream(silent);
        let mut requests = Streaming::new_request(RawCodec, body, None, None);
        let begin = Instant::now();
        let ended = next(&mut requests, begin + FIRST_REQUEST_TIMEOUT).await.unwrap_err();
        assert_eq!(error::reason(&ended), Some(ErrorReason::DeadlineExceeded));
        assert_eq!(begin.elapsed(), FIRST_REQUEST_TIMEOUT);
    }
}
