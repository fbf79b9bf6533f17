//! Accepted connections: without Nagle's delay, and with small writes gathered.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::ready;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// Pause after an error of the listener itself (out of file descriptors, say), instead of spinning on it.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Maximum bytes that are gathered before they are sent.
const GATHERED_BYTES: usize = 32 * 1024;

/// Where connections come from: a TCP port, or the network of a simulation.
pub trait Listener: Send + Sync + 'static {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Waits for the next connection, and the address of the peer.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>> + Send;

    /// The address that is listened on.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, peer) = TcpListener::accept(self).await?;
        // Small frames must leave at once: with Nagle's algorithm each call waits for a delayed ACK.
        match stream.set_nodelay(true) {
            Ok(()) => Ok((stream, peer)),
            Err(error) => Err(io::Error::new(io::ErrorKind::ConnectionAborted, error)),
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        TcpListener::local_addr(self)
    }
}

/// A connection whose small writes are gathered.
///
/// HTTP/2 flushes after each frame with more than a few bytes, though others follow at once: with many watches on a
/// connection, or many calls, most of the time would go into system calls. So a flush is put off until the tasks that
/// are ready now had their turn, and perhaps written more: the task that flushes is woken again, and reads, as every
/// HTTP/2 connection does whenever it wakes; before that, everything gathered is sent.
pub(super) struct Gathered<S> {
    stream: S,
    /// Written and not yet sent.
    gathered: BytesMut,
    /// Sending is put off: the task has been woken for it.
    put_off: bool,
    /// The peer did not take all of it when it was last sent.
    stuck: bool,
}

impl<S> Gathered<S> {
    pub(super) fn new(stream: S) -> Self {
        Gathered { stream, gathered: BytesMut::new(), put_off: false, stuck: false }
    }
}

impl<S: AsyncWrite + Unpin> Gathered<S> {
    /// Sends what was gathered.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.put_off = false;
        self.stuck = true;
        while !self.gathered.is_empty() {
            let sent = ready!(Pin::new(&mut self.stream).poll_write(context, &self.gathered))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.gathered.advance(sent);
        }
        // An idle connection keeps no memory.
        self.gathered = BytesMut::new();
        self.stuck = false;
        Poll::Ready(Ok(()))
    }
}

/// The next connection; waits as long as it takes, through errors of the listener.
pub(super) async fn next<L: Listener>(listener: &L) -> (L::Stream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) if is_about_the_peer(&error) => tracing::debug!(%error, "connection was gone at once"),
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_about_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Gathered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // If the peer does not take it now, the rest is sent when it does.
        if let Poll::Ready(Err(error)) = self.poll_send(context) {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathered<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[io::IoSlice::new(bytes)])
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.gathered.is_empty() || self.stuck {
            ready!(self.poll_send(context))?;
            return Pin::new(&mut self.stream).poll_flush(context);
        }
        if !std::mem::replace(&mut self.put_off, true) {
            context.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length: usize = slices.iter().map(|slice| slice.len()).sum();
        if self.gathered.len() + length > GATHERED_BYTES {
            ready!(self.poll_send(context))?;
            if length > GATHERED_BYTES {
                return Pin::new(&mut self.stream).poll_write_vectored(context, slices);
            }
        }
        for slice in slices {
            self.gathered.extend_from_slice(slice);
        }
        Poll::Ready(Ok(length))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::task::{Wake, Waker};

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;

    #[tokio::test]
    async fn accepted_sockets_have_tcp_nodelay() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        assert!(next(&listener).await.0.nodelay().unwrap());
    }

    fn connection(buffer: usize) -> (Gathered<DuplexStream>, DuplexStream) {
        let (server, client) = tokio::io::duplex(buffer);
        (Gathered::new(server), client)
    }

    /// Counts how often a task was woken.
    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    /// A write of some bytes with a flush, which must be ready.
    fn put(connection: &mut Gathered<DuplexStream>, bytes: &[u8], context: &mut Context<'_>) {
        let written = pin!(&mut *connection).poll_write(context, bytes);
        assert!(matches!(written, Poll::Ready(Ok(length)) if length == bytes.len()), "{written:?}");
        assert!(matches!(pin!(&mut *connection).poll_flush(context), Poll::Ready(Ok(()))));
    }

    fn read(connection: &mut Gathered<DuplexStream>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut bytes = [0; 8];
        pin!(connection).poll_read(context, &mut ReadBuf::new(&mut bytes))
    }

    #[tokio::test]
    async fn what_is_written_at_once_is_sent_together_when_the_task_runs_again() {
        let (mut connection, mut client) = connection(1024);
        let woken = Arc::new(Count::default());
        let waker = Waker::from(woken.clone());
        let mut context = Context::from_waker(&waker);
        put(&mut connection, b"one ", &mut context);
        put(&mut connection, b"two", &mut context);
        assert_eq!(woken.0.load(SeqCst), 1, "the flush comes by itself");
        let mut bytes = [0; 64];
        assert!(pin!(client.read(&mut bytes)).poll(&mut context).is_pending());
        assert!(read(&mut connection, &mut context).is_pending());
        assert_eq!(client.read(&mut bytes).await.unwrap(), 7);
        assert_eq!(&bytes[..7], b"one two");
    }

    #[tokio::test]
    async fn a_peer_that_takes_nothing_is_waited_for_without_spinning() {
        let (mut connection, mut client) = connection(4);
        let woken = Arc::new(Count::default());
        let waker = Waker::from(woken.clone());
        let mut context = Context::from_waker(&waker);
        put(&mut connection, b"far too much", &mut context);
        for _ in 0..3 {
            assert!(read(&mut connection, &mut context).is_pending());
            assert!(pin!(&mut connection).poll_flush(&mut context).is_pending());
        }
        assert_eq!(woken.0.load(SeqCst), 1);
        let mut bytes = [0; 4];
        client.read_exact(&mut bytes).await.unwrap();
        assert!(woken.0.load(SeqCst) > 1, "it goes on when the peer has read");
    }

    #[tokio::test]
    async fn everything_arrives_in_order_whatever_the_sizes() {
        let (mut connection, mut client) = connection(5_000);
        let sent: Vec<u8> = (0..500_000_u32).map(|number| number.to_le_bytes()[0]).collect();
        let expected = sent.clone();
        let writer = tokio::spawn(async move {
            let mut rest = sent.as_slice();
            for size in
                [1, 300, 20_000, GATHERED_BYTES - 1, GATHERED_BYTES, GATHERED_BYTES + 1, 7, 100_000].repeat(2)
            {
                let (now, later) = rest.split_at(size);
                connection.write_all(now).await.unwrap();
                connection.flush().await.unwrap();
                rest = later;
            }
            connection.write_all(rest).await.unwrap();
            connection.shutdown().await.unwrap();
        });
        let mut received = Vec::new();
        client.read_to_end(&mut received).await.unwrap();
        writer.await.unwrap();
        assert!(received == expected);
    }
}
