//! `LeadershipService`: one task per campaign turns signs of life and vacancies into bids.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use krake_proto::krake::core::v1::leadership_service_server::LeadershipService;
use krake_proto::krake::core::v1::{CampaignRequest, CampaignResponse};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Request, Response, Status, Streaming};

use super::pipeline::Admission;
use crate::registry::{Candidate, Error, Registry, Vacancy};

/// The most campaigns that one replica serves at a time; each may hold a watch on the store.
const MAX_CAMPAIGNS: usize = 256;
/// How long the first request may be in coming.
const FIRST_REQUEST: Duration = Duration::from_secs(10);

/// The service.
pub(super) struct Leadership {
    registry: Arc<Registry>,
    shutdown: CancellationToken,
    campaigns: Arc<Semaphore>,
}

impl Leadership {
    pub(super) fn new(registry: Arc<Registry>, shutdown: CancellationToken) -> Self {
        Leadership { registry, shutdown, campaigns: Arc::new(Semaphore::new(MAX_CAMPAIGNS)) }
    }
}

#[tonic::async_trait]
impl LeadershipService for Leadership {
    type CampaignStream = BoxStream<'static, Result<CampaignResponse, Status>>;

    async fn campaign(
        &self,
        request: Request<Streaming<CampaignRequest>>,
    ) -> Result<Response<Self::CampaignStream>, Status> {
        let admission = Admission::of(request.extensions())?;
        let permit = self.campaigns.clone().try_acquire_owned().map_err(|_| {
            let text = format!("this replica serves {MAX_CAMPAIGNS} campaigns already; try another one");
            Status::resource_exhausted(text)
        })?;
        let (answers, receiver) = mpsc::channel(1);
        let (registry, shutdown) = (self.registry.clone(), self.shutdown.clone());
        let requests = request.into_inner();
        let task = AbortOnDropHandle::new(tokio::spawn(serve(
            registry, admission, requests, answers, shutdown, permit,
        )));
        // The task ends with the stream, and the stream when the task has ended.
        let stream = futures::stream::unfold((receiver, task), |(mut receiver, task)| async {
            let answer = receiver.recv().await?;
            Some((answer, (receiver, task)))
        });
        Ok(Response::new(Box::pin(stream)))
    }
}

async fn serve(
    registry: Arc<Registry>,
    admission: Admission,
    requests: Streaming<CampaignRequest>,
    answers: mpsc::Sender<Result<CampaignResponse, Status>>,
    shutdown: CancellationToken,
    _permit: OwnedSemaphorePermit,
) {
    let end = tokio::select! {
        end = campaign(&registry, &admission, requests, &answers) => end,
        () = shutdown.cancelled() => Err(Error::ShuttingDown.into()),
    };
    if let Err(status) = end {
        // Nobody may be left to hear it.
        let _ = answers.send(Err(status)).await;
    }
}

/// Serves one campaign to its end.
async fn campaign(
    registry: &Registry,
    admission: &Admission,
    mut requests: Streaming<CampaignRequest>,
    answers: &mpsc::Sender<Result<CampaignResponse, Status>>,
) -> Result<(), Status> {
    let Some(first) = next(&mut requests, Instant::now() + FIRST_REQUEST).await? else { return Ok(()) };
    let (call, first) = admission.named("", &first.election.clone(), first)?.into_parts();
    let candidate = Candidate::read(&call, &first)?;
    let (mut request, mut vacancy) = (Some(first), None);
    let (mut sequence, mut patience) = (0, Instant::now());
    loop {
        if let Some(CampaignRequest { resign: true, .. }) = request {
            return Ok(registry.resign(candidate).await?);
        }
        if let Some(request) = request.take() {
            (sequence, patience) = (request.sequence, Instant::now() + candidate.ttl());
        }
        let standing = registry.campaign(&candidate).await?;
        if answers.send_timeout(Ok(candidate.answer(&standing, sequence)), candidate.ttl()).await.is_err() {
            return Ok(());
        }
        vacancy = registry.vacancy(&candidate, &standing, vacancy);
        tokio::select! {
            next = next(&mut requests, patience) => match next? {
                // It may have broken off: only an explicit resignation frees the place.
                None => return Ok(()),
                next => request = next,
            },
            () = vacated(vacancy.as_mut()) => vacancy = None,
        }
    }
}

/// The next request; `None` at the end of the stream.
async fn next(
    requests: &mut Streaming<CampaignRequest>,
    patience: Instant,
) -> Result<Option<CampaignRequest>, Status> {
    let late = |_| Err(Status::deadline_exceeded("no sign of life in time: campaign again"));
    timeout_at(patience, requests.message()).await.unwrap_or_else(late)
}

async fn vacated(vacancy: Option<&mut Vacancy>) {
    match vacancy {
        Some(vacancy) => vacancy.comes().await,
        None => std::future::pending().await,
    }
}
