//! A connection whose peer must not stand still: it opens its protocol soon, and takes what is sent to it.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// First bytes of every HTTP/2 connection.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// See the module.
pub(super) struct Guarded<S> {
    stream: S,
    /// Until it is known which protocol the peer speaks. The server then has time limits of its own: for the head of an
    /// HTTP/1.1 request, and for the answer to an HTTP/2 ping.
    opening: Option<Opening>,
    /// While the peer takes nothing.
    stall: Option<Pin<Box<Sleep>>>,
    stall_timeout: Duration,
}

/// A connection whose protocol is not known yet.
struct Opening {
    deadline: Pin<Box<Sleep>>,
    /// Bytes of HTTP/2's preface that have arrived.
    matched: usize,
}

impl Opening {
    /// Whether it is known, after `bytes`, which protocol the peer speaks.
    fn is_over(&mut self, bytes: &[u8]) -> bool {
        let expected = HTTP2_PREFACE.get(self.matched..).unwrap_or_default();
        let compared = expected.len().min(bytes.len());
        self.matched += compared;
        expected.len() == compared || expected.get(..compared) != bytes.get(..compared)
    }
}

impl<S> Guarded<S> {
    /// `opening_timeout`: time for the preface of HTTP/2, or for the first byte that is none of it. `stall_timeout`:
    /// time in which the peer takes at least some of what is sent to it.
    pub(super) fn new(stream: S, opening_timeout: Duration, stall_timeout: Duration) -> Self {
        let opening = Opening { deadline: Box::pin(sleep(opening_timeout)), matched: 0 };
        Guarded { stream, opening: Some(opening), stall: None, stall_timeout }
    }

    /// Passes progress on; without it, fails once the peer has stood still for too long.
    fn guard<T>(&mut self, context: &mut Context<'_>, progress: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if progress.is_ready() {
            self.stall = None;
            return progress;
        }
        let timeout = self.stall_timeout;
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(timeout)));
        ready!(stall.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let progress = Pin::new(&mut self.stream).poll_read(context, buffer);
        let Some(opening) = &mut self.opening else { return progress };
        // Also when bytes have come: a peer that sends one now and then must not have for ever.
        if opening.deadline.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        if progress.is_ready() && opening.is_over(buffer.filled().get(before..).unwrap_or_default()) {
            self.opening = None;
        }
        progress
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.guard(context, progress)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let progress = Pin::new(&mut self.stream).poll_flush(context);
        self.guard(context, progress)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let progress = Pin::new(&mut self.stream).poll_shutdown(context);
        self.guard(context, progress)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.guard(context, progress)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::Instant;

    use super::*;

    const OPENING: Duration = Duration::from_secs(30);
    const STALL: Duration = Duration::from_secs(60);

    /// Reads until nothing more comes; how long that took, and why it ended.
    async fn read_all(stream: tokio::io::DuplexStream) -> (Duration, io::ErrorKind) {
        let (mut guarded, started) = (Guarded::new(stream, OPENING, STALL), Instant::now());
        loop {
            if let Err(error) = guarded.read_u8().await {
                return (started.elapsed(), error.kind());
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_open_its_protocol_in_time_is_given_up() {
        for begun in ["", "P", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r"] {
            let (stream, mut peer) = duplex(64);
            peer.write_all(begun.as_bytes()).await.unwrap();
            assert_eq!(read_all(stream).await, (OPENING, io::ErrorKind::TimedOut), "{begun:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_one_by_one_do_not_prolong_the_opening() {
        let (stream, mut peer) = duplex(64);
        let drip = async {
            for byte in HTTP2_PREFACE {
                tokio::time::sleep(OPENING / 8).await;
                if peer.write_u8(*byte).await.is_err() {
                    return;
                }
            }
        };
        let (ended, ()) = tokio::join!(read_all(stream), drip);
        assert_eq!(ended.1, io::ErrorKind::TimedOut);
        assert!(ended.0 < OPENING * 2, "{ended:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_opened_its_protocol_may_be_silent() {
        for opened in [HTTP2_PREFACE, b"GET", b"PUT"] {
            let (stream, mut peer) = duplex(64);
            peer.write_all(opened).await.unwrap();
            let reader = tokio::spawn(read_all(stream));
            tokio::time::sleep(OPENING * 10).await;
            drop(peer);
            assert_eq!(reader.await.unwrap(), (OPENING * 10, io::ErrorKind::UnexpectedEof), "{opened:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_nothing_is_given_up_and_a_slow_one_is_not() {
        let (stream, mut peer) = duplex(64);
        let mut guarded = Guarded::new(stream, OPENING, STALL);
        let slow = async {
            for _ in 0..4 {
                tokio::time::sleep(STALL / 2).await;
                let mut some = [0; 64];
                peer.read_exact(&mut some).await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(guarded.write_all(&[0; 5 * 64]), slow);
        written.unwrap();
        let started = Instant::now();
        let error = guarded.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!((error.kind(), started.elapsed()), (io::ErrorKind::TimedOut, STALL));
    }
}
