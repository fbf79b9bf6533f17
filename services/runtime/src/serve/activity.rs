//! Which calls are open on a connection, since when there are none, and the memory that their answers hold.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Body, Frame, SizeHint};
use prometheus_client::metrics::counter::Counter;
use tokio::time::{Instant, sleep_until};
use tower::Service;

use super::answers::{AnswerBudget, AnswerMemory, LargeAnswer};
use super::peer::{Peer, PeerCounts, PeerPlace};
use super::stall::{Parts, Progress};

/// The calls of one connection; clones share it.
#[derive(Clone, Debug)]
pub(super) struct Activity(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    begin: Instant,
    open: AtomicUsize,
    /// When the last call ended, in milliseconds since `begin`.
    last_end: AtomicU64,
}

impl Activity {
    pub(super) fn new() -> Self {
        let begin = Instant::now();
        Activity(Arc::new(Shared { begin, open: AtomicUsize::new(0), last_end: AtomicU64::new(0) }))
    }

    /// Ends once there was no call for `limit`, counted from the call of this method at the earliest.
    pub(super) async fn idle_for(&self, limit: Duration) {
        let mut check = Instant::now() + limit;
        loop {
            sleep_until(check).await;
            if self.0.open.load(Ordering::Acquire) > 0 {
                check = Instant::now() + limit;
                continue;
            }
            let end = self.0.begin + Duration::from_millis(self.0.last_end.load(Ordering::Acquire));
            if end + limit <= Instant::now() {
                return;
            }
            check = end + limit;
        }
    }

    fn open(&self) -> Active {
        self.0.open.fetch_add(1, Ordering::AcqRel);
        Active(self.clone())
    }
}

/// An open call and its place among the peer's.
#[derive(Debug)]
pub(super) struct Open {
    _activity: Active,
    _place: PeerPlace,
}

/// A call that keeps its connection from being idle.
#[derive(Debug)]
struct Active(Activity);

impl Drop for Active {
    fn drop(&mut self) {
        let Activity(shared) = &self.0;
        let since = u64::try_from(shared.begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        shared.last_end.fetch_max(since, Ordering::AcqRel);
        shared.open.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Counts a connection's calls until their answers are sent, refuses those beyond the peer's limit, and tells each who
/// the peer is.
#[derive(Debug)]
pub(super) struct Tracked<S, B> {
    pub(super) inner: S,
    pub(super) activity: Activity,
    pub(super) peer: Arc<Peer>,
    /// Open calls of all connections.
    pub(super) calls: PeerCounts,
    /// Room for answers to the peer.
    pub(super) answers: AnswerBudget,
    /// Makes the answer to a call beyond the limit.
    pub(super) refuse: fn() -> Response<B>,
    /// Counts them.
    pub(super) refused: Counter,
}

impl<S: Clone, B> Clone for Tracked<S, B> {
    fn clone(&self) -> Self {
        let (activity, peer, calls) = (self.activity.clone(), self.peer.clone(), self.calls.clone());
        let (answers, refuse, refused) = (self.answers.clone(), self.refuse, self.refused.clone());
        Tracked { inner: self.inner.clone(), activity, peer, calls, answers, refuse, refused }
    }
}

impl<S, R, B> Service<Request<R>> for Tracked<S, B>
where
    S: Service<Request<R>, Response = Response<B>>,
    S::Future: Unpin,
    B: Unpin,
{
    type Response = Response<TrackedBody<B>>;
    type Error = S::Error;
    type Future = TrackedFuture<S::Future, B>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<R>) -> Self::Future {
        let Some(place) = self.calls.admit(self.peer.address) else {
            self.refused.inc();
            return TrackedFuture::Refused(Some((self.refuse)()));
        };
        let open = Open { _activity: self.activity.open(), _place: place };
        request.extensions_mut().insert(self.peer.clone());
        request.extensions_mut().insert(self.answers.clone());
        TrackedFuture::Admitted { answer: self.inner.call(request), open: Some(open) }
    }
}

/// The answer to a call, until it begins.
#[derive(Debug)]
pub(super) enum TrackedFuture<F, B> {
    Admitted { answer: F, open: Option<Open> },
    Refused(Option<Response<B>>),
}

impl<F, B, E> Future for TrackedFuture<F, B>
where
    F: Future<Output = Result<Response<B>, E>> + Unpin,
    B: Unpin,
{
    type Output = Result<Response<TrackedBody<B>>, E>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let (answer, open) = match &mut *self {
            Self::Admitted { answer, open } => (ready!(Pin::new(answer).poll(context)), open.take()),
            // A future is not polled again after it was ready.
            Self::Refused(answer) => match answer.take() {
                Some(answer) => (Ok(answer), None),
                None => return Poll::Pending,
            },
        };
        Poll::Ready(answer.map(|mut answer| {
            let memory = answer.extensions_mut().remove::<AnswerMemory>();
            let large = answer.extensions_mut().remove::<LargeAnswer>().is_some() || memory.is_some();
            let parts = if large { Progress::follow().map(Parts::new) } else { None };
            answer.map(|body| TrackedBody { body, memory, parts, _open: open })
        }))
    }
}

/// The body of an answer; the call is over when it is dropped.
#[derive(Debug)]
pub(super) struct TrackedBody<B> {
    body: B,
    /// Memory of the whole answer; of a large one.
    memory: Option<AnswerMemory>,
    /// Of a large answer over HTTP/2.
    parts: Option<Parts>,
    _open: Option<Open>,
}

impl<B: Body<Data = Bytes> + Unpin> Body for TrackedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let Self { body, memory, parts: Some(parts), .. } = &mut *self else {
            return self.poll_whole(context);
        };
        parts.poll_frame(Pin::new(body), memory.as_ref(), context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream() && self.parts.as_ref().is_none_or(Parts::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B: Body<Data = Bytes> + Unpin> TrackedBody<B> {
    /// The next frame, as it is.
    fn poll_whole(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        // The connection drops the body once it has taken the last frame, which may be long before that is sent.
        Poll::Ready(match (frame, &self.memory) {
            (Some(Ok(frame)), Some(memory)) => Some(Ok(frame.map_data(|data| memory.clone().carry(data)))),
            (frame, _) => frame,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(300);

    #[tokio::test(start_paused = true)]
    async fn idle_is_counted_from_the_end_of_the_last_call() {
        let (activity, begin) = (Activity::new(), Instant::now());
        let calls = async {
            let first = activity.open();
            tokio::time::sleep(LIMIT * 3).await;
            let second = activity.open();
            drop(first);
            tokio::time::sleep(LIMIT / 2).await;
            drop(second);
            begin.elapsed()
        };
        let ((), ended) = tokio::join!(activity.idle_for(LIMIT), calls);
        assert_eq!(begin.elapsed(), ended + LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_any_call_is_idle_from_its_begin() {
        let begin = Instant::now();
        Activity::new().idle_for(LIMIT).await;
        assert_eq!(begin.elapsed(), LIMIT);
    }
}
