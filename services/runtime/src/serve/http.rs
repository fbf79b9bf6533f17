//! The one way to serve HTTP/1.1 and HTTP/2 for people and browsers: TLS, limits against slow clients, a span per
//! request, and a drain that ends.

mod metrics;
mod trace;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::middleware;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use rustls::ServerConfig;
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;

use super::connections::{Connections, Versions};
use super::hosts::{self, HostGuard, HostRules};
use super::{ConnectionLimits, Listener, reach};
use crate::shutdown::Shutdown;
pub use metrics::HttpMetrics;

/// Time for the head of an HTTP/1.1 request, the wait for it on an idle connection included. Long enough for a slow
/// link; twice the 15 s after which upstream's client (aiohttp) closes an idle connection itself, so that none is
/// closed under a request of it. Slow heads hold a place no longer.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Requests open at the same time on one HTTP/2 connection, watches among them: more than a browser or a client of the
/// REST API has, and few enough that one connection cannot take all of a gateway's memory.
const MAX_CONCURRENT_REQUESTS: u32 = 256;

/// How an HTTP listener serves. The router limits the size of bodies.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// TLS, see [`crate::tls::TlsArgs::resolve_http`]; `None` serves in the clear.
    pub tls: Option<Arc<ServerConfig>>,
    /// Limits of connections. Default: those of gRPC, but for 256 requests at the same time on one HTTP/2 connection,
    /// watches among them.
    pub limits: ConnectionLimits,
    /// Time for the head of an HTTP/1.1 request, waiting for it included: idle connections are closed after it. Default
    /// [`HEAD_TIMEOUT`].
    pub head_timeout: Duration,
    /// Host names that it serves, and origins of web pages. Default: on a loopback address loopback names and IP
    /// addresses; no foreign page.
    pub hosts: HostRules,
    /// Its metrics. Default: measured and shown nowhere.
    pub metrics: HttpMetrics,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self::with(ConnectionLimits::default())
    }
}

impl HttpOptions {
    /// The defaults with the limits of a configuration.
    pub fn with(limits: ConnectionLimits) -> Self {
        Self {
            tls: None,
            limits: ConnectionLimits { max_concurrent_streams: MAX_CONCURRENT_REQUESTS, ..limits },
            head_timeout: HEAD_TIMEOUT,
            hosts: HostRules::default(),
            metrics: HttpMetrics::default(),
        }
    }
}

/// Serves until shutdown is requested and requests under way have ended, or [`ConnectionLimits::drain`] has passed; no
/// connection outlives this call.
///
/// # Errors
/// When the listener has no address.
pub async fn serve_http(
    listener: impl Listener,
    router: Router,
    options: HttpOptions,
    shutdown: Shutdown,
) -> io::Result<()> {
    let reach = reach(listener.local_addr()?);
    // Refusals are measured too.
    let measured = middleware::from_fn_with_state(options.metrics.clone(), trace::request);
    let service = HostGuard::new(router.with_state::<()>(()), reach, options.hosts, hosts::problem);
    let service = Router::new().fallback_service(service).layer(measured);
    let service = service.map_request(|request: Request<Incoming>| request.map(Body::new));
    let connections = Connections {
        handler: BoxCloneSyncService::new(service),
        versions: Versions::All { head_timeout: options.head_timeout },
        tls: options.tls,
        limits: options.limits,
        refuse: || {
            let text = "too many requests of this address are open";
            hosts::problem_with(StatusCode::TOO_MANY_REQUESTS, text)
        },
        metrics: options.metrics.connections,
    };
    connections.serve(listener, shutdown).await;
    Ok(())
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tls_tests;
