//! `IdentityService`: returns the user as whom a caller is authenticated.

use krake_proto::krake::core::v1::identity_service_server::IdentityService;
use krake_proto::krake::core::v1::{Caller, GetCallerRequest};
use tonic::{Request, Response, Status};

use super::pipeline::Authorizer;

/// The service.
pub(super) struct Identity;

#[tonic::async_trait]
impl IdentityService for Identity {
    async fn get_caller(&self, request: Request<GetCallerRequest>) -> Result<Response<Caller>, Status> {
        let (call, _) = Authorizer::decoded(request).await?.into_parts();
        // Roles are stored, but nothing evaluates them yet.
        Ok(Response::new(Caller { user: call.user, roles: Vec::new() }))
    }
}
