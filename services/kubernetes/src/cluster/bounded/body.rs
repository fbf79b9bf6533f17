//! A body that ends with an error when it leaves its bounds.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use kube::client::Body;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::PollSemaphore;
use tower::BoxError;

use super::AnswerError;
use super::limits::{Limits, Meter};

/// The body of an answer, under the bounds of its call.
pub(crate) struct BoundedBody {
    inner: Body,
    meter: Meter,
    stall: Option<(Duration, Pin<Box<Sleep>>)>,
    whole: Option<(Duration, Pin<Box<Sleep>>)>,
    /// Where a large answer waits for its turn.
    turns: PollSemaphore,
    turn: Option<OwnedSemaphorePermit>,
}

impl BoundedBody {
    /// `inner` under bounds. Of all bodies with the same `large`, one goes on at a time once it is large.
    pub(super) fn new(inner: Body, limits: Limits, large: Arc<Semaphore>) -> Self {
        let timer = |time: Duration| (time, Box::pin(tokio::time::sleep(time)));
        BoundedBody {
            inner,
            meter: Meter::new(limits),
            stall: limits.stall.map(timer),
            whole: limits.whole.map(timer),
            turns: PollSemaphore::new(large),
            turn: None,
        }
    }

    /// Bytes of our own, which need no bounds.
    pub(super) fn whole(bytes: Vec<u8>) -> Self {
        let unbounded = Limits::own();
        Self::new(Body::from(bytes), unbounded, Arc::new(Semaphore::new(1)))
    }

    /// Waits until this body may hold a large answer; true while it has to wait.
    fn poll_turn(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if !self.meter.is_large() {
            self.turn = None;
        } else if self.turn.is_none() {
            self.turn = ready!(self.turns.poll_acquire(context));
            self.restart_stall();
        }
        Poll::Ready(())
    }

    fn restart_stall(&mut self) {
        if let Some((time, timer)) = &mut self.stall {
            timer.as_mut().reset(Instant::now() + *time);
        }
    }

    /// The error of a timer that has run out.
    fn poll_timers(&mut self, context: &mut Context<'_>, reading: bool) -> Poll<AnswerError> {
        if let Some((time, timer)) = &mut self.whole
            && timer.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(AnswerError::TooSlow { seconds: time.as_secs() });
        }
        if let Some((time, timer)) = &mut self.stall
            && reading
            && timer.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(AnswerError::Stalled { seconds: time.as_secs() });
        }
        Poll::Pending
    }
}

impl HttpBody for BoundedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let reading = this.poll_turn(context).is_ready();
        let frame = if reading { Pin::new(&mut this.inner).poll_frame(context) } else { Poll::Pending };
        let frame = match frame {
            Poll::Pending => {
                let late = ready!(this.poll_timers(context, reading));
                return Poll::Ready(Some(Err(late.into())));
            }
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(Some(Ok(frame))) => frame,
        };
        // A server that always has another byte ready must not outlive the time of the whole.
        if let Poll::Ready(late) = this.poll_timers(context, false) {
            return Poll::Ready(Some(Err(late.into())));
        }
        this.restart_stall();
        if let Some(data) = frame.data_ref() {
            this.meter.take(data)?;
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
