//! Drops calls over HTTP/2 whose large answer the peer does not take. It may keep its windows closed and answer pings for
//! ever, and the answer would hold its memory as long.
//!
//! A large answer is handed to the connection in parts, and ends only after all of them are sent. Until then its call is
//! a task that can be dropped, which resets the stream and removes the parts that wait.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::task::AtomicWaker;
use hyper::body::{Body, Frame};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::answers::AnswerMemory;

/// Maximum size in bytes of a part: that of a frame of HTTP/2, unless the peer allows larger ones. Progress is the sending
/// of a whole part.
const PART_BYTES: usize = 16 * 1024;

tokio::task_local! {
    /// Of the call whose task this is.
    static PROGRESS: Progress;
}

/// Runs the task of a call to its end, or until its answer has waited for the peer for `limit`.
pub(super) async fn run(call: impl Future, limit: Duration) {
    let progress = Progress::new();
    tokio::select! {
        // The same in every simulation, and no random number for each poll.
        biased;
        _ = PROGRESS.scope(progress.clone(), call) => {}
        () = progress.stalled(limit) => tracing::debug!("a call is dropped: its answer was not read"),
    }
}

/// Follows the answer to one call; clones share it.
#[derive(Clone, Debug)]
pub(super) struct Progress(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    begin: Instant,
    /// When the peer last took something, in milliseconds since `begin`.
    last: AtomicU64,
    /// Whether the answer waits for the peer, not for what makes it.
    waits: AtomicBool,
    /// Parts that are not sent yet.
    unsent: AtomicUsize,
    /// Notified when the answer begins.
    begun: Notify,
    /// Woken when all parts are sent.
    sent: AtomicWaker,
}

impl Progress {
    fn new() -> Self {
        Progress(Arc::new(Shared {
            begin: Instant::now(),
            last: AtomicU64::new(0),
            waits: AtomicBool::new(false),
            unsent: AtomicUsize::new(0),
            begun: Notify::new(),
            sent: AtomicWaker::new(),
        }))
    }

    /// Follows the large answer of the call whose task this is; `None` if it has none, as over HTTP/1.
    pub(super) fn follow() -> Option<Self> {
        let progress = PROGRESS.try_with(Clone::clone).ok()?;
        progress.moved();
        progress.0.waits.store(true, Ordering::Release);
        progress.0.begun.notify_one();
        Some(progress)
    }

    /// Whether every part was sent.
    fn is_sent(&self) -> bool {
        self.0.unsent.load(Ordering::Acquire) == 0
    }

    fn moved(&self) {
        let since = u64::try_from(self.0.begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.last.fetch_max(since, Ordering::AcqRel);
    }

    /// Ends once the answer has waited for the peer for `limit`.
    async fn stalled(&self, limit: Duration) {
        self.0.begun.notified().await;
        loop {
            let now = Instant::now();
            let last = self.0.begin + Duration::from_millis(self.0.last.load(Ordering::Acquire));
            let since = if self.0.waits.load(Ordering::Acquire) { last } else { now };
            if since + limit <= now {
                return;
            }
            sleep_until(since + limit).await;
        }
    }

    fn poll_sent(&self, context: &mut Context<'_>) -> Poll<()> {
        self.0.sent.register(context.waker());
        if self.is_sent() { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// What was taken from the body of an answer and is not handed on yet.
#[derive(Debug)]
pub(super) struct Parts {
    progress: Progress,
    rest: Bytes,
    /// What comes after all data: trailers, or nothing.
    end: Option<Option<Frame<Bytes>>>,
}

impl Parts {
    pub(super) fn new(progress: Progress) -> Self {
        Parts { progress, rest: Bytes::new(), end: None }
    }

    /// Whether everything was handed on and sent.
    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty() && self.end.is_none() && self.progress.is_sent()
    }

    /// The next part of `body`. `memory` counts until it is sent.
    pub(super) fn poll_frame<E>(
        &mut self,
        body: Pin<&mut impl Body<Data = Bytes, Error = E>>,
        memory: Option<&AnswerMemory>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, E>>> {
        if self.rest.is_empty() && self.end.is_none() {
            let Poll::Ready(frame) = body.poll_frame(context) else {
                self.progress.0.waits.store(false, Ordering::Release);
                return Poll::Pending;
            };
            self.progress.0.waits.store(true, Ordering::Release);
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => self.rest = data,
                Some(Ok(Err(trailers))) => self.end = Some(Some(trailers)),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => self.end = Some(None),
            }
            self.progress.moved();
        }
        if let Some(end) = self.end.take() {
            if self.progress.poll_sent(context).is_pending() {
                self.end = Some(end);
                return Poll::Pending;
            }
            return Poll::Ready(end.map(Ok));
        }
        let data = self.rest.split_to(self.rest.len().min(PART_BYTES));
        self.progress.0.unsent.fetch_add(1, Ordering::AcqRel);
        let part = Part { data, progress: self.progress.clone(), _memory: memory.cloned() };
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_owner(part)))))
    }
}

/// A part of an answer. The connection drops it when it was sent.
struct Part {
    data: Bytes,
    progress: Progress,
    _memory: Option<AnswerMemory>,
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.progress.moved();
        if self.progress.0.unsent.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.progress.0.sent.wake();
        }
    }
}

#[cfg(test)]
mod tests;
