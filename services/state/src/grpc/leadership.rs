//! `LeadershipService`: part of the contract; elections come with replicated controllers.

use futures::stream::BoxStream;
use krake_proto::krake::core::v1::leadership_service_server::LeadershipService;
use krake_proto::krake::core::v1::{CampaignRequest, CampaignResponse};
use tonic::{Request, Response, Status, Streaming};

use super::Authentication;
use crate::registry::Error;

/// Refuses campaigns by name.
pub(super) struct Leadership {
    pub(super) authentication: Authentication,
}

#[tonic::async_trait]
impl LeadershipService for Leadership {
    type CampaignStream = BoxStream<'static, Result<CampaignResponse, Status>>;

    async fn campaign(
        &self,
        request: Request<Streaming<CampaignRequest>>,
    ) -> Result<Response<Self::CampaignStream>, Status> {
        self.authentication.call(request.metadata().as_ref())?;
        Err(Error::NotBuilt("leader election").into())
    }
}
