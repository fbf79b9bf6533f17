//! The one way to serve HTTP/1.1 and HTTP/2 for people and browsers: TLS, limits that slow clients run into, a span per
//! request, and a drain that ends.

mod guard;
mod metrics;
mod trace;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware;
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Listener;
use super::incoming::next;
use crate::shutdown::Shutdown;
use guard::Guarded;
pub use metrics::HttpMetrics;

/// How often an HTTP/2 connection is asked for a sign of life, and how long that may take.
const PING: Duration = Duration::from_secs(20);

/// Limits of a listener. The size of bodies is the router's matter.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// TLS, see [`crate::tls::TlsArgs::resolve_http`]; `None` serves in the clear.
    pub tls: Option<Arc<ServerConfig>>,
    /// Connections open at the same time; further ones wait to be accepted. Default 4096.
    pub max_connections: usize,
    /// Time for the TLS handshake, and then for the head of each request, waiting for it included: idle connections are
    /// closed after it. Default 75 s, as usual for HTTP.
    pub head_timeout: Duration,
    /// A client that takes nothing of what is sent to it for this long is cut off. Default 60 s.
    pub stall_timeout: Duration,
    /// Requests open at the same time on one HTTP/2 connection, watches among them. Default 256.
    pub max_concurrent_streams: u32,
    /// Time for requests under way once shutdown is requested; then connections are cut. Default 5 s.
    pub drain: Duration,
    /// What is measured. Default: measured, not shown.
    pub metrics: HttpMetrics,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            tls: None,
            max_connections: 4096,
            head_timeout: Duration::from_secs(75),
            stall_timeout: Duration::from_secs(60),
            max_concurrent_streams: 256,
            drain: Duration::from_secs(5),
            metrics: HttpMetrics::default(),
        }
    }
}

/// Serves until shutdown is requested and requests under way have ended, or [`HttpOptions::drain`] has passed; no
/// connection outlives this call.
pub async fn serve_http(listener: impl Listener, router: Router, options: HttpOptions, shutdown: Shutdown) {
    let router = router.layer(middleware::from_fn_with_state(options.metrics.clone(), trace::request));
    let tasks = Tasks::default();
    let slots = Arc::new(Semaphore::new(options.max_connections));
    // Also when this future is dropped.
    let _cut_on_return = tasks.cut.clone().drop_guard();
    let accept = async {
        // The semaphore is never closed.
        while let Ok(slot) = slots.clone().acquire_owned().await {
            let (stream, _) = next(&listener).await;
            let stream = Guarded::new(stream, options.head_timeout, options.stall_timeout);
            let serve = connection(stream, router.clone(), options.clone(), tasks.clone(), shutdown.clone());
            let connected = options.metrics.connected();
            tasks.execute(async move {
                serve.await;
                drop((slot, connected));
            });
        }
    };
    tokio::select! {
        () = accept => {}
        () = shutdown.requested() => {}
    }
    tasks.running.close();
    if timeout(options.drain, tasks.running.wait()).await.is_err() {
        tracing::warn!(tasks = tasks.running.len(), "requests were still under way");
        tasks.cut.cancel();
        tasks.running.wait().await;
    }
}

/// The tasks of a listener: its connections, and the requests on those that speak HTTP/2.
#[derive(Clone, Default)]
struct Tasks {
    running: TaskTracker,
    /// Ends all of them.
    cut: CancellationToken,
}

impl<F> Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, task: F) {
        // A token of its own: a shared one would have all tasks wait on one lock.
        let cut = self.cut.child_token();
        self.running.spawn(async move {
            tokio::select! {
                _ = task => {}
                () = cut.cancelled() => {}
            }
        });
    }
}

/// Serves one connection to its end.
async fn connection<S>(
    stream: Guarded<S>,
    router: Router,
    options: HttpOptions,
    tasks: Tasks,
    shutdown: Shutdown,
) where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = Builder::new(tasks);
    builder.http1().timer(TokioTimer::new()).header_read_timeout(options.head_timeout);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .max_concurrent_streams(options.max_concurrent_streams);
    let service = TowerToHyperService::new(router);
    let served = match options.tls {
        None => run(&builder, TokioIo::new(stream), service, &shutdown).await,
        Some(tls) => match timeout(options.head_timeout, TlsAcceptor::from(tls).accept(stream)).await {
            Ok(Ok(stream)) => run(&builder, TokioIo::new(stream), service, &shutdown).await,
            Ok(Err(error)) => Err(error.into()),
            Err(late) => Err(late.into()),
        },
    };
    if let Err(error) = served {
        tracing::debug!(%error, "connection failed");
    }
}

async fn run<I>(
    builder: &Builder<Tasks>,
    io: I,
    service: TowerToHyperService<Router>,
    shutdown: &Shutdown,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>>
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let mut connection = std::pin::pin!(builder.serve_connection(io, service));
    tokio::select! {
        served = connection.as_mut() => return served,
        () = shutdown.requested() => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tls_tests;
