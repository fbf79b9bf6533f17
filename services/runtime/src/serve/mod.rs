//! The one way to serve gRPC: health, reflection, TLS, keep-alive, limits, a span per call, and a drain that ends.

pub mod http;
mod incoming;
mod trace;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

pub use incoming::Listener;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::{Server, ServerTlsConfig};
use tonic_health::ServingStatus;
use tonic_health::server::{HealthReporter, health_reporter};

use crate::shutdown::Shutdown;

/// Why a listener does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be bound: in use, not of this host, or not permitted.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// What the operating system says.
        source: io::Error,
    },
    /// The descriptor bytes given for reflection are not a descriptor set: a defect of the build.
    #[error("the descriptor set for reflection does not decode")]
    Descriptors(#[source] tonic_reflection::server::Error),
    /// The TLS configuration cannot be used, or the server broke down.
    #[error("the gRPC server failed")]
    Transport(#[from] tonic::transport::Error),
}

/// Limits of a listener. The limit on message sizes is set at each service.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// TLS, see [`crate::tls::TlsArgs`]; `None` serves in the clear.
    pub tls: Option<ServerTlsConfig>,
    /// A connection that shows no sign of life for this long is asked for one. Default 10 s.
    pub keep_alive_interval: Duration,
    /// A connection that does not answer for this long is closed. Default 10 s.
    pub keep_alive_timeout: Duration,
    /// Calls open at the same time on one connection, watches among them. Default 4096.
    pub max_concurrent_streams: u32,
    /// Time until the answer begins; a stream may then last. A caller's shorter deadline wins. Default 60 s.
    pub request_timeout: Duration,
    /// Time for calls under way once shutdown is requested; then connections are cut. Services end their watches
    /// themselves, at once. Default 5 s, less than [`crate::shutdown::SHUTDOWN_DEADLINE`].
    pub drain: Duration,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            tls: None,
            keep_alive_interval: Duration::from_secs(10),
            keep_alive_timeout: Duration::from_secs(10),
            max_concurrent_streams: 4096,
            request_timeout: Duration::from_secs(60),
            drain: Duration::from_secs(5),
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

/// Binds `address`. Listening on more than the loopback interface without TLS is said in the log: whoever reaches
/// the port can read and change what passes.
pub async fn bind(address: SocketAddr, tls: bool) -> Result<TcpListener, ServeError> {
    if is_exposed(address, tls) {
        tracing::warn!(%address, "listening without TLS on an address that other hosts can reach");
    }
    TcpListener::bind(address).await.map_err(|source| ServeError::Bind { address, source })
}

fn is_exposed(address: SocketAddr, tls: bool) -> bool {
    !tls && !address.ip().to_canonical().is_loopback()
}

/// Serves until shutdown is requested and calls under way have ended, or [`ServeOptions::drain`] has passed; no
/// connection outlives this call.
pub async fn serve(
    listener: impl Listener,
    services: Services,
    options: ServeOptions,
    shutdown: Shutdown,
) -> Result<(), ServeError> {
    let Services { routes, health } = services;
    let mut builder = Server::builder()
        .http2_keepalive_interval(Some(options.keep_alive_interval))
        .http2_keepalive_timeout(Some(options.keep_alive_timeout))
        .max_concurrent_streams(options.max_concurrent_streams)
        .timeout(options.request_timeout);
    if let Some(tls) = options.tls {
        builder = builder.tls_config(tls)?;
    }
    let requested = async {
        shutdown.requested().await;
        health.set_serving(false).await;
    };
    // The server leaves its connections to tasks of their own and waits for them without limit (hyperium/hyper#4170):
    // this cuts them when the wait is over, and also when this future is dropped.
    let cut = CancellationToken::new();
    let _cut_on_return = cut.clone().drop_guard();
    let server = builder
        .layer(trace::RpcTraceLayer)
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming::accept(listener, cut), requested);
    match shutdown.run_until_done(options.drain, Box::pin(server)).await {
        Ok(result) => Ok(result?),
        Err(cut_off) => {
            tracing::warn!(%cut_off, "calls were still under way");
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests;
