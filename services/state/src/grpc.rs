//! The gRPC edge: bytes in, bytes out, errors as status. No rules live here.
//!
//! A call passes `pipeline.rs` (authentication, audit), then its handler authorizes it by what it names (`rpc.rs`), its
//! preconditions are checked (`preconditions.rs`), and the registry or the elections serve it.

mod answers;
mod audit;
mod authentication;
mod dispatch;
mod encoding;
mod identity;
mod large;
mod leadership;
mod metrics;
mod objects;
mod pipeline;
mod preconditions;
mod rpc;
mod status;
mod transport;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use http::{HeaderValue, Request, Response};
use krake_proto::KINDS;
use krake_proto::error::{self, ErrorReason};
use krake_proto::krake::core::v1::identity_service_server::IdentityServiceServer;
use krake_proto::krake::core::v1::leadership_service_server::LeadershipServiceServer;
use krake_proto::krake::meta::v1::object_service_server::ObjectServiceServer;
use krake_runtime::metrics::Metrics;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::Routes;

pub use audit::{Finished, Observer};
pub use authentication::{Authenticate, Authentication};

use crate::access::Authorization;
use crate::elections::Elections;
use crate::installation::Installation;
use crate::registry::Registry;
use metrics::RpcMetrics;
use pipeline::{Gate, Pipeline};
use rpc::RPCS;

/// Maximum size of a request, in bytes: several times the largest object. Larger ones are refused before they are read.
pub(crate) const MAX_REQUEST: usize = 4 * 1024 * 1024;
/// Maximum size of a request that holds no object, in bytes. A thousand uids, the largest that makes sense, take 38 KB.
/// Small, because an element of a list takes many times its encoding in memory.
const MAX_SMALL_REQUEST: usize = 64 * 1024;

/// Which callers are served, and what they may do.
#[derive(Clone)]
pub struct Callers {
    /// Finds out who calls.
    pub authentication: Arc<dyn Authenticate>,
    /// What each caller may do.
    pub authorization: Authorization,
    /// Called at the end of each call.
    pub observer: Option<Observer>,
}

impl From<Authentication> for Callers {
    /// By configuration, with everything allowed.
    fn from(settings: Authentication) -> Self {
        let authentication = Arc::new(authentication::Configured::new(settings));
        Callers { authentication, authorization: Authorization::default(), observer: None }
    }
}

/// All services of the API over `registry`. `shutdown` ends the watches; calls are shown in `metrics`.
///
/// # Errors
/// When the store's epoch is not what state writes.
pub(crate) fn routes(
    registry: Arc<Registry>,
    elections: Arc<Elections>,
    installation: Installation,
    callers: Callers,
    metrics: &Metrics,
    shutdown: CancellationToken,
) -> anyhow::Result<Routes> {
    let epoch = installation.epoch.clone();
    let gate = Arc::new(Gate {
        authentication: callers.authentication,
        authorization: callers.authorization,
        observer: callers.observer,
        elections: elections.clone(),
        epoch: HeaderValue::from_str(&epoch).context("the store's epoch is not a UUID")?,
    });
    let objects = objects::Objects { registry: registry.clone(), installation, shutdown: shutdown.clone() };
    let objects = ObjectServiceServer::new(objects).max_decoding_message_size(MAX_SMALL_REQUEST);
    let leadership = leadership::Leadership::new(elections, shutdown.clone());
    let leadership = LeadershipServiceServer::new(leadership).max_decoding_message_size(MAX_SMALL_REQUEST);
    let identity =
        IdentityServiceServer::new(identity::Identity).max_decoding_message_size(MAX_SMALL_REQUEST);
    let metrics = RpcMetrics::register(metrics);
    let mut api = Api { routes: Routes::default(), gate, metrics };
    api.add(name_of(&objects), objects, MAX_SMALL_REQUEST);
    api.add(name_of(&leadership), leadership, MAX_SMALL_REQUEST);
    api.add(name_of(&identity), identity, MAX_SMALL_REQUEST);
    let large = large::LargeRequests::default();
    for kind in KINDS {
        let shared = (registry.clone(), epoch.clone(), large.clone());
        let service = dispatch::KindService::new(kind, shared, shutdown.clone());
        api.add_each(kind.service, service, |rpc| dispatch::max_request(kind, rpc));
    }
    api.refuse_others();
    Ok(api.routes)
}

fn name_of<S: NamedService>(_: &S) -> &'static str {
    S::NAME
}

/// The services behind the gate.
struct Api {
    routes: Routes,
    gate: Arc<Gate>,
    metrics: RpcMetrics,
}

impl Api {
    /// Serves the RPCs of a service, each at its exact path. The service reads requests of at most `max_request` bytes.
    fn add<S>(&mut self, name: &str, service: S, max_request: usize)
    where
        S: tower::Service<Request<axum::body::Body>, Response = Response<Body>, Error = Infallible>
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send,
    {
        self.add_each(name, service, |_| max_request);
    }

    /// The same where each RPC reads requests of its own maximum size.
    fn add_each<S>(&mut self, name: &str, service: S, max_request: impl Fn(&str) -> usize)
    where
        S: tower::Service<Request<axum::body::Body>, Response = Response<Body>, Error = Infallible>
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send,
    {
        for rpc in RPCS.values().filter(|rpc| rpc.service == name) {
            let metrics = self.metrics.method(&rpc.path);
            let (inner, gate) = (service.clone(), self.gate.clone());
            let max_request = max_request(rpc.name());
            let pipeline = Pipeline { inner, gate, rpc, metrics, max_request };
            let router = std::mem::take(self.routes.axum_router_mut());
            *self.routes.axum_router_mut() = router.route_service(&rpc.path, pipeline);
        }
    }

    /// Answers UNIMPLEMENTED to all other paths.
    fn refuse_others(&mut self) {
        let other = self.metrics.other();
        let router = std::mem::take(self.routes.axum_router_mut());
        *self.routes.axum_router_mut() = router.fallback(move || {
            other.finished(Code::Unimplemented, Duration::ZERO);
            let text = "the API has no such method";
            let status = error::status(Code::Unimplemented, ErrorReason::NotBuilt, text);
            std::future::ready(status.into_http::<Body>())
        });
    }
}
