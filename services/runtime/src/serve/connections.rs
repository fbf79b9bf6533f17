//! The connections of a listener, gRPC or REST: accepted up to the limits, opened in time, closed when idle, drained at
//! the end.

mod metrics;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};

use hyper::body::{Body, Incoming};
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::time::{Duration, Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::util::BoxCloneSyncService;

use super::activity::{Activity, Tracked};
use super::answers::PeerBudgets;
use super::certificate::CertificateNames;
use super::guard::Guarded;
use super::incoming::{Gathered, Listener, next};
use super::limits::ConnectionLimits;
use super::peer::{Peer, PeerCounts};
use super::stall;
use crate::shutdown::Shutdown;
pub(super) use metrics::ConnectionMetrics;

/// Maximum size in bytes of the buffer for the head of an HTTP/1.1 request; hyper's default is 400 KiB per connection.
const HTTP1_BUFFER_BYTES: usize = 64 * 1024;
/// Time for a peer to close its connection after the server has begun to.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);
/// Minimum time between two warnings about peers with too many connections: a flood must not flood the log.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// Errors of a connection, for the log.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Service that answers the requests of all connections.
pub(super) type Handler<B> = BoxCloneSyncService<Request<Incoming>, Response<B>, Infallible>;

/// Versions of HTTP that a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Versions {
    /// HTTP/2 alone, for gRPC.
    Http2,
    /// HTTP/1.1 too, with a time limit for each head, the wait for it included.
    All { head_timeout: Duration },
}

/// Everything that the connections of a listener are served with.
pub(super) struct Connections<B> {
    pub(super) handler: Handler<B>,
    pub(super) versions: Versions,
    pub(super) tls: Option<Arc<ServerConfig>>,
    pub(super) limits: ConnectionLimits,
    /// Makes the answer to calls beyond [`ConnectionLimits::max_calls_per_peer`].
    pub(super) refuse: fn() -> Response<B>,
    /// Counts connections and refused calls.
    pub(super) metrics: ConnectionMetrics,
}

