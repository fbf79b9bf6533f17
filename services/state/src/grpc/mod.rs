//! The gRPC edge: bytes in, bytes out, errors as status. No rules live here.

mod authentication;
mod dispatch;
mod encoding;
mod identity;
mod leadership;
mod objects;
mod status;

use std::sync::Arc;

use krake_proto::KINDS;
use krake_proto::krake::core::v1::identity_service_server::IdentityServiceServer;
use krake_proto::krake::core::v1::leadership_service_server::LeadershipServiceServer;
use krake_proto::krake::meta::v1::object_service_server::ObjectServiceServer;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

pub use authentication::Authentication;

use crate::installation::Installation;
use crate::registry::Registry;

/// The largest request that is read, in bytes; requests beyond it are refused by the transport.
pub(crate) const MAX_REQUEST: usize = 4 * 1024 * 1024;

/// All services of the API over `registry`. `shutdown` ends the watches.
pub(crate) fn routes(
    registry: Arc<Registry>,
    installation: Installation,
    authentication: Authentication,
    shutdown: CancellationToken,
) -> Routes {
    let objects = objects::Objects {
        registry: registry.clone(),
        installation: installation.clone(),
        authentication: authentication.clone(),
        shutdown: shutdown.clone(),
    };
    let identity = identity::Identity { authentication: authentication.clone() };
    let leadership = leadership::Leadership::new(registry.clone(), authentication.clone(), shutdown.clone());
    let mut routes = Routes::new(ObjectServiceServer::new(objects).max_decoding_message_size(MAX_REQUEST))
        .add_service(LeadershipServiceServer::new(leadership).max_decoding_message_size(MAX_REQUEST))
        .add_service(IdentityServiceServer::new(identity).max_decoding_message_size(MAX_REQUEST));
    for kind in KINDS {
        let service = dispatch::KindService::new(
            kind,
            registry.clone(),
            installation.epoch.clone(),
            authentication.clone(),
            shutdown.clone(),
        );
        let router = std::mem::take(routes.axum_router_mut());
        *routes.axum_router_mut() = router.route_service(&format!("/{}/{{*method}}", kind.service), service);
    }
    routes
}
