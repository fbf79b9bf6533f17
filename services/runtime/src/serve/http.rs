//! The one way to serve HTTP/1.1 and HTTP/2 for people and browsers: TLS, limits that slow clients run into, a span per
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

/// How an HTTP listener serves. The size of bodies is the router's matter.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// TLS, see [`crate::tls::TlsArgs::resolve_http`]; `None` serves in the clear.
    pub tls: Option<Arc<ServerConfig>>,
    /// Limits of connections. Default: those of gRPC, but for 256 requests at the same time on one HTTP/2 connection,
    /// watches among them.
    pub limits: ConnectionLimits,
    /// Time for the head of an HTTP/1.1 request, waiting for it included: idle connections are closed after it. Default
    /// 75 s, as usual for HTTP.
    pub head_timeout: Duration,
    /// By which names it is called, and from which web pages. Default: on a loopback address loopback names and IP
    /// addresses; no foreign page.
    pub hosts: HostRules,
    /// What is measured. Default: measured, not shown.
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
            limits: ConnectionLimits { max_concurrent_streams: 256, ..limits },
            head_timeout: Duration::from_secs(75),
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
