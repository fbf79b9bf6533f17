//! The simulated network: listeners and connectors over turmoil, in the forms that the services take them.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::uri::{Authority, Scheme};
use http::{Request, Uri};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo};
use krake_client::ConnectOptions;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};
use tonic::transport::Endpoint;
use turmoil::net::{TcpListener, TcpStream};

/// Port of every server.
const PORT: u16 = 80;
/// How often a peer is asked for a sign of life, and how long it may take.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(2);

/// The simulated time at which the present step began, for those who look from outside.
#[derive(Default)]
pub(crate) struct Time(AtomicU64);

impl Time {
    pub(crate) fn set(&self, elapsed: Duration) {
        self.0.store(elapsed.as_micros() as u64, Ordering::SeqCst);
    }

    /// How long the simulation lasts by now.
    pub(crate) fn elapsed(&self) -> Duration {
        turmoil::sim_elapsed().unwrap_or_else(|| Duration::from_micros(self.0.load(Ordering::SeqCst)))
    }
}

/// Time of day on a simulated host, since the Unix epoch.
pub(crate) fn time_of_day() -> Duration {
    Duration::from_secs(1_800_000_000) + turmoil::sim_elapsed().unwrap()
}

/// A connection that fails when nothing came for some time.
pub(crate) struct Io {
    stream: TcpStream,
    silence: Duration,
    limit: Pin<Box<Sleep>>,
}

impl Io {
    async fn connect(host: String, silence: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect((host.as_str(), PORT)).await?;
        Ok(Io { stream, silence, limit: Box::pin(tokio::time::sleep(silence)) })
    }
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(result) = Pin::new(&mut self.stream).poll_read(cx, buffer) {
            let next = Instant::now() + self.silence;
            self.limit.as_mut().reset(next);
            return Poll::Ready(result);
        }
        ready!(self.limit.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        // Silence counts from the last sign of either side.
        let next = Instant::now() + self.silence;
        self.limit.as_mut().reset(next);
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Connection for Io {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

/// The listener of a simulated host.
pub(crate) struct Listener(TcpListener);

impl Listener {
    pub(crate) async fn bind() -> io::Result<Self> {
        Ok(Listener(TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).await?))
    }
}

impl krake_runtime::serve::Listener for Listener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        self.0.accept().await
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

impl axum::serve::Listener for Listener {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            if let Ok(accepted) = self.0.accept().await {
                return accepted;
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// How a simulated host reaches the state service.
pub(crate) fn connect_options() -> ConnectOptions {
    let forever = Duration::from_secs(3600);
    let connector = tower::service_fn(move |uri: Uri| async move {
        let host = uri.host().unwrap_or_default().to_owned();
        Io::connect(host, forever).await.map(TokioIo::new)
    });
    let channel = Endpoint::from_static("http://state")
        .connect_timeout(Duration::from_secs(2))
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true)
        .connect_with_connector_lazy(connector);
    let mut options = ConnectOptions::new("http://state");
    options.channel = Some(channel);
    options.request_timeout = Duration::from_secs(5);
    options
}

/// A Kubernetes client of the API server on a simulated host. `on_effect` is told each request that changes something,
/// when it is about to be sent.
pub(crate) fn kubernetes(
    host: &str,
    silence: Duration,
    on_effect: impl Fn(String) + Send + Sync + 'static,
) -> kube::Client {
    let on_effect = Arc::new(on_effect);
    let connector = tower::service_fn(move |uri: Uri| {
        let host = uri.host().unwrap_or_default().to_owned();
        Box::pin(async move { Io::connect(host, silence).await.map(TokioIo::new) })
    });
    let client = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(connector);
    let authority = Authority::try_from(host).unwrap();
    let service = tower::service_fn(move |mut request: Request<kube::client::Body>| {
        let mut parts = request.uri().clone().into_parts();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(authority.clone());
        *request.uri_mut() = Uri::from_parts(parts).unwrap();
        if request.method() != http::Method::GET {
            on_effect(format!("{} {}", request.method(), request.uri()));
        }
        client.request(request)
    });
    kube::Client::new(service, "default")
}

/// Serves a router until the host crashes.
pub(crate) async fn serve(router: axum::Router) -> Result<Infallible, Box<dyn std::error::Error>> {
    axum::serve(Listener::bind().await?, router).await?;
    Err("the server ended".into())
}