impl<B> Connections<B>
where
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<BoxError>,
{
    /// Serves until shutdown is requested and requests under way have ended, or [`ConnectionLimits::drain`] has passed.
    /// No connection outlives this call.
    pub(super) async fn serve(self, listener: impl Listener, shutdown: Shutdown) {
        let tasks = Tasks { stall_timeout: self.limits.stall_timeout, ..Tasks::default() };
        // Also when this future is dropped.
        let _cut_on_return = tasks.cut.clone().drop_guard();
        let (drain, connections) = (self.limits.drain, Arc::new(self));
        tokio::select! {
            () = connections.clone().accept(&listener, &tasks, &shutdown) => {}
            () = shutdown.requested() => {}
        }
        // The port is free before the drain, so that clients turn to another replica.
        drop(listener);
        tasks.running.close();
        if timeout(drain, tasks.running.wait()).await.is_err() {
            tracing::warn!(tasks = tasks.running.len(), "requests were still under way");
            tasks.cut.cancel();
            tasks.running.wait().await;
        }
    }

    /// Accepts connections for ever.
    async fn accept(self: Arc<Self>, listener: &impl Listener, tasks: &Tasks, shutdown: &Shutdown) {
        self.metrics.limited_to(self.limits.max_connections);
        let slots = Arc::new(Semaphore::new(self.limits.max_connections));
        let peers = PeerCounts::new(self.limits.max_connections_per_peer);
        let calls = PeerCounts::new(self.limits.max_calls_per_peer);
        let answers = PeerBudgets::new(&self.limits);
        let mut warned: Option<Instant> = None;
        // The semaphore is never closed.
        while let Ok(slot) = slots.clone().acquire_owned().await {
            let (stream, address) = next(listener).await;
            let Some(place) = peers.admit(address) else {
                self.metrics.refused();
                if warned.is_none_or(|warned| warned.elapsed() > WARNING_INTERVAL) {
                    warned = Some(Instant::now());
                    tracing::warn!(peer = %address.ip(), "too many connections: further ones are closed");
                }
                continue;
            };
            let connected = self.metrics.connected();
            let shared = Shared {
                calls: calls.clone(),
                answers: answers.clone(),
                tasks: tasks.clone(),
                shutdown: shutdown.clone(),
            };
            let serve = self.clone().connection(stream, address, shared);
            // A token of its own: a shared one would have all tasks wait on one lock.
            let cut = tasks.cut.child_token();
            tasks.running.spawn(async move {
                if let Some(Err(error)) = cut.run_until_cancelled(serve).await {
                    tracing::debug!(%error, peer = %address, "connection failed");
                }
                drop((slot, place, connected));
            });
        }
    }

    /// Serves one connection to its end.
    async fn connection<S>(
        self: Arc<Self>,
        stream: S,
        address: SocketAddr,
        shared: Shared,
    ) -> Result<(), BoxError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Some(tls) = self.tls.clone() else {
            return self.http(stream, Peer { address, certificate: None }, shared).await;
        };
        let stream = timeout(self.limits.opening_timeout, TlsAcceptor::from(tls).accept(stream)).await??;
        let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let certificate = certificates.first().map(|certificate| CertificateNames::read(certificate));
        self.http(stream, Peer { address, certificate }, shared).await
    }

    async fn http<S>(&self, stream: S, peer: Peer, shared: Shared) -> Result<(), BoxError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let limits = &self.limits;
        let stream = Guarded::new(stream, limits.opening_timeout, limits.stall_timeout);
        let activity = Activity::new();
        let service = Tracked {
            inner: self.handler.clone(),
            activity: activity.clone(),
            answers: shared.answers.of(peer.address),
            peer: Arc::new(peer),
            calls: shared.calls,
            refuse: self.refuse,
            refused: self.metrics.refused_calls(),
        };
        let builder = self.builder(shared.tasks);
        let connection =
            builder.serve_connection(TokioIo::new(Gathered::new(stream)), TowerToHyperService::new(service));
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            served = connection.as_mut() => return served,
            () = shared.shutdown.requested() => {}
            () = activity.idle_for(limits.idle_timeout) => {}
        }
        connection.as_mut().graceful_shutdown();
        tokio::select! {
            served = connection => served,
            // The peer does not close it.
            () = activity.idle_for(CLOSE_TIMEOUT) => Ok(()),
        }
    }

    fn builder(&self, tasks: Tasks) -> Builder<Tasks> {
        let limits = &self.limits;
        let mut builder = Builder::new(tasks);
        match self.versions {
            Versions::Http2 => builder = builder.http2_only(),
            Versions::All { head_timeout } => {
                builder
                    .http1()
                    .timer(TokioTimer::new())
                    .header_read_timeout(head_timeout)
                    .max_buf_size(HTTP1_BUFFER_BYTES);
            }
        }
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(limits.keep_alive_interval)
            .keep_alive_timeout(limits.keep_alive_timeout)
            .max_concurrent_streams(limits.max_concurrent_streams)
            .max_header_list_size(limits.max_header_bytes);
        builder
    }
}

/// State that the connections of a listener share.
struct Shared {
    /// Open calls of each peer.
    calls: PeerCounts,
    /// Room for the answers to each peer.
    answers: PeerBudgets,
    tasks: Tasks,
    shutdown: Shutdown,
}

/// The tasks of a listener: its connections, and the calls on those that speak HTTP/2. A call ends with its connection.
#[derive(Clone, Default)]
struct Tasks {
    running: TaskTracker,
    /// Ends all connections.
    cut: CancellationToken,
    /// Longest time that a large answer waits for its peer.
    stall_timeout: Duration,
}

impl<F> Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, task: F) {
        self.running.spawn(stall::run(task, self.stall_timeout));
    }
}

#[cfg(test)]
mod tests;
