//! The one way to serve gRPC: health, reflection, TLS, keep-alive, limits, a span per call, and a drain that ends.
//!
//! A request passes, from the outside: the limits of its connection (`connections.rs`), the check of host and origin
//! (`hosts.rs`), its span (`trace.rs`), its deadline (`deadline.rs`), and then the services.

mod activity;
mod answers;
mod certificate;
mod connections;
mod deadline;
mod guard;
mod hosts;
pub mod http;
mod incoming;
mod limits;
mod peer;
mod stall;
mod trace;
#[cfg(test)]
mod wire;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ::http::Request;
pub use answers::{AnswerBudget, AnswerMemory, LargeAnswer, NoRoom, SMALL_ANSWER_BYTES};
pub use certificate::CertificateNames;
pub use deadline::CallDeadline;
pub use hosts::{AllowedHosts, HostRules, TrustedOrigins};
use hyper::body::Incoming;
pub use incoming::Listener;
use krake_proto::error::{self, ErrorReason};
pub use limits::{ConnectionLimits, ListenerArgs};
pub use peer::{Peer, PeerCounts, PeerPlace, peer_network};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpSocket};
use tonic::Code;
use tonic::body::Body;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::{HealthReporter, health_reporter};
use tower::util::BoxCloneSyncService;
use tower::{Layer, ServiceExt};

use crate::metrics::Metrics;
use crate::shutdown::Shutdown;
use connections::{ConnectionMetrics, Connections, Versions};
use deadline::Deadline;
use hosts::{HostGuard, Reach};

/// Why a listener does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be bound: in use, not of this host, or not permitted.
    #[error("cannot listen on {address}")]
    Bind {
        /// The requested address.
        address: SocketAddr,
        /// Error of the operating system.
        source: io::Error,
    },
    /// The descriptor bytes given for reflection are not a descriptor set: a defect of the build.
    #[error("the descriptor set for reflection does not decode")]
    Descriptors(#[source] tonic_reflection::server::Error),
    /// The listener does not know its own address.
    #[error("the listener has no address")]
    Address(#[source] io::Error),
}

/// Options of a gRPC listener. The limit on message sizes is set at each service.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// TLS, see [`crate::tls::TlsArgs::resolve`]; `None` serves in the clear.
    pub tls: Option<Arc<ServerConfig>>,
    /// Limits of connections.
    pub limits: ConnectionLimits,
    /// Host names that it serves, and origins of web pages. Default: on a loopback address loopback names and IP
    /// addresses; no foreign page.
    pub hosts: HostRules,
    /// Time until the answer begins; a stream may then last. A caller's shorter deadline wins. Default 60 s.
    pub request_timeout: Duration,
    /// Registry for the metrics of the listener and of the services. Default: shown nowhere.
    pub metrics: Metrics,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            tls: None,
            limits: ConnectionLimits::default(),
            hosts: HostRules::default(),
            request_timeout: Duration::from_secs(60),
            metrics: Metrics::default(),
        }
    }
}

/// The serving state that `grpc.health.v1.Health` reports; clones share it.
#[derive(Clone, Debug)]
pub struct Health {
    reporter: HealthReporter,
}

impl Health {
    /// Sets the state of the whole server (the service named ""): true at first, false from shutdown on.
    pub async fn set_serving(&self, serving: bool) {
        self.set_service_serving("", serving).await;
    }

    /// Sets the state of one service by its full name, such as `krake.kubernetes.v1.ApplicationService`.
    pub async fn set_service_serving(&self, service: &str, serving: bool) {
        let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        self.reporter.set_service_status(service, status).await;
    }
}

/// Services ready to be served: those given, health and reflection (v1 and v1alpha).
#[derive(Debug)]
pub struct Services {
    routes: Routes,
    health: Health,
}

impl Services {
    /// Joins `routes` (tonic's, or an axum router whose paths are `/package.Service/{*rest}`) with health, and with
    /// reflection over `descriptor_sets` (encoded `FileDescriptorSet`s; custom options are kept).
    pub fn new(routes: impl Into<Routes>, descriptor_sets: &[&[u8]]) -> Result<Self, ServeError> {
        let (reporter, health_service) = health_reporter();
        let reflection = || {
            let health = tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
            descriptor_sets.iter().fold(health, |all, set| all.register_encoded_file_descriptor_set(set))
        };
        let routes = routes
            .into()
            .add_service(health_service)
            .add_service(reflection().build_v1().map_err(ServeError::Descriptors)?)
            .add_service(reflection().build_v1alpha().map_err(ServeError::Descriptors)?);
        Ok(Self { routes, health: Health { reporter } })
    }

    /// The handle on the serving state.
    pub fn health(&self) -> Health {
        self.health.clone()
    }
}

/// Size in bytes of the kernel's buffer of what is sent on a connection. Left to itself it grows to megabytes, and takes the
/// next bytes only when a third of it is free: a peer that reads all the time, slowly, would seem to stand still.
const SEND_BUFFER: u32 = 256 * 1024;
/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// Binds `address`. Logs a warning about more than the loopback interface without TLS: everyone who reaches the port
/// can read and change the traffic.
pub async fn bind(address: SocketAddr, tls: bool) -> Result<TcpListener, ServeError> {
    if is_exposed(address, tls) {
        tracing::warn!(%address, "listening without TLS on an address that other hosts can reach");
    }
    listener(address).map_err(|source| ServeError::Bind { address, source })
}

fn listener(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // As `TcpListener::bind` does: a process that starts again gets its port back.
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn is_exposed(address: SocketAddr, tls: bool) -> bool {
    !tls && reach(address) == Reach::Network
}

fn reach(address: SocketAddr) -> Reach {
    if address.ip().to_canonical().is_loopback() { Reach::Loopback } else { Reach::Network }
}

/// Logs a warning about a listener that serves every host name to anonymous callers: a web page whose own host name
/// points there can then call, as the user of the browser could.
pub fn warn_about_any_host(address: SocketAddr, hosts: &HostRules) {
    if reach(address) == Reach::Network && hosts.allowed.is_empty() {
        tracing::warn!(%address, "anonymous callers are served by any host name: set --allowed-host");
    }
}

/// Serves until shutdown is requested and calls under way have ended, or [`ConnectionLimits::drain`] has passed; no
/// connection outlives this call.
pub async fn serve(
    listener: impl Listener,
    services: Services,
    options: ServeOptions,
    shutdown: Shutdown,
) -> Result<(), ServeError> {
    let Services { routes, health } = services;
    let address = listener.local_addr().map_err(ServeError::Address)?;
    let service = Deadline::new(routes.prepare(), options.request_timeout);
    let service = trace::RpcTraceLayer.layer(service);
    let service = HostGuard::new(service, reach(address), options.hosts, hosts::permission_denied);
    let service = service.map_request(|request: Request<Incoming>| request.map(Body::new));
    let connections = Connections {
        handler: BoxCloneSyncService::new(service),
        versions: Versions::Http2,
        tls: options.tls,
        limits: options.limits,
        refuse: || {
            let text = "too many calls of this address are open (--max-calls-per-peer); end some first";
            error::status(Code::ResourceExhausted, ErrorReason::TooManyCalls, text).into_http()
        },
        metrics: ConnectionMetrics::register(&options.metrics, "grpc"),
    };
    let report_shutdown = async {
        shutdown.requested().await;
        health.set_serving(false).await;
        std::future::pending().await
    };
    tokio::select! {
        () = connections.serve(listener, shutdown.clone()) => Ok(()),
        never = report_shutdown => never,
    }
}

#[cfg(test)]
mod tests;
