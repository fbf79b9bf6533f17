//! `IdentityService`: tells callers who they are taken for.

use krake_proto::krake::core::v1::identity_service_server::IdentityService;
use krake_proto::krake::core::v1::{Caller, GetCallerRequest};
use tonic::{Request, Response, Status};

use super::Authentication;

/// The service.
pub(super) struct Identity {
    pub(super) authentication: Authentication,
}

#[tonic::async_trait]
impl IdentityService for Identity {
    async fn get_caller(&self, request: Request<GetCallerRequest>) -> Result<Response<Caller>, Status> {
        let call = self.authentication.call(request.metadata().as_ref())?;
        // There are no roles yet that could be bound to anybody.
        Ok(Response::new(Caller { user: call.user, roles: Vec::new() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Code;

    #[tokio::test]
    async fn callers_are_told_who_they_are_taken_for_and_strangers_nothing() {
        let known = Authentication { static_user: Some("alice".to_owned()), allow_anonymous: false };
        let answer = Identity { authentication: known }.get_caller(Request::new(GetCallerRequest {})).await;
        assert_eq!(answer.unwrap().into_inner().user, "alice");
        let strict = Identity { authentication: Authentication::default() };
        let refused = strict.get_caller(Request::new(GetCallerRequest {})).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated);
    }
}
