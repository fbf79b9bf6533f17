//! A connection whose peer must not stand still: it says something soon, and takes what is sent to it.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// See the module.
pub(super) struct Guarded<S> {
    stream: S,
    /// Until the first bytes come; what comes later is the server's matter.
    silence: Option<Pin<Box<Sleep>>>,
    /// While the peer takes nothing.
    stall: Option<Pin<Box<Sleep>>>,
    stall_timeout: Duration,
}

impl<S> Guarded<S> {
    pub(super) fn new(stream: S, silence: Duration, stall_timeout: Duration) -> Self {
        Guarded { stream, silence: Some(Box::pin(sleep(silence))), stall: None, stall_timeout }
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
        let progress = Pin::new(&mut self.stream).poll_read(context, buffer);
        if progress.is_ready() {
            self.silence = None;
        } else if let Some(silence) = &mut self.silence {
            ready!(silence.as_mut().poll(context));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
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

    const SILENCE: Duration = Duration::from_secs(30);
    const STALL: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_says_nothing_is_given_up_and_one_that_did_is_not() {
        let (stream, _peer) = duplex(64);
        let started = Instant::now();
        let error = Guarded::new(stream, SILENCE, STALL).read_u8().await.unwrap_err();
        assert_eq!((error.kind(), started.elapsed()), (io::ErrorKind::TimedOut, SILENCE));

        let (stream, mut peer) = duplex(64);
        let mut guarded = Guarded::new(stream, SILENCE, STALL);
        peer.write_u8(1).await.unwrap();
        guarded.read_u8().await.unwrap();
        tokio::select! {
            read = guarded.read_u8() => panic!("{read:?}"),
            () = tokio::time::sleep(SILENCE * 10) => {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_nothing_is_given_up_and_a_slow_one_is_not() {
        let (stream, mut peer) = duplex(64);
        let mut guarded = Guarded::new(stream, SILENCE, STALL);
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
