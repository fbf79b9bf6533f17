//! A listener, with TLS or without, whose connections can be cut, one by one or all at once.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{Accept, TlsAcceptor};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Cuts the connection that a request came by, when it is cancelled.
#[derive(Clone, Debug)]
pub(super) struct Cut(pub(super) CancellationToken);

/// Accepts connections, and cuts all of them when `cut` is cancelled.
pub(super) struct CutListener {
    pub(super) listener: TcpListener,
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) cut: CancellationToken,
}

/// A connection that ends when it is cut: reading then fails, wherever it is stuck.
pub(super) struct Connection {
    stream: Stream,
    cut: CancellationToken,
    is_cut: Pin<Box<WaitForCancellationFutureOwned>>,
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// The handshake belongs to the connection's own task, so that a slow one keeps no other connection waiting.
enum Stream {
    Handshake(Box<Accept<TcpStream>>),
    Open(Box<dyn Duplex>),
}

impl Stream {
    fn poll_open(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Pin<&mut (dyn Duplex + 'static)>>> {
        if let Self::Handshake(accept) = self {
            let stream = ready!(Pin::new(&mut **accept).poll(context))?;
            *self = Self::Open(Box::new(stream));
        }
        match self {
            Self::Open(stream) => Poll::Ready(Ok(Pin::new(&mut **stream))),
            Self::Handshake(_) => Poll::Pending,
        }
    }
}

impl Listener for CutListener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let (stream, peer) = <TcpListener as Listener>::accept(&mut self.listener).await;
        // Events of watches are small, and must leave at once.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection was gone at once");
        }
        let stream = match &self.tls {
            Some(tls) => Stream::Handshake(Box::new(tls.accept(stream))),
            None => Stream::Open(Box::new(stream)),
        };
        let cut = self.cut.child_token();
        let is_cut = Box::pin(cut.clone().cancelled_owned());
        (Connection { stream, cut, is_cut }, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Connected<IncomingStream<'_, CutListener>> for Cut {
    fn connect_info(stream: IncomingStream<'_, CutListener>) -> Self {
        Self(stream.io().cut.clone())
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_cut.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        ready!(self.stream.poll_open(context))?.poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.stream.poll_open(context))?.poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.stream.poll_open(context))?.poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.stream.poll_open(context))?.poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.stream.poll_open(context))?.poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Open(stream) => stream.is_write_vectored(),
            Stream::Handshake(_) => false,
        }
    }
}
